"""Find out whether one model is better than another: metrics of answers, and their comparison. No Airflow import.

::

    records, metrics, labels, text, judge   the questions, and how good an answer is
    inference, pace, batch, answer_store    asking once, as fast as the quota allows, and keeping the answers
    bill                                    the cost
    scoring, bootstrap, comparison          which model is better, and whether that can be chance
    run                                     everything from beginning to end
    report, plots, bars                     for people
"""

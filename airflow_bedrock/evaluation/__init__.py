"""Is one model better than another: metrics of answers, and their comparison. No Airflow import.

::

    records, metrics, labels, text, judge    what is asked, and how good an answer is
    inference, pace, batch, answer_store     asking: once, as fast as the quota lets, and keeping what was paid for
    bill                                     what it costs
    scoring, bootstrap, comparison           which model is better, and whether that can be chance
    run                                      all of it from beginning to end
    report, plots, bars                      for people
"""

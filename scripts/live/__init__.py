"""What an Airflow that really runs does with the jobs that its tasks ask for: ``make live``.

::

    cluster.py     scheduler, API server, DAG processor, triggerers as processes, on PostgreSQL
    stage.py       what a scenario has: a DAG in the cluster, and an AWS account of its own, on Local Bedrock
    scenario.py    a scenario, what came of it, and how it is played
    dags/          the DAGs
    identity.py    scenarios: retries, Clears and backfills pay for what was asked, once
    ending.py      scenarios: what ends, stops
    witness.py     which process of ours has a task, written down by itself
    page.py        the table in docs/live.md

A scenario is a function with a DAG of its own; its docstring is its row in the table.
"""

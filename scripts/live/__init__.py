"""What a running Airflow does with the jobs that its tasks request: ``make live``.

::

    cluster.py     scheduler, API server, DAG processor, triggerers as processes, on PostgreSQL stage.py       what a
    scenario has: a DAG in the cluster, and its own AWS account, on Local Bedrock scenario.py    a scenario, its
    outcome, and how it is played dags/          the DAGs identity.py    scenarios: retries, Clears and backfills pay
    once for each request ending.py      scenarios: the jobs of ended tasks are stopped witness.py     which process of
    ours has a task, recorded by the process itself page.py        the table in docs/live.md

A scenario is a function with a DAG of its own; its docstring is its row in the table.
"""

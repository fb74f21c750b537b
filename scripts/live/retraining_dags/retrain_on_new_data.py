"""dags/retrain_on_new_data.py, whose tasks poll quickly, with a window of half a minute."""

from __future__ import annotations

from airflow.sdk import DAG  # noqa: F401 - Airflow reads files that hold both words

from scripts.live.example import example

dag = example("retrain_on_new_data")
for task in dag.tasks:  # each has taken the DAG's params when it was made
    task.params["window"] = 0.5

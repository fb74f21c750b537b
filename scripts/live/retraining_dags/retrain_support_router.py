"""dags/retrain_support_router.py, whose tasks poll quickly, and which makes no run by itself."""

from __future__ import annotations

from airflow.sdk import DAG  # noqa: F401 - Airflow reads files that hold both words

from scripts.live.example import END, example

dag = example("retrain_support_router")
dag.end_date = END

"""dags/finetune_support_router.py, whose tasks poll quickly."""

from __future__ import annotations

from airflow.sdk import DAG  # noqa: F401 - Airflow reads files that hold both words

from scripts.live.example import example

dag = example("finetune_support_router")

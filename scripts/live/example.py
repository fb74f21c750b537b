"""The DAGs of dags/, for an Airflow whose Bedrock is quick."""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime
from typing import Any

from scripts.stack import PROJECT

END = datetime(2024, 1, 1, tzinfo=UTC)
"""After the last period; a schedule that has ended makes no run of its own, for the present one."""


def example(name: str) -> Any:
    """Return the DAG of a file in dags/, whose tasks poll each few seconds: on AWS what they wait for takes longer."""
    spec = importlib.util.spec_from_file_location(name, PROJECT / "dags" / f"{name}.py")
    if spec is None or spec.loader is None:
        raise FileNotFoundError(name)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for task in module.dag.tasks:
        for poll, seconds in (("waiter_delay", 1.0), ("poke_interval", 5.0)):
            if hasattr(task, poll):
                setattr(task, poll, seconds)
    return module.dag

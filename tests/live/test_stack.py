"""The processes of an Airflow that the scripts start end with it."""

from __future__ import annotations

from pathlib import Path

import psutil  # type: ignore[import-untyped]  # its stubs are a package of their own
import pytest

from scripts.stack import Airflow
from tests.live.leftovers import left_behind
from tests.live.postgres import postgres
from tests.until import until

pytestmark = pytest.mark.live

DAG = """
import os
import pathlib
import time
from airflow.sdk import dag, task

@dag(schedule="@once", is_paused_upon_creation=False)
def long():
    @task
    def work():
        pathlib.Path({marker!r}).write_text(str(os.getpid()))
        time.sleep(3600)
    work()

long()
"""


def test_a_task_that_runs_ends_with_its_airflow(tmp_path: Path) -> None:
    """Its process has a group of its own, which the signals to Airflow's group do not reach."""
    marker, dags = tmp_path / "task-runs", tmp_path / "dags"
    dags.mkdir()
    (dags / "long.py").write_text(DAG.format(marker=str(marker)))
    with postgres() as database:
        airflow = Airflow(tmp_path / "home", {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database}, dags=dags)
        airflow.migrate()
        with airflow.standalone():
            until(lambda: marker.exists() and marker.read_text(), "the task begins", logs=airflow.home)
            assert len(left_behind(tmp_path)) > 3
        assert left_behind(tmp_path) == []
    # Airflow renames it, so that its environment cannot be read any more: hence its id.
    pid = int(marker.read_text())
    until(lambda: not runs(pid), "the task's process is gone")  # what was killed takes a moment


def runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False

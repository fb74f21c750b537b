"""An Airflow of processes on PostgreSQL, one for all tests, whose triggerers come and go.

First some of the scenarios of ``make live``, so that they do not rot, with real Clears. Then a triggerer is killed, and
one stalls and comes back, while ten tasks wait: what is asserted is the call log of the server that they ask about the
jobs. The sensors have stop_on_kill, so that a triggerer that takes its own recovery for a person's wish would stop paid
jobs.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2  # type: ignore[import-untyped]  # its stubs are a package of their own
import pytest
from airflow.triggers.base import BaseTrigger

from scripts.live.cluster import DAGS, Cluster
from scripts.live.scenario import AS_IT_SHOULD, Scenario, play
from scripts.live.scenarios import SCENARIOS
from scripts.until import LateError, until
from tests.job_server import JobServer
from tests.live.leftovers import left_behind
from tests.live.postgres import postgres

pytestmark = pytest.mark.live

IS_3_3 = hasattr(BaseTrigger, "on_kill")
PLAYED = ("cleared_with_the_same", "marked_failed_while_the_sensor_waits")
CHOSEN = [one for one in SCENARIOS if one.name in PLAYED]
TASKS = 10
INTERVAL = 2  # seconds
UNHEALTHY = 15  # seconds without a heartbeat, after which another triggerer takes over; Airflow's default is 30

DAG = f"""
from airflow.sdk import DAG
from airflow_bedrock.sensors import BedrockModelCustomizationSensor

with DAG("wait", schedule=None, max_active_tasks={TASKS}):
    BedrockModelCustomizationSensor.partial(
        task_id="wait", poke_interval={INTERVAL}, stop_on_kill=True, max_active_tis_per_dag={TASKS}
    ).expand(job_identifier=[f"job-{{i}}" for i in range({TASKS})])
"""


class Triggerers(Cluster):
    """A running Airflow whose triggerers come and go.

    :param database: SQLAlchemy's URL.
    """

    def __init__(self, folder: Path, database: str, server: JobServer) -> None:
        self.server = server
        dags = folder / "dags"
        dags.mkdir()
        (dags / "wait.py").write_text(DAG)
        if IS_3_3:
            for file in DAGS.glob("*.py"):
                shutil.copy(file, dags)
        settings = {
            "AIRFLOW__CORE__PARALLELISM": "6",
            "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": str(TASKS),
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": str(UNHEALTHY),
            "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
            "AIRFLOW_CONN_AWS_DEFAULT": server.connection("worker"),
        }
        super().__init__(folder / "home", database, dags=dags, more=settings)
        self._database = psycopg2.connect(database.replace("+psycopg2", ""))
        self._database.autocommit = True

    def triggerer(self, name: str) -> subprocess.Popen[bytes]:
        """Start a triggerer, whose calls are known by its name."""
        self.start(name, "triggerer", AIRFLOW_CONN_AWS_DEFAULT=self.server.connection(name))
        return self.components[name]

    def query(self, statement: str) -> list[Any]:
        with self._database.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def states(self) -> dict[str, int]:
        """Count the task instances of the DAG by state."""
        of_the_dag = "SELECT coalesce(state, 'none'), count(*) FROM task_instance WHERE dag_id = 'wait' GROUP BY 1"
        return dict(self.query(of_the_dag))

    def holders(self) -> list[int]:
        """Count the triggers of each triggerer that holds some."""
        return [count for (count,) in self.query("SELECT count(*) FROM trigger GROUP BY triggerer_id")]

    def callers(self, seconds: float) -> dict[str, int]:
        """Count the calls of the last seconds, by who made them."""
        counted: dict[str, int] = {}
        for call in list(self.server.calls):
            if call.at > time.time() - seconds and call.access_key != "worker":
                counted[call.access_key] = counted.get(call.access_key, 0) + 1
        return counted

    def until(self, what: str, true: Callable[[], bool]) -> None:
        try:
            until(true, what, logs=self.airflow.home)
        except LateError as error:
            raise AssertionError(f"{error}\n{self.states()} {self.holders()} {self.callers(10)}") from error


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triggerers]:
    folder = tmp_path_factory.mktemp("live")
    dags = ["wait", *(dag for one in CHOSEN for dag in one.dags if IS_3_3)]
    with JobServer() as server, postgres() as database:
        cluster = Triggerers(folder, database, server)
        with cluster.running(dags, without=["triggerer"]):
            cluster.triggerer("first")
            yield cluster
    assert left_behind(folder / "home") == []


@pytest.mark.skipif(not IS_3_3, reason="the DAGs need Airflow 3.3")
@pytest.mark.parametrize("scenario", CHOSEN, ids=lambda scenario: scenario.name)
def test_what_was_asked_for_is_paid_for_once_and_nothing_is_left_running(
    cluster: Triggerers, scenario: Scenario
) -> None:
    """As the table in docs/live.md says."""
    outcome = play(scenario, cluster)
    assert (outcome.verdict, outcome.accepted, outcome.left) == (AS_IT_SHOULD, scenario.asked_for, 0)


def test_no_triggerer_that_dies_or_stalls_loses_a_task_or_stops_a_job(cluster: Triggerers) -> None:
    """Every task ends as it should, no job is stopped, and no job is polled twice for longer than the takeover."""
    server = cluster.server
    jobs = server.add(TASKS)
    cluster.airflow.api.start("wait")
    cluster.until("all tasks are deferred", lambda: cluster.states().get("deferred") == TASKS)
    second = cluster.triggerer("second")
    cluster.until("all triggers run", lambda: set(cluster.callers(INTERVAL * 2)) == {"first"})
    # One loop: when those that came last have had their first poll, a List each interval for them all, and no Get.
    cluster.until("one call a round", lambda: cluster.callers(3 * INTERVAL)["first"] <= 3 + 2)

    cluster.kill("first")
    killed = time.time()
    cluster.until("the second has taken over", lambda: "second" in cluster.callers(2))
    cluster.until("it holds all", lambda: cluster.holders() == [TASKS])
    assert not [call for call in server.calls if call.access_key == "first" and call.at > killed + 1]

    third = cluster.triggerer("third")
    time.sleep(5)  # it is up, and has nothing to do
    os.killpg(second.pid, signal.SIGSTOP)
    try:
        cluster.until("the third has taken over", lambda: "third" in cluster.callers(2))
        cluster.until("it holds all", lambda: cluster.holders() == [TASKS])
    finally:
        os.killpg(second.pid, signal.SIGCONT)
    cluster.until("the second lets go", lambda: set(cluster.callers(INTERVAL * 3)) == {"third"})
    if IS_3_3:
        # What on_kill of the second might do, it has time to do. Learning the state takes it seconds, and Airflow
        # may end the waiting for the last ones, so it need not say so for each.
        cluster.until("the second has learnt that its tasks go on", lambda: left_running(cluster) > TASKS / 2)
    cluster.until("the second polls no more", lambda: set(cluster.callers(INTERVAL * 5)) == {"third"})
    assert third.poll() is None

    server.end(jobs)
    cluster.until("all tasks have ended", lambda: cluster.states().get("success") == TASKS)
    assert server.counts()["stop"] == 0
    assert {job.status for job in jobs} == {"Completed"}


def left_running(cluster: Triggerers) -> int:
    """How often a triggerer said in its tasks' logs that it left a job running."""
    lines = (
        line
        for log in (cluster.airflow.home / "logs" / "dag_id=wait").rglob("*.trigger.*.log")
        for line in log.read_text(errors="replace").splitlines()
    )
    return sum("is left running: the task is deferred" in json.loads(line).get("event", "") for line in lines)

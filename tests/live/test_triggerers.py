"""Two triggerers, one of which is killed, and one of which stalls and comes back, while 20 tasks wait.

Scheduler, API server and triggerers are processes, the database is PostgreSQL, and what is asserted is the call log of
the server that they ask about the jobs. The sensors have stop_on_kill, so that a triggerer that takes its own recovery
for a person's wish would stop paid jobs.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psycopg2  # type: ignore[import-untyped]  # its stubs are a package of their own
import pytest
from airflow.triggers.base import BaseTrigger

from scripts.stack import BIN, Airflow, process, wait_for
from scripts.until import LateError, until
from tests.job_server import JobServer
from tests.live.postgres import postgres

TASKS = 20
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


class Cluster:
    """A running Airflow whose triggerers come and go.

    :param database: SQLAlchemy's URL.
    """

    def __init__(self, folder: Path, database: str, server: JobServer) -> None:
        self.server = server
        dags = folder / "dags"
        dags.mkdir()
        (dags / "wait.py").write_text(DAG)
        self.airflow = Airflow(folder / "home", {})
        self.airflow.environment |= {
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
            "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
            "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
            "AIRFLOW__CORE__PARALLELISM": "6",
            "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": str(TASKS),
            "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": str(UNHEALTHY),
            "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
            "AIRFLOW_CONN_AWS_DEFAULT": server.connection("worker"),
        }
        self._database = psycopg2.connect(database.replace("+psycopg2", ""))
        self._database.autocommit = True

    @contextmanager
    def running(self) -> Iterator[None]:
        """Run the scheduler and the API server."""
        airflow, home = self.airflow, self.airflow.home
        airflow.migrate()
        subprocess.run(
            [BIN / "airflow", "dags", "reserialize"], env=airflow.environment, capture_output=True, check=True
        )
        with ExitStack() as stack:
            api_log = home / "api-server.log"
            api = stack.enter_context(process([str(BIN / "airflow"), "api-server"], airflow.environment, api_log))
            stack.enter_context(
                process([str(BIN / "airflow"), "scheduler"], airflow.environment, home / "scheduler.log")
            )
            wait_for(f"{airflow.url}/api/v2/monitor/health", api, api_log)
            self.client = stack.enter_context(httpx.Client(base_url=airflow.url, timeout=300))
            token = self.client.get("/auth/token").raise_for_status().json()["access_token"]
            self.client.headers["Authorization"] = f"Bearer {token}"
            yield

    @contextmanager
    def triggerer(self, name: str) -> Iterator[subprocess.Popen[bytes]]:
        """Run a triggerer, whose calls are known by its name."""
        environment = self.airflow.environment | {"AIRFLOW_CONN_AWS_DEFAULT": self.server.connection(name)}
        command = [str(BIN / "airflow"), "triggerer", "--skip-serve-logs"]
        with process(command, environment, self.airflow.home / f"{name}.log") as child:
            yield child

    def query(self, statement: str) -> list[Any]:
        with self._database.cursor() as cursor:
            cursor.execute(statement)
            return list(cursor.fetchall())

    def states(self) -> dict[str, int]:
        """Count the task instances by state."""
        return dict(self.query("SELECT coalesce(state, 'none'), count(*) FROM task_instance GROUP BY 1"))

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


@pytest.mark.live
def test_no_triggerer_that_dies_or_stalls_loses_a_task_or_stops_a_job(tmp_path: Path) -> None:
    """Every task ends as it should, no job is stopped, and no job is polled twice for longer than the takeover."""
    with ExitStack() as stack:
        server = stack.enter_context(JobServer())
        jobs = server.add(TASKS)
        cluster = Cluster(tmp_path, stack.enter_context(postgres()), server)
        stack.enter_context(cluster.running())
        first = stack.enter_context(cluster.triggerer("first"))
        cluster.client.post("/api/v2/dags/wait/dagRuns", json={"logical_date": None}).raise_for_status()
        cluster.until("all tasks are deferred", lambda: cluster.states().get("deferred") == TASKS)
        second = stack.enter_context(cluster.triggerer("second"))
        cluster.until("all triggers run", lambda: set(cluster.callers(INTERVAL * 2)) == {"first"})
        # One loop: when those that came last have had their first poll, a List each interval for them all, and no Get.
        cluster.until("one call a round", lambda: cluster.callers(3 * INTERVAL)["first"] <= 3 + 2)

        os.killpg(first.pid, signal.SIGKILL)
        killed = time.time()
        cluster.until("the second has taken over", lambda: "second" in cluster.callers(2))
        cluster.until("it holds all", lambda: cluster.holders() == [TASKS])
        assert not [call for call in server.calls if call.access_key == "first" and call.at > killed + 1]

        third = stack.enter_context(cluster.triggerer("third"))
        time.sleep(5)  # it is up, and has nothing to do
        os.killpg(second.pid, signal.SIGSTOP)
        try:
            cluster.until("the third has taken over", lambda: "third" in cluster.callers(2))
            cluster.until("it holds all", lambda: cluster.holders() == [TASKS])
        finally:
            os.killpg(second.pid, signal.SIGCONT)
        cluster.until("the second lets go", lambda: set(cluster.callers(INTERVAL * 3)) == {"third"})
        if hasattr(BaseTrigger, "on_kill"):  # Airflow 3.3
            # What on_kill of the second might do, it has time to do. Learning the state takes it seconds, and Airflow
            # may end the waiting for the last ones, so it need not say so for each.
            cluster.until("the second has learnt that its tasks go on", lambda: left_running(cluster) > TASKS / 2)
        cluster.until("the second polls no more", lambda: set(cluster.callers(INTERVAL * 5)) == {"third"})
        assert third.poll() is None

        server.end(jobs)
        cluster.until("all tasks have ended", lambda: cluster.states().get("success") == TASKS)
        assert server.counts()["stop"] == 0
        assert {job.status for job in jobs} == {"Completed"}


def left_running(cluster: Cluster) -> int:
    """How often a triggerer said in its tasks' logs that it left a job running."""
    lines = (
        line
        for log in (cluster.airflow.home / "logs").rglob("*.trigger.*.log")
        for line in log.read_text(errors="replace").splitlines()
    )
    return sum("is left running: the task is deferred" in json.loads(line).get("event", "") for line in lines)

"""``make live ARGS=distributed``: docker-compose.yaml's services, run natively, and killed one by one under load."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import boto3
import httpx
from botocore.config import Config

from scripts import compose
from scripts.airflow_api import AirflowApi, connect
from scripts.compose import Containers
from scripts.live import page
from scripts.live.scenario import AS_IT_SHOULD
from scripts.live.stage import jobs
from scripts.postgres import NotInstalledError
from scripts.stack import PROJECT
from scripts.training_data import record
from scripts.until import LateError, until

RUNS = 100
EXAMPLE, LOADED = "finetune_support_router", "hundred_at_once"
DOWN_SECONDS, BETWEEN_SECONDS = 10, 15
SECONDS = 3600.0  # for whatever is waited for; the machine may be slow
API, BEDROCK = "http://127.0.0.1:8080", "http://127.0.0.1:5005"
TWICE = ("airflow-worker", "airflow-triggerer")
ONCE = ("airflow-scheduler", "airflow-dag-processor")
MORE = (
    *("--job-seconds", "30", "--quota", "training_jobs=4", "--quota", "deployments=200"),
    *(f"--quota={name}=200" for name in ("scheduled_jobs", "custom_models", "changing_deployments")),
)
"""Local Bedrock's settings in addition to the file: quotas for a hundred runs at once, and jobs that take a while."""


class Stack:
    """The whole of it, from secrets to triggerers, and a client of its API, where SECONDS is enough for a restart."""

    api: AirflowApi

    def __init__(self, home: Path) -> None:
        self.home = home
        self.containers = Containers(home)
        self.names: list[str] = []
        self._started = datetime.min.replace(tzinfo=UTC)
        connection = json.loads(self.containers.services["airflow-worker"].environment["AIRFLOW_CONN_AWS_DEFAULT"])
        self._session = boto3.session.Session(connection["login"], connection["password"], region_name="us-east-1")
        self._bucket = self.containers.services["airflow-worker"].environment["AIRFLOW_VAR_BEDROCK_BUCKET"]

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Start everything, in the order of the file's conditions."""
        containers = self.containers
        dags = self.home / "airflow" / "dags"
        dags.mkdir(parents=True)
        for file in (
            *(PROJECT / "dags").glob(f"{EXAMPLE}.py"),
            *(Path(__file__).parent / "distributed_dags").glob("*.py"),
        ):
            shutil.copy(file, dags)
        (self.home / "local-bedrock").mkdir()
        with containers.minded():
            containers.run("secrets")
            containers.make_database()
            self.names += [containers.start(name) for name in ("postgres", "redis")]
            self.names.append(containers.start("local-bedrock", None, *MORE))
            self._until_healthy("local-bedrock")
            self._put_data()
            time.sleep(3)  # until PostgreSQL takes connections
            containers.run("airflow-init")
            self.names.append(containers.start("airflow-apiserver"))
            self._until_healthy("airflow-apiserver")
            self.names += [containers.start(name) for name in ONCE]
            self.names += [containers.start(name, number) for name in TWICE for number in (1, 2)]
            password = (self.home / "secrets" / "admin_password").read_text()
            with connect(API, "admin", password) as self.api:
                self.api.retry_seconds = SECONDS
                self.api.until_read(EXAMPLE, LOADED)
                yield

    def jobs(self) -> Counter[str]:
        """Count the statuses of the jobs that the account has accepted."""
        config = Config(retries={"total_max_attempts": 10}, s3={"addressing_style": "path"})
        with closing(self._session.client("bedrock", endpoint_url=BEDROCK, config=config)) as client:
            return Counter(job["status"] for job in jobs(client))

    def tried_again(self) -> int:
        """Count the tasks that took more than one try."""
        found = self.api.listed(f"/dags/{LOADED}/dagRuns/~/taskInstances", "task_instances")
        return sum(one["try_number"] > 1 for one in found)

    def kill(self, name: str) -> tuple[str, float]:
        """Kill a component, leave it down for a while, start it again, and wait until it works.

        :returns: the runs and the jobs that were in progress, and the seconds until it worked.
        """
        met = f"{self.api.states(LOADED)['running']} / {self.jobs()['InProgress']}"
        self.containers.kill(name)
        time.sleep(DOWN_SECONDS)
        self._started = datetime.now(UTC)
        self.containers.start_killed(name)
        return met, self._until_healthy(name)

    def _until_healthy(self, name: str) -> float:
        return until(lambda: self._healthy(name), f"{name} works:\n{self.containers.log(name)[-2000:]}", SECONDS)

    def _healthy(self, name: str) -> bool:
        try:
            match name:
                case "local-bedrock":
                    return httpx.get(f"{BEDROCK}/_local/health", timeout=5).is_success
                case "airflow-apiserver":
                    return httpx.get(f"{API}/api/v2/version", timeout=5).is_success
                case "airflow-scheduler":
                    return httpx.get("http://127.0.0.1:8974/health", timeout=5).is_success
                case "postgres":
                    return bool(self.api("GET", "/monitor/health")["metadatabase"]["status"] == "healthy")
                case "redis":
                    with socket.create_connection(("127.0.0.1", 6379), timeout=5):
                        return True
                case _ if "worker" in name:
                    return f"celery@{name} ready" in self.containers.log(name)
            found = self.api("GET", "/jobs", params={"hostname": name, "is_alive": True})["jobs"]
            return any(datetime.fromisoformat(job["start_date"]) > self._started for job in found)
        except (OSError, httpx.HTTPError):
            return False

    def _put_data(self) -> None:
        config = Config(s3={"addressing_style": "path"})
        with closing(self._session.client("s3", endpoint_url=BEDROCK, config=config)) as s3:
            s3.put_object(Bucket=self._bucket, Key="hundred/train.jsonl", Body=record() * 20)


def play(stack: Stack, runs: int) -> Iterator[str]:
    """Run the example DAG to its end, then many runs while each component is killed in turn; yield the table's rows."""
    stack.api.unpause(EXAMPLE, LOADED)
    stack.api.start(EXAMPLE, {"services": 2, "test_records": 20, "epochs": 1})
    seconds = until(lambda: stack.api.is_idle(EXAMPLE), "the example DAG has ended", SECONDS)
    yield row(
        "nothing: the example DAG alone", "1 / 1", seconds, *judged(stack.api.states(EXAMPLE), 1, stack.jobs(), 1)
    )
    began = time.monotonic()
    for _ in range(runs):
        stack.api.start(LOADED)
    until(lambda: stack.api.states(LOADED)["running"] == runs, "all runs have begun", SECONDS)
    until(lambda: sum(stack.jobs().values()) > runs / 10, "jobs are being made", SECONDS)
    for name in stack.names:
        met, seconds = stack.kill(name)
        yield row(name, met, seconds, "", "", "", "")
        time.sleep(BETWEEN_SECONDS)
    until(lambda: stack.api.is_idle(LOADED), "all runs have ended", SECONDS)
    with contextlib.suppress(LateError):
        until(lambda: not stack.jobs()["InProgress"], "no job runs", 300)
    ended = Counter(stack.containers.restarts)
    told = f"{stack.tried_again()} tasks were tried again"
    if ended:
        told += f"; ended by themselves, and started again: {', '.join(f'{name} {n}' for name, n in ended.items())}"
    found = judged(stack.api.states(LOADED), runs, stack.jobs(), runs + 1)
    yield row(
        f"all of them in turn, under {runs} runs", "", time.monotonic() - began, *found[:-1], f"{found[-1]}; {told}"
    )


def judged(states: Counter[str], runs: int, jobs: Counter[str], asked_for: int) -> tuple[str, ...]:
    """Return the outcome of runs and jobs, and the verdict."""
    accepted, left = sum(jobs.values()), jobs["InProgress"] + jobs["Stopping"]
    right = (states["success"], accepted, left) == (runs, asked_for, 0)
    verdict = AS_IT_SHOULD if right else "WRONG"
    return f"{states['success']} of {runs}", f"{accepted} / {asked_for}", str(left), verdict


def row(killed: str, met: str, seconds: float, *cells: str) -> str:
    """Return a row of the table, with the commit and the date."""
    return page.signed(killed, met, f"{seconds:.0f}", *cells)


def played(home: Path) -> Iterator[str]:
    """Start everything, and play it."""
    home.chmod(0o755)  # PostgreSQL runs as somebody else
    stack = Stack(home)
    with stack.running():
        yield from play(stack, RUNS)


def enter() -> None:
    """Continue in separate namespaces."""
    if shutil.which("redis-server") is None:
        raise NotInstalledError("Redis is not installed (Debian: apt-get install redis-server)")
    compose.enter("scripts.live.distributed")


if __name__ == "__main__":
    sys.exit(page.program(page.DISTRIBUTED, "distributed", __doc__, played, enter))

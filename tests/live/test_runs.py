"""What becomes of jobs when a person backfills, or clears or ends a task, in a real Airflow, one for all tests.

And the processes of an Airflow that the scripts start end with it: scheduler, worker, triggerer, API server.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import psutil  # type: ignore[import-untyped]  # its stubs are a package of their own
import pytest
from airflow.triggers.base import BaseTrigger

from airflow_bedrock.local import LocalBedrock
from scripts.airflow_api import Run
from scripts.stack import SHORT_DEFERRALS, Airflow
from scripts.training_data import record
from scripts.until import until
from tests.live import backfills
from tests.live.backfills import Backfills
from tests.live.leftovers import left_behind
from tests.live.postgres import postgres

pytestmark = pytest.mark.live

DAG = """
import os
import pathlib
import time
from datetime import timedelta
from airflow.sdk import DAG, task
from airflow_bedrock.operators import BedrockModelCustomizationOperator

for dag_id, seconds in (("killing", None), ("timing_out", 20)):
    with DAG(dag_id, schedule=None, dagrun_timeout=seconds and timedelta(seconds=seconds)):
        for name, deferrable in (("waits_in_a_worker", False), ("waits_in_the_triggerer", True)):
            BedrockModelCustomizationOperator(
                task_id=name,
                job_name=name,
                custom_model_name=name,
                role_arn="{{ var.value.bedrock_role_arn }}",
                base_model_id="amazon.nova-micro-v1:0:128k",
                training_data_uri="s3://{{ var.value.bedrock_bucket }}/train.jsonl",
                output_data_uri="s3://{{ var.value.bedrock_bucket }}/output",
                deferrable=deferrable,
                waiter_delay=1,
            )

with DAG("long", schedule=None):
    @task
    def work():
        pathlib.Path(os.environ["AIRFLOW_HOME"], "task-runs").write_text(str(os.getpid()))
        time.sleep(3600)
    work()
"""
DAGS = ("killing", "timing_out", "long")
STOPPED = (["Stopping"], ["Stopped"])
TASKS = {"waits_in_a_worker": "running", "waits_in_the_triggerer": "deferred"}


class Killing:
    """The DAGs in a running Airflow, the run that was started last and its jobs, and what ends it all."""

    run: Run

    def __init__(self, airflow: Airflow, local: LocalBedrock, end: Callable[[], None]) -> None:
        self.airflow, self.local, self.end = airflow, local, end

    def start(self, dag: str = "killing") -> None:
        """Start a run, and wait until both of its tasks wait for their jobs."""
        self.run = self.airflow.api.start(dag)
        self.until(lambda: self.run.task_states() == TASKS, "both tasks wait")
        self.until(lambda: all(self.jobs(task) == ["InProgress"] for task in TASKS), "both jobs run")
        # A task is deferred a moment before the triggerer has its trigger; only from then on can a kill reach it.
        arn = self.run.returned("waits_in_the_triggerer", "job_arn")
        looks = self.looks(arn)
        self.until(lambda: self.looks(arn) > looks, "the triggerer polls the job")

    def until(self, true: Callable[[], object], what: str) -> None:
        until(true, what, logs=self.airflow.home)

    def looks(self, arn: str) -> int:
        """How often the job was polled, alone or among others."""
        alone = [call for call in self.local.calls.of("GetModelCustomizationJob") if arn in str(call.parameters)]
        return len(alone) + len(self.local.calls.of("ListModelCustomizationJobs"))

    def jobs(self, task: str) -> list[str]:
        """The states of the jobs that the task has made in this run."""
        made = self.local.calls.of("CreateModelCustomizationJob")
        names = {
            call.parameters["jobName"]
            for call in made
            if call.status == 201
            and {"key": "airflow/task_id", "value": task} in call.parameters["jobTags"]
            and {"key": "airflow/run_id", "value": self.run.run_id} in call.parameters["jobTags"]
        }
        client = self.local.client("bedrock")
        try:
            return [client.get_model_customization_job(jobIdentifier=name)["status"] for name in sorted(names)]
        finally:
            client.close()

    def stopped(self) -> bool:
        """Whether the jobs of all tasks are stopped."""
        return all(self.jobs(task) in STOPPED for task in TASKS)


@pytest.fixture(scope="module")
def killing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Killing]:
    home, dags = tmp_path_factory.mktemp("airflow"), tmp_path_factory.mktemp("dags")
    (dags / "killing.py").write_text(DAG)
    backfills.write_dags(dags)
    with ExitStack() as stack:
        local = stack.enter_context(LocalBedrock(clock="manual", job_seconds=backfills.JOB_SECONDS))
        environment = {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": stack.enter_context(postgres())}
        client = local.client("s3")
        client.put_object(Bucket=local.bucket, Key="train.jsonl", Body=record() * 20)
        client.close()
        airflow = Airflow(home, local.environment() | SHORT_DEFERRALS | environment, dags=dags)
        stack.enter_context(airflow.standalone())
        airflow.api.until_read(*DAGS, *backfills.BACKFILLED)
        airflow.api.unpause(*DAGS)
        yield Killing(airflow, local, stack.close)


def test_a_backfill_makes_one_job_for_each_period_and_pays_again_only_for_what_has_changed(killing: Killing) -> None:
    """docs/backfill.md: three months, three jobs; the same again, none; one month's data replaced, one."""
    page = Backfills(killing.airflow, killing.local)
    for month in backfills.MONTHS:
        page.write(month, month)
    printed = killing.airflow.run(*backfills.DRY_RUN)
    assert all(month in printed for month in backfills.MONTHS)
    assert not killing.airflow.api.runs("retrain")
    killing.airflow.run(*backfills.UNPAUSE)
    if backfills.BY_PARTITION:
        killing.airflow.api.unpause("by_partition")
    assert page.backfill() == 3 + backfills.BY_PARTITION
    assert page.backfill("--reprocess-behavior", "completed") == 0
    page.write(backfills.MONTHS[1], "other")
    assert page.backfill("--reprocess-behavior", "completed") == (2 if backfills.BY_PARTITION else 1)


@pytest.mark.skipif(
    not hasattr(BaseTrigger, "on_kill"), reason="Airflow 3.0.6 leaves a task that runs and is cleared restarting"
)
def test_a_cleared_task_adopts_its_job(killing: Killing) -> None:
    """A Clear stops nothing and pays for nothing: both tasks are soon waiting for the same job as before."""
    killing.start()
    tries = dict.fromkeys(TASKS, 1)
    killing.run.clear(*TASKS)

    def again() -> bool:
        return all(
            one["try_number"] > tries[one["task_id"]] and one["state"] == TASKS[one["task_id"]]
            for one in killing.run.instances()
        )

    killing.until(again, "both tasks wait again")
    time.sleep(5)  # for a kill of the old try that comes late
    assert {task: killing.jobs(task) for task in TASKS} == {task: ["InProgress"] for task in TASKS}


@pytest.mark.parametrize("state", ["failed", "success"])
def test_a_task_that_a_person_ends_stops_its_job(killing: Killing, state: str) -> None:
    """Marked failed or successful, in a worker and in the triggerer; the links to the job show meanwhile."""
    killing.start()
    for task in TASKS:
        path = f"{killing.run.path}/taskInstances/{task}"
        if TASKS[task] == "deferred":
            assert "/_local/#arn:" in killing.airflow.api("GET", f"{path}/links")["extra_links"]["Bedrock job"]
        killing.airflow.api("PATCH", path, json={"new_state": state})
    killing.until(killing.stopped, "the jobs are stopped")


def test_a_run_that_a_person_ends_stops_its_jobs(killing: Killing) -> None:
    """Marked failed as a whole."""
    killing.start()
    killing.run.mark_failed()
    killing.until(killing.stopped, "the jobs are stopped")


def test_a_run_that_times_out_stops_its_jobs(killing: Killing) -> None:
    """By dagrun_timeout."""
    killing.start("timing_out")
    killing.until(killing.stopped, "the jobs are stopped")


def test_a_task_that_runs_ends_with_its_airflow(killing: Killing) -> None:
    """Its process has a group of its own, which Airflow's signals do not reach. The last test: it ends it all."""
    home = killing.airflow.home
    killing.airflow.api.start("long")
    marker = home / "task-runs"
    killing.until(lambda: marker.exists() and marker.read_text(), "the task begins")
    assert len(left_behind(home)) > 3
    killing.end()
    assert left_behind(home) == []
    # Airflow renames it, so that its environment cannot be read any more: hence its id.
    pid = int(marker.read_text())
    until(lambda: not runs(pid), "the task's process is gone")  # what was killed takes a moment


def runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False

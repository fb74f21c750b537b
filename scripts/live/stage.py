"""What a scenario has: a DAG in the cluster whose runs it starts, and its own AWS account, on Local Bedrock.

The account's clock stands still: a job runs until it is stopped, or until the scenario lets it end.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from airflow_bedrock.local import LocalBedrock
from scripts import airflow_api
from scripts.live.cluster import Cluster
from scripts.training_data import record
from scripts.until import until

JOB_SECONDS = 3600.0
_POLLS = ("GetModelCustomizationJob", "ListModelCustomizationJobs")


class WrongError(RuntimeError):
    """Airflow, or the account, is not as it should be."""


def check(true: object, what: str) -> None:
    """Check what a scenario promises.

    :raises WrongError: it is not true.
    """
    if not true:
        raise WrongError(what)


def jobs(bedrock: Any) -> list[dict[str, Any]]:
    """Return all jobs of an account, which are billed, from ListModelCustomizationJobs."""
    pages = bedrock.get_paginator("list_model_customization_jobs").paginate()
    return [job for page in pages for job in page["modelCustomizationJobSummaries"]]


class Stage:
    """A DAG, its account, and what people can do to them.

    :param name: the id of the DAG, of its connection to the account, and of its variable.
    """

    def __init__(self, cluster: Cluster, local: LocalBedrock, name: str) -> None:
        self.cluster, self.local, self.name = cluster, local, name
        self.api = cluster.airflow.api
        self._bedrock, self._s3 = local.client("bedrock"), local.client("s3")
        connection = json.loads(local.environment()["AIRFLOW_CONN_AWS_DEFAULT"])
        connection["extra"] = json.dumps(connection["extra"])
        self.api("POST", "/connections", json={"connection_id": name, **connection})
        self._variable: dict[str, Any] = {"bucket": local.bucket, "role_arn": local.role_arn, "epochs": "1"}
        self.api("POST", "/variables", json={"key": name, "value": json.dumps(self._variable)})
        self.put_data()

    def edit(self, **members: Any) -> None:
        """Edit the DAG's variable, a JSON object."""
        self._variable |= members
        self.api("PATCH", f"/variables/{self.name}", json={"key": self.name, "value": json.dumps(self._variable)})

    def put_data(self, records: int = 20, bucket: str | None = None) -> None:
        """Write the training data, or replace it."""
        self._s3.put_object(Bucket=bucket or self.local.bucket, Key="train.jsonl", Body=record() * records)

    def start(self, dag: str | None = None) -> Run:
        """Trigger a run of the DAG."""
        run = self.api.start(dag or self.name)
        return Run(self.api, run.dag, run.run_id, self)

    def backfill(self, year: int, months: int = 3, **more: Any) -> list[Run]:
        """Backfill the first months of a year, and return the runs when all have been made."""
        until(lambda: self.api.has_no_backfill(self.name), "the earlier backfill is complete")
        before = {run.run_id for run in self.runs()}
        period = {"from_date": f"{year}-01-01T00:00:00Z", "to_date": f"{year}-{months:02}-01T00:00:00Z"}
        self.api("POST", "/backfills", json={"dag_id": self.name, **period, **more})
        until(lambda: len(self.runs()) == len(before) + months, "the backfill has made its runs")
        return [run for run in self.runs() if run.run_id not in before]

    def runs(self, dag: str | None = None) -> list[Run]:
        """Return all runs of the DAG."""
        dag_id = dag or self.name
        return [Run(self.api, dag_id, run["dag_run_id"], self) for run in self.api.runs(dag_id)]

    def jobs(self) -> dict[str, str]:
        """Return the status of each job that the account has accepted, by ARN."""
        return {job["jobArn"]: job["status"] for job in jobs(self._bedrock)}

    def askers(self) -> dict[str, str]:
        """Return the id of the run that asked for each job, by the job's name, as its tags say."""
        made = [call for call in self.local.calls.of("CreateModelCustomizationJob") if call.status == 201]
        tags = {call.parameters["jobName"]: call.parameters["jobTags"] for call in made}
        return {name: tag["value"] for name in tags for tag in tags[name] if tag["key"] == "airflow/run_id"}

    def left_running(self) -> set[str]:
        """Return the ids of the runs that asked for the jobs that run."""
        askers = self.askers()
        return {askers[job["jobName"]] for job in jobs(self._bedrock) if job["status"] == "InProgress"}

    def in_progress(self) -> set[str]:
        """Return the ARNs of the jobs that run; one that is being stopped does not."""
        return {arn for arn, status in self.jobs().items() if status == "InProgress"}

    def until_in_progress(self, number: int) -> None:
        """Wait until so many jobs run."""
        until(lambda: len(self.in_progress()) == number, f"{number} jobs run; the account has {self.jobs()}")

    def until_polled(self) -> None:
        """Wait until the triggerer polls the jobs: a task is deferred a moment before the triggerer has its trigger."""
        polls = self._polls()
        until(lambda: self._polls() > polls, "the triggerer polls the jobs")

    def _polls(self) -> int:
        return sum(len(self.local.calls.of(one)) for one in _POLLS)

    def end_jobs(self) -> None:
        """Let the time pass in which all jobs end that run."""
        self.local.clock.advance(2 * JOB_SECONDS)


@dataclass(frozen=True, eq=False)
class Run(airflow_api.Run):
    """A run of a scenario's DAG, and what happens in its Airflow and its account."""

    stage: Stage

    def states(self, task: str | None = None) -> list[str | None]:
        """Return the states of the task instances."""
        return [one["state"] for one in self.instances(task)]

    def until(self, state: str, task: str | None = None, *, tries: int = 1, number: int = 1) -> None:
        """Wait until all instances of the task are in a state, in such a try or a later one.

        :param number: of instances, at the least: a mapped task is expanded only when it can run.
        """
        until(partial(self._are, state, task, tries, number), f"{task or 'all tasks'} {state} in try {tries}: {self}")

    def _are(self, state: str, task: str | None, tries: int, number: int) -> bool:
        found = self.instances(task)
        return len(found) >= number and all(one["state"] == state and one["try_number"] >= tries for one in found)

    def until_ended(self) -> str:
        """Wait until the run has ended; return its state."""
        until(self.has_ended, f"the run has ended: {self}")
        return self.state

    def until_success(self) -> None:
        """Wait until the run has ended, and check that it has succeeded."""
        check(self.until_ended() == "success", f"the run succeeds: {self}")

    def kill_workers(self, task: str) -> None:
        """Kill the processes that run the task's instances, at once."""
        for one in self.instances(task):
            os.kill(one["pid"], signal.SIGKILL)

    def _log(self, task: str, tries: int) -> str:
        logs = self.stage.cluster.airflow.home / "logs" / f"dag_id={self.dag}" / f"run_id={self.run_id}"
        return logs.joinpath(f"task_id={task}", f"attempt={tries}.log").read_text(errors="replace")

    def says(self, task: str, tries: int, words: str) -> bool:
        """Whether the log of a try holds the words."""
        return words in self._log(task, tries)

    def until_says(self, task: str, tries: int, words: str) -> None:
        """Wait until the log of a try holds the words."""
        until(lambda: self.says(task, tries, words), f"the log of {task}, try {tries}, says «{words}»", 60)

    def __str__(self) -> str:
        """Return what a message says of the run."""
        return f"{self.dag} {self.run_id}: {_told(self.instances())}"


def _told(instances: Iterable[dict[str, Any]]) -> str:
    return ", ".join(
        f"{one['task_id']}[{one['map_index']}] {one['state']}, try {one['try_number']}" for one in instances
    )

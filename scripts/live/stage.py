"""What a scenario has: a DAG in the cluster whose runs it starts, and an AWS account of its own, on Local Bedrock.

The account's clock stands still: a job runs until it is stopped, or until the scenario lets it end.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterable
from functools import partial
from typing import Any

import httpx

from airflow_bedrock.local import LocalBedrock
from scripts.live.cluster import Cluster
from scripts.until import until

JOB_SECONDS = 3600.0
_POLLS = ("GetModelCustomizationJob", "ListModelCustomizationJobs")
ENDED = {"success", "failed"}
_RECORD = {
    "schemaVersion": "bedrock-conversation-2024",
    "messages": [{"role": role, "content": [{"text": "hello"}]} for role in ("user", "assistant")],
}


class WrongError(RuntimeError):
    """Airflow, or the account, is not as it should be."""


def check(true: object, what: str) -> None:
    """Check what a scenario promises.

    :raises WrongError: it is not true.
    """
    if not true:
        raise WrongError(what)


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
        body = f"{json.dumps(_RECORD)}\n" * records
        self._s3.put_object(Bucket=bucket or self.local.bucket, Key="train.jsonl", Body=body.encode())

    def start(self, dag: str | None = None) -> Run:
        """Trigger a run of the DAG."""
        dag_id = dag or self.name
        body = {"logical_date": None}
        run: str = self.api("POST", f"/dags/{dag_id}/dagRuns", json=body)["dag_run_id"]
        return Run(self, dag_id, run)

    def backfill(self, year: int, months: int = 3, **more: Any) -> list[Run]:
        """Backfill the first months of a year, and return the runs when all have been made."""
        until(self._no_backfill, "the scheduler has seen that the earlier backfill is complete")
        before = {run.run_id for run in self.runs()}
        period = {"from_date": f"{year}-01-01T00:00:00Z", "to_date": f"{year}-{months:02}-01T00:00:00Z"}
        self.api("POST", "/backfills", json={"dag_id": self.name, **period, **more})
        until(lambda: len(self.runs()) == len(before) + months, "the backfill has made its runs")
        return [run for run in self.runs() if run.run_id not in before]

    def _no_backfill(self) -> bool:
        found = self.api("GET", "/backfills", params={"dag_id": self.name})["backfills"]
        return all(one["completed_at"] for one in found)

    def runs(self, dag: str | None = None) -> list[Run]:
        """Return all runs of the DAG."""
        dag_id = dag or self.name
        found = self.api("GET", f"/dags/{dag_id}/dagRuns", params={"limit": 1000})["dag_runs"]
        return [Run(self, dag_id, run["dag_run_id"]) for run in found]

    def jobs(self) -> dict[str, str]:
        """Return the status of each job that the account has accepted, by ARN."""
        pages = self._bedrock.get_paginator("list_model_customization_jobs").paginate()
        found = [job for page in pages for job in page["modelCustomizationJobSummaries"]]
        return {job["jobArn"]: job["status"] for job in found}

    def askers(self) -> dict[str, str]:
        """Return the id of the run that asked for each job, by the job's name, as its tags say."""
        made = [call for call in self.local.calls.of("CreateModelCustomizationJob") if call.status == 201]
        tags = {call.parameters["jobName"]: call.parameters["jobTags"] for call in made}
        return {name: tag["value"] for name in tags for tag in tags[name] if tag["key"] == "airflow/run_id"}

    def left_running(self) -> set[str]:
        """Return the ids of the runs that asked for the jobs that run."""
        askers, running = self.askers(), self.in_progress()
        pages = self._bedrock.get_paginator("list_model_customization_jobs").paginate()
        found = [job for page in pages for job in page["modelCustomizationJobSummaries"]]
        return {askers[job["jobName"]] for job in found if job["jobArn"] in running}

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


class Run:
    """A DAG run, and what a person can do with it."""

    def __init__(self, stage: Stage, dag: str, run_id: str) -> None:
        self.stage, self.dag, self.run_id = stage, dag, run_id
        self._path = f"/dags/{dag}/dagRuns/{run_id}"
        self._api = stage.api

    @property
    def state(self) -> str:
        """The run's state."""
        return str(self._api("GET", self._path)["state"])

    def instances(self, task: str | None = None) -> list[dict[str, Any]]:
        """Return the task instances, of one task or of all, by map index."""
        found = self._api("GET", f"{self._path}/taskInstances", params={"limit": 100})["task_instances"]
        chosen = [one for one in found if task in (None, one["task_id"])]
        return sorted(chosen, key=lambda one: (one["task_id"], one["map_index"]))

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
        until(lambda: self.state in ENDED, f"the run has ended: {self}")
        return self.state

    def until_success(self) -> None:
        """Wait until the run has ended, and check that it has succeeded."""
        check(self.until_ended() == "success", f"the run succeeds: {self}")

    def returned(self, task: str) -> Any:
        """Return what a task has returned."""
        path = f"{self._path}/taskInstances/{task}/xcomEntries/return_value"
        return self._api("GET", path, params={"stringify": False})["value"]

    def clear(self, *tasks: str) -> None:
        """Clear tasks; all of the run where none is named."""
        body: dict[str, Any] = {"dry_run": False, "dag_run_id": self.run_id, "only_failed": False}
        if tasks:
            body["task_ids"] = list(tasks)
        self._api("POST", f"/dags/{self.dag}/clearTaskInstances", json=body)

    def mark_failed(self) -> None:
        """Mark the run failed, as often as it takes: it may meet the scheduler's own change in the database."""
        until(self._marked_failed, f"the run is marked failed: {self.run_id}")

    def _marked_failed(self) -> bool:
        try:
            self._api("PATCH", self._path, json={"state": "failed"})
        except httpx.HTTPStatusError as error:
            if error.response.status_code != httpx.codes.INTERNAL_SERVER_ERROR:
                raise
            return False
        return True

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

"""``make live ARGS=retraining``: the retraining DAGs backfilled, killed in the middle, woken by data, and approved."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from airflow_bedrock.local import LocalBedrock
from airflow_bedrock.registry.register import Register
from scripts.airflow_api import ENDED, connect
from scripts.live import page
from scripts.live.browser import answered, signed_in
from scripts.live.cluster import Cluster
from scripts.live.scenario import AS_IT_SHOULD
from scripts.live.stage import jobs
from scripts.postgres import postgres
from scripts.until import until

DAG, LINE, CREATE = "retrain_support_router", "support-router", "CreateModelCustomizationJob"
FIRST, LAST = 2013, 2022
CONF = {"training_set": "this period", "services_a_year": 2, "test_records": 20, "epochs": 1}
RECORD = {"prompt": "Turns the lights of house number %d on, or off again, by a message.", "completion": "lights"}
REPORT = {
    "verdict": "better",
    "reason": "The interval of the difference lies above 0.",
    "metric": "accuracy",
    "models": {
        "candidate": {"model": "the challenger", "metrics": {"accuracy": {"value": 0.9125}}, "n": 80},
        "baseline": {"model": "the champion", "metrics": {"accuracy": {"value": 0.7875}}, "n": 80},
    },
    "differences": {"baseline": {"accuracy": {"value": 0.125, "low": 0.0375, "high": 0.2125}}},
}
FIGURES = ("better", "the challenger", "the champion", "0.9125", "0.7875", "0.125 (0.0375 to 0.2125)")
SECONDS = 3600.0
QUICK = {
    # What a killed scheduler's tasks wait for, before they are tried again.
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "15",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "30",
}


class Retraining:
    """An Airflow with the example DAG, and its account on Local Bedrock."""

    def __init__(self, cluster: Cluster, local: LocalBedrock) -> None:
        self.cluster, self.local = cluster, local
        self.airflow, self.api = cluster.airflow, cluster.airflow.api

    def jobs(self) -> Counter[str]:
        """Count the statuses of the jobs that the account has accepted."""
        with closing(self.local.client("bedrock")) as bedrock:
            return Counter(job["status"] for job in jobs(bedrock))

    def deployments(self) -> dict[str, str]:
        """Return the model of each deployment, by name."""
        with closing(self.local.client("bedrock")) as bedrock:
            found = bedrock.list_custom_model_deployments()["modelDeploymentSummaries"]
        return {one["customModelDeploymentName"]: one["modelArn"] for one in found}

    def register(self) -> Register:
        """Return what the registry says."""
        import msgspec

        with closing(self.local.client("s3")) as s3:
            found = s3.get_object(Bucket=self.local.bucket, Key=f"registry/{LINE}.json")
            return msgspec.json.decode(found["Body"].read(), type=Register)

    def backfill(self, *more: str, conf: dict[str, Any] = CONF, first: int = FIRST, last: int = LAST) -> None:
        """Backfill periods by the command line."""
        until(lambda: self.api.has_no_backfill(DAG), "the earlier backfill is complete", SECONDS)
        command = ["backfill", "create", "--dag-id", DAG, "--max-active-runs", "4"]
        period = ["--from-date", f"{first}-01-01", "--to-date", f"{last}-01-01"]
        self.airflow.run(*command, *period, "--dag-run-conf", json.dumps(conf), *more)

    def until_ended(self, runs: int) -> None:
        """Wait until so many runs have ended."""
        until(lambda: self.ended(runs), f"{runs} runs have ended: {self.api.states(DAG)}", SECONDS)

    def ended(self, runs: int) -> bool:
        """Whether so many runs have ended, and all that there are."""
        states = self.api.states(DAG)
        return states.keys() <= ENDED and states.total() >= runs

    def running_tasks(self) -> list[dict[str, Any]]:
        """Return the task instances that a process of a worker has now."""
        found = self.api.listed(f"/dags/{DAG}/dagRuns/~/taskInstances", "task_instances", state="running")
        return [one for one in found if one["pid"]]

    def approve(self, name: str, run: str, task: str) -> None:
        """Approve as that person what a gate asks, unless it has ended meanwhile."""
        path = f"/dags/{DAG}/dagRuns/{run}/taskInstances/{task}/-1/hitlDetails"
        with connect(self.airflow.url, name, password=name) as api, suppress(httpx.HTTPStatusError):
            api("PATCH", path, json={"chosen_options": ["Approve"], "params_input": {}})


@contextmanager
def row(said: str, retraining: Retraining, asked_for: int) -> Iterator[list[str]]:
    """Count the jobs that the block makes; append the row of the table to what it yields."""
    began, before = time.monotonic(), sum(retraining.jobs().values())
    rows: list[str] = []
    yield rows
    made, left = sum(retraining.jobs().values()) - before, retraining.jobs()["InProgress"]
    wrong = list(rows)
    right = made == asked_for and not left and not wrong
    verdict = AS_IT_SHOULD if right else f"WRONG: {', '.join(wrong)}"
    rows[:] = [page.signed(said, f"{made} / {asked_for}", left, verdict, f"{time.monotonic() - began:.0f}")]


def kill(retraining: Retraining) -> str:
    """Kill the scheduler with its workers, the triggerer, and a task's process; start what was killed."""
    cluster, killed = retraining.cluster, []
    for name in random.sample(["scheduler", "triggerer", "a worker"], 3):
        if name == "a worker":
            until(partial(kill_a_task, retraining), "the process of a task was killed", SECONDS)
        else:
            cluster.kill(name)
            time.sleep(5)
            cluster.start(name)
        killed.append(name)
        time.sleep(20)
    return ", ".join(killed)


def kill_a_task(retraining: Retraining) -> bool:
    """Kill the process of a task; return False where none runs, or all have ended since they were listed."""
    for one in retraining.running_tasks():
        with suppress(ProcessLookupError):
            os.kill(one["pid"], signal.SIGKILL)
            return True
    return False


def backfilled(retraining: Retraining) -> Iterator[str]:
    """Backfill; again; again with one period's data changed. Yield the rows of the table."""
    periods = LAST - FIRST + 1
    with row("", retraining, periods) as rows:
        retraining.backfill("--run-backwards")
        until(lambda: sum(retraining.jobs().values()) >= 3, "some jobs are made", SECONDS)
        killed = kill(retraining)
        retraining.until_ended(periods)
        rows += problems(retraining)
    yield rows[0].replace("|  |", f"| `airflow backfill create --run-backwards` over {periods} periods, four at once; "
                          f"killed in the middle, and started again: {killed} |", 1)  # fmt: skip
    with row(f"the same {periods} again, `--reprocess-behavior completed`", retraining, 0) as rows:
        retraining.backfill("--reprocess-behavior", "completed")
        retraining.until_ended(2 * periods)
        rows += problems(retraining)
    yield rows[0]
    with row("the same again, one period's data changed", retraining, 1) as rows:
        change(retraining, FIRST + 3)
        retraining.backfill("--reprocess-behavior", "completed")
        retraining.until_ended(3 * periods)
        rows += problems(retraining)
    yield rows[0]


def problems(retraining: Retraining) -> list[str]:
    """Return what is wrong: a run that failed, or another deployment than the line's with its champion."""
    found, champion = retraining.deployments(), retraining.register().champion
    wrong = ["a run failed"] if retraining.api.states(DAG)["failed"] else []
    if champion is None or found != {LINE: champion.model_arn}:
        wrong.append(f"deployments {found}, champion {champion and champion.model_arn}")
    return wrong


def change(retraining: Retraining, year: int) -> None:
    """Put more records to those of a period."""
    folder = f"retrain/sources/{year}-{CONF['services_a_year']}"
    lines = "".join(f"{json.dumps({**RECORD, 'prompt': RECORD['prompt'] % number})}\n" for number in range(40))
    with closing(retraining.local.client("s3")) as s3:
        s3.put_object(Bucket=retraining.local.bucket, Key=f"{folder}/more.jsonl", Body=lines.encode())


def marked_failed(retraining: Retraining) -> Iterator[str]:
    """Mark a run failed while it evaluates; yield the row."""
    said = "a run is marked failed while it evaluates: the deployment of its evaluation goes all the same"
    with row(said, retraining, 1) as rows:
        slow = retraining.local.faults.delay("Converse", 5, times=None)
        run = retraining.api.start(DAG, {**CONF, "period": "2011"})
        until(lambda: run.task_states()["evaluate"] == "running", "it evaluates", SECONDS)
        if not retraining.deployments().keys() - {LINE}:
            rows.append("there was no deployment")
        run.mark_failed()
        until(lambda: not retraining.deployments().keys() - {LINE}, "the deployment is deleted", SECONDS)
        retraining.local.faults.remove(slow)
    yield rows[0]


def approved(retraining: Retraining) -> Iterator[str]:
    """Ask two questions, of which a browser answers one; yield the row."""
    task, url = "ann_decides", retraining.airflow.url
    said = (
        "a gate asks ann in Airflow's UI, with the report's figures in the form: in a browser bob's answer is refused, "
        "hers counts and names her; nobody in time rejects; cleared with another report, the gate asks nobody by the "
        "figures of the first, and fails"
    )
    with row(said, retraining, 0) as rows:
        with closing(retraining.local.client("s3")) as s3:
            s3.put_object(Bucket=retraining.local.bucket, Key="approval/report.json", Body=json.dumps(REPORT).encode())
        run = retraining.api.start("approval")
        asked = ("awaiting_input", "deferred")
        until(lambda: run.task_states()[task] in asked, "ann is asked", SECONDS)
        people = []
        for name in ("bob", "ann"):
            with signed_in(url, name) as page:
                people.append(answered(page, url, run.dag, run.run_id, task, "Approve"))
        until(run.has_ended, "both end", SECONDS)
        (form, to_bob), (_, to_ann) = people
        if missing := [figure for figure in FIGURES if figure not in form]:
            rows.append(f"the form does not show {missing}")
        states = run.task_states()
        by = run.returned(task, "approved_by") if states[task] == "success" else None
        found = (to_bob, to_ann, by, states)
        right = {task: "success", "nobody_in_time": "skipped"}
        if found != ("Access Denied", f"{task} response successful", "ann", right):
            rows.append(f"to bob: {to_bob}, to ann: {to_ann}, approved by {by}, {states}")
        another = {**REPORT, "reason": "The interval lies higher by now."}
        with closing(retraining.local.client("s3")) as s3:
            s3.put_object(Bucket=retraining.local.bucket, Key="approval/report.json", Body=json.dumps(another).encode())
        run.clear(task)
        until(run.has_ended, "the cleared gate ends", SECONDS)
        if (state := run.task_states()[task]) != "failed":
            rows.append(f"cleared with another report: {state}")
    yield rows[0]


def new_data(retraining: Retraining) -> Iterator[str]:
    """Replace data within the window, deliver a message twice, and kill the triggerer; yield the row."""
    said = (
        "data is put, and replaced within the window; its message comes twice; data is put again, and the triggerer "
        "killed: each content that has settled trains once"
    )
    dag = "retrain_on_new_data"
    with row(said, retraining, 2) as rows:
        before = sum(retraining.jobs().values())
        for answer in ("first", "second"):
            put(retraining, answer)
            time.sleep(5)
        repeat(retraining)
        until(lambda: sum(retraining.jobs().values()) > before, "the second content trains", SECONDS)
        put(retraining, "third")
        retraining.cluster.kill("triggerer")
        time.sleep(5)
        retraining.cluster.start("triggerer")
        until(lambda: sum(retraining.jobs().values()) > before + 1, "the third content trains", SECONDS)
        until(lambda: retraining.api.is_idle(dag), "its runs have ended", SECONDS)
        trained = [call for call in retraining.local.calls.of(CREATE) if call.status == 201][-2:]
        answers = [sample(retraining, call.parameters["trainingDataConfig"]["s3Uri"]) for call in trained]
        if answers != ["second", "third"]:
            rows.append(f"trained on {answers}")
        if retraining.api.states(dag)["failed"]:
            rows.append("a run failed")
    yield rows[0]


def put(retraining: Retraining, answer: str) -> None:
    """Write new data, in the place of what was there."""
    lines = [json.dumps({"prompt": f"Request {number} about {answer}", "completion": answer}) for number in range(60)]
    with closing(retraining.local.client("s3")) as s3:
        s3.put_object(Bucket=retraining.local.bucket, Key="new-data/a.jsonl", Body="\n".join(lines).encode())


def repeat(retraining: Retraining) -> None:
    """Deliver the message once more, as SQS may."""
    event = {"source": "aws.s3", "detail": {"object": {"key": "new-data/a.jsonl"}}}
    with closing(retraining.local.client("sqs")) as sqs:
        sqs.send_message(QueueUrl=sqs.get_queue_url(QueueName="new-data")["QueueUrl"], MessageBody=json.dumps(event))


def sample(retraining: Retraining, uri: str) -> str:
    """Return the completion of the first record of a training file."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    with closing(retraining.local.client("s3")) as s3:
        record = json.loads(s3.get_object(Bucket=bucket, Key=key)["Body"].read().splitlines()[0])
    return str(record["messages"][-1]["content"][0]["text"])


@contextmanager
def airflow(home: Path, **settings: Any) -> Iterator[Retraining]:
    """Run Local Bedrock and an Airflow with the DAGs."""
    dags = Path(__file__).parent / "retraining_dags"
    with postgres() as database, LocalBedrock(**settings) as local:
        more = {**local.environment(), **QUICK, "BEDROCK_NEW_DATA_QUEUE": queue(local)}
        cluster = Cluster(home, database, dags=dags, more=more, people=("admin", "ann", "bob"))
        with cluster.running([DAG, "approval", "retrain_on_new_data"]):
            yield Retraining(cluster, local)


def queue(local: LocalBedrock) -> str:
    """Let the bucket send events about new data to a queue, as docs/retraining.md says; return the queue's URL."""
    detail = {"bucket": {"name": [local.bucket]}, "object": {"key": [{"prefix": "new-data/"}]}}
    rule = {"source": ["aws.s3"], "detail-type": ["Object Created", "Object Deleted"], "detail": detail}
    with (
        closing(local.client("sqs")) as sqs,
        closing(local.client("events")) as events,
        closing(local.client("s3")) as s3,
    ):
        url: str = sqs.create_queue(QueueName="new-data")["QueueUrl"]
        arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        events.put_rule(Name="new-data", EventPattern=json.dumps(rule))
        events.put_targets(Rule="new-data", Targets=[{"Id": "queue", "Arn": arn}])
        s3.put_bucket_notification_configuration(
            Bucket=local.bucket, NotificationConfiguration={"EventBridgeConfiguration": {}}
        )
    return url


PLAYS = (approved, new_data, backfilled, marked_failed)


def play(home: Path) -> Iterator[str]:
    """Play all; yield the rows of the table."""
    with airflow(home, job_seconds=5, deployment_seconds=0.5) as retraining:
        for one in PLAYS:
            yield from one(retraining)


if __name__ == "__main__":
    sys.exit(page.program(page.RETRAINING, "retraining", __doc__, play))

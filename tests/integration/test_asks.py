"""What happens to a job when something changes between two askings: each test is a row of docs/exactly-once.md.

Local Bedrock's clock stands still: a job runs until the test lets it end.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_bedrock.compat import AirflowTaskTimeout, TaskDeferred
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.hooks.bedrock import MissingRegionError
from airflow_bedrock.jobs import account, no_response, own_jobs, stopping, submission, task_state, waiting
from airflow_bedrock.jobs.on_kill import stop_for
from airflow_bedrock.jobs.resources.customization_job import CUSTOMIZATION_JOB
from airflow_bedrock.jobs.service import Service
from airflow_bedrock.local import LocalBedrock, Quotas
from airflow_bedrock.operators import BedrockModelCustomizationOperator, job_request
from airflow_bedrock.sensors import BedrockModelCustomizationSensor
from scripts.training_data import record
from tests.state_store import Store

# One process may run all of them on one Local Bedrock, and each leaves its models there.
pytestmark = pytest.mark.local_bedrock(clock="manual", quotas=Quotas(custom_models=1000))

_numbers = itertools.count()


class Airflow:
    """One task of a DAG, asked again and again; and what Airflow says of task instances and runs."""

    def __init__(self, local: LocalBedrock, monkeypatch: pytest.MonkeyPatch) -> None:
        self.local = local
        self.bedrock, self.s3 = local.client("bedrock"), local.client("s3")
        self.folder = f"asks-{next(_numbers)}"
        self.ended: set[tuple[str, int]] = set()
        self.ended_runs: set[str] = set()
        self.stores: defaultdict[tuple[str, int], Store] | None = None
        monkeypatch.setattr(task_state, "state_of", self._state_of)
        monkeypatch.setattr(task_state, "run_state", lambda _, run: "failed" if run in self.ended_runs else "running")
        for module in (submission, own_jobs):
            monkeypatch.setattr(module, "_PAUSE", 0.0)
        monkeypatch.setattr(submission, "_SIBLINGS_SECONDS", 0.0)
        self.put("train.jsonl", "red")

    def _state_of(self, ti: Any) -> str:
        return "failed" if (ti.run_id, ti.map_index) in self.ended else "running"

    def put(self, name: str, colour: str, records: int = 20) -> None:
        data = record("which colour?", colour) * records
        self.s3.put_object(Bucket=self.local.bucket, Key=f"{self.folder}/{name}", Body=data)

    def task(self, data: str = "train.jsonl", **more: Any) -> BedrockModelCustomizationOperator:
        arguments: dict[str, Any] = {
            "task_id": "customize",
            "job_name": self.folder,
            "custom_model_name": self.folder,
            "role_arn": self.local.role_arn,
            "base_model_id": "amazon.nova-micro-v1:0:128k",
            "training_data_uri": f"s3://{self.local.bucket}/{self.folder}/{data}",
            "output_data_uri": f"s3://{self.local.bucket}/{self.folder}/output",
            "wait_for_completion": False,
        }
        return BedrockModelCustomizationOperator(**{**arguments, **more})

    def context(
        self,
        run: str = "run-1",
        *,
        retry: int = 0,
        clear: int = 0,
        index: int = -1,
        partition: str | None = None,
        retries: int = 3,
    ) -> Any:
        ti = SimpleNamespace(
            dag_id=self.folder,
            task_id="customize",
            run_id=run,
            map_index=index,
            max_tries=3 + clear,
            try_number=1 + retry + clear,
            task=SimpleNamespace(retries=retries),
            xcom_push=lambda key, value: None,
            xcom_pull=lambda **_: None,
        )
        context = {"ti": ti, "dag_run": SimpleNamespace(partition_key=partition), "outlet_events": {}}
        return context if self.stores is None else {**context, "task_state_store": self.stores[run, index]}

    def keep_state(self) -> None:
        """Give the task instances a store, as Airflow does since 3.3."""
        self.stores = defaultdict(Store)

    def edit_connection(self, monkeypatch: pytest.MonkeyPatch, **extra: Any) -> None:
        """Edit the connection, as a person does in the UI."""
        connection = json.loads(os.environ["AIRFLOW_CONN_AWS_DEFAULT"])
        connection["extra"] |= extra
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))

    def move(self, region: str) -> dict[str, str]:
        """Copy the data to a bucket in another region, and return the arguments that name it."""
        bucket = f"{self.folder}-{region}"
        self.s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": region})
        self.s3.copy({"Bucket": self.local.bucket, "Key": f"{self.folder}/train.jsonl"}, bucket, "train.jsonl")
        return {"training_data_uri": f"s3://{bucket}/train.jsonl", "output_data_uri": f"s3://{bucket}/output"}

    def ask(self, when: dict[str, Any] | None = None, **more: Any) -> str:
        """Let the task ask, and return the job's ARN."""
        arn: str = self.task(**more).execute(self.context(**(when or {})))
        return arn

    def statuses(self) -> dict[str, str]:
        """The status of each job that was paid for, by its ARN."""
        listed = self.bedrock.list_model_customization_jobs(nameContains=self.folder)
        return {job["jobArn"]: job["status"] for job in listed["modelCustomizationJobSummaries"]}

    def mark_failed(
        self, arn: str, run: str = "run-1", *, index: int = -1, whole_run: bool = False, **more: Any
    ) -> str:
        """End a task instance for good, as a person does, and return what is said of the job."""
        self.ended.add((run, index))
        if whole_run:
            self.ended_runs.add(run)
        ti = self.context(run, index=index)["ti"]
        return stop_for(self.service, arn, ti, **{"own_run_only": False, **more})

    @property
    def service(self) -> Service:
        return Service(CUSTOMIZATION_JOB, self.task().hook)


@pytest.fixture
def airflow(local_bedrock_module: LocalBedrock, monkeypatch: pytest.MonkeyPatch) -> Iterator[Airflow]:
    airflow = Airflow(local_bedrock_module, monkeypatch)
    yield airflow
    airflow.bedrock.close()
    airflow.s3.close()
    local_bedrock_module.faults.clear()
    local_bedrock_module.clock.advance(600)  # no job of this test takes a slot of the next one


RETRY, CLEAR = {"retry": 1}, {"clear": 1}


@pytest.mark.parametrize("reuse", ["run", "dag", "never"])
@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("changed", ["template", "names", "data"])
def test_an_automatic_retry_adopts_although_the_request_differs(
    airflow: Airflow, reuse: str, ended: bool, changed: str, caplog: pytest.LogCaptureFixture
) -> None:
    """While the job runs, and when it has completed; one log line says so."""
    arn = airflow.ask(reuse=reuse)
    if ended:
        airflow.local.clock.advance(600)
    more: dict[str, Any] = {} if changed == "data" else {"hyperparameters": {"epochCount": "3"}}
    if changed == "names":
        more |= {"job_name": f"{airflow.folder}-later", "custom_model_name": f"{airflow.folder}-later"}
    if changed == "data":
        airflow.put("train.jsonl", "blue")
    assert airflow.ask(RETRY, reuse=reuse, **more) == arn
    assert list(airflow.statuses()) == [arn]
    [said] = [message for message in caplog.messages if "differs" in message]
    assert "clear this task (once more, if you have cleared it already)" in said


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize(
    ("reuse", "maker", "adopter"),
    [
        ("run", {}, CLEAR),
        ("run", {"index": 0}, {"index": 1}),
        ("run", {"partition": "01"}, {"partition": "01", "run": "run-2"}),
        ("dag", {"index": 0}, {"index": 1}),
        ("dag", {}, {"run": "run-2"}),
    ],
)
def test_an_automatic_retry_takes_up_what_its_first_try_has_adopted(
    airflow: Airflow,
    reuse: str,
    maker: dict[str, Any],
    adopter: dict[str, Any],
    ended: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """From another ask, run or map index: the job's tags say so. It neither stops that job nor pays for another."""
    arn = airflow.ask(maker, reuse=reuse)
    assert airflow.ask(adopter, reuse=reuse) == arn
    if ended:
        airflow.local.clock.advance(600)
    changed = {"reuse": reuse, "hyperparameters": {"epochCount": "3"}}
    assert airflow.ask({**adopter, "retry": 1}, **changed) == arn
    assert airflow.statuses() == {arn: "Completed" if ended else "InProgress"}
    assert sum("differs" in message for message in caplog.messages) == 1


def test_a_retry_that_may_not_read_tags_fails_before_paying(airflow: Airflow) -> None:
    """Only the tags say which job its first try has adopted; the error says what to allow."""
    arn = airflow.ask({"index": 0})
    assert airflow.ask({"index": 1}) == arn
    airflow.local.faults.fail("ListTagsForResource", "AccessDeniedException")
    with pytest.raises(BedrockFatalError, match="Allow bedrock:ListTagsForResource"):
        airflow.ask({"index": 1, **RETRY}, hyperparameters={"epochCount": "3"})
    assert airflow.statuses() == {arn: "InProgress"}


@pytest.mark.parametrize("reuse", ["run", "dag", "never"])
def test_an_automatic_retry_does_not_pay_again_after_a_failure(airflow: Airflow, reuse: str) -> None:
    """The worker was lost, and the job has failed meanwhile; the next try asks for something else."""
    airflow.local.faults.fail_job(
        "validation", "Unable to parse Amazon S3 file: f. Data files must conform to JSONL format."
    )
    arn = airflow.ask(reuse=reuse)
    airflow.local.clock.advance(600)
    with pytest.raises(BedrockFatalError, match="must conform to JSONL"):
        airflow.ask(RETRY, reuse=reuse, hyperparameters={"epochCount": "3"})
    assert airflow.statuses() == {arn: "Failed"}


@pytest.mark.parametrize("reuse", ["run", "dag"])
def test_a_clear_adopts_a_job_for_the_same_request(airflow: Airflow, reuse: str) -> None:
    """One spelling of a number is as good as another; running or completed."""
    arn = airflow.ask(reuse=reuse, hyperparameters={"learningRate": "1e-5"})
    assert airflow.ask(CLEAR, reuse=reuse, hyperparameters={"learningRate": 0.00001}) == arn
    airflow.local.clock.advance(600)
    assert airflow.ask({"clear": 2}, reuse=reuse, hyperparameters={"learningRate": "0.00001"}) == arn


@pytest.mark.parametrize(("reuse", "changed"), [("run", True), ("dag", True), ("never", True), ("never", False)])
def test_a_clear_supersedes_a_running_job(airflow: Airflow, reuse: str, changed: bool) -> None:
    """The earlier job is stopped, and one is made for what is asked for now, once."""
    more = {"hyperparameters": {"epochCount": "3"}} if changed else {}
    earlier = airflow.ask(reuse=reuse)
    now = airflow.ask(CLEAR, reuse=reuse, **more)
    assert airflow.ask({"clear": 1, "retry": 1}, reuse=reuse, **more) == now
    assert airflow.statuses() == {earlier: "Stopping", now: "InProgress"}


@pytest.mark.parametrize(
    ("code", "kind"), [("AccessDeniedException", BedrockFatalError), ("ThrottlingException", BedrockError)]
)
def test_no_job_is_paid_for_beside_one_that_cannot_be_stopped(
    airflow: Airflow, code: str, kind: type[BedrockError], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person asked for one in place of the other. When it can be stopped again, a try goes on."""
    monkeypatch.setattr(stopping, "_TRANSIENT_SECONDS", 0.001)
    monkeypatch.setattr(stopping, "TRY_AGAIN_SECONDS", 0.001)
    earlier, changed = airflow.ask(), {"hyperparameters": {"epochCount": "3"}}
    airflow.local.faults.fail("StopModelCustomizationJob", code, times=None)
    with pytest.raises(BedrockError, match=r"COULD NOT BE STOPPED.* This try made no other job and") as failed:
        airflow.ask(CLEAR, **changed)
    assert type(failed.value) is kind
    assert airflow.statuses() == {earlier: "InProgress"}
    airflow.local.faults.clear()
    now = airflow.ask({"clear": 1, "retry": 1}, **changed)
    assert airflow.statuses() == {earlier: "Stopping", now: "InProgress"}


@pytest.mark.parametrize("choice", ["keep", "fail"])
def test_superseded_may_keep_the_running_job_or_fail(airflow: Airflow, choice: str) -> None:
    """``superseded`` says."""
    earlier, changed = airflow.ask(), {"hyperparameters": {"epochCount": "3"}, "superseded": choice}
    if choice == "keep":
        airflow.ask(CLEAR, **changed)
    else:
        with pytest.raises(BedrockFatalError, match="still runs and is billed"):
            airflow.ask(CLEAR, **changed)
    assert airflow.statuses()[earlier] == "InProgress"
    assert len(airflow.statuses()) == (2 if choice == "keep" else 1)


@pytest.mark.parametrize(("first", "then"), list(itertools.permutations(["run", "dag", "never"], 2)))
def test_an_automatic_retry_adopts_although_reuse_was_edited(airflow: Airflow, first: str, then: str) -> None:
    """The DAG was edited between two tries: its names are others, its ask is the same."""
    arn = airflow.ask(reuse=first)
    assert airflow.ask(RETRY, reuse=then) == arn


@pytest.mark.parametrize("first", ["run", "never"])
def test_reuse_dag_takes_models_of_other_reuse_values(airflow: Airflow, first: str) -> None:
    """It decides which jobs count, not which can be seen; the other way round a run makes its own."""
    arn = airflow.ask(reuse=first)
    airflow.local.clock.advance(600)
    assert airflow.ask({"run": "run-2"}, reuse="dag") == arn
    assert airflow.ask({"run": "run-3"}, reuse=first) != arn


def test_a_lost_job_that_is_listed_late_is_waited_for(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """With dag, the name holds what was asked for: the retry that asks for something else finds it by List alone."""
    monkeypatch.setattr(submission, "time", SimpleNamespace(sleep=airflow.local.clock.advance))
    airflow.local.faults.drop("CreateModelCustomizationJob", times=None)
    airflow.local.faults.hide_new_jobs(60)
    with pytest.raises(BedrockError, match="finds that job by its name"):
        airflow.ask(reuse="dag")
    arn = airflow.ask(RETRY, reuse="dag", hyperparameters={"epochCount": "3"})
    assert list(airflow.statuses()) == [arn]


def test_a_task_that_cannot_tag_adopts_nothing(airflow: Airflow) -> None:
    """Its maker would stop the job under it: the task fails before it pays, and the error says what to allow."""
    arn = airflow.ask(reuse="dag")
    airflow.local.faults.fail("TagResource", "AccessDeniedException")
    with pytest.raises(BedrockFatalError, match=r"made no job and spent nothing.*Allow bedrock:TagResource"):
        airflow.ask({"run": "run-2"}, reuse="dag")
    airflow.local.faults.fail("TagResource", "ThrottlingException", times=None)
    with pytest.raises(BedrockError, match=r"made no job and spent nothing\. AWS said: .*Throttling") as throttled:
        airflow.ask({"run": "run-2"}, reuse="dag")
    assert not isinstance(throttled.value, BedrockFatalError), "a retry may help, a permission does not"
    airflow.local.faults.clear()
    assert airflow.statuses() == {arn: "InProgress"}
    assert airflow.ask({"run": "run-2"}, reuse="dag") == arn


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_task_that_finds_no_room_among_the_tags_waits_and_then_takes_the_model(
    airflow: Airflow, deferrable: bool
) -> None:
    """It is not counted as waiting, so it stops nothing, and a job that was stopped under it is not its own."""
    arn = airflow.ask(reuse="dag")
    has = airflow.bedrock.list_tags_for_resource(resourceARN=arn)["tags"]
    tags = [{"key": f"airflow-bedrock/waiter/w{number}", "value": "left"} for number in range(50 - len(has))]
    airflow.bedrock.tag_resource(resourceARN=arn, tags=tags)
    task, context = airflow.task(reuse="dag", deferrable=deferrable), airflow.context("run-2")
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context)
    _, waits = deferred.value.trigger.serialize()
    assert (waits["job_identifier"], waits["stop_on_kill"]) == (arn, False)
    airflow.local.clock.advance(600)
    event = {"kind": "ended", "job_identifier": arn, "message": "Job is Completed", "status": "Completed"}
    again = airflow.task(reuse="dag", deferrable=deferrable)
    assert again.resume_execution(deferred.value.method_name, {"event": event}, context) == arn
    assert airflow.statuses() == {arn: "Completed"}


def test_too_many_tags_fail_before_paying(airflow: Airflow) -> None:
    """Those that say who waits are never left out."""
    tags = [{"key": f"k{number}", "value": "x"} for number in range(41)]
    with pytest.raises(ValueError, match="41 tags are too many: set at most 40"):
        airflow.ask(job_tags=tags)
    assert airflow.statuses() == {}
    assert airflow.ask(job_tags=tags[:40]) in airflow.statuses()


def test_a_bucket_of_another_region_fails_before_the_request(airflow: Airflow) -> None:
    """Whatever preflight says."""
    airflow.s3.create_bucket(Bucket="far-away", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    for preflight in (True, False):
        with pytest.raises(BedrockFatalError, match="far-away is in eu-west-1, but the job would run in"):
            airflow.ask(output_data_uri="s3://far-away/output", preflight=preflight)
    assert airflow.statuses() == {}


@pytest.mark.parametrize("why", ["List is denied", "the role is of another account"])
def test_what_runs_is_not_stopped_for_a_try_that_fails(airflow: Airflow, why: str) -> None:
    """What is known to fail fails before the earlier job is stopped for it."""
    more: dict[str, Any] = {"hyperparameters": {"epochCount": "3"}}
    earlier = airflow.ask()
    if why == "List is denied":
        airflow.local.faults.fail("ListModelCustomizationJobs", "AccessDeniedException", times=None)
    else:
        more["role_arn"] = "arn:aws:iam::210987654321:role/bedrock"
    with pytest.raises(BedrockFatalError, match=r"Allow bedrock:List|belongs to account 210987654321"):
        airflow.ask(CLEAR, **more)
    airflow.local.faults.clear()
    assert airflow.statuses() == {earlier: "InProgress"}


def test_an_exact_name_s_job_is_not_stopped_for_one_that_cannot_be_made(airflow: Airflow) -> None:
    """Its name is used up: stopping it would spend money for nothing. The error says that it runs on."""
    exact: dict[str, Any] = {
        "job_name": airflow.folder,
        "custom_model_name": airflow.folder,
        "ensure_unique_job_name": False,
    }
    arn = airflow.ask(**exact)
    with pytest.raises(BedrockFatalError, match=r"used up.*still runs and is billed"):
        airflow.ask(CLEAR, hyperparameters={"epochCount": "3"}, **exact)
    assert airflow.statuses() == {arn: "InProgress"}


def test_a_retry_that_finds_its_job_being_stopped_waits_for_its_end(airflow: Airflow) -> None:
    """It pays for no other, and its error states the bill."""
    arn = airflow.ask()
    airflow.bedrock.stop_model_customization_job(jobIdentifier=arn)
    assert airflow.ask(RETRY) == arn
    airflow.local.clock.advance(600)
    with pytest.raises(BedrockFatalError, match="the tokens trained until it was stopped are billed"):
        airflow.ask({"retry": 2})
    assert airflow.statuses() == {arn: "Stopped"}


def test_a_task_whose_adopted_job_is_stopped_makes_its_own(airflow: Airflow) -> None:
    """The stop was meant for the other run, so this one does not fail, and waits for a job of its own."""
    adopted = airflow.ask(reuse="dag")
    task, context = airflow.task(reuse="dag", wait_for_completion=True, deferrable=True), airflow.context("run-2")
    with pytest.raises(TaskDeferred):
        task.execute(context)
    airflow.bedrock.stop_model_customization_job(jobIdentifier=adopted)
    airflow.local.clock.advance(600)
    event = {"kind": "ended", "job_identifier": adopted, "message": "Job is Stopped"}
    with pytest.raises(TaskDeferred):
        task.execute_complete(context, event)
    assert sorted(airflow.statuses().values()) == ["InProgress", "Stopped"]


@pytest.mark.parametrize("reuse", ["run", "dag"])
def test_indexes_that_change_places_take_each_other_s_jobs(airflow: Airflow, reuse: str) -> None:
    """An expand whose order changed, cleared after its jobs have ended."""
    airflow.put("other.jsonl", "blue")
    data = ["train.jsonl", "other.jsonl"]
    arns = [airflow.ask({"index": index}, reuse=reuse, data=data[index]) for index in (0, 1)]
    airflow.local.clock.advance(600)
    again = [airflow.ask({"index": index, "clear": 1}, reuse=reuse, data=data[1 - index]) for index in (0, 1)]
    assert again == arns[::-1]
    assert len(airflow.statuses()) == 2


def test_a_partition_s_backfill_takes_the_same_job(airflow: Airflow) -> None:
    """A new run of the same partition; both may wait, and neither's end stops the job under the other."""
    arn = airflow.ask({"run": "run-1", "partition": "2026-01"})
    assert airflow.ask({"run": "run-2", "partition": "2026-01"}) == arn
    assert airflow.ask({"run": "run-3", "partition": "2026-02"}) != arn
    assert "run-1 may wait" in airflow.mark_failed(arn, "run-2", whole_run=True)
    assert airflow.statuses()[arn] == "InProgress"
    assert "is being stopped" in airflow.mark_failed(arn, "run-1", whole_run=True)


def test_a_job_is_stopped_when_the_last_of_two_runs_has_ended(airflow: Airflow) -> None:
    """With reuse="dag", run B waits for the job that run A has made; A is marked failed, then B."""
    shared: dict[str, Any] = {"reuse": "dag", "deferrable": False}
    arn = airflow.ask(**shared)
    assert airflow.ask({"run": "run-2"}, **shared) == arn
    assert "run-2 may wait" in airflow.mark_failed(arn, "run-1", whole_run=True)
    assert airflow.statuses() == {arn: "InProgress"}
    assert "is being stopped" in airflow.mark_failed(arn, "run-2", whole_run=True)
    assert airflow.statuses() == {arn: "Stopping"}


def test_a_sensor_stops_the_job_of_its_run_and_nothing_else(airflow: Airflow) -> None:
    """An operator that does not wait, and a sensor behind it."""
    arn = airflow.ask()
    stranger = airflow.mark_failed(arn, "run-2", own_run_only=True)
    assert "still runs and is billed: this DAG run did not request it" in stranger
    assert "is being stopped" in airflow.mark_failed(arn, own_run_only=True)


@pytest.mark.parametrize("own_run_only", [True, False])
def test_a_sensor_stands_for_the_task_that_made_the_job(airflow: Airflow, own_run_only: bool) -> None:
    """Also where it may stop the jobs of others."""
    arn = airflow.ask()
    ti = SimpleNamespace(dag_id=airflow.folder, task_id="wait", run_id="run-1", map_index=-1)
    assert "is being stopped" in stop_for(airflow.service, arn, ti, own_run_only=own_run_only)


def silent(ti: Any) -> str:
    raise OSError("Airflow does not respond")


@pytest.mark.parametrize("own_run_only", [True, False])
def test_a_sensor_that_is_renamed_leaves_the_job_to_its_successor(
    airflow: Airflow, monkeypatch: pytest.MonkeyPatch, own_run_only: bool
) -> None:
    """Airflow removes it from the run. If it removes the operator as well, its successor makes another job."""
    arn = airflow.ask()
    sensor = SimpleNamespace(dag_id=airflow.folder, task_id="wait", run_id="run-1", map_index=-1)
    removed = {"wait"}
    monkeypatch.setattr(task_state, "state_of", lambda ti: "removed" if ti.task_id in removed else "success")
    said = stop_for(airflow.service, arn, sensor, own_run_only=own_run_only)
    assert "wait in run run-1 is no longer in its DAG, but" in said
    assert airflow.statuses() == {arn: "InProgress"}
    with monkeypatch.context() as lost:
        lost.setattr(task_state, "state_of", silent)
        said = stop_for(airflow.service, arn, sensor, own_run_only=own_run_only)
        assert "its state could not be read" in said
    removed.add("customize")
    assert "is being stopped" in stop_for(airflow.service, arn, sensor, own_run_only=own_run_only)


def test_a_sensor_does_not_stop_what_its_run_waits_for_elsewhere(airflow: Airflow) -> None:
    """The operator waits by itself, or two map indexes share the job: their states decide, not the sensor's."""
    ti = SimpleNamespace(dag_id=airflow.folder, task_id="wait", run_id="run-1", map_index=-1)
    arn = airflow.ask({"index": 0}, reuse="dag")
    assert airflow.ask({"index": 1}, reuse="dag") == arn
    assert "may wait" in stop_for(airflow.service, arn, ti, own_run_only=True)
    airflow.ended_runs.add("run-1")
    assert "is being stopped" in stop_for(airflow.service, arn, ti, own_run_only=True)


def test_a_sensor_stops_no_job_without_tags(airflow: Airflow) -> None:
    """Its log does not say that somebody else has asked for it."""
    arn = airflow.ask(tag_resources=False)
    said = airflow.mark_failed(arn, whole_run=True, own_run_only=True)
    assert "still runs and is billed: no tag says that this DAG run requested it" in said


def test_tags_that_cannot_be_read_keep_the_job(airflow: Airflow) -> None:
    """And the log says that it may be billed on."""
    arn = airflow.ask()
    airflow.local.faults.fail("ListTagsForResource", "AccessDeniedException")
    assert "was NOT stopped, and may run and be billed on" in airflow.mark_failed(arn)
    assert airflow.statuses() == {arn: "InProgress"}


def test_a_job_that_is_not_found_once_is_not_made_again(airflow: Airflow) -> None:
    """GetModelCustomizationJob 404 once: List shows the job."""
    arn = airflow.ask()
    airflow.local.faults.fail("GetModelCustomizationJob", "ResourceNotFoundException")
    assert airflow.ask(RETRY) == arn
    assert list(airflow.statuses()) == [arn]


@pytest.mark.parametrize(
    ("code", "status", "fatal"),
    [("AccessDeniedException", 403, True), ("InternalServerException", 500, False), ("ConflictException", 400, False)],
)
def test_a_failing_read_of_the_model_makes_no_other_job(airflow: Airflow, code: str, status: int, fatal: bool) -> None:
    """Only «not found» says that the model is gone, and not said once; then a Clear trains again."""
    arn = airflow.ask()
    airflow.local.clock.advance(600)
    airflow.local.faults.fail("GetCustomModel", code, status=status)
    with pytest.raises(BedrockError, match="made no job and spent nothing") as caught:
        airflow.ask(CLEAR, botocore_config={"retries": {"total_max_attempts": 1}})
    assert isinstance(caught.value, BedrockFatalError) == fatal
    airflow.local.faults.clear()
    airflow.local.faults.fail("GetCustomModel", "ResourceNotFoundException", times=1)
    assert airflow.ask(CLEAR) == arn
    assert list(airflow.statuses()) == [arn]


def test_an_arn_that_airflow_does_not_store_leaves_no_job_unsaid(airflow: Airflow) -> None:
    """Its database is down for a moment: the task goes on, or its error names the job, since its job is paid for."""

    def refused(key: str, value: object) -> None:
        raise ConnectionError(f"no {key}")

    context = airflow.context()
    context["ti"].xcom_push = refused
    arn = airflow.task().execute(context)
    with pytest.raises(BedrockError, match=rf"the ARN of job {arn}: no job_arn\. The job was not stopped and is"):
        airflow.task(deferrable=True, wait_for_completion=True).execute(context)
    assert list(airflow.statuses()) == [arn]


def test_list_denied_fails_before_paying(airflow: Airflow) -> None:
    """Where the rule needs it; the error says what to allow."""
    airflow.local.faults.fail("ListModelCustomizationJobs", "AccessDeniedException")
    with pytest.raises(BedrockFatalError, match="Allow bedrock:ListModelCustomizationJobs"):
        airflow.ask(reuse="dag")
    airflow.local.faults.clear()
    assert airflow.statuses() == {}


@pytest.mark.parametrize("reuse", ["run", "never"])
def test_a_lost_response_a_changed_template_and_a_hidden_job(
    airflow: Airflow, reuse: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All at once: one job, which the last try of a task adopts too, although Bedrock takes a minute to show it."""
    changed: dict[str, Any] = {"hyperparameters": {"epochCount": "3"}, "reuse": reuse}
    airflow.local.faults.hide_new_jobs(60)
    arn = airflow.ask(reuse=reuse)
    monkeypatch.setattr(submission, "time", SimpleNamespace(sleep=bool))
    with pytest.raises(BedrockError, match=r"does not show it yet.*A retry or a Clear of this task reads it again"):
        airflow.ask(RETRY, **changed)
    monkeypatch.setattr(submission, "time", SimpleNamespace(sleep=airflow.local.clock.advance))
    assert airflow.ask({"retry": 2}, **changed) == arn
    assert list(airflow.statuses()) == [arn]


@pytest.mark.parametrize("reuse", ["run", "dag", "never"])
@pytest.mark.parametrize("changed", [{}, {"hyperparameters": {"epochCount": "3"}}], ids=["same", "changed"])
def test_a_timeout_while_reading_the_data_stops_the_job_of_an_earlier_try(
    airflow: Airflow, reuse: str, changed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker was lost, and the next try runs out of execution_timeout while it reads the data."""
    arn = airflow.ask(reuse=reuse)

    def too_long(*_: object) -> None:
        raise AirflowTaskTimeout

    monkeypatch.setattr(job_request, "_content", too_long)
    with pytest.raises(BedrockFatalError, match="is being stopped; the tokens trained so far are billed"):
        airflow.ask(RETRY, reuse=reuse, **changed)
    assert airflow.statuses() == {arn: "Stopping"}


def test_a_timeout_names_the_job_that_it_cannot_search_for(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error does not say that nothing is billed."""
    airflow.ask()

    def too_long(*_: object) -> None:
        raise AirflowTaskTimeout

    monkeypatch.setattr(job_request, "_content", too_long)
    airflow.local.faults.fail("ListModelCustomizationJobs", "AccessDeniedException")
    with pytest.raises(BedrockFatalError, match="may still run and be billed"):
        airflow.ask(RETRY)


@pytest.mark.parametrize("reuse", ["run", "never", "exact"])
@pytest.mark.parametrize("ended", [False, True])
def test_a_retry_whose_data_was_deleted_takes_up_its_own_job(airflow: Airflow, reuse: str, ended: bool) -> None:
    """It finds the job by its name alone, even if the request differs; after a Clear the request is another."""
    more: dict[str, Any] = {"reuse": reuse}
    if reuse == "exact":
        more = {"job_name": airflow.folder, "custom_model_name": airflow.folder, "ensure_unique_job_name": False}
    arn = airflow.ask(**more)
    if ended:
        airflow.local.clock.advance(600)
    airflow.local.faults.fail("HeadObject", "404", status=404, times=None)  # the job itself reads on
    assert airflow.ask(RETRY, **more) == arn
    assert airflow.ask(RETRY, role_arn="{{ nonsense }}", **more) == arn
    with pytest.raises(BedrockFatalError, match="There is no object at"):
        airflow.ask(CLEAR, **more)
    assert list(airflow.statuses()) == [arn]


@pytest.mark.parametrize("reuse", ["run", "dag", "never"])
def test_a_retry_whose_request_file_was_deleted_takes_up_its_own_job(
    airflow: Airflow, reuse: str, tmp_path: Path
) -> None:
    """The names were in the file; List shows the job, since they share a part. A task that waited needs no file."""
    arn = airflow.ask(reuse=reuse)
    with DAG("dag", template_searchpath=str(tmp_path)):
        task = BedrockModelCustomizationOperator(
            task_id="customize", request="gone.json", reuse=reuse, wait_for_completion=False, deferrable=True
        )
    task.render_template_fields({})
    task.deferrable = False
    assert task.execute(airflow.context(retry=1)) == arn
    airflow.local.faults.fail("ListModelCustomizationJobs", "AccessDeniedException", times=None)
    with pytest.raises(BedrockFatalError, match=r"gone\.json does not exist.*This try made no job and spent nothing"):
        task.execute(airflow.context(retry=1))
    airflow.local.faults.clear()
    airflow.local.clock.advance(600)
    event = {"kind": "ended", "job_identifier": arn, "message": "Job is Completed"}
    assert task.execute_complete(airflow.context(), event) == arn
    assert list(airflow.statuses()) == [arn]


@pytest.mark.parametrize("argument", ["training_data_uri", "job_name"])
@pytest.mark.parametrize("reuse", ["run", "dag"])
def test_a_retry_whose_template_no_longer_renders_takes_up_its_own_job(
    airflow: Airflow, reuse: str, argument: str
) -> None:
    """Its Variable was deleted, for example. A first try says which argument it is; a task that waited needs none."""
    arn = airflow.ask(reuse=reuse)
    task = airflow.task(reuse=reuse, **{argument: "{{ 1 / 0 }}"})
    task.render_template_fields({})
    assert task.execute(airflow.context(retry=1)) == arn
    with pytest.raises(BedrockError, match=rf"Argument {argument} could not be rendered: division by zero\. This try"):
        task.execute(airflow.context(run="run-2"))
    airflow.local.clock.advance(600)
    event = {"kind": "ended", "job_identifier": arn, "message": "Job is Completed"}
    assert task.execute_complete(airflow.context(), event) == arn
    assert list(airflow.statuses()) == [arn]


def test_a_request_that_was_broken_while_the_task_waited_fails_nothing(airflow: Airflow) -> None:
    """Its job was made by the earlier one, and has its model."""
    arn = airflow.ask()
    airflow.local.clock.advance(600)
    task = airflow.task()
    task.training_data_config = {"s3Uri": "s3://given/twice"}
    event = {"kind": "ended", "job_identifier": arn, "message": "Job is Completed"}
    assert task.execute_complete(airflow.context(), event) == arn


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("POLL_INTERVAL", "soon", "poll_interval in Airflow's configuration must be a number of seconds.*got 'soon'"),
        ("NO_RESPONSE_TIMEOUT", "-1", "no_response_timeout in Airflow's configuration"),
        ("MONTHLY_BUDGET", "much", "monthly_budget must be a number of US dollars"),
        ("MONTHLY_BUDGET", "5", "A budget needs a ledger"),
        ("DAG_BUDGETS", "{", "dag_budgets must be a JSON object"),
    ],
)
def test_a_retry_under_a_wrong_configuration_names_the_job_of_its_first_try(
    airflow: Airflow, option: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was edited between the two tries; it is not retried, so the job runs on for nobody."""
    arn = airflow.ask()
    monkeypatch.setenv(f"AIRFLOW__BEDROCK__{option}", value)
    with pytest.raises(BedrockFatalError, match=rf"{said}.*Job {arn} of an earlier try still runs and is billed\."):
        airflow.ask(RETRY)
    assert list(airflow.statuses()) == [arn]


@pytest.mark.parametrize("argument", ["reuse", "over_budget"])
def test_a_retry_with_a_wrong_argument_names_the_job_of_its_first_try(
    airflow: Airflow, argument: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A template renders what is no choice of the argument."""
    arn = airflow.ask()
    monkeypatch.setenv("AIRFLOW__BEDROCK__MONTHLY_BUDGET", "5")
    task = airflow.task()
    setattr(task, argument, "perhaps")
    with pytest.raises(BedrockFatalError, match=rf"{argument} must be .*Job {arn} of an earlier try still runs and is"):
        task.execute(airflow.context(retry=1))
    assert list(airflow.statuses()) == [arn]


def test_a_retry_whose_connection_was_deleted_says_what_may_run_on(
    airflow: Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider then takes boto3's own settings, which name no region: nothing shows the job of the first try."""
    arn = airflow.ask()
    connection = os.environ["AIRFLOW_CONN_AWS_DEFAULT"]
    for name in ("AIRFLOW_CONN_AWS_DEFAULT", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name)
    with pytest.raises(BedrockError, match=r"No AWS region is set.*What an earlier try made may still run, and is bi"):
        airflow.ask(RETRY)
    with pytest.raises(MissingRegionError):  # the first try of another run, before which nothing was made
        airflow.ask({"run": "run-2"})
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", connection)
    assert airflow.ask(RETRY) == arn
    assert list(airflow.statuses()) == [arn]


def test_a_retry_whose_data_was_deleted_fails_with_the_failure_of_its_own_job(airflow: Airflow) -> None:
    """That failure is what a person has to fix."""
    airflow.local.faults.fail_job(
        "validation", "Unable to parse Amazon S3 file: f. Data files must conform to JSONL format."
    )
    airflow.ask()
    airflow.local.clock.advance(600)
    airflow.s3.delete_object(Bucket=airflow.local.bucket, Key=f"{airflow.folder}/train.jsonl")
    with pytest.raises(BedrockFatalError, match="must conform to JSONL"):
        airflow.ask(RETRY)


def test_a_retry_that_cannot_read_the_data_takes_up_its_own_job_or_names_it(airflow: Airflow) -> None:
    """With reuse="dag" the name holds the data, so that only List shows the job; it is denied once."""
    arn = airflow.ask(reuse="dag")
    airflow.local.faults.fail("HeadObject", "403", status=403, times=2)
    airflow.local.faults.fail("ListModelCustomizationJobs", "AccessDeniedException")
    with pytest.raises(BedrockError, match=f"Job {arn} of an earlier try still runs and is billed"):
        airflow.ask(RETRY, reuse="dag")
    assert airflow.ask({"retry": 2}, reuse="dag") == arn
    assert airflow.ask({"retry": 3}, reuse="dag") == arn


def test_a_retry_without_access_to_its_job_says_that_it_may_run(airflow: Airflow) -> None:
    """Get is denied: whether the earlier try has made a job is not known."""
    airflow.ask()
    airflow.local.faults.fail("GetModelCustomizationJob", "AccessDeniedException", times=2)
    with pytest.raises(BedrockFatalError, match="A job that an earlier try has made may still run and be billed"):
        airflow.ask(RETRY)
    with pytest.raises(BedrockFatalError) as caught:
        airflow.ask()
    assert "earlier try" not in str(caught.value)


def test_a_name_in_use_by_the_task_s_own_job_that_has_failed_is_not_blamed_on_another(airflow: Airflow) -> None:
    """Get does not show it at first, Create says that the name is in use: the error is the job's own failure."""
    airflow.local.faults.fail_job(
        "validation", "Unable to parse Amazon S3 file: f. Data files must conform to JSONL format."
    )
    arn = airflow.ask()
    airflow.local.clock.advance(600)
    airflow.local.faults.fail("GetModelCustomizationJob", "ResourceNotFoundException")
    with pytest.raises(BedrockFatalError, match="must conform to JSONL"):
        airflow.ask(RETRY, hyperparameters={"epochCount": "3"})
    assert list(airflow.statuses()) == [arn]


def test_a_timeout_inside_create_stops_the_job(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """It strikes when the service has accepted the job, and before its ARN is known."""
    create = Service.create

    def too_long(service: Service, request: Any) -> None:
        create(service, request)
        raise AirflowTaskTimeout

    monkeypatch.setattr(Service, "create", too_long)
    with pytest.raises(BedrockFatalError, match="is being stopped; the tokens trained so far are billed"):
        airflow.ask()
    assert list(airflow.statuses().values()) == ["Stopping"]


@pytest.mark.parametrize(
    ("role", "said"),
    [
        ("arn:aws:iam::210987654321:role/bedrock", "role/bedrock belongs to account 210987654321"),
        ("arn:aws-us-gov:iam::123456789012:role/bedrock", "belongs to account 123456789012 in partition aws-us-gov"),
    ],
)
def test_a_role_of_another_account_fails_before_the_request(airflow: Airflow, role: str, said: str) -> None:
    """The connection leads elsewhere: nothing is asked of Bedrock."""
    with pytest.raises(BedrockFatalError, match=f"belongs to account 123456789012, but .*{said}.*spent nothing"):
        airflow.ask(role_arn=role)
    assert airflow.statuses() == {}


def test_an_unknown_account_does_not_block_the_task(
    airflow: Airflow, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS STS is not within reach of the worker: one line says that the role was not checked."""
    connection = json.loads(os.environ["AIRFLOW_CONN_AWS_DEFAULT"])
    connection["extra"]["service_config"] = {"sts": {"endpoint_url": "http://127.0.0.1:9"}}
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
    with caplog.at_level("INFO"):
        arn = airflow.ask()
    assert list(airflow.statuses()) == [arn]
    assert sum("Could not read the connection's account" in message for message in caplog.messages) == 1


@pytest.fixture(params=[False, True], ids=["no store", "a store"])
def stored(airflow: Airflow, request: pytest.FixtureRequest) -> bool:
    """Whether Airflow keeps what a try has written down: since 3.3."""
    if request.param:
        airflow.keep_state()
    return bool(request.param)


@pytest.mark.parametrize("where", ["the connection", "region_name"])
def test_a_retry_in_another_region_makes_no_other_job(
    airflow: Airflow, stored: bool, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection was edited between two tries: it fails before Create; edited back, it adopts."""
    arn = airflow.ask()
    before, more = os.environ["AIRFLOW_CONN_AWS_DEFAULT"], {"region_name": "eu-west-1"}
    if where == "the connection":
        airflow.edit_connection(monkeypatch, **more)
        more = {}
    said = (
        "requested job .* region us-east-1, but .* region eu-west-1.* may still run"
        if stored
        else "would run in eu-west-1"
    )
    with pytest.raises(BedrockFatalError, match=said):
        airflow.ask(RETRY, **more)
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", before)
    assert airflow.ask(RETRY) == arn
    assert airflow.statuses() == {arn: "InProgress"}


def test_a_retry_elsewhere_with_its_data_makes_no_other_job(airflow: Airflow) -> None:
    """Region and buckets were edited between two tries: only what the first try wrote down names its job."""
    airflow.keep_state()
    arn = airflow.ask()
    moved = {"region_name": "eu-west-1", **airflow.move("eu-west-1")}
    with pytest.raises(BedrockFatalError, match=r"may still run and be billed; this try made none and spent nothing"):
        airflow.ask(RETRY, **moved)
    there = airflow.local.client("bedrock", "eu-west-1")
    assert there.list_model_customization_jobs()["modelCustomizationJobSummaries"] == []
    there.close()
    assert airflow.statuses() == {arn: "InProgress"}


def test_a_clear_in_another_region_makes_a_job_there_and_stops_none_here(
    airflow: Airflow, stored: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Region and buckets were edited, and a person cleared the task: what the earlier ask left is said, where known."""
    airflow.put("train.jsonl", "red", 100)  # as many as Llama takes at the least
    arn = airflow.ask()
    moved = {
        "region_name": "us-west-2",
        "base_model_id": "meta.llama3-2-1b-instruct-v1:0:128k",
        **airflow.move("us-west-2"),
    }
    other = airflow.ask(CLEAR, **moved)
    assert ":us-west-2:" in other
    assert airflow.ask({"clear": 1, "retry": 1}, **moved) == other
    assert airflow.statuses() == {arn: "InProgress"}
    assert any("region us-east-1" in message and "may still run" in message for message in caplog.messages) == stored


def test_a_job_is_waited_for_and_stopped_in_its_own_region(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection's region was edited while the task waited in the triggerer, or a sensor has another one."""
    first, second = airflow.ask(), airflow.ask({"run": "run-2"})
    with pytest.raises(TaskDeferred) as deferred:
        airflow.task(deferrable=True).execute(airflow.context())
    assert deferred.value.trigger.serialize()[1]["region_name"] == "us-east-1"
    airflow.edit_connection(monkeypatch, region_name="us-west-2")
    assert f"Job {second} is being stopped" in airflow.mark_failed(second, "run-2")
    sensor: Any = BedrockModelCustomizationSensor(task_id="wait", job_identifier=first, region_name="eu-west-1")
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute(airflow.context())
    assert deferred.value.trigger.serialize()[1]["region_name"] == "us-east-1"
    airflow.local.clock.advance(600)
    event = {"kind": "ended", "job_identifier": first, "message": "Job is Completed"}
    assert airflow.task().execute_complete(airflow.context(), event) == first
    assert sensor.execute_complete(airflow.context(), event)["job_arn"] == first
    assert set(airflow.statuses().values()) == {"Completed", "Stopped"}


@pytest.mark.parametrize("stop_on_kill", [True, False])
def test_ctrl_c_stops_the_job(
    airflow: Airflow, stop_on_kill: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In `airflow dags test`, where no other process takes the task up again."""

    def interrupted(_: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(waiting, "time", SimpleNamespace(sleep=interrupted, monotonic=time.monotonic))
    with pytest.raises(KeyboardInterrupt):
        airflow.ask(wait_for_completion=True, stop_on_kill=stop_on_kill)
    [(arn, status)] = airflow.statuses().items()
    assert status == ("Stopping" if stop_on_kill else "InProgress")
    assert (f"Interrupted. Job {arn} is being stopped" in capsys.readouterr().out) == stop_on_kill


def test_a_job_that_the_connection_no_longer_shows_may_be_billed(
    airflow: Airflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leads to another account, where a job that cannot be deleted was never made."""
    for module in (no_response, stopping):
        monkeypatch.setattr(module, "SECONDS_UNTIL_MISSING", 0.0)
    monkeypatch.setattr(waiting, "_PAUSES", (0.0,))
    arn = airflow.ask()[:-12] + "a" * 12
    with pytest.raises(stopping.NotStoppedError) as not_stopped:
        airflow.mark_failed(arn)
    assert f"Job {arn} was NOT stopped, and may run and be billed on" in not_stopped.value.final
    event = {"kind": "ended", "job_identifier": arn, "message": "Job is Completed"}
    with pytest.raises(BedrockFatalError, match="now leads to another account, it may run there and be billed"):
        airflow.task().execute_complete(airflow.context(), event)


@pytest.mark.parametrize("option", ["AIRFLOW__BEDROCK__ENVIRONMENT", "AIRFLOW__API__BASE_URL"])
def test_a_retry_in_another_environment_makes_no_other_job(
    airflow: Airflow, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Airflow's address has changed, and with it all names: it fails before Create; edited back, it adopts."""
    airflow.keep_state()
    monkeypatch.setenv(option, "https://airflow.example.com")
    arn = airflow.ask()
    monkeypatch.setenv(option, "https://airflow.example.org")
    with pytest.raises(BedrockFatalError, match=r"example\.com'.*example\.org'.*may still run and be billed; this try"):
        airflow.ask(RETRY)
    monkeypatch.setenv(option, "https://airflow.example.com")
    assert airflow.ask(RETRY) == arn
    assert airflow.statuses() == {arn: "InProgress"}


@pytest.mark.parametrize("ended", [False, True])
def test_a_first_try_takes_no_job_of_another_airflow_with_the_same_environment(airflow: Airflow, ended: bool) -> None:
    """Both have the DAG and the run, and each has data of its own. (After a deleted run, a Clear makes the job.)"""
    arn = airflow.ask()
    if ended:
        airflow.local.clock.advance(600)
    airflow.put("train.jsonl", "blue")
    with pytest.raises(
        BedrockFatalError, match=r"for another request, in a run with the same id.*spen.*environment, 'airflow'"
    ):
        airflow.ask()
    assert list(airflow.statuses()) == [arn]
    assert airflow.ask(CLEAR) != arn


@pytest.mark.parametrize("role_too", [False, True])
def test_a_retry_in_another_account_makes_no_other_job(
    airflow: Airflow, role_too: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another region stands for another account, whose jobs are others: it fails before Create, and stops nothing."""
    if role_too:
        airflow.keep_state()
    arn = airflow.ask()
    monkeypatch.setattr(account, "caller_arn", lambda _: "arn:aws:iam::210987654321:root")
    moved = {"region_name": "eu-west-1", **airflow.move("eu-west-1")}
    if role_too:
        with pytest.raises(BedrockFatalError, match=r"requested job .* account 123456789012, .* account 210987654321"):
            airflow.ask(RETRY, role_arn="arn:aws:iam::210987654321:role/bedrock", **moved)
    else:
        with pytest.raises(BedrockFatalError, match=r"belongs to account 210987654321, but role .*spent nothing"):
            airflow.ask(RETRY, **moved)
    assert airflow.statuses() == {arn: "InProgress"}


def test_a_retry_with_another_role_adopts(airflow: Airflow, stored: bool) -> None:
    """A role of the same account is only a request that differs."""
    arn = airflow.ask()
    assert airflow.ask(RETRY, role_arn=f"{airflow.local.role_arn}-2") == arn
    assert list(airflow.statuses()) == [arn]


@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1"])
def test_a_retry_whose_connection_was_deleted_makes_no_other_job(
    airflow: Airflow, stored: bool, region: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """boto3's own credentials take its place: where they lead to the same place, the retry adopts."""
    arn = airflow.ask()
    monkeypatch.delenv("AIRFLOW_CONN_AWS_DEFAULT")
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    if region == "us-east-1":
        assert airflow.ask(RETRY) == arn
    else:
        with pytest.raises(BedrockFatalError, match="eu-west-1"):
            airflow.ask(RETRY)
    assert airflow.statuses() == {arn: "InProgress"}


def test_a_lost_job_under_another_name_is_waited_for(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is in job_name, every response was lost, List shows nothing yet: what was written down has the name."""
    airflow.keep_state()
    monkeypatch.setattr(submission, "time", SimpleNamespace(sleep=airflow.local.clock.advance))
    airflow.local.faults.drop("CreateModelCustomizationJob", times=None)
    airflow.local.faults.hide_new_jobs(60)
    with pytest.raises(BedrockError, match="finds that job by its name"):
        airflow.ask(job_name=f"{airflow.folder}-10-15")
    arn = airflow.ask(RETRY, job_name=f"{airflow.folder}-10-16")
    assert list(airflow.statuses()) == [arn]


def test_a_refusal_leaves_nothing_to_wait_for(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written down before it is taken back: the next try asks at once, under another name."""
    airflow.keep_state()
    monkeypatch.setattr(submission, "time", SimpleNamespace(sleep=lambda _: pytest.fail("it waits")))
    airflow.local.faults.fail("CreateModelCustomizationJob", "ValidationException")
    with pytest.raises(BedrockFatalError, match="nothing was created or spent"):
        airflow.ask(job_name=f"{airflow.folder}-10-15")
    assert airflow.ask(RETRY, job_name=f"{airflow.folder}-10-16") in airflow.statuses()


def test_a_lost_job_under_another_exact_name_is_waited_for(airflow: Airflow, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a digest only what was written down has the name, if it renders differently."""
    airflow.keep_state()
    monkeypatch.setattr(submission, "time", SimpleNamespace(sleep=airflow.local.clock.advance))
    names = [f"{airflow.folder}-10-15", f"{airflow.folder}-10-16"]
    first, second = (
        dict[str, Any](job_name=name, custom_model_name=name, ensure_unique_job_name=False) for name in names
    )
    arn = airflow.ask(**first)
    assert airflow.ask(RETRY, **second) == arn
    assert list(airflow.statuses()) == [arn]


@pytest.mark.parametrize("written", [{"ask": 1}, "text", 7, RuntimeError("the API server is down")])
def test_an_empty_store_changes_nothing(airflow: Airflow, written: Any) -> None:
    """The names decide alone."""
    airflow.keep_state()
    arn = airflow.ask()

    def get(_: str) -> Any:
        if isinstance(written, Exception):
            raise written
        return written

    assert airflow.stores is not None
    airflow.stores["run-1", -1].get = get  # type: ignore[method-assign,assignment]  # it is another one now
    assert airflow.ask(RETRY, hyperparameters={"epochCount": "3"}) == arn


@pytest.mark.parametrize("reuse", ["run", "dag", "never"])
def test_a_retry_whose_retries_were_lowered_adopts(airflow: Airflow, reuse: str) -> None:
    """It looks like a Clear's first try; its ask is the same."""
    arn = airflow.ask(reuse=reuse)
    changed = {"reuse": reuse, "hyperparameters": {"epochCount": "3"}}
    assert airflow.ask({"retry": 1, "retries": 2}, **changed) == arn
    assert airflow.statuses() == {arn: "InProgress"}


def test_a_retry_whose_retries_were_lowered_takes_up_what_its_first_try_has_adopted(airflow: Airflow) -> None:
    """What its first try wrote down distinguishes it from a Clear."""
    airflow.keep_state()
    arn = airflow.ask({"index": 0})
    assert airflow.ask({"index": 1}) == arn
    again = {"index": 1, "retry": 1, "retries": 2}
    assert airflow.ask(again, hyperparameters={"epochCount": "3"}) == arn
    assert airflow.statuses() == {arn: "InProgress"}


@pytest.mark.parametrize("reuse", ["run", "dag", "never"])
def test_a_sibling_s_clear_does_not_affect_a_retry(airflow: Airflow, stored: bool, reuse: str) -> None:
    """The sibling makes another job for what it asks for now; the retry adopts its own, and stops nothing."""
    own, sibling = (airflow.ask({"index": index}, reuse=reuse, data=f"{index}.jsonl") for index in put_two(airflow))
    changed = {"reuse": reuse, "hyperparameters": {"epochCount": "3"}}
    other = airflow.ask({"index": 1, **CLEAR}, data="1.jsonl", **changed)
    assert airflow.ask({"index": 0, **RETRY}, data="0.jsonl", **changed) == own
    assert airflow.statuses() == {own: "InProgress", sibling: "Stopping", other: "InProgress"}


def put_two(airflow: Airflow) -> tuple[int, int]:
    """Put the data of two map indexes."""
    airflow.put("0.jsonl", "red")
    airflow.put("1.jsonl", "blue")
    return 0, 1


def test_a_model_name_in_use_is_reported_as_such(airflow: Airflow) -> None:
    """By another job's model: not that the job exists, nor that it is not shown yet."""
    exact: dict[str, Any] = {"custom_model_name": airflow.folder, "ensure_unique_job_name": False}
    arn = airflow.ask(job_name=f"{airflow.folder}-1", **exact)
    airflow.local.clock.advance(600)
    with pytest.raises(BedrockFatalError, match=r"The custom model name for job .* is in use by another model"):
        airflow.ask({"run": "run-2"}, job_name=f"{airflow.folder}-2", **exact)
    assert list(airflow.statuses()) == [arn]


@pytest.mark.parametrize("code", ["ExpiredTokenException", "InvalidSignatureException", "UnrecognizedClientException"])
@pytest.mark.parametrize("operation", ["GetModelCustomizationJob", "CreateModelCustomizationJob"])
def test_refused_credentials_decide_nothing_before_or_in_create(airflow: Airflow, code: str, operation: str) -> None:
    """A retry uses the connection's credentials at that time."""
    airflow.local.faults.fail(operation, code, status=403)
    with pytest.raises(BedrockError, match="spent") as caught:
        airflow.ask()
    assert not isinstance(caught.value, BedrockFatalError)
    assert airflow.statuses() == {}


@pytest.mark.parametrize(("given", "stops"), [({}, True), ({"cancel_on_kill": False}, False)])
def test_the_amazon_provider_s_cancel_on_kill_is_stop_on_kill(
    airflow: Airflow, given: dict[str, Any], stops: bool
) -> None:
    """The same decision by either name; the provider's wins."""
    task = airflow.task(stop_on_kill=True, **given)
    arn = task.execute(airflow.context())
    airflow.ended.add(("run-1", -1))
    task.on_kill()
    assert airflow.statuses() == {arn: "Stopping" if stops else "InProgress"}

"""The operator, the sensor and the trigger on Local Bedrock over HTTP: one paid job for one intent."""

from __future__ import annotations

import contextlib
import inspect
import json
import threading
import uuid
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from airflow.providers.amazon.aws.operators.bedrock import BedrockCustomizeModelOperator
from airflow.sdk import DAG, Asset

from airflow_bedrock import __version__, configuration
from airflow_bedrock.compat import AirflowFailException, TaskDeferred
from airflow_bedrock.exceptions import ArgumentError, BedrockError, BedrockFatalError
from airflow_bedrock.local import LocalBedrock
from airflow_bedrock.operators import BedrockModelCustomizationOperator
from airflow_bedrock.sensors import BedrockModelCustomizationSensor
from airflow_bedrock.triggers import BedrockModelCustomizationTrigger
from scripts.training_data import record

BASE_MODEL = "amazon.nova-micro-v1:0:128k"


pytestmark = pytest.mark.local_bedrock(clock="manual", job_seconds=100)


@pytest.fixture(scope="module")
def local(local_bedrock_module: LocalBedrock) -> LocalBedrock:
    return local_bedrock_module


@contextlib.contextmanager
def time_passes(local: LocalBedrock) -> Iterator[None]:
    """Let the clock run, a thousand times as fast as ours."""
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(0.02):
            local.clock.advance(20)

    clock = threading.Thread(target=run)
    clock.start()
    try:
        yield
    finally:
        ended.set()
        clock.join()


@pytest.fixture(autouse=True)
def clock(local: LocalBedrock, request: pytest.FixtureRequest) -> Iterator[None]:
    """Jobs go on and end, but in a test where time stands still."""
    if "time_stands_still" in request.fixturenames:
        local.clock.advance(1000)  # the jobs of the tests before have ended
        yield
    else:
        with time_passes(local):
            yield


@pytest.fixture
def time_stands_still() -> None:
    """A job that runs runs on, however slow the machine is."""


class Account:
    """What a test needs of the account: put data, count what was paid for."""

    def __init__(self, local: LocalBedrock) -> None:
        self._local = local
        self.s3 = local.client("s3")
        self.bedrock = local.client("bedrock")
        self.prefix = f"s3://{local.bucket}/{uuid.uuid4().hex}"

    def put(self, name: str, text: str) -> str:
        uri = f"{self.prefix}/{name}"
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        self.s3.put_object(Bucket=bucket, Key=key, Body=text.encode())
        return uri

    def jobs(self, prefix: str) -> list[dict[str, Any]]:
        listed = self.bedrock.list_model_customization_jobs(nameContains=prefix)
        return [*listed["modelCustomizationJobSummaries"]]

    def close(self) -> None:
        self.s3.close()
        self.bedrock.close()


@pytest.fixture
def account(local: LocalBedrock) -> Iterator[Account]:
    account = Account(local)
    yield account
    account.close()


def records(count: int = 40) -> str:
    colours = ["red" if n % 2 else "blue" for n in range(count)]
    return "".join(record(f"number {n} of colour {colour}", colour) for n, colour in enumerate(colours))


def operator(account: Account, local: LocalBedrock, training_data_uri: str, **more: Any) -> Any:
    arguments: dict[str, Any] = {
        "task_id": "customize",
        "job_name": "router",
        "custom_model_name": "router",
        "role_arn": local.role_arn,
        "base_model_id": BASE_MODEL,
        "training_data_uri": training_data_uri,
        "output_data_uri": f"{account.prefix}/output",
        "waiter_delay": 0.2,
    }
    return BedrockModelCustomizationOperator(**{**arguments, **more})


class OutletEvents:
    """By URI, since an Asset was no key of a mapping before Airflow 3.1."""

    def __init__(self) -> None:
        self._events: dict[str, Any] = defaultdict(lambda: SimpleNamespace(extra={}))

    def __getitem__(self, outlet: Asset) -> Any:
        return self._events[outlet.uri]


def context(run_id: str = "run-1", clear_number: int = 0) -> Any:
    pushed: dict[str, Any] = {}
    events = OutletEvents()
    ti = SimpleNamespace(
        dag_id="dag",
        task_id="customize",
        run_id=run_id,
        map_index=-1,
        max_tries=clear_number,
        try_number=1 + clear_number,
        xcom_push=lambda key, value: pushed.__setitem__(key, value),
        pushed=pushed,
    )
    return {"ti": ti, "dag_run": SimpleNamespace(), "outlet_events": events}


@pytest.fixture
def name() -> str:
    return f"router-{uuid.uuid4().hex[:8]}"


def test_waits_and_returns_what_the_next_task_needs(account: Account, local: LocalBedrock, name: str) -> None:
    """The ARN is returned, and pushed with the result: model, losses by epoch, places, durations."""
    data = account.put("train.jsonl", records())
    now = context()
    arn = operator(account, local, data, job_name=name, validation_data_uri=data).execute(now)
    result = now["ti"].pushed["result"]
    assert now["ti"].pushed["job_arn"] == arn == result["job_arn"]
    assert result["status"] == "Completed"
    assert result["custom_model_arn"].startswith("arn:aws:bedrock:us-east-1:123456789012:custom-model/")
    assert [epoch["epoch"] for epoch in result["losses_by_epoch"]] == [1, 2]
    assert result["losses_by_epoch"][-1]["validation_loss"] == pytest.approx(result["validation_loss"])
    assert all(seconds >= 0 for seconds in result["phase_seconds"].values())


def test_tries_and_clears_of_one_run_pay_once(account: Account, local: LocalBedrock, name: str) -> None:
    """Three tries and a Clear, while the job runs and after it: one job."""
    data = account.put("train.jsonl", records())
    arns = {
        operator(account, local, data, job_name=name, wait_for_completion=False).execute(context(clear_number=clear))
        for clear in (0, 0, 0, 1)
    }
    operator(account, local, data, job_name=name).execute(context())
    assert len(arns) == len(account.jobs(name)) == 1


def test_another_run_pays_again_unless_reuse_reaches_across_runs(
    account: Account, local: LocalBedrock, name: str
) -> None:
    """Sameness reaches to the end of the run; with reuse="dag" it takes what "run" has paid for."""
    data = account.put("train.jsonl", records())
    for run in ("run-1", "run-2"):
        operator(account, local, data, job_name=name).execute(context(run))
    assert len(account.jobs(name)) == 2
    for run in ("run-3", "run-4"):
        operator(account, local, data, job_name=name, reuse="dag").execute(context(run))
    assert len(account.jobs(name)) == 2
    account.put("train.jsonl", records(50))
    for run in ("run-5", "run-6"):
        operator(account, local, data, job_name=name, reuse="dag").execute(context(run))
    assert len(account.jobs(name)) == 3


def test_a_retired_model_is_made_again(account: Account, local: LocalBedrock, name: str) -> None:
    """The job of a model that was deleted is not reused: it has nothing to give."""
    data = account.put("train.jsonl", records())
    first = context()
    operator(account, local, data, job_name=name).execute(first)
    account.bedrock.delete_custom_model(modelIdentifier=first["ti"].pushed["result"]["custom_model_arn"])
    with pytest.raises(BedrockFatalError, match="its model no longer exists"):  # an automatic retry pays for no other
        operator(account, local, data, job_name=name).execute(context())
    second = context(clear_number=1)
    operator(account, local, data, job_name=name).execute(second)
    assert len(account.jobs(name)) == 2
    assert second["ti"].pushed["result"]["custom_model_arn"] != first["ti"].pushed["result"]["custom_model_arn"]


@pytest.mark.parametrize(("refusals", "asked"), [(2, 3), (None, 4)])
def test_a_role_that_is_not_known_yet_is_waited_for(
    account: Account,
    local: LocalBedrock,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    refusals: int | None,
    asked: int,
) -> None:
    """A fresh role takes seconds to be known: Create is asked again for a while, and nothing is paid for twice."""
    monkeypatch.setattr("airflow_bedrock.jobs.submission._ROLE_PAUSES", (0.0, 0.0, 0.0))
    data, create = account.put("train.jsonl", records()), "CreateModelCustomizationJob"
    said, before = "Could not assume provided IAM role.", len(local.calls.of(create))
    fault = local.faults.fail(create, "ValidationException", message=said, times=refusals)
    known = contextlib.nullcontext() if refusals else pytest.raises(BedrockError, match="nothing was created or spent")
    with known:
        operator(account, local, data, job_name=name).execute(context())
    local.faults.remove(fault)
    assert len(local.calls.of(create)) == before + asked
    assert len(account.jobs(name)) == bool(refusals)


def test_bad_data_fails_with_the_services_message(account: Account, local: LocalBedrock, name: str) -> None:
    """A broken line fails the job; the task's error says what the service said, which job, and what was billed."""
    data = account.put("train.jsonl", records() + "{broken\n")
    with pytest.raises(BedrockFatalError, match="Data files must conform to JSONL format") as caught:
        operator(account, local, data, job_name=name).execute(context())
    assert isinstance(caught.value, AirflowFailException)
    [job] = account.jobs(name)
    assert job["jobArn"] in str(caught.value)


def test_missing_data_is_found_before_anything_is_paid(account: Account, local: LocalBedrock, name: str) -> None:
    """No object, no job."""
    with pytest.raises(BedrockFatalError, match="This try made nothing and spent nothing"):
        operator(account, local, f"{account.prefix}/nothing.jsonl", job_name=name).execute(context())
    assert account.jobs(name) == []


@pytest.mark.parametrize(
    ("where", "said"),
    [("s3://no-such-bucket-anywhere/output", "no bucket"), ("s3://bucket-in-ireland/output", "is in eu-west-1")],
)
def test_a_bad_output_location_is_found_before_anything_is_paid(
    account: Account, local: LocalBedrock, name: str, where: str, said: str
) -> None:
    """A bucket that is missing, or is in another region than the job."""
    elsewhere = local.client("s3", "eu-west-1")
    with contextlib.suppress(elsewhere.exceptions.BucketAlreadyOwnedByYou):
        elsewhere.create_bucket(
            Bucket="bucket-in-ireland", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"}
        )
    elsewhere.close()
    data = account.put("train.jsonl", records())
    with pytest.raises(BedrockFatalError, match=said):
        operator(account, local, data, job_name=name, output_data_uri=where).execute(context())
    assert account.jobs(name) == []


def test_a_bad_literal_is_found_when_the_dag_is_parsed(account: Account, local: LocalBedrock) -> None:
    """All of it at once; a template is not judged before it is rendered."""
    with pytest.raises(ArgumentError, match=r"(?s)vpc.*roleArn"):
        operator(account, local, "{{ data }}", role_arn="bedrock", customization_job_kwargs={"vpc": {}})


def test_a_bad_request_is_found_before_anything_is_paid(account: Account, local: LocalBedrock, name: str) -> None:
    """What a template rendered to is checked before the call, and what the service would refuse is not sent."""
    data = account.put("train.jsonl", records())
    task = operator(account, local, data, job_name=name, role_arn="{{ role }}")
    task.role_arn = "bedrock"
    with pytest.raises(BedrockFatalError, match="roleArn"):
        task.execute(context())
    assert account.jobs(name) == []


def test_a_used_up_exact_name_is_reported(account: Account, local: LocalBedrock, name: str) -> None:
    """With ensure_unique_job_name=False the name is the user's, and a name serves once."""
    data = account.put("train.jsonl", records())
    arguments = {"job_name": name, "custom_model_name": name, "ensure_unique_job_name": False}
    arn = operator(account, local, data, **arguments).execute(context())
    assert account.jobs(name)[0]["jobName"] == name
    assert operator(account, local, data, **arguments).execute(context()) == arn
    with pytest.raises(BedrockFatalError, match="used up"):
        operator(account, local, data, **arguments).execute(context("another-run"))


async def test_deferred_it_waits_in_the_trigger(account: Account, local: LocalBedrock, name: str) -> None:
    """Operator and sensor defer on the same trigger, which survives its serialization and reports the end."""
    data = account.put("train.jsonl", records())
    task = operator(account, local, data, job_name=name, deferrable=True)
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context())
    kwargs = deferred.value.trigger.serialize()[1]
    [event] = [event.payload async for event in BedrockModelCustomizationTrigger(**kwargs).run()]
    assert event["kind"] == "ended"
    now = context()
    arn = getattr(task, deferred.value.method_name)(now, event=event)
    assert now["ti"].pushed["result"]["job_arn"] == arn


@pytest.mark.parametrize("mode", ["poke", "deferrable"])
def test_the_sensor_returns_the_result_of_a_job_that_has_ended(
    account: Account, local: LocalBedrock, name: str, mode: str
) -> None:
    """By ARN or by name; nothing is deferred where nothing is to be waited for."""
    data = account.put("train.jsonl", records())
    arn = operator(account, local, data, job_name=name).execute(context())
    for identifier in (arn, account.jobs(name)[0]["jobName"]):
        sensor = BedrockModelCustomizationSensor(
            task_id="wait", job_identifier=identifier, deferrable=mode == "deferrable", poke_interval=0.2
        )
        assert sensor.execute(context())["job_arn"] == arn


def test_the_sensor_fails_on_a_job_that_does_not_exist(local: LocalBedrock) -> None:
    """At once, without a retry."""
    sensor = BedrockModelCustomizationSensor(task_id="wait", job_identifier="no-such-job")
    with pytest.raises(BedrockFatalError, match="There is no Bedrock model customization job no-such-job"):
        sensor.execute(context())


def test_assets_and_lineage_name_the_model(account: Account, local: LocalBedrock, name: str) -> None:
    """An outlet's event carries the result; OpenLineage gets the data that went in and the model that came out."""
    router = Asset("router", uri="bedrock://router")
    data = account.put("train.jsonl", records())
    task = operator(account, local, data, job_name=name, outlets=[router])
    now = context()
    task.execute(now)
    model = now["outlet_events"][router].extra["custom_model_arn"]
    assert model == now["ti"].pushed["result"]["custom_model_arn"]
    pytest.importorskip("airflow.providers.openlineage", reason="loaded only where that provider is installed")
    lineage = task.get_openlineage_facets_on_complete(None)
    assert [f"{dataset.namespace}/{dataset.name}" for dataset in lineage.inputs] == [data]
    assert [(dataset.namespace, dataset.name) for dataset in lineage.outputs] == [("bedrock://us-east-1", model)]


def test_job_and_model_are_tagged_with_the_task(account: Account, local: LocalBedrock, name: str) -> None:
    """For cost allocation, beside the user's own; switchable."""
    data = account.put("train.jsonl", records())
    own = [{"key": "team", "value": "support"}]
    operator(account, local, data, job_name=name, job_tags=own, wait_for_completion=False).execute(context())
    operator(account, local, data, job_name=f"{name}-bare", tag_resources=False, wait_for_completion=False).execute(
        context("run-2")
    )
    tagged, bare = (call.parameters for call in local.calls.of("CreateModelCustomizationJob")[-2:])
    tags = {tag["key"]: tag["value"] for tag in tagged["jobTags"]}
    [waiter] = [(key, value) for key, value in tags.items() if key.startswith("airflow-bedrock/waiter/")]
    assert tags == {
        "team": "support",
        "airflow/dag_id": "dag",
        "airflow/run_id": "run-1",
        "airflow/task_id": "customize",
        "airflow/map_index": "-1",
        "airflow-bedrock/version": __version__,
        "airflow-bedrock/environment": configuration.environment(),
        **dict([waiter]),
    }
    assert waiter[1] == "run dag customize -1 run-1 ask:0"
    assert "airflow/dag_id" in {tag["key"] for tag in tagged["customModelTags"]}
    assert "jobTags" not in bare


def test_moving_over_from_upstream_takes_an_import(account: Account, local: LocalBedrock) -> None:
    """The amazon provider's own documented example constructs our operator, by keyword and by position."""
    example: dict[str, Any] = {
        "job_name": "customization-job",
        "custom_model_name": "custom-model",
        "role_arn": "arn:aws:iam::123456789012:role/bedrock",
        "base_model_id": "amazon.titan-text-express-v1:0:8k",
        "hyperparameters": {
            "epochCount": "1",
            "batchSize": "1",
            "learningRate": ".0005",
            "learningRateWarmupSteps": "0",
        },
        "training_data_uri": "s3://bucket/train.jsonl",
        "output_data_uri": "s3://bucket/output",
        "wait_for_completion": False,
        "ensure_unique_job_name": True,
        "customization_job_kwargs": {"customizationType": "FINE_TUNING"},
        "waiter_delay": 120,
        "waiter_max_attempts": 75,
        "deferrable": True,
    }
    upstream = inspect.signature(BedrockCustomizeModelOperator.__init__).parameters
    assert set(example) <= set(upstream)
    for name, value in example.items():
        assert getattr(BedrockModelCustomizationOperator(task_id="customize", **example), name) == value
    kinds = [kind for kind in BedrockModelCustomizationOperator.__mro__ if "__init__" in vars(kind)]
    ours = {name for kind in kinds for name in inspect.signature(vars(kind)["__init__"]).parameters}
    assert ours >= upstream.keys()  # Airflow takes them by name alone


def waiting_context(job_arn: str | None = None) -> Any:
    """A context whose task instance keeps what was pushed, as Airflow does for a task that is resumed."""
    now = context()
    now["ti"].pushed.update({"job_arn": job_arn} if job_arn else {})
    now["ti"].xcom_pull = lambda task_ids, key, map_indexes, default=None: now["ti"].pushed.get(key, default)
    return now


@pytest.mark.parametrize(("stop", "error"), [(True, BedrockFatalError), (False, BedrockError)])
@pytest.mark.usefixtures("time_stands_still")
def test_a_timeout_while_deferred_says_what_became_of_the_job(
    account: Account, local: LocalBedrock, name: str, stop: bool, error: type[Exception]
) -> None:
    """By default the job is stopped and not paid for again; with stop_on_timeout=False a retry adopts it."""
    data = account.put("train.jsonl", records())
    task = operator(account, local, data, job_name=name, stop_on_timeout=stop, wait_for_completion=False)
    arn = task.execute(context())
    with pytest.raises(error, match="stopped" if stop else "left running") as caught:
        task.resume_execution("__fail__", {"error": "Trigger timeout"}, waiting_context(arn))
    assert isinstance(caught.value, AirflowFailException) == stop
    assert arn in str(caught.value)
    [job] = account.jobs(name)
    assert (job["status"] in ("Stopping", "Stopped")) == stop


@pytest.mark.usefixtures("time_stands_still")
def test_a_deferred_wait_ends_after_waiter_max_attempts_and_leaves_the_job_running(
    account: Account, local: LocalBedrock, name: str
) -> None:
    """The number of polls becomes a time for the triggerer; the earlier of it and execution_timeout counts."""
    data = account.put("train.jsonl", records())
    limits = {"waiter_max_attempts": 30, "waiter_delay": 2, "execution_timeout": timedelta(hours=1)}
    task = operator(account, local, data, job_name=name, deferrable=True, **limits)
    now = context()
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(now)
    assert deferred.value.timeout == timedelta(seconds=60)
    arn = now["ti"].pushed["job_arn"]
    with pytest.raises(BedrockError, match=r"still runs after 0:01:00.*adopts it") as caught:
        task.resume_execution("__fail__", {"error": "Trigger timeout"}, waiting_context(arn))
    assert not isinstance(caught.value, AirflowFailException)
    assert account.jobs(name)[0]["status"] == "InProgress"


@pytest.mark.usefixtures("time_stands_still")
def test_a_worker_s_wait_ends_after_no_response_timeout(account: Account, local: LocalBedrock, name: str) -> None:
    """The job is named and left running, and the next try adopts it."""
    data = account.put("train.jsonl", records())
    arguments = {"job_name": name, "botocore_config": {"retries": {"total_max_attempts": 1}}}
    arn = operator(account, local, data, wait_for_completion=False, **arguments).execute(context())
    # The first poll adopts the job.
    local.faults.fail("GetModelCustomizationJob", nth=2, times=None)
    with pytest.raises(BedrockError, match=f"{arn} is unknown: no response.*The job was not stopped"):
        operator(account, local, data, no_response_timeout=0.1, **arguments).execute(context())
    local.faults.clear()
    with time_passes(local):
        assert operator(account, local, data, **arguments).execute(context()) == arn
    assert [job["status"] for job in account.jobs(name)] == ["Completed"]


@pytest.mark.parametrize("reuse", ["{{ 'dags' }}", "forever"])
def test_a_reuse_that_is_no_choice_costs_nothing(account: Account, local: LocalBedrock, name: str, reuse: str) -> None:
    """A literal is refused when the DAG is parsed; a template, once it is rendered, before the call."""
    data = account.put("train.jsonl", records())
    with pytest.raises((ValueError, BedrockFatalError), match="reuse must be one of run, dag, never; got"):
        operator(account, local, data, job_name=name, reuse=reuse).execute(context())
    assert account.jobs(name) == []


def test_a_model_that_is_unknown_in_a_region_is_reported(
    account: Account, local: LocalBedrock, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A warning, since the service may know better than the file; the job is made."""
    task = operator(account, local, account.put("train.jsonl", records()), job_name=name, wait_for_completion=False)
    said: list[str] = []
    monkeypatch.setattr(task.log, "warning", said.append)
    monkeypatch.setattr(type(task.hook), "conn_region_name", "eu-west-1")
    task.preflight, task.content = False, "ignore"  # the buckets are elsewhere
    task.execute(context())
    assert "base_models.toml has FINE_TUNING of Nova Micro in us-east-1, not eu-west-1" in said
    assert len(account.jobs(name)) == 1


def test_an_interval_of_zero_is_refused_when_the_dag_is_parsed(account: Account, local: LocalBedrock) -> None:
    """And not by the triggerer, when the job is paid for already."""
    with pytest.raises(ValueError, match="waiter_delay must be a number of seconds, more than 0"):
        operator(account, local, "s3://bucket/train.jsonl", waiter_delay=0)


def test_a_used_up_quota_is_waited_for_without_a_worker(account: Account, local: LocalBedrock, name: str) -> None:
    """The task defers, asks again when it is resumed, and is given up after quota_timeout; nothing is paid for it."""
    data = account.put("train.jsonl", records())
    task = operator(account, local, data, job_name=name)
    local.faults.fail("CreateModelCustomizationJob", "ServiceQuotaExceededException", times=3)
    now = waiting_context()
    with pytest.raises(TaskDeferred) as first:
        task.execute(now)
    assert first.value.method_name == "execute_again"
    with pytest.raises(TaskDeferred) as second:
        task.execute_again(now, {"kind": "room"})
    one, two = (deferred.value.trigger.serialize()[1] for deferred in (first, second))
    assert two["asked_at"] == one["asked_at"] < two["refused_at"], "it keeps its place in the queue"
    assert two["deadline"] == one["deadline"] == one["asked_at"] + task.quota_timeout
    said = f"The account's quota of jobs is used up. Waited for {task.quota_timeout:.0f} s; no job was made and nothing"
    with pytest.raises(BedrockError, match=said):
        task.execute_again(now, {"kind": "late"})
    now["ti"].pushed["waiting_for_slot_since"] -= task.quota_timeout + 1
    with pytest.raises(BedrockError, match="nothing was spent"):
        task.execute_again(now, {"kind": "room"})
    assert account.jobs(name) == []
    del now["ti"].pushed["waiting_for_slot_since"]
    # A task that an older version has deferred is resumed with the time.
    assert task.execute_again(now, datetime.now(UTC)) == account.jobs(name)[0]["jobArn"]


@pytest.mark.usefixtures("time_stands_still")
def test_a_quota_of_zero_fails_the_task(account: Account, local: LocalBedrock, name: str) -> None:
    """At once where the service says that it is zero; else when no job has run for two minutes."""
    task = operator(account, local, account.put("train.jsonl", records()), job_name=name)
    said = "You have reached the quota of 0 jobs."
    local.faults.fail("CreateModelCustomizationJob", "ServiceQuotaExceededException", message=said)
    with pytest.raises(BedrockFatalError, match="Request a higher quota in Service Quotas"):
        task.execute(waiting_context())
    local.faults.fail("CreateModelCustomizationJob", "ServiceQuotaExceededException", times=2)
    now = waiting_context()
    with pytest.raises(TaskDeferred):
        task.execute(now)
    now["ti"].pushed["no_job_has_run_since"] -= 120
    with pytest.raises(BedrockFatalError, match="Waiting for a job to end would not help"):
        task.execute_again(now, {"kind": "room"})
    assert account.jobs(name) == []


@pytest.mark.parametrize("form", ["request.json", "request.yaml"])
def test_a_request_file_is_rendered_and_sent(
    account: Account, local: LocalBedrock, name: str, form: str, tmp_path: Path
) -> None:
    """In the form of the AWS CLI's input, with templates; an argument wins over it."""
    data = account.put("train.jsonl", records())
    request = {
        "jobName": "from-the-file",
        "customModelName": "{{ prefix }}-model",
        "roleArn": local.role_arn,
        "baseModelIdentifier": BASE_MODEL,
        "trainingDataConfig": {"s3Uri": data},
        "outputDataConfig": {"s3Uri": f"{account.prefix}/output"},
        "hyperParameters": {"epochCount": "1"},
    }
    (tmp_path / form).write_text(json.dumps(request) if form.endswith("json") else yaml.safe_dump(request))
    with DAG("dag", template_searchpath=str(tmp_path)):
        task = BedrockModelCustomizationOperator(
            task_id="customize", request=form, job_name=name, wait_for_completion=False
        )
    task.render_template_fields({"prefix": name})  # type: ignore[typeddict-unknown-key]  # what the file uses
    task.execute(context())
    sent = local.calls.of("CreateModelCustomizationJob")[-1].parameters
    assert sent["jobName"].startswith(name)
    assert sent["customModelName"].startswith(f"{name}-model")
    assert sent["hyperParameters"] == {"epochCount": "1"}

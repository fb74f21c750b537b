"""Provisioned throughput by its operators: its life, its bill, and who may delete it."""

from __future__ import annotations

import itertools
import re
import runpy
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
from botocore.exceptions import ClientError

from airflow_bedrock.compat import AirflowTaskTimeout, TaskDeferred
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.hooks.bedrock import BedrockHook
from airflow_bedrock.jobs import stopping, waiting
from airflow_bedrock.jobs.orphans import running_jobs
from airflow_bedrock.jobs.resources import ResourceState
from airflow_bedrock.jobs.resources.provisioned_throughput import PROVISIONED_THROUGHPUT
from airflow_bedrock.jobs.service import Service
from airflow_bedrock.local.dag_test import prepare
from airflow_bedrock.operators import (
    BedrockDeleteProvisionedModelThroughputOperator,
    BedrockProvisionedModelThroughputOperator,
)
from tests.faults.paid import QUICK, World

PAGE = Path(__file__).parents[2] / "docs" / "throughput-and-copies.md"


@pytest.fixture(autouse=True)
def airflow(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lead Airflow to Local Bedrock, whose time passes between two polls; and leave no throughput behind."""
    for name, value in world.local.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AIRFLOW__BEDROCK__ENVIRONMENT", "ours")
    clock = SimpleNamespace(sleep=lambda _: world.pass_time(), monotonic=time.monotonic)
    for module in (waiting, stopping):
        monkeypatch.setattr(module, "time", clock)
    yield
    world.pass_time()
    with world.client() as bedrock:
        for one in bedrock.list_provisioned_model_throughputs()["provisionedModelSummaries"]:
            bedrock.delete_provisioned_model_throughput(provisionedModelId=one["provisionedModelArn"])


def context(run: str = "run") -> Any:
    ids = {"dag_id": "dag", "task_id": "ask", "run_id": run, "map_index": -1, "max_tries": 0, "try_number": 1}
    return {"ti": SimpleNamespace(**ids, xcom_push=lambda **_: None), "dag_run": SimpleNamespace(partition_key=None)}


def provide(world: World, run: str = "run", *, model: int = 0, **more: Any) -> str:
    arguments = {"model_units": 1, "provisioned_model_name": "t", "model_id": world.models[model], **more}
    operator = BedrockProvisionedModelThroughputOperator(task_id="ask", botocore_config=QUICK, **arguments)
    with closing(operator.hook.conn):
        arn: str = operator.execute(context(run))
        return arn


def delete(**more: Any) -> Any:
    operator = BedrockDeleteProvisionedModelThroughputOperator(
        task_id="delete", provisioned_model_id="t", waiter_delay=1, **more
    )
    with closing(operator.hook.conn):
        return operator.execute(context())


def described(world: World) -> dict[str, Any]:
    with world.client() as bedrock:
        found: dict[str, Any] = bedrock.get_provisioned_model_throughput(provisionedModelId="t")
        return found


def test_life_of_provisioned_throughput(world: World) -> None:
    """Made once, without a commitment; given another model, under its ARN; deleted, with what it has cost."""
    arn = provide(world)
    assert "commitmentDuration" not in described(world)
    assert provide(world, "another run") == arn
    with pytest.raises(BedrockFatalError, match=r"serves another model.* is billed by the hour"):
        provide(world, model=1)
    with pytest.raises(BedrockFatalError, match=r"has 1 model units .* the task requests 2"):
        provide(world, model_units="2")
    assert provide(world, model=1, replace_model=True) == arn
    assert described(world)["modelArn"] == world.models[1]
    world.local.clock.advance(3600)
    cost = delete()
    assert cost["model_units"] == 1
    assert cost.keys() == {"hours", "model_units", "usd"}
    assert delete() is None


def test_throughput_with_all_of_its_tags_is_not_waited_for(world: World) -> None:
    """It has no end for which a task could wait, as for a job; the error says what to do."""
    arn = provide(world, "with tags")
    with world.client() as bedrock:
        has = bedrock.list_tags_for_resource(resourceARN=arn)["tags"]
        bedrock.tag_resource(resourceARN=arn, tags=[{"key": f"k{n}", "value": "x"} for n in range(50 - len(has))])
    with pytest.raises(BedrockError, match=r"as many tags as Bedrock allows.*spent nothing\. Set fewer tags"):
        provide(world, "without a tag")


def test_a_commitment_is_reported(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing deletes it before it ends; the task says until when it is billed."""
    provide(world, "committed")
    until = datetime.now(UTC) + timedelta(days=30)
    get = Service.get
    monkeypatch.setattr(Service, "get", lambda *asked: replace(cast(ResourceState, get(*asked)), committed_until=until))
    with pytest.raises(BedrockFatalError, match=r"cannot be deleted before its commitment ends, at .* is billed until"):
        delete()


@pytest.mark.parametrize("made_by", ["somebody else", "an earlier run"])
def test_throughput_in_service_is_left(world: World, monkeypatch: pytest.MonkeyPatch, made_by: str) -> None:
    """A task that is ended while it waits for throughput that is there deletes nothing, nor does its trigger."""
    if made_by == "somebody else":
        with world.client() as bedrock:
            bedrock.create_provisioned_model_throughput(provisionedModelName="t", modelId=world.models[0], modelUnits=1)
    else:
        provide(world, "earlier")
        with world.client() as bedrock:
            bedrock.update_provisioned_model_throughput(provisionedModelId="t", desiredModelId=world.models[1])
    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", staticmethod(lambda **_: {"later": {"ask": "failed"}}))
    model = 0 if made_by == "somebody else" else 1
    with pytest.raises(TaskDeferred) as deferred:
        provide(world, "later", model=model, deferrable=True)
    assert deferred.value.trigger.stop_on_kill is False
    operator = BedrockProvisionedModelThroughputOperator(
        task_id="ask", model_units=1, provisioned_model_name="t", model_id=world.models[model], botocore_config=QUICK
    )

    def end(_: float) -> None:
        operator.on_kill()
        raise BedrockError("ended")

    monkeypatch.setattr(waiting, "time", SimpleNamespace(sleep=end, monotonic=time.monotonic))
    with closing(operator.hook.conn), pytest.raises(BedrockError, match="ended"):
        operator.execute(context("later"))
    assert described(world)["status"] in ("Creating", "Updating")
    assert world.local.calls[-1].operation != "DeleteProvisionedModelThroughput"


def test_a_deletion_refused_during_creation_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the refusal and the read of its status, it came into service."""
    with world.client() as bedrock:
        made = bedrock.create_provisioned_model_throughput(
            provisionedModelName="t", modelId=world.models[0], modelUnits=1
        )
        get = Service.get

        def late(*asked: Any) -> Any:
            world.pass_time()
            return get(*asked)

        monkeypatch.setattr(Service, "get", late)
        monkeypatch.setattr(stopping, "TRY_AGAIN_SECONDS", 0.0)
        hook = BedrockHook()
        with closing(hook.conn):
            service = Service(PROVISIONED_THROUGHPUT, hook)
            said = stopping.patiently(stopping.stop_job, service, made["provisionedModelArn"])
        assert "is deleted" in said
        assert bedrock.list_provisioned_model_throughputs()["provisionedModelSummaries"] == []


@pytest.mark.parametrize("change", ["deleted", "changed"])
def test_what_somebody_changes_before_it_is_given_another_model_is_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """The next try reads it again: it makes it anew, or waits until it may be changed."""
    provide(world, change)
    update = Service.update

    def late(service: Service, arn: str, request: Any) -> None:
        with world.client() as bedrock:
            if change == "deleted":
                bedrock.delete_provisioned_model_throughput(provisionedModelId=arn)
            else:
                bedrock.update_provisioned_model_throughput(provisionedModelId=arn, desiredModelId=world.models[1])
        update(service, arn, request)

    with monkeypatch.context() as patch:
        patch.setattr(Service, "update", late)
        with pytest.raises(BedrockError, match="a retry reads it again") as raised:
            provide(world, f"later {change}", model=1, replace_model=True)
    assert not isinstance(raised.value, BedrockFatalError)
    provide(world, f"later {change}", model=1, replace_model=True)
    assert described(world)["modelArn"] == world.models[1]


def test_a_task_that_is_killed_gives_it_no_other_model(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other tasks go on calling it."""
    provide(world, "made")
    monkeypatch.setattr(RuntimeTaskInstance, "get_task_states", staticmethod(lambda **_: {"later": {"ask": "failed"}}))
    operator = BedrockProvisionedModelThroughputOperator(
        task_id="ask",
        model_units=1,
        provisioned_model_name="t",
        model_id=world.models[1],
        replace_model=True,
        botocore_config=QUICK,
    )
    find = Service.find

    def killed(service: Service, name: str) -> Any:
        operator.on_kill()
        return find(service, name)

    monkeypatch.setattr(Service, "find", killed)
    with closing(operator.hook.conn), pytest.raises(BedrockError, match="ended before it requested"):
        operator.execute(context("later"))
    assert described(world)["modelArn"] == world.models[0]


def test_another_of_the_name_is_not_deleted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody makes one of the same name as soon as the name is free."""
    provide(world, "namesake")
    request = {"provisionedModelName": "t", "modelId": world.models[0], "modelUnits": 1}
    remove = Service.delete
    with world.client() as bedrock:

        def late(*asked: Any) -> None:
            remove(*asked)
            bedrock.create_provisioned_model_throughput(**request)

        monkeypatch.setattr(Service, "delete", late)
        hook = BedrockHook()
        with closing(hook.conn):
            stopping.delete(Service(PROVISIONED_THROUGHPUT, hook), "t", delay=1, max_polls=2)
    assert described(world)["provisionedModelName"] == "t"


@pytest.mark.parametrize("maker", ["another run", "this run"])
def test_adopted_throughput_that_was_deleted_is_made_again_by_a_retry(
    world: World, monkeypatch: pytest.MonkeyPatch, maker: str
) -> None:
    """Its maker's last waiter may have ended just then; what a task has made itself nobody deletes by mistake."""
    slept = itertools.count(step=60)

    def deleted(_: float) -> None:
        world.pass_time()
        with suppress(ClientError), world.client() as bedrock:
            bedrock.delete_provisioned_model_throughput(provisionedModelId="t")

    provide(world, maker, wait_for_completion=False)
    monkeypatch.setattr(waiting, "time", SimpleNamespace(sleep=deleted, monotonic=lambda: next(slept)))
    with pytest.raises(BedrockError, match="Somebody deleted it") as failed:
        provide(world, "this run")
    assert isinstance(failed.value, BedrockFatalError) == (maker == "this run")


def resumed(world: World, run: str, pushed: dict[str, Any], resume: Callable[[Any, Any], Any]) -> Any:
    """Let a task wait in the triggerer for throughput, and take it up there; it recalls what it has pushed."""
    now = context(run)  # of its own: what was deleted is not made again under one token
    now["ti"].xcom_push = lambda key, value: pushed.update({key: value})
    now["ti"].xcom_pull = lambda task_ids, key, map_indexes: pushed.get(key)
    arguments: dict[str, Any] = {"model_units": 1, "provisioned_model_name": "t", "model_id": world.models[0]}
    arguments |= {"deferrable": True, "execution_timeout": timedelta(hours=1)}
    operators = [
        BedrockProvisionedModelThroughputOperator(task_id="ask", botocore_config=QUICK, **arguments) for _ in range(2)
    ]
    with closing(operators[0].hook.conn), pytest.raises(TaskDeferred) as deferred:
        operators[0].execute(now)
    assert deferred.value.timeout == timedelta(hours=1)
    assert deferred.value.method_name == "execute_complete"
    with closing(operators[1].hook.conn):  # another worker
        return resume(operators[1], now)


def ended(operator: Any, now: Any) -> Any:
    """The trigger says that it is done."""
    arn = now["ti"].xcom_pull(task_ids="ask", key="arn", map_indexes=-1)
    return operator.execute_complete(now, {"kind": "ended", "job_identifier": arn, "message": "it is InService"})


def test_a_wait_in_the_triggerer_ends_with_what_was_made(world: World) -> None:
    """The task returns its ARN, which it has pushed before."""
    pushed = dict[str, Any]()

    def done(operator: Any, now: Any) -> Any:
        world.pass_time()
        return ended(operator, now)

    assert resumed(world, "it ends", pushed, done) == pushed["arn"] == described(world)["provisionedModelArn"]


@pytest.mark.parametrize("maker", ["another run", "this run"])
def test_what_is_deleted_while_a_task_is_deferred_is_made_anew_if_another_made_it(
    world: World, monkeypatch: pytest.MonkeyPatch, maker: str
) -> None:
    """The worker that takes the task up knows from the XComs who had made it."""

    def deleted(operator: Any, now: Any) -> Any:
        world.pass_time()
        with world.client() as bedrock:
            bedrock.delete_provisioned_model_throughput(provisionedModelId="t")
        seconds = itertools.count(step=60)
        clock = SimpleNamespace(sleep=lambda _: None, monotonic=lambda: next(seconds))
        monkeypatch.setattr(waiting, "time", clock)
        return ended(operator, now)

    if maker == "another run":
        provide(world, "before it was deleted", wait_for_completion=False)
    with pytest.raises(BedrockError, match="Somebody deleted it") as failed:
        resumed(world, f"deleted, made by {maker}", {}, deleted)
    assert isinstance(failed.value, BedrockFatalError) == (maker == "this run")
    assert ("Another task had made it: a retry of this one makes another." in str(failed.value)) == (
        maker == "another run"
    )


@pytest.mark.parametrize("maker", ["somebody else", "this run"])
def test_a_deferred_task_that_takes_too_long_deletes_what_it_has_made(world: World, maker: str) -> None:
    """And nothing else; the error says how to go on."""

    def late(operator: Any, now: Any) -> Any:
        world.pass_time()
        return operator.resume_execution("__fail__", {"error": "Trigger timeout"}, now)

    if maker == "somebody else":
        with world.client() as bedrock:
            bedrock.create_provisioned_model_throughput(provisionedModelName="t", modelId=world.models[0], modelUnits=1)
    with pytest.raises(BedrockFatalError) as failed:
        resumed(world, f"late, made by {maker}", {}, late)
    said = "existed before this try requested it. It was left unchanged, and" if maker == "somebody else" else "deleted"
    assert said in str(failed.value)
    assert "longer than execution_timeout, 1:00:00." in str(failed.value)
    assert "To make it anyway, raise execution_timeout and clear this task." in str(failed.value)
    with world.client() as bedrock:
        left = bedrock.list_provisioned_model_throughputs()["provisionedModelSummaries"]
    assert len(left) == (maker == "somebody else")


@pytest.mark.parametrize("number", [1, 2])
def test_a_task_that_takes_too_long_before_it_has_asked_says_what_may_be_there(world: World, number: int) -> None:
    """A retry does not know whether an earlier try's is in service by now."""
    operator = BedrockProvisionedModelThroughputOperator(
        task_id="ask", model_units=1, provisioned_model_name="t", model_id=world.models[0], botocore_config=QUICK
    )
    strikes = iter([True])

    def strike(**_: Any) -> None:
        if next(strikes, False):
            raise AirflowTaskTimeout

    now = context(f"late in try {number}")
    now["ti"].try_number = number
    with closing(operator.hook.conn) as client:
        client.meta.events.register("before-call.bedrock", strike)
        with pytest.raises(BedrockFatalError, match="made no provisioned throughput and spent nothing") as failed:
            operator.execute(now)
    said = "If an earlier try made one that is now in service, it is left unchanged, and is billed by the hour"
    assert (said in str(failed.value)) == (number == 2)


def test_throughput_of_a_successful_task_is_no_orphan(world: World) -> None:
    """Throughput is wanted on after its task; where all who asked for it have failed, it is an orphan."""
    provide(world, "first")
    states = {"first": "success"}
    hook = BedrockHook()
    with closing(hook.conn):

        def kept() -> list[bool]:
            found = running_jobs(hook, "ours", lambda waiter: states[waiter.run_id])
            return [bool(one.kept) for one in found if one.job.name == "t"]

        assert kept() == [True]
        states["first"] = "failed"
        assert kept() == [False]
        provide(world, "later")  # another run takes it up, and succeeds
        states["later"] = "success"
        assert kept() == [True]


@pytest.mark.parametrize(("quota", "kind"), [("0", BedrockFatalError), ("2", BedrockError)])
def test_a_quota_is_reported(world: World, quota: str, kind: type[BedrockError]) -> None:
    """No retry helps where it is zero, which is AWS's default for many models."""
    message = f"You have reached the quota of {quota} model units."
    fault = world.local.faults.fail(
        "CreateProvisionedModelThroughput", "ServiceQuotaExceededException", message=message
    )
    with pytest.raises(BedrockError, match="was not created") as raised:
        provide(world, f"quota {quota}")
    assert type(raised.value) is kind
    world.local.faults.remove(fault)


def test_a_custom_models_name_is_no_model() -> None:
    """A name is ambiguous when another model has it."""
    with pytest.raises(BedrockFatalError, match="must be the id of a base model, or the ARN of a custom model"):
        BedrockProvisionedModelThroughputOperator(
            task_id="t", model_units=1, provisioned_model_name="t", model_id="router"
        )


def test_the_dag_of_the_page(
    airflow_database: Path, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it stands there: provided, asked, and released."""
    prepare(monkeypatch)
    [snippet] = re.findall(r"```python\n(import pendulum.*?)```", PAGE.read_text(), re.DOTALL)
    file = tmp_path / "page.py"
    file.write_text(snippet)
    names = runpy.run_path(str(file))
    for task in names["dag"].tasks:
        if hasattr(task, "waiter_delay"):
            task.waiter_delay = 0.2
    names["dag"].get_task("provide").deferrable = False  # whose time is this test's
    run = names["dag"].test()
    assert str(run.state) == "success"
    with world.client() as bedrock:
        assert bedrock.list_provisioned_model_throughputs()["provisionedModelSummaries"] == []
    assert len(world.local.calls.of("Converse")) == 1


def test_an_invalid_model_breaks_the_dag() -> None:
    """By the service's own pattern."""
    with pytest.raises(ValueError, match="model_id must be the id of a base model, or the ARN of a custom model; got"):
        BedrockProvisionedModelThroughputOperator(
            task_id="ask", model_units=1, provisioned_model_name="t", model_id="no model!"
        )

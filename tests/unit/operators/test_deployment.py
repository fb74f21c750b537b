"""The deployment operators against botocore's stubbed client: what is asked of the service, and what is made of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import msgspec
import pendulum
import pytest
from airflow.sdk import DAG
from botocore.stub import ANY, Stubber
from hypothesis import given
from hypothesis import strategies as st

from airflow_bedrock import __version__, configuration
from airflow_bedrock.compat import AirflowTaskTimeout, TaskDeferred
from airflow_bedrock.customization.identity import TaskKey
from airflow_bedrock.customization.job import Outcome
from airflow_bedrock.customization.tags import automatic_tags
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.jobs import request_note, waiting
from airflow_bedrock.jobs.resources.deployment import DEPLOYMENT
from airflow_bedrock.operators import deployment as operators
from airflow_bedrock.operators.deployment import (
    BedrockCustomModelDeploymentOperator,
    BedrockDeleteCustomModelDeploymentOperator,
)
from airflow_bedrock.shapes import UnknownOperationError, missing_in_botocore
from airflow_bedrock.triggers.deployment import BedrockCustomModelDeploymentTrigger
from airflow_bedrock.triggers.resource import BedrockResourceTrigger
from tests.state_store import Store

updates = pytest.mark.skipif(bool(missing_in_botocore("UpdateCustomModelDeployment")), reason="not in this botocore")
MODEL = "arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.nova-micro-v1:0:128k/abcdefghijkl"
OTHER_MODEL = MODEL.replace("abcdefghijkl", "mnopqrstuvwx")
ARN = "arn:aws:bedrock:us-east-1:123456789012:custom-model-deployment/abcdefghijkl"
TASK_KEY = TaskKey(dag_id="dag", task_id="deploy", run_id="run", environment=configuration.environment())
GET, CREATE, UPDATE, DELETE = (f"{verb}_custom_model_deployment" for verb in ("get", "create", "update", "delete"))


def context(**changes: Any) -> Any:
    ti = {"dag_id": "dag", "task_id": "deploy", "run_id": "run", "map_index": -1, "try_number": 1, "max_tries": 3}
    xcoms = {"xcom_push": lambda key, value: None, "xcom_pull": lambda **_: None}
    return {"ti": SimpleNamespace(**{**ti, **xcoms, **changes}), "dag_run": SimpleNamespace()}


def deployment(status: str = "Active", model_arn: str = MODEL, **more: Any) -> dict[str, Any]:
    return {
        "customModelDeploymentArn": ARN,
        "modelDeploymentName": "router",
        "modelArn": model_arn,
        "createdAt": datetime.now(UTC),
        "status": status,
        **more,
    }


class Stubbed:
    """An operator whose client answers what it is given, in that order, and nothing else."""

    def __init__(self, operator: Any) -> None:
        self.operator = operator
        self.client = operator.hook.conn
        self.stub = Stubber(self.client)

    def answer(self, method: str, response: dict[str, Any], expected: Any = None) -> None:
        self.stub.add_response(method, response, expected)

    def refuse(self, method: str, code: str, message: str = "no", status: int = 400) -> None:
        self.stub.add_client_error(method, code, message, status)

    def execute(self, context: Any) -> Any:
        with self.stub:
            result = self.operator.execute(context)
            self.stub.assert_no_pending_responses()
        return result


@pytest.fixture
def stubbed() -> Iterator[Any]:
    made: list[Stubbed] = []

    def stubbed(kind: Any = BedrockCustomModelDeploymentOperator, **kwargs: Any) -> Stubbed:
        arguments = {"task_id": "deploy", "aws_conn_id": None, "region_name": "us-east-1", "waiter_delay": 0.001}
        made.append(Stubbed(kind(**{**arguments, **kwargs})))
        return made[-1]

    yield stubbed
    for one in made:
        one.client.close()


def deploy(stubbed: Any, **kwargs: Any) -> Stubbed:
    made: Stubbed = stubbed(model_arn=MODEL, deployment_name="router", **kwargs)
    return made


def delete(stubbed: Any, **kwargs: Any) -> Stubbed:
    made: Stubbed = stubbed(BedrockDeleteCustomModelDeploymentOperator, deployment_arn=ARN, **kwargs)
    return made


def test_create_and_wait(stubbed: Any) -> None:
    """Where there is no such deployment it is created, with the tags of its task, and waited for through a fault."""
    task = deploy(stubbed, tags={"team": "a"})
    expected = {
        "modelDeploymentName": "router",
        "modelArn": MODEL,
        "tags": [
            {"key": "team", "value": "a"},
            *({"key": key, "value": value} for key, value in automatic_tags(TASK_KEY, __version__).items()),
        ],
        "clientRequestToken": ANY,
    }
    task.refuse(GET, "ResourceNotFoundException", status=404)
    task.answer(CREATE, {"customModelDeploymentArn": ARN}, expected)
    task.refuse(GET, "ResourceNotFoundException", status=404)
    task.answer(GET, deployment("Creating"))
    task.refuse(GET, "InternalServerException", status=500)
    task.answer(GET, deployment("Active"))
    assert task.execute(context()) == ARN


@pytest.mark.parametrize("status", ["Creating", "Active"])
def test_adopt(stubbed: Any, status: str) -> None:
    """A deployment of that name and model is not made again."""
    task = deploy(stubbed, wait_for_completion=False)
    task.answer(GET, deployment(status))
    assert task.execute(context()) == ARN


@pytest.mark.parametrize(
    ("base", "warned"), [("anthropic.claude-3-haiku-20240307-v1:0:200k", True), ("amazon.nova-micro-v1:0:128k", False)]
)
def test_a_model_whose_base_nears_its_end_is_reported(
    stubbed: Any, monkeypatch: pytest.MonkeyPatch, base: str, warned: bool
) -> None:
    """A custom model serves as long as its base model lives: Claude 3 Haiku is Legacy since 2026-03-10."""
    model = MODEL.replace("amazon.nova-micro-v1:0:128k", base)
    said: list[str] = []
    task = stubbed(model_arn=model, deployment_name="router", wait_for_completion=False)
    monkeypatch.setattr(task.operator.log, "warning", said.append)
    task.answer(GET, deployment(model_arn=model))
    assert task.execute(context()) == ARN
    assert any("2026-09-10" in one for one in said) is warned


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (deployment(model_arn=OTHER_MODEL), "another model"),
        (deployment("Failed", failureMessage="no capacity"), "no capacity"),
        (deployment("Paused"), "Paused. It was neither reused nor replaced"),
    ],
)
def test_what_cannot_be_adopted(stubbed: Any, found: dict[str, Any], message: str) -> None:
    """Another model's, a failed one, or one of unknown status: nothing is created, and no retry is made."""
    task = deploy(stubbed)
    task.answer(GET, found)
    with pytest.raises(BedrockFatalError, match=message):
        task.execute(context())


@updates
def test_a_deployment_in_transition_may_be_tried_again(stubbed: Any) -> None:
    """While somebody puts another model behind it, nobody can say whose it is."""
    task = deploy(stubbed)
    task.answer(GET, deployment(updateDetails={"modelArn": OTHER_MODEL, "updateStatus": "Updating"}))
    with pytest.raises(BedrockError, match="is being replaced") as caught:
        task.execute(context())
    assert not isinstance(caught.value, BedrockFatalError)


@updates
def test_replace_model_changes_the_model(stubbed: Any) -> None:
    """The deployment keeps its ARN; a wait that began before goes on where the answer was lost."""
    task = deploy(stubbed, replace_model=True, deferrable=True)
    task.answer(GET, deployment(model_arn=OTHER_MODEL))
    task.answer(UPDATE, {"customModelDeploymentArn": ARN}, {"customModelDeploymentIdentifier": ARN, "modelArn": MODEL})
    task.answer(GET, deployment(model_arn=OTHER_MODEL, updateDetails={"modelArn": MODEL, "updateStatus": "Updating"}))
    task.answer(GET, deployment())
    assert task.execute(context()) == ARN


def test_a_botocore_that_cannot_replace_it_breaks_the_dag(stubbed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """UpdateCustomModelDeployment is younger than what managed Airflow pins."""

    def unknown(service: str, operation: str) -> None:
        raise UnknownOperationError("botocore 1.39.11 does not know UpdateCustomModelDeployment: upgrade boto3")

    monkeypatch.setattr(operators, "input_shape", unknown)
    with pytest.raises(ValueError, match=r"replace_model cannot be done: .* does not know Update"):
        deploy(stubbed, replace_model=True)
    deploy(stubbed)


def test_a_race_is_won_by_both(stubbed: Any) -> None:
    """If another try creates it between the read and the call, it is adopted."""
    task = deploy(stubbed, wait_for_completion=False)
    task.refuse(GET, "ResourceNotFoundException", status=404)
    task.refuse(CREATE, "ValidationException", "The provided custom model deployment name is currently in use.")
    task.answer(GET, deployment("Creating"))
    assert task.execute(context()) == ARN


@pytest.mark.parametrize(
    ("code", "status", "fatal"),
    [
        ("AccessDeniedException", 403, True),
        ("ServiceQuotaExceededException", 400, False),
        ("ThrottlingException", 429, False),
    ],
)
def test_refused(stubbed: Any, code: str, status: int, fatal: bool) -> None:
    """The error says what was not made; its type, whether another try can help."""
    task = deploy(stubbed)
    task.refuse(GET, "ResourceNotFoundException", status=404)
    task.refuse(CREATE, code, status=status)
    with pytest.raises(BedrockError, match=f"deployment router.*{code}") as caught:
        task.execute(context())
    assert isinstance(caught.value, BedrockFatalError) is fatal


def test_not_active_in_time(stubbed: Any) -> None:
    """The wait ends; another try may go on with it."""
    task = deploy(stubbed, waiter_delay=0.05, waiter_max_attempts=2)
    task.answer(GET, deployment("Creating"))
    task.answer(GET, deployment("Creating"))
    task.answer(GET, deployment("Creating"))
    with pytest.raises(BedrockError, match=r"still Creating.*a retry or a Clear of this task adopts it") as caught:
        task.execute(context())
    assert not isinstance(caught.value, BedrockFatalError)


def token(stubbed: Any, context: Any) -> str:
    """Return the clientRequestToken of the request that is made."""
    asked: list[str] = []
    task = deploy(stubbed, wait_for_completion=False)
    task.refuse(GET, "ResourceNotFoundException", status=404)
    task.answer(CREATE, {"customModelDeploymentArn": ARN})
    task.client.meta.events.register(
        "provide-client-params.bedrock.CreateCustomModelDeployment",
        lambda params, **_: asked.append(params["clientRequestToken"]),
    )
    task.execute(context)
    return asked[0]


def test_the_token_is_that_of_the_task_instance(stubbed: Any) -> None:
    """Every try has the same clientRequestToken; a Clear, another run or another mapped task has another."""
    tries = {token(stubbed, context(try_number=number)) for number in (1, 2, 3)}
    others = {token(stubbed, context(**change)) for change in ({"max_tries": 4}, {"run_id": "next"}, {"map_index": 0})}
    assert len(tries) == 1
    assert len(tries | others) == 4


def test_defer(stubbed: Any) -> None:
    """The trigger has the deployment and the connection; Airflow ends the wait when its time is over."""
    task = deploy(stubbed, deferrable=True, waiter_delay=7, waiter_max_attempts=10)
    task.answer(GET, deployment("Creating"))
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context())
    trigger = deferred.value.trigger
    assert isinstance(trigger, BedrockResourceTrigger)
    assert trigger.resource is DEPLOYMENT
    assert (trigger.job_identifier, trigger.pace.interval, trigger.connection.region_name) == (ARN, 7, "us-east-1")
    assert (trigger.stop_on_kill, deferred.value.timeout) == (False, timedelta(seconds=70))


def test_an_execution_timeout_of_pendulum_can_be_deferred_with(stubbed: Any) -> None:
    """DAG files often have one; Airflow encodes the timeout of a deferral by msgspec, which refuses its type."""
    task = deploy(stubbed, deferrable=True, waiter_max_attempts=None, execution_timeout=pendulum.duration(hours=1))
    task.answer(GET, deployment("Creating"))
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context())
    assert deferred.value.timeout == timedelta(hours=1)
    assert msgspec.msgpack.encode(deferred.value.timeout) == msgspec.msgpack.encode(timedelta(hours=1))


@pytest.mark.parametrize("execution_timeout", [None, timedelta(seconds=30)])
def test_neither_time_limit_deletes_it(stubbed: Any, execution_timeout: timedelta | None) -> None:
    """Whichever runs out while the task is deferred: a retry adopts the deployment, which costs nothing."""
    task = deploy(stubbed, waiter_delay=7, waiter_max_attempts=10, execution_timeout=execution_timeout)
    now = context(xcom_pull=lambda **_: ARN)
    with task.stub, pytest.raises(BedrockError, match=rf"{ARN} .*costs nothing.* a.* adopts it") as caught:
        task.operator.resume_execution("__fail__", {"error": "Trigger timeout"}, now)
    assert not isinstance(caught.value, BedrockFatalError)


def test_a_try_that_runs_out_of_time_leaves_it(stubbed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a worker, too: the next try adopts what this one has made."""
    task = deploy(stubbed)
    task.refuse(GET, "ResourceNotFoundException", status=404)
    task.answer(CREATE, {"customModelDeploymentArn": ARN})

    def strikes(*_: Any, **__: Any) -> None:
        raise AirflowTaskTimeout("it took too long")

    monkeypatch.setattr(waiting, "wait_for", strikes)
    with pytest.raises(BedrockError, match=rf"{ARN} was left running, .* costs nothing.*adopts it") as caught:
        task.execute(context())
    assert not isinstance(caught.value, BedrockFatalError)


def test_defer_for_ever(stubbed: Any) -> None:
    """A limit beyond the calendar counts as no limit, and is no error after the deployment was created."""
    task = deploy(stubbed, deferrable=True, waiter_max_attempts=sys.maxsize)
    task.answer(GET, deployment("Creating"))
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context())
    timeout = deferred.value.timeout
    assert timeout is not None
    assert datetime.now(UTC) + timeout > datetime.now(UTC)


def complete(task: Stubbed, kind: str, **ti: Any) -> Any:
    with task.stub:
        return task.operator.execute_complete(
            context(**ti), {"kind": kind, "job_identifier": ARN, "message": "so it is", "status": None}
        )


def test_what_the_event_says_is_not_read_from_xcom(stubbed: Any) -> None:
    """A task that goes on reads only what the trigger does not know."""
    task, pulled = deploy(stubbed), list[str]()
    task.answer(GET, deployment("Active"))
    assert complete(task, "ended", xcom_pull=lambda task_ids, key, map_indexes: pulled.append(key)) == ARN
    assert pulled == ["is_ours", "is_adopted"]


@pytest.mark.parametrize("kind", ["ended", "a kind of the future"])
@pytest.mark.parametrize(("status", "error"), [("Active", None), ("Failed", "no reason"), ("Paused", "unknown status")])
def test_the_resource_of_an_event_is_read(stubbed: Any, kind: str, status: str, error: str | None) -> None:
    """Only an Active deployment is success, whatever the event."""
    task = deploy(stubbed)
    task.answer(GET, deployment(status))
    if error is None:
        assert complete(task, kind) == ARN
        return
    with pytest.raises(BedrockFatalError, match=error):
        complete(task, kind)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("refused", "Allow bedrock:GetCustomModelDeployment"),
        ("silent", "so it is"),
        ("late", "a retry or a Clear of this task adopts it and waits again"),
    ],
)
def test_events_without_an_end(stubbed: Any, kind: str, message: str) -> None:
    """Nothing is known to be wrong with the deployment: a retry waits again."""
    with pytest.raises(BedrockError, match=message) as caught:
        complete(deploy(stubbed), kind)
    assert not isinstance(caught.value, BedrockFatalError)


def test_an_event_that_nobody_understands(stubbed: Any) -> None:
    """Of another version, or none: a retry adopts the deployment."""
    for event in (None, {"kind": "active", "deployment_arn": ARN, "message": "it is Active"}):
        with pytest.raises(BedrockError, match="no event that this version understands"):
            deploy(stubbed).operator.execute_complete(context(), event)


@given(st.text().filter(lambda status: status not in {"Creating", "Updating", "Active"}))
def test_no_other_status_is_success(status: str) -> None:
    """Whatever status the service may think of, it neither passes for Active nor is waited for."""
    assert DEPLOYMENT.read(deployment(status)).outcome in {Outcome.FAILED, Outcome.UNKNOWN}


@pytest.mark.parametrize("arguments", [{"deployment_arn": ""}, {"waiter_delay": 0}])
def test_the_trigger_checks_its_arguments(arguments: dict[str, Any]) -> None:
    """What cannot be waited for is refused before it reaches a triggerer."""
    with pytest.raises(ValueError, match="must be"):
        BedrockCustomModelDeploymentTrigger(**{"deployment_arn": ARN, "deadline": 0.0, **arguments})


def test_delete_waits_until_it_can_and_until_it_is_gone(stubbed: Any) -> None:
    """It is asked for again while the deployment is in a mutating state, and once only when it is accepted."""
    task = delete(stubbed)
    task.answer(GET, deployment("Creating"))
    task.refuse(DELETE, "ValidationException", "Custom model deployment is in a mutating state")
    task.answer(DELETE, {})
    task.answer(GET, deployment())
    task.refuse(GET, "ResourceNotFoundException", status=404)
    assert task.execute(context()) is None


def test_delete_what_is_not_there(stubbed: Any) -> None:
    """Nothing to delete is success."""
    task = delete(stubbed)
    task.refuse(GET, "ResourceNotFoundException", status=404)
    assert task.execute(context()) is None


def test_delete_refused(stubbed: Any) -> None:
    """Any other refusal is an error, for good."""
    task = delete(stubbed)
    task.answer(GET, deployment())
    task.refuse(DELETE, "AccessDeniedException", status=403)
    bill = "costs nothing while nobody calls it; delete it in the AWS console: .*AccessDenied"
    with pytest.raises(BedrockFatalError, match=rf"was not deleted\. It {bill}"):
        task.execute(context())


def test_delete_not_in_time(stubbed: Any) -> None:
    """A deployment that stays is an error that may be tried again."""
    task = delete(stubbed, waiter_max_attempts=2)
    task.answer(GET, deployment())
    task.answer(DELETE, {})
    task.answer(GET, deployment())
    task.answer(GET, deployment())
    with pytest.raises(BedrockError, match="still exists after 2 polls") as caught:
        task.execute(context())
    assert not isinstance(caught.value, BedrockFatalError)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"deployment_name": "bad name!"}, "deployment_name must be 1 to 63 letters and digits, .*; got 'bad name!'"),
        ({"deployment_name": "None"}, "deployment_name must have a value"),
        ({"deployment_name": ""}, "deployment_name .*; got ''"),
        ({"model_arn": "router"}, "model_arn .*; got 'router'"),
        ({"model_arn": None}, "model_arn must be the ARN of a custom model; got None"),
        ({"tags": [{"key": "team", "value": "a"}]}, "tags must be a mapping of keys to values.*; got a list"),
        ({"tags": {"cost": 5}}, "tags must be a mapping of keys to values.*; got a dict"),
        ({"tags": {f"key{number}": "a" for number in range(41)}}, "tags must be at most 40"),
        ({"waiter_delay": 0, "deferrable": True}, "waiter_delay must be a number of seconds, more than 0; got 0"),
        ({"waiter_delay": "30"}, "waiter_delay must be a number of seconds, more than 0; got '30'"),
        ({"waiter_max_attempts": 0}, "waiter_max_attempts must be a whole number, 1 or more; got 0"),
    ],
)
def test_what_no_deployment_can_be_made_of(stubbed: Any, arguments: dict[str, Any], message: str) -> None:
    """A literal breaks the DAG file; what was rendered fails the task for good, without a call of the service."""
    with pytest.raises(ValueError, match=message):
        stubbed(**{"model_arn": MODEL, "deployment_name": "router", **arguments})
    task = deploy(stubbed)
    for name, value in arguments.items():
        setattr(task.operator, name, value)
    with pytest.raises(BedrockFatalError, match=message):
        task.execute(context())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"deployment_arn": "None"}, "deployment_arn must have a value: a template that finds nothing renders None"),
        ({"deployment_arn": None}, "deployment_arn must be the ARN or the name of a custom model deployment; got None"),
        ({"deployment_arn": ""}, "deployment_arn .*; got ''"),
        ({"waiter_max_attempts": 0}, "waiter_max_attempts must be a whole number, 1 or more; got 0"),
        ({"waiter_delay": -1}, "waiter_delay must be a number of seconds, more than 0; got -1"),
    ],
)
def test_what_cannot_be_deleted(stubbed: Any, arguments: dict[str, Any], message: str) -> None:
    """What names no deployment is not taken for one that is gone; a wait without a poll is refused before it."""
    with pytest.raises(ValueError, match=message):
        stubbed(BedrockDeleteCustomModelDeploymentOperator, **{"deployment_arn": ARN, **arguments})
    task = delete(stubbed)
    for name, value in arguments.items():
        setattr(task.operator, name, value)
    with pytest.raises(BedrockFatalError, match=message):
        task.execute(context())


def test_a_retry_elsewhere_makes_no_other_deployment(stubbed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what the first try wrote down names its deployment, since Airflow 3.3."""
    monkeypatch.setattr(request_note, "caller_arn", lambda _: "arn:aws:iam::123456789012:root")
    task, state = deploy(stubbed), {"task_state_store": Store()}
    task.refuse(GET, "ResourceNotFoundException", status=404)
    task.refuse(CREATE, "InternalServerException", status=500)
    with pytest.raises(BedrockError):
        task.execute(context() | state)
    assert list(state["task_state_store"]) == ["airflow_bedrock_job"]
    with pytest.raises(
        BedrockFatalError, match=r"requested deployment router in .* region us-east-1, .* region eu-west-1"
    ):
        deploy(stubbed, region_name="eu-west-1").execute(context(try_number=2) | state)


def test_templates_and_outputs_wait_for_the_task(stubbed: Any) -> None:
    """What is not known when the DAG is parsed is not judged then."""
    with DAG("dag"):
        earlier = deploy(stubbed).operator
        for number, later in enumerate(("{{ params.later }}", "{% if x %}a b!{% endif %}", earlier.output)):
            arguments = {"model_arn": later, "deployment_name": later, "tags": {"team": later}}
            stubbed(task_id=f"deploy_{number}", **arguments)
            stubbed(BedrockDeleteCustomModelDeploymentOperator, task_id=f"delete_{number}", deployment_arn=later)


def test_without_waiting_nothing_is_deferred(stubbed: Any) -> None:
    """wait_for_completion=False wins over deferrable, which may come from Airflow's configuration."""
    task = deploy(stubbed, wait_for_completion=False, deferrable=True)
    task.answer(GET, deployment("Creating"))
    assert task.execute(context()) == ARN

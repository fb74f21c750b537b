"""The declarations of the resources agree with the service as botocore describes it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import botocore.parsers
import botocore.session
import pytest

from airflow_bedrock.customization.job import Job, Outcome
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.jobs.resources import Resource, ResourceState, Seen, declared, deployment, provisioned_throughput
from airflow_bedrock.jobs.resources.customization_job import CUSTOMIZATION_JOB

SERVICE: Any = botocore.session.get_session().get_service_model("bedrock")
RESOURCES = declared()
CREATED = datetime(2026, 1, 1, 12, 30, tzinfo=UTC)


def example(shape: Any, status: str) -> Any:
    """Return a value of the shape with all members; text is the name of its member."""
    if shape.type_name == "structure":
        names = ("status", "modelStatus")
        return {name: status if name in names else _member(name, member) for name, member in shape.members.items()}
    return None


def _member(name: str, shape: Any) -> Any:
    return {"timestamp": CREATED, "structure": {}, "list": [], "integer": 1, "long": 1}.get(shape.type_name, name)


def statuses(resource: Resource) -> Iterator[str]:
    members = SERVICE.operation_model(resource.get_operation).output_shape.members
    yield from (members.get("status") or members["modelStatus"]).enum


@pytest.fixture(params=RESOURCES, ids=lambda resource: resource.kind)
def resource(request: pytest.FixtureRequest) -> Resource:
    chosen: Resource = request.param
    return chosen


def test_the_operations_take_what_they_are_given(resource: Resource) -> None:
    """Get by its identifier; List by pages, from a time on, the newest first."""
    asked = SERVICE.operation_model(resource.get_operation).input_shape
    assert list(asked.members) == asked.required_members == [resource.identifier]
    listed = SERVICE.operation_model(resource.list_operation).input_shape.members
    assert {resource.created_after, "maxResults", "nextToken", "sortBy", "sortOrder"} <= set(listed)
    assert listed["maxResults"].metadata["max"] == 1000
    assert (listed["sortBy"].enum, "Descending" in listed["sortOrder"].enum) == (["CreationTime"], True)


def test_every_status_has_an_outcome_and_no_other_passes_for_success(resource: Resource) -> None:
    """A status that botocore comes to know fails this test until somebody says what it means."""
    shape = SERVICE.operation_model(resource.get_operation).output_shape
    outcomes = {status: _outcome(resource, example(shape, status)) for status in statuses(resource)}
    assert Outcome.UNKNOWN not in outcomes.values()
    assert Outcome.SUCCEEDED in outcomes.values()
    assert _outcome(resource, example(shape, "Paused")) is Outcome.UNKNOWN


def _outcome(resource: Resource, response: dict[str, Any]) -> Outcome:
    lists = [name for name, value in response.items() if name.endswith(("Metrics", "Parameters"))]
    return resource.read({name: value for name, value in response.items() if name not in lists}).outcome


def test_a_page_shows_what_get_shows(resource: Resource) -> None:
    """ARN, name, status and time of creation, and what continues after the page."""
    output = SERVICE.operation_model(resource.list_operation).output_shape
    (rows,) = (name for name in output.members if name != "nextToken")
    summary = output.members[rows].member
    examples = [example(summary, status) for status in statuses(resource)]
    plain = [{name: value for name, value in one.items() if value != {}} for one in examples]  # no empty union
    seen, token = read_page(
        resource, json.dumps({rows: plain, "nextToken": "more"}, default=datetime.isoformat).encode()
    )
    assert token == "more"
    assert [one.status for one in seen] == list(statuses(resource))
    assert {one.created for one in seen} == {CREATED}
    assert all(one.arn.endswith("Arn") and one.name.endswith("Name") for one in seen)
    assert read_page(resource, b"{}") == ([], None)


def read_page(resource: Resource, body: bytes) -> tuple[list[Seen], str | None]:
    """Read the body of a List response as a triggerer does."""
    if resource.decode_page is not None:
        return resource.decode_page(body)
    shape = SERVICE.operation_model(resource.list_operation).output_shape
    response = {"body": body, "headers": {}, "status_code": 200}
    page: Any = botocore.parsers.create_parser("rest-json").parse(response, shape)
    return resource.listed(page), page.get("nextToken")


def test_what_has_failed_says_why(resource: Resource) -> None:
    """In the service's words, where it has any."""
    kind: Any = Job if resource is CUSTOMIZATION_JOB else partial(ResourceState, outcome=Outcome.FAILED)
    failed = partial(kind, arn="arn:a:b:c:d:e/f", name="n", status="Failed")
    assert "the disk is full" in resource.failure_message(failed(failure_message="the disk is full"))
    assert "None" not in resource.failure_message(failed())


MODEL, OTHER = (f"arn:aws:bedrock:us-east-1:123456789012:custom-model/{name}" for name in ("router", "other"))
BASE = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-micro-v1:0:128k"


def throughput(status: str = "InService", **more: Any) -> ResourceState:
    return ResourceState(arn="arn:t", name="t", status=status, outcome=Outcome.SUCCEEDED, units=1, **more)


@pytest.mark.parametrize(
    ("status", "serves", "desired", "asked", "same"),
    [
        ("InService", MODEL, MODEL, MODEL, True),
        ("InService", MODEL, OTHER, OTHER, False),
        ("Updating", OTHER, MODEL, MODEL, True),
        ("Creating", None, MODEL, MODEL, True),
        ("Updating", MODEL, OTHER, MODEL, None),
        ("InService", BASE, BASE, "amazon.nova-micro-v1:0:128k", True),
        ("InService", BASE, BASE, "amazon.nova-micro-v1:0", True),
        ("InService", BASE, BASE, "amazon.nova-micro-v1", True),
        ("InService", BASE, BASE, "amazon.nova", False),
    ],
)
def test_what_serves_another_model_is_not_taken_for_it(
    status: str, serves: str | None, desired: str | None, asked: str, same: bool | None
) -> None:
    """A task would send its requests to it; while it is being changed, what it is being given counts."""
    found = throughput(status, model=serves, desired_model=desired)
    request = {"modelId": asked, "modelUnits": 1}
    if same is None:
        with pytest.raises(BedrockError, match="is Updating with another model"):
            provisioned_throughput.serves(found, request)
    else:
        assert provisioned_throughput.serves(found, request) is same
    for other in ({"modelUnits": 2}, {"commitmentDuration": "OneMonth"}):
        with pytest.raises(BedrockFatalError, match="has 1 model units and no commitment"):
            provisioned_throughput.serves(found, {**request, **other})


def test_a_deployment_that_is_being_given_the_model_is_waited_for() -> None:
    """Another one is no reason to fail for good."""
    found = ResourceState(arn="arn:d", name="d", status="Updating", outcome=Outcome.RUNNING, model=MODEL)
    assert deployment.serves(found, {"modelArn": MODEL})
    with pytest.raises(BedrockError, match="is being replaced"):
        deployment.serves(found, {"modelArn": OTHER})


def test_throughput_is_billed_by_the_hour_from_its_creation_on() -> None:
    """Clocks differ: never less than nothing."""
    created = throughput(created=CREATED)
    assert [created.hours(CREATED + timedelta(minutes=minutes)) for minutes in (-1, 90)] == [0.0, 1.5]
    assert throughput().hours(CREATED) == 0.0

"""The protocol: paths find operations, requests become parameters, results and errors become responses."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from threading import Barrier
from typing import Any
from urllib.parse import quote

import botocore.session
import pytest
from werkzeug.wrappers import Request

from airflow_bedrock.local import moto
from airflow_bedrock.local.api import handler
from airflow_bedrock.local.errors import ServiceError
from airflow_bedrock.local.moto import environ_of
from airflow_bedrock.local.web.protocol import SERVICES, operation_of, parse, respond, respond_error

JOB_ARN = "arn:aws:bedrock:us-east-1:123456789012:model-customization-job/amazon.nova-micro-v1:0:128k/abcdefghij12"


def matched(method: str, path: str, query: str = "") -> tuple[Any, dict[str, str]]:
    return operation_of(environ_of(method, path, query, [], b""))


def operation(name: str) -> Any:
    http = botocore.session.get_session().get_service_model("bedrock").operation_model(name).http
    return matched(http["method"], http["requestUri"])[0]


def test_every_operation_is_found_by_its_path() -> None:
    """Each operation of both services is found by its method, a path with its labels filled in, and what it needs of
    the query.
    """
    for service in SERVICES:
        model = botocore.session.get_session().get_service_model(service)
        for name in model.operation_names:
            http, shape = model.operation_model(name).http, model.operation_model(name).input_shape
            path = http["requestUri"].replace("{", "").replace("}", "")
            needed = [shape.members[one].serialization for one in shape.required_members] if shape else []
            query = "&".join(f"{one['name']}=x" for one in needed if one.get("location") == "querystring")
            assert matched(http["method"], path, query)[0].name == name


def test_calls_that_come_at_once_make_one_table_of_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.11 may fail to make several at once, and the first questions of an evaluation come at once."""
    from moto.core.routing import RestRouter

    calls, made = 16, list[Any]()
    together = Barrier(calls)

    class Router(RestRouter):
        def __init__(self, model: Any) -> None:
            made.append(model)
            super().__init__(model)

    def call() -> str:
        together.wait()
        return str(matched("POST", "/model/x/converse")[0].name)

    monkeypatch.setattr(moto, "RestRouter", Router)
    moto._router.cache_clear()
    with ThreadPoolExecutor(calls) as pool:
        assert {one.result() for one in [pool.submit(call) for _ in range(calls)]} == {"Converse"}
    assert len(made) == len(SERVICES)


def test_arn_in_a_path_is_one_label() -> None:
    """An ARN holds a slash, which comes percent-encoded, and is still one label."""
    path = f"/model-customization-jobs/{quote(JOB_ARN, safe='')}/stop"
    found, labels = matched("POST", path)
    assert (found.name, labels) == ("StopModelCustomizationJob", {"jobIdentifier": JOB_ARN})


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/nothing"), ("PUT", "/model-customization-jobs"), ("GET", "/"), ("GET", "//[")]
)
def test_unknown_path_is_an_unknown_operation(method: str, path: str) -> None:
    """A path that no operation has is refused with AWS's error for it."""
    with pytest.raises(ServiceError) as caught:
        matched(method, path)
    assert (caught.value.code, caught.value.status) == ("UnknownOperationException", 404)


def test_query_and_labels_become_typed_parameters() -> None:
    """Parameters of a list come typed: numbers as numbers, times as times."""
    query = {"maxResults": "7", "creationTimeAfter": "2026-11-21T00:00:00Z", "nameContains": "x"}
    request = Request.from_values("/model-customization-jobs", query_string=query)
    assert parse(operation("ListModelCustomizationJobs"), request, {}) == {
        "maxResults": 7,
        "creationTimeAfter": datetime(2026, 11, 21, tzinfo=UTC),
        "nameContains": "x",
    }


@pytest.mark.parametrize("body", [b"{", b"[]", b'"x"', b'{"hyperParameters": "x"}', b'{"jobTags": {"a": {}}}'])
def test_unreadable_body_is_a_serialization_error(body: bytes) -> None:
    """A body that is no JSON object, or has a member of another type, is refused like AWS refuses it."""
    with pytest.raises(ServiceError) as caught:
        parse(operation("CreateModelCustomizationJob"), Request.from_values(method="POST", data=body), {})
    assert caught.value.code in ("SerializationException", "ValidationException")


def test_broken_rules_are_reported_in_one_message() -> None:
    """A request that breaks rules is refused with all of them."""
    with pytest.raises(ServiceError) as caught:
        parse(
            operation("CreateModelCustomizationJob"), Request.from_values(method="POST", data=b'{"jobName": "a b"}'), {}
        )
    assert caught.value.code == "ValidationException"
    assert caught.value.message.startswith("6 validation errors detected: ")
    assert "Value at 'jobName' failed to satisfy constraint: Member must satisfy regular" in caught.value.message


def test_result_has_the_models_status_and_formats() -> None:
    """A result is sent with the status that the model declares, and with ISO times."""
    created = respond(operation("CreateModelCustomizationJob"), {"jobArn": JOB_ARN})
    assert (created.status, json.loads(created.body)) == (201, {"jobArn": JOB_ARN})
    moment = datetime(2026, 11, 21, 1, 2, 3, 456000, UTC)
    listed = respond(
        operation("ListModelCustomizationJobs"),
        {"modelCustomizationJobSummaries": [{"jobName": "a", "creationTime": moment}]},
    )
    assert json.loads(listed.body) == {
        "modelCustomizationJobSummaries": [{"jobName": "a", "creationTime": "2026-11-21T01:02:03.456000Z"}]
    }
    assert respond(operation("CreateCustomModelDeployment"), {"customModelDeploymentArn": "x"}).status == 202


def test_built_operations_answer_in_the_body_alone() -> None:
    """No operation has output in headers, as a payload or as a stream, but those that say so themselves."""
    others = {"InvokeModel", "InvokeModelWithResponseStream", "ConverseStream"}
    for service in SERVICES:
        model = botocore.session.get_session().get_service_model(service)
        for name in set(filter(handler, model.operation_names)) - others:
            shape = model.operation_model(name).output_shape
            assert shape is not None
            assert "payload" not in shape.serialization
            for member, member_shape in shape.members.items():
                assert "location" not in member_shape.serialization
                assert member_shape.serialization.get("name", member) == member
                if member_shape.type_name == "timestamp":
                    assert member_shape.serialization["timestampFormat"] == "iso8601"


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("ValidationException", 400),
        ("ConflictException", 400),
        ("AccessDeniedException", 403),
        ("ResourceNotFoundException", 404),
        ("ThrottlingException", 429),
        ("InternalServerException", 500),
        ("SomethingElse", 418),
    ],
)
def test_error_has_the_models_status(code: str, status: int) -> None:
    """An error is sent with the status that the model declares; one it does not know brings its own."""
    response = respond_error(ServiceError(code, "why", status=418), operation=operation("StopModelCustomizationJob"))
    assert (response.status, response.headers["x-amzn-ErrorType"]) == (status, code)
    assert json.loads(response.body)["message"] == "why"


def test_operations_are_found_by_name() -> None:
    """An operation that is built has its function, one that is not has none."""
    assert handler("GetCustomModel") is not None
    assert handler("CreateGuardrail") is None

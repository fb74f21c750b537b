"""The client that polls: what it keeps, and how it sorts what goes wrong with a poll."""

from __future__ import annotations

import gc
import json
import threading
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError, ParamValidationError

from airflow_bedrock.customization.job import Job
from airflow_bedrock.jobs.connection import Connection
from airflow_bedrock.jobs.planner import Call, GetJob, ListJobs, Trouble
from airflow_bedrock.jobs.poll_client import CALLS_AT_ONCE, PollClient, _list, _PollHook, poll_client, trouble_of
from airflow_bedrock.jobs.resources import declared
from airflow_bedrock.jobs.resources.customization_job import CUSTOMIZATION_JOB
from airflow_bedrock.jobs.resources.deployment import DEPLOYMENT

OURS = ("botocore", "airflow_bedrock")
START = datetime(2026, 1, 1, tzinfo=UTC)
LIST, GET = ListJobs(None), GetJob("job")


def refused(code: str, status: int = 400) -> ClientError:
    response = {"Error": {"Code": code, "Message": "for the test"}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "Operation")  # type: ignore[arg-type]  # as botocore makes it


@pytest.mark.parametrize(
    ("error", "by_list", "by_get"),
    [
        (refused("AccessDeniedException", 403), Trouble.REFUSED, Trouble.REFUSED),
        (refused("ValidationException"), Trouble.REFUSED, Trouble.REFUSED),
        (ParamValidationError(report="wrong"), Trouble.REFUSED, Trouble.REFUSED),
        (refused("UnknownOperationException", 404), Trouble.REFUSED, Trouble.NO_ANSWER),
        (refused("ResourceNotFoundException", 404), Trouble.MISSING, Trouble.MISSING),
        (refused("ThrottlingException", 429), Trouble.THROTTLED, Trouble.THROTTLED),
        (refused("Strange", 429), Trouble.THROTTLED, Trouble.THROTTLED),
        (refused("InternalServerException", 500), Trouble.NO_ANSWER, Trouble.NO_ANSWER),
        (refused("AccessDeniedException", 503), Trouble.NO_ANSWER, Trouble.NO_ANSWER),
        (refused("ExpiredTokenException", 403), Trouble.NO_ANSWER, Trouble.NO_ANSWER),
        (refused("UnrecognizedClientException", 403), Trouble.NO_ANSWER, Trouble.NO_ANSWER),
        (NoCredentialsError(), Trouble.NO_ANSWER, Trouble.NO_ANSWER),
        (EndpointConnectionError(endpoint_url="u"), Trouble.NO_ANSWER, Trouble.NO_ANSWER),
        (ValueError("an answer that is no JSON"), Trouble.NO_ANSWER, Trouble.NO_ANSWER),
    ],
    ids=lambda value: value.name if isinstance(value, Trouble) else str(value)[:60],
)
def test_only_what_is_plainly_about_the_question_is_a_refusal(
    error: Exception, by_list: Trouble, by_get: Trouble
) -> None:
    """A refused List costs an hour of Gets; a refused Get ends a wait."""
    looks: list[tuple[Call, Trouble]] = [(LIST, by_list), (GET, by_get)]
    assert [trouble_of(error, ask) for ask, _ in looks] == [trouble for _, trouble in looks]


@pytest.mark.parametrize(
    ("ask", "asked"),
    [
        (ListJobs(None), {}),
        (ListJobs(START, token="2"), {"creationTimeAfter": START, "nextToken": "2"}),
        (ListJobs(None, status="Stopping"), {"statusEquals": "Stopping"}),
    ],
)
def test_a_page_of_list_is_the_one_requested(ask: ListJobs, asked: dict[str, object]) -> None:
    """A thousand jobs at once, the newest first; the next page, and no other status, where it says so."""
    calls = []

    def answer(**arguments: object) -> dict[str, object]:
        calls.append(arguments)
        return {"seen": [], "nextToken": "3"}

    client: Any = SimpleNamespace(list_model_customization_jobs=answer)
    assert _list(CUSTOMIZATION_JOB, ask, client) == ([], "3")
    assert calls == [{"maxResults": 1000, "sortBy": "CreationTime", "sortOrder": "Descending", **asked}]


async def test_polls_share_a_client_until_its_credentials_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """To make one costs a fifth of a second of a core; it knows all kinds of resources."""
    made: list[Any] = []
    closed: list[Any] = []

    def make(connection: object) -> Any:
        answers = iter([[], refused("ThrottlingException", 429), refused("ExpiredTokenException", 403)])

        def answer(**_: object) -> dict[str, object]:
            if isinstance(one := next(answers), Exception):
                raise one
            return {"seen": one, "nextToken": None}

        listing = {"list_model_customization_jobs": answer, "list_custom_model_deployments": answer}
        client = SimpleNamespace(**listing)
        client.close = lambda: closed.append(client)
        made.append(client)
        return client

    monkeypatch.setattr("airflow_bedrock.jobs.poll_client.poll_client", make)
    polls = PollClient(Connection.of(aws_conn_id=None, region_name=None, verify=None, config=None))
    await polls.send(CUSTOMIZATION_JOB, LIST)
    for code in ("ThrottlingException", "ExpiredTokenException"):
        with pytest.raises(ClientError, match=code):
            await polls.send(CUSTOMIZATION_JOB, LIST)
        assert len(made) == 1
    await polls.send(DEPLOYMENT, LIST)
    assert len(made) == 2
    polls.close()
    assert closed == made[1:]


async def test_a_response_that_never_ends_is_no_response(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one of a byte every few seconds: botocore reads on, and every wait of the triggerer would wait with it."""
    released = threading.Event()

    def drip(**_: object) -> dict[str, object]:
        released.wait()
        return {"seen": [], "nextToken": None}

    client = SimpleNamespace(list_model_customization_jobs=drip, close=lambda: None)
    monkeypatch.setattr("airflow_bedrock.jobs.poll_client.poll_client", lambda *_: client)
    monkeypatch.setattr("airflow_bedrock.jobs.poll_client.CALL_SECONDS", 0.05)
    polls = PollClient(Connection.of(aws_conn_id=None, region_name=None, verify=None, config=None))
    try:
        for _ in range(CALLS_AT_ONCE + 1):  # each leaves a thread, until none is free
            with pytest.raises(TimeoutError, match=r"no complete response within 0.05 s") as caught:
                await polls.send(CUSTOMIZATION_JOB, LIST)
            assert trouble_of(caught.value, LIST) is Trouble.NO_ANSWER
    finally:
        released.set()
        polls.close()


def test_a_client_keeps_only_what_polls_need(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each object of the process is walked by every full pass of the garbage collector, which holds up the loop."""
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://access-key:secret-key@/?region_name=us-east-1")
    connection = Connection.of(aws_conn_id="aws_default", region_name=None, verify=None, config=None)
    client = poll_client(connection)
    operations = {name for kind in declared() for name in (kind.get_operation, kind.list_operation)}
    assert set(client.meta.service_model.operation_names) == operations
    for name in operations:  # which retries in mode "standard", of the user's botocore_config, look up
        assert client.meta.service_model.operation_model(name).error_shapes
    gc.collect()
    # Of the dictionaries of the whole model there are 21,000, and of all endpoints 17,000 more.
    assert len(reachable(client, dict)) < 3_000


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", "cn-north-1", "us-gov-west-1", "us-iso-east-1"])
@pytest.mark.parametrize("service", ["bedrock", "sts", "sso", "sso-oidc"])
def test_a_client_calls_the_endpoints_that_botocore_knows(
    monkeypatch: pytest.MonkeyPatch, service: Any, region: str
) -> None:
    """Of the services for credentials too, which a profile of the user's may name; the others are not decoded."""
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", f"aws://access-key:secret-key@/?region_name={region}")
    hook = _PollHook(aws_conn_id="aws_default")
    session = hook.get_session()
    ours, whole = session.client(service, region), boto3.session.Session().client(service, region)
    assert ours.meta.endpoint_url == whole.meta.endpoint_url
    endpoints = session._session.get_component("data_loader").load_data("endpoints")
    assert max(len(partition["services"]) for partition in endpoints["partitions"]) < 5


def reachable(start: object, kind: type) -> list[object]:
    """Return what of a kind is reached from an object through dictionaries, lists and attributes of botocore."""
    found, seen, left = [], set(), [start]
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, kind):
            found.append(one)
        left += [
            other
            for other in gc.get_referents(one)
            if isinstance(other, (dict, list, tuple)) or type(other).__module__.startswith(OURS)
        ]
    return found


@pytest.mark.parametrize("status", [200, 400, 503])
def test_a_page_is_read_once_and_an_error_by_botocore(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    """To read a thousand jobs costs botocore tens of milliseconds; what it reads itself becomes its exception."""
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://access-key:secret-key@/?region_name=us-east-1")
    connection = Connection.of(aws_conn_id="aws_default", region_name=None, verify=None, config=None)
    client = poll_client(connection)
    body = b'{"modelCustomizationJobSummaries": [{"jobArn": "arn", "jobName": "j", "status": "New"}], "nextToken": "2"}'
    response: dict[str, Any] = {"status_code": status, "body": body}
    read: dict[str, Any] = {}
    client.meta.events.emit(
        "before-parse.bedrock.ListModelCustomizationJobs",
        operation_model=client.meta.service_model.operation_model("ListModelCustomizationJobs"),
        response_dict=response,
        customized_response_dict=read,
    )
    client.close()
    if status == 200:
        assert ([job.arn for job in read["seen"]], read["nextToken"], response["body"]) == (["arn"], "2", b"{}")
    else:
        assert (read, response["body"]) == ({}, body)


def test_a_page_with_nulls_is_read_by_botocore(monkeypatch: pytest.MonkeyPatch) -> None:
    """One null in one job would otherwise leave every task of the connection without a response."""
    monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", "aws://access-key:secret-key@/?region_name=us-east-1")
    client = poll_client(Connection.of(aws_conn_id="aws_default", region_name=None, verify=None, config=None))
    job = {
        "jobArn": "arn",
        "jobName": "j",
        "status": "InProgress",
        "creationTime": START.timestamp(),
        "endTime": None,
        "statusDetails": {
            "validationDetails": {"status": "Completed", "lastModifiedTime": None},
            "trainingDetails": None,
        },
    }
    body = json.dumps({"modelCustomizationJobSummaries": [job], "nextToken": None}).encode()
    made: Any = AWSResponse
    response = made("https://bedrock", 200, {}, SimpleNamespace(stream=lambda: [body]))
    events: Any = client.meta.events
    events.register("before-send.bedrock.ListModelCustomizationJobs", lambda **_: response)
    (seen,), token = _list(CUSTOMIZATION_JOB, LIST, client)
    client.close()
    assert isinstance(seen, Job)
    assert (seen.arn, seen.created, list(seen.phases), token) == ("arn", START, ["validation"], None)

"""Requests that nobody means: whatever comes in, the answer is AWS's error, and never one of Local Bedrock's own."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from http.client import HTTPConnection
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import botocore.session
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_bedrock.local import LocalBedrock

SERVICES = ("bedrock", "bedrock-runtime")
SIGNED = "AWS4-HMAC-SHA256 Credential=key/20261121/us-east-1/bedrock/aws4_request, SignedHeaders=host, Signature=0"
ARN = "arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.nova-micro-v1:0:128k/abcdefghij12"


def _models() -> list[Any]:
    session = botocore.session.get_session()
    models = [session.get_service_model(name) for name in SERVICES]
    return [model.operation_model(name) for model in models for name in model.operation_names]


OPERATIONS = _models()

NASTY: list[Any] = [
    *(None, True, 0, -1, 2**31, 2**63, -(2**63), 10**30, 1e308, 1e-320),
    *("", " ", "\0", "\r\nX: y", "\ud800", "\U0010ffff", "é" * 300, "x" * 5_000, "%", "%zz", "..", "../../etc/passwd"),
    *(
        "99999999999999999999",
        "1e999",
        "nan",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59-14:00",
        "s3://",
        "s3:///",
        ARN,
    ),
    *([], {}, [None], [[]], {"": None}, {"\ud800": 1}, [{}] * 200),
]
"""In the place of any member."""

RAW = [
    *(b"", b"null", b"0", b"[]", b'"text"', b"{", b"{}{}", b'{"a"', b"\xff\xfe", b'{"a": "\xff"}', b"\xef\xbb\xbf{}"),
    *(b'{"a": 1e999}', b'{"a": -1e999}', b'{"a": NaN}', b'{"a": Infinity}', b'{"a": ' + b"9" * 5_000 + b"}"),
    *(b"[" * 5_000 + b"]" * 5_000, b'{"a":' * 5_000 + b"1" + b"}" * 5_000, b'{"a": "\\ud800"}', b'{"a": "\\u00"}'),
    *(b'{"jobName": ' + b"[" * 150 + b"]" * 150 + b"}", b'{"messages": ' + b"[" * 90 + b"]" * 90 + b"}"),
]
"""Bodies of any operation."""

AUTHORIZATIONS = [
    *("", "x", "AWS", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential", "AWS4-HMAC-SHA256 Credential=", "Basic eDp5"),
    *("AWS4-HMAC-SHA256 Credential=/////", "AWS4-HMAC-SHA256 Credential=a/b/c/d/e", "AWS4-HMAC-SHA256 Credential=a/b"),
    *("AWS4-HMAC-SHA256 Credential=k/20261121/../bedrock/aws4_request", SIGNED.replace("us-east-1", "Ü")),
    *("AWS4-HMAC-SHA256 Credential=k/20261121//bedrock/aws4_request", SIGNED.replace("us-east-1", "a" * 5_000)),
]


class Victim:
    """Sends requests over one connection, and judges each response."""

    def __init__(self, local: LocalBedrock, logged: pytest.LogCaptureFixture) -> None:
        self._address = urlsplit(local.endpoint_url).netloc
        self._connection = HTTPConnection(self._address, timeout=120)
        self._logged = logged

    def send(self, method: str, target: str, body: bytes = b"", **headers: str) -> int:
        """Send a request, and return the status of its response, which is judged first."""
        signed = {"Authorization": SIGNED, "Content-Type": "application/json"} | headers
        self._logged.clear()
        self._connection.request(method, target, body, {name: value for name, value in signed.items() if value})
        response = self._connection.getresponse()
        content = response.read()
        request = f"{method} {target[:200]} {body[:200]!r} {signed['Authorization'][:100]}"
        failures = [one.getMessage() for one in self._logged.records if one.exc_info]
        assert not failures, f"{request}: {failures}"
        assert response.status < 500 or response.status == 501, f"{request}: {response.status} {content[:300]!r}"
        if response.status >= 400:
            assert response.headers["x-amzn-ErrorType"] == json.loads(content)["__type"], request
        return response.status

    def close(self) -> None:
        """It is alive at the end."""
        try:
            assert self.send("GET", "/foundation-models") == 200
        finally:
            self._connection.close()


@pytest.fixture
def victim(local: LocalBedrock, caplog: pytest.LogCaptureFixture) -> Iterator[Victim]:
    caplog.set_level(logging.WARNING)
    victim = Victim(local, caplog)
    yield victim
    victim.close()


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: str(one.name))
def test_bodies_that_cannot_be_read(victim: Victim, operation: Any) -> None:
    """Each operation refuses what is no JSON, or no JSON that anybody can keep."""
    target = operation.http["requestUri"].replace("{", "").replace("}", "").replace("+", "")
    for body in RAW:
        victim.send(operation.http["method"], target, body)


@pytest.mark.parametrize("body", RAW[2:])
def test_bodies_are_refused_as_such(victim: Victim, body: bytes) -> None:
    """What no client of AWS's sends is a 400, whichever way it is wrong."""
    assert victim.send("POST", "/model-customization-jobs", body) == 400


@pytest.mark.parametrize("authorization", AUTHORIZATIONS[1:])
def test_authorizations_that_name_nothing(victim: Victim, authorization: str) -> None:
    """A signature without a service is refused."""
    assert victim.send("GET", "/model-customization-jobs", Authorization=authorization) == 400


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/model-customization-jobs?creationTimeAfter=99999999999999999999", 400),
        ("/model-customization-jobs?creationTimeAfter=-99999999999999999999", 400),
        ("/model-customization-jobs?creationTimeAfter=1e999", 400),
        ("/model-customization-jobs?creationTimeAfter=nan", 400),
        ("/model-customization-jobs?maxResults=99999999999999999999", 400),
        ("/model-customization-jobs?maxResults=" + "9" * 5_000, 400),
        ("/model-customization-jobs?maxResults=1e3", 400),
        ("/model-customization-jobs?nextToken=%ff", 400),
        ("/model-customization-jobs?nextToken=%", 400),
        ("/model-customization-jobs/%zz", 400),
        ("/model-customization-jobs/%c3%28", 400),
        ("/model-customization-jobs/%00", 400),
        ("/model-customization-jobs?X-Amz-Credential=x", 400),
        ("/model-customization-jobs?a&&=&=b", 200),
        ("//[", 404),
        ("/" + "a/" * 5_000, 404),
    ],
)
def test_targets(victim: Victim, target: str, status: int) -> None:
    """Numbers beyond numbers, times beyond time, and escapes of nothing are refused; what is harmless is not."""
    authorization = "" if "X-Amz-Credential" in target else SIGNED
    assert victim.send("GET", target, Authorization=authorization) == status


TURN = {"role": "user", "content": [{"text": "Hello?"}]}
TYPED = {"role": "user", "content": [{"type": "text", "text": "Hello?"}]}
S3_URI = {"s3Uri": "s3://airflow-bedrock-local/train.jsonl"}
JOB = {
    "jobName": "fuzz",
    "customModelName": "fuzz",
    "roleArn": "arn:aws:iam::123456789012:role/AirflowBedrockLocal",
    "baseModelIdentifier": "amazon.nova-micro-v1:0:128k",
    "trainingDataConfig": S3_URI,
    "validationDataConfig": {"validators": [S3_URI]},
    "outputDataConfig": S3_URI,
    "hyperParameters": {"epochCount": "2"},
    "jobTags": [{"key": "a", "value": "b"}],
    "clientRequestToken": "token",
}
BATCH = {
    "jobName": "fuzz",
    "roleArn": JOB["roleArn"],
    "modelId": "amazon.nova-micro-v1:0",
    "inputDataConfig": {"s3InputDataConfig": S3_URI},
    "outputDataConfig": {"s3OutputDataConfig": S3_URI},
}
CONVERSE = {
    "messages": [TURN],
    "system": [{"text": "Be kind."}],
    "inferenceConfig": {"maxTokens": 5, "temperature": 0.5},
}
CLAUDE = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 5, "messages": [TYPED], "stop_sequences": ["."]}
RIGHT: list[tuple[str, dict[str, Any]]] = [
    ("/model-customization-jobs", JOB),
    ("/model-invocation-job", BATCH),
    ("/model/amazon.nova-micro-v1:0/converse", CONVERSE),
    ("/model/amazon.nova-micro-v1:0/converse-stream", CONVERSE),
    ("/model/amazon.nova-micro-v1:0/invoke", {**CONVERSE, "inferenceConfig": {"max_new_tokens": 5}}),
    ("/model/amazon.nova-micro-v1:0/invoke-with-response-stream", CONVERSE),
    (
        "/model/amazon.titan-text-express-v1/invoke",
        {"inputText": "a", "textGenerationConfig": {"stopSequences": ["b"]}},
    ),
    ("/model/anthropic.claude-sonnet-4-20250514-v1:0/invoke-with-response-stream", CLAUDE),
    ("/model/meta.llama3-1-8b-instruct-v1:0/invoke", {"prompt": "a", "max_gen_len": 5}),
    ("/model/cohere.command-r-v1:0/invoke", {"prompt": "a", "max_tokens": 5, "stop_sequences": ["b"]}),
    ("/listTagsForResource", {"resourceARN": ARN}),
    ("/tagResource", {"resourceARN": ARN, "tags": [{"key": "a", "value": "b"}]}),
    ("/custom-models/" + quote(ARN, safe=""), {}),
]
"""Path and body of requests that are right."""


def _wrong(content: Any) -> Iterator[Any]:
    """Return what becomes of a value when one thing in it is replaced, by each nasty value in turn."""
    yield from NASTY
    items = list(
        content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    )
    for key, item in items:
        for wrong in _wrong(item):
            yield {**content, key: wrong} if isinstance(content, dict) else [wrong]


@pytest.mark.parametrize(("target", "request_body"), RIGHT, ids=lambda one: one if isinstance(one, str) else "")
def test_right_requests_with_one_thing_wrong(victim: Victim, target: str, request_body: dict[str, Any]) -> None:
    """What passes the first checks meets the later ones with one nasty value at a time."""
    assert victim.send("POST", target, json.dumps(request_body).encode()) < 500
    for body in _wrong(request_body):
        victim.send("POST", target, json.dumps(body).encode())


@settings(
    max_examples=700,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(data=st.data())
def test_requests_of_the_model_with_a_nasty_member(victim: Victim, data: st.DataObject) -> None:
    """Any operation, with members as the service model has them, but for some that are not."""
    operation = data.draw(st.sampled_from(OPERATIONS))
    target, query, headers, body = operation.http["requestUri"], [], {}, {}
    shape = operation.input_shape
    payload: bytes | None = None
    for name, member in shape.members.items() if shape else ():
        located = member.serialization.get("location")
        if located != "uri" and name not in shape.required_members and not data.draw(st.booleans()):
            continue
        value = _value(data, member, 4)
        written = member.serialization.get("name", name)
        if located == "uri":
            text = quote(_text(value), safe="") or "-"
            target = target.replace(f"{{{written}}}", text).replace(f"{{{written}+}}", text)
        elif located == "querystring":
            query.append((written, _text(value)))
        elif located in ("header", "headers"):
            headers[written] = "".join(one for one in _text(value) if one.isascii() and one.isprintable()).strip()
        elif shape.serialization.get("payload") == name:
            payload = json.dumps(value).encode()
        else:
            body[written] = value
    target += ("&" if "?" in target else "?") + urlencode(query) if query else ""
    victim.send(
        operation.http["method"], target, payload if payload is not None else json.dumps(body).encode(), **headers
    )


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode(errors="replace").decode()


def _value(data: st.DataObject, shape: Any, depth: int) -> Any:
    """Draw a value of a shape, or now and then a nasty one."""
    if depth == 0 or data.draw(st.integers(0, 7)) == 0:
        return data.draw(st.sampled_from(NASTY))
    if shape.type_name == "structure" and not getattr(shape, "is_document_type", False):
        names = list(shape.members)
        if getattr(shape, "is_tagged_union", False):
            names = [data.draw(st.sampled_from(names))]
        else:
            names = [one for one in names if one in shape.required_members or data.draw(st.booleans())]
        return {name: _value(data, shape.members[name], depth - 1) for name in names}
    if shape.type_name == "list":
        return [_value(data, shape.member, depth - 1) for _ in range(data.draw(st.integers(0, 2)))]
    if shape.type_name == "map":
        return {_text(_value(data, shape.key, 1)): _value(data, shape.value, depth - 1)}
    if shape.type_name == "string":
        return data.draw(
            st.sampled_from(shape.metadata.get("enum") or ["a-name", ARN, "s3://bucket/key", "12", "user"])
        )
    if shape.type_name == "boolean":
        return data.draw(st.booleans())
    return data.draw(st.sampled_from([0, 1, 0.5, 100, "2026-11-21T00:00:00Z", "dGV4dA=="]))

"""Faults on demand, as clients see them: boto3 without retries, so that each call is one."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, ReadTimeoutError

from airflow_bedrock.local import LocalBedrock

if TYPE_CHECKING:
    from tests.integration.local.conftest import Service


@pytest.fixture(scope="module")
def module_service(service: Service) -> Iterator[Service]:
    """A Local Bedrock whose time the test moves, and clients that ask once."""
    with LocalBedrock(clock="manual", job_seconds=100) as local:
        run = type(service)(local)
        for client in (run.bedrock, run.runtime, run.s3):
            no_retries(client)
        yield run


def no_retries(client: Any) -> None:
    service = client.meta.service_model.service_id.hyphenize()
    client.meta.events.unregister(f"needs-retry.{service}", unique_id=f"retry-config-{service}")


@pytest.fixture
def struck(module_service: Service) -> Iterator[Service]:
    yield module_service
    module_service.local.faults.clear()
    module_service.local.calls.clear()


def refused(call: Callable[..., Any], **parameters: Any) -> tuple[int, str]:
    with pytest.raises(ClientError) as caught:
        call(**parameters)
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


def admin(service: Service, method: str, path: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{service.local.endpoint_url}/_local/{path}", data, method=method)  # noqa: S310  # loopback HTTP
    with urllib.request.urlopen(request) as answer:  # noqa: S310  # as above
        return json.load(answer)


def test_throttled_for_a_while(struck: Service) -> None:
    """All of Bedrock, or one operation, is throttled until the clock has moved on; S3 is throttled in its own words."""
    struck.local.faults.throttle(seconds=30)
    assert refused(struck.bedrock.list_custom_models) == (429, "ThrottlingException")
    assert refused(struck.ask, model_id="amazon.nova-micro-v1:0", question="?") == (429, "ThrottlingException")
    struck.local.clock.advance(30)
    struck.bedrock.list_custom_models()
    struck.local.faults.throttle("PutObject", times=1)
    put = {"Bucket": struck.local.bucket, "Key": "k", "Body": b"x"}
    assert refused(struck.s3.put_object, **put) == (503, "SlowDown")
    struck.s3.put_object(**put)


def test_the_nth_call_fails(struck: Service) -> None:
    """The third call of an operation fails with a declared error, and its status is the declared one."""
    struck.local.faults.fail("ListCustomModels", "AccessDeniedException", nth=3, message="Not you.")
    for _ in range(2):
        struck.bedrock.list_custom_models()
    with pytest.raises(ClientError, match="Not you") as caught:
        struck.bedrock.list_custom_models()
    assert caught.value.response["Error"]["Code"] == "AccessDeniedException"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    struck.bedrock.list_custom_models()


@pytest.mark.parametrize("status", [500, 503, 529])
def test_any_status_can_be_answered(struck: Service, status: int) -> None:
    """A fault may have a status alone; the answer is an AWS error all the same."""
    struck.local.faults.fail("GetCustomModel", status=status)
    assert refused(struck.bedrock.get_custom_model, modelIdentifier="m")[0] == status
    struck.local.faults.fail("ListBuckets", status=status)
    assert refused(struck.s3.list_buckets)[0] == status


def test_accepted_and_the_connection_closed(struck: Service) -> None:
    """A job whose answer was lost exists: the service had accepted it when the connection was closed."""
    struck.local.faults.drop("CreateModelCustomizationJob")
    request = struck.request()
    with pytest.raises(ConnectionClosedError):
        struck.bedrock.create_model_customization_job(**request)
    found = struck.bedrock.get_model_customization_job(jobIdentifier=request["jobName"])
    (call,) = struck.local.calls.of("CreateModelCustomizationJob")
    assert (call.status, call.fault, call.parameters["jobName"]) == (0, "drop", found["jobName"])


def test_dropped_before_anything_was_done(struck: Service) -> None:
    """A connection can be closed before the call is carried out, too."""
    struck.local.faults.drop("CreateModelCustomizationJob", executed=False)
    request = struck.request()
    with pytest.raises(ConnectionClosedError):
        struck.bedrock.create_model_customization_job(**request)
    assert refused(struck.bedrock.get_model_customization_job, jobIdentifier=request["jobName"])[0] == 404
    struck.local.faults.drop("PutObject")
    with pytest.raises(ConnectionClosedError):
        struck.s3.put_object(Bucket=struck.local.bucket, Key="dropped", Body=b"there")
    with struck.s3.get_object(Bucket=struck.local.bucket, Key="dropped")["Body"] as body:
        assert body.read() == b"there"


def test_an_error_after_the_work_was_done(struck: Service) -> None:
    """A 500 can come though the job was accepted, and a request that is sent again with its token finds it."""
    struck.local.faults.fail("CreateModelCustomizationJob", executed=True)
    request = struck.request(clientRequestToken=struck.name("token"))
    assert refused(struck.bedrock.create_model_customization_job, **request) == (500, "InternalServerException")
    arn = struck.bedrock.create_model_customization_job(**request)["jobArn"]
    assert [call.status for call in struck.local.calls.of("CreateModelCustomizationJob")] == [500, 201]
    assert struck.bedrock.get_model_customization_job(jobIdentifier=request["jobName"])["jobArn"] == arn


def test_answers_can_be_late(struck: Service) -> None:
    """A client that waits less, on the computer's clock, has no response; one that waits longer has the right one."""
    struck.local.faults.delay("ListCustomModels", 2, times=1)
    impatient = boto3.client(
        "bedrock",
        endpoint_url=struck.local.endpoint_url,
        region_name=struck.bedrock.meta.region_name,
        aws_access_key_id="any",
        aws_secret_access_key="any",
        config=Config(read_timeout=0.2, retries={"total_max_attempts": 1}),
    )
    with closing(impatient), pytest.raises(ReadTimeoutError):
        impatient.list_custom_models()
    struck.local.faults.delay("ListCustomModels", 0.05, times=1)
    assert "modelSummaries" in struck.bedrock.list_custom_models()
    assert struck.local.calls[-1].fault == "delay"


def test_new_jobs_are_hidden_for_a_time(struck: Service) -> None:
    """List and Get do not know a job until it has some age; other jobs are there as ever."""
    old = struck.create()
    struck.local.clock.advance(60)
    struck.local.faults.hide_new_jobs(30)
    new = struck.create()
    listed = struck.bedrock.list_model_customization_jobs()["modelCustomizationJobSummaries"]
    assert listed[0]["jobArn"] == old
    get = struck.bedrock.get_model_customization_job
    assert refused(get, jobIdentifier=new) == (404, "ResourceNotFoundException")
    get(jobIdentifier=old)
    struck.local.clock.advance(30)
    listed = struck.bedrock.list_model_customization_jobs()["modelCustomizationJobSummaries"]
    assert [job["jobArn"] for job in listed][:2] == [new, old]
    get(jobIdentifier=new)


@pytest.mark.parametrize("phase", ["validation", "dataProcessing", "training"])
def test_a_job_fails_in_a_phase(struck: Service, phase: Any) -> None:
    """The job fails in that phase with that message; the phases before it were completed, and there is no model."""
    struck.local.faults.fail_job(phase, "The service ran out of luck.")
    arn = struck.create()
    struck.local.clock.advance(100)
    job = struck.bedrock.get_model_customization_job(jobIdentifier=arn)
    assert (job["status"], job["failureMessage"]) == ("Failed", "The service ran out of luck.")
    assert job["statusDetails"][f"{phase}Details"]["status"] == "Failed"
    before = {"validation": [], "dataProcessing": ["Completed"], "training": ["Completed", "Completed"]}[phase]
    assert [one["status"] for one in job["statusDetails"].values()][: len(before)] == before
    assert "outputModelArn" not in job


def test_credentials_expire(struck: Service) -> None:
    """For so many calls credentials have expired, in the words of each service."""
    struck.local.faults.expire_credentials(times=2)
    assert refused(struck.bedrock.list_custom_models) == (403, "ExpiredTokenException")
    assert refused(struck.s3.list_objects_v2, Bucket=struck.local.bucket) == (400, "ExpiredToken")
    struck.bedrock.list_custom_models()


def test_faults_over_http(struck: Service) -> None:
    """Faults are set, read and removed over HTTP as in Python."""
    fault = {"effect": "error", "operation": "List*", "code": "ThrottlingException", "times": 2}
    number = admin(struck, "POST", "faults", fault)["id"]
    assert refused(struck.bedrock.list_custom_models) == (429, "ThrottlingException")
    (standing,) = admin(struck, "GET", "faults")
    assert (standing["fault"], standing["seen"], standing["struck"]) == (fault, 1, 1)
    assert admin(struck, "GET", f"faults/{number}") == [standing]
    assert admin(struck, "GET", "health")["faults"] == 1
    admin(struck, "DELETE", f"faults/{number}")
    struck.bedrock.list_custom_models()
    admin(struck, "POST", "faults", {"effect": "drop", "operation": "Converse"})
    admin(struck, "DELETE", "faults")
    assert admin(struck, "GET", "faults") == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        (
            "POST",
            "faults",
            {"effect": "explode"},
            400,
            "The effects and their members are: error (code, ",
        ),
        ("POST", "faults", {"effect": "drop", "operation": "GetCustomModle"}, 400, "GetCustomModle"),
        ("POST", "faults", {"effect": "drop", "when": "now"}, 400, "when`. The effects"),
        ("DELETE", "faults/no-such", None, 404, "no-such"),
        ("GET", "faults/no-such", None, 404, "no-such"),
        ("PUT", "faults", {}, 405, "GET, POST, DELETE"),
        ("GET", "jobs/1", None, 404, "/_local/jobs"),
        (
            "GET",
            "calls?operatoin=x",
            None,
            400,
            "operatoin`. The filters are: service, operation,",
        ),
    ],
)
def test_invalid_admin_requests_are_reported(
    struck: Service, method: str, path: str, body: Any, status: int, message: str
) -> None:
    """A request that is wrong gets a status and a message that say what of it is."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        admin(struck, method, path, body)
    with caught.value as error:
        assert error.code == status
        assert message in json.load(error)["message"]


def test_own_calls_are_spared(struck: Service) -> None:
    """A job reads and writes S3 whatever faults its users have set."""
    struck.local.faults.throttle(service="s3")
    arn = struck.create()
    struck.local.clock.advance(100)
    assert struck.bedrock.get_model_customization_job(jobIdentifier=arn)["status"] == "Completed"


def test_calls_are_found_over_http(struck: Service) -> None:
    """The journal is filtered by operation, status, error and fault, and read on from where one stood."""
    struck.local.faults.throttle("ListCustomModels", times=1)
    refused(struck.bedrock.list_custom_models)
    struck.bedrock.list_custom_models()
    struck.s3.list_buckets()
    refused(struck.s3.get_object, Bucket=struck.local.bucket, Key="no-such-key")
    models = admin(struck, "GET", "calls?operation=ListCustomModels")
    assert [(call["status"], call["error"], call["fault"]) for call in models] == [
        (429, "ThrottlingException", "error"),
        (200, None, None),
    ]
    assert admin(struck, "GET", "calls?fault=true") == models[:1]
    assert admin(struck, "GET", "calls?status=200&service=bedrock") == models[1:]
    (missing,) = admin(struck, "GET", "calls?error=NoSuchKey")
    assert missing["parameters"] == {"Bucket": struck.local.bucket, "Key": "no-such-key"}
    assert [call["operation"] for call in admin(struck, "GET", f"calls?after={models[1]['number']}")] == [
        "ListBuckets",
        "GetObject",
    ]
    assert admin(struck, "GET", "calls?limit=1") == [missing]
    assert struck.local.calls.of("GetObject", Key="no-such-key")[0].error == "NoSuchKey"
    assert struck.local.calls.of("GetObject", Key="another") == []
    admin(struck, "DELETE", "calls")
    assert admin(struck, "GET", "calls") == []


def test_the_documented_faults_can_be_set(struck: Service) -> None:
    """What docs/local-bedrock.md shows of faults runs as it stands there."""
    docs = (Path(__file__).parents[3] / "docs" / "local-bedrock.md").read_text()
    (shown,) = re.findall(r"```python\n(local\.faults\..*?)```", docs, flags=re.DOTALL)
    seen: list[int] = []
    for line in shown.splitlines():
        exec(line, {"local": struck.local})  # noqa: S102  # the project's own documentation
        seen.append(len(struck.local.faults))
    assert seen == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0]

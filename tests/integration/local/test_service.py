"""Local Bedrock as a service: health, progress, journal, environment, a clean end."""

from __future__ import annotations

import http.client
import io
import json
import socket
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from urllib3.connection import HTTPConnection

from airflow_bedrock.local import LocalBedrock

if TYPE_CHECKING:
    from tests.integration.local.conftest import Service


def admin(local: LocalBedrock, page: str) -> Any:
    with urllib.request.urlopen(f"{local.endpoint_url}/_local/{page}") as answer:  # noqa: S310  # loopback HTTP
        return json.load(answer)


def test_health(service: Service) -> None:
    """The health page says that it is up."""
    assert admin(service.local, "health")["status"] == "ok"


def test_unknown_admin_page(service: Service) -> None:
    """A page that is not there is a 404 that names those that are."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        admin(service.local, "nothing")
    with caught.value as error:
        assert error.code == 404
        assert "/_local/health" in json.load(error)["message"]


def test_progress_of_jobs(service: Service) -> None:
    """The jobs page shows how far a job is, and its losses."""
    job = service.job(service.create())
    (shown,) = [one for one in admin(service.local, "jobs") if one["arn"] == job["jobArn"]]
    assert (shown["name"], shown["status"], shown["phase"]) == (job["jobName"], "Completed", "training")
    assert shown["step"] == shown["steps"] == 240
    assert shown["epoch"] == 2
    assert shown["trainingLoss"] < 1


def test_journal_has_every_call_and_no_conversation(service: Service) -> None:
    """Calls are written down with operation, parameters and status; what people ask models is not."""
    service.local.calls.clear()
    job = service.job(service.create())
    service.put("journal.txt", "x")
    service.ask("amazon.nova-micro-v1:0", "a secret question")
    iam = service.local.client("iam")
    iam.list_roles()
    iam.close()
    (created,) = service.local.calls.of("CreateModelCustomizationJob")
    assert (created.service, created.status, created.parameters["jobName"]) == ("bedrock", 201, job["jobName"])
    (asked,) = service.local.calls.of("Converse")
    assert asked.parameters == {"modelId": "amazon.nova-micro-v1:0"}
    shown = admin(service.local, "calls")
    assert "secret" not in json.dumps(shown)
    others = [(call["service"], call["operation"]) for call in shown if call["service"] in ("s3", "iam")]
    assert others == [("s3", "PutObject"), ("iam", "ListRoles")]


def test_refused_calls_are_written_down(service: Service) -> None:
    """A call that was refused is in the journal, with its error."""
    service.local.calls.clear()
    with pytest.raises(service.bedrock.exceptions.ResourceNotFoundException):
        service.bedrock.get_custom_model(modelIdentifier="nothing")
    (call,) = service.local.calls
    assert (call.operation, call.status, call.error) == ("GetCustomModel", 404, "ResourceNotFoundException")


def test_environment_is_enough(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the environment set, boto3 needs no arguments, and Airflow's connection and variables are there."""
    environment = service.local.environment()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    client = boto3.session.Session().client("bedrock")
    try:
        assert "modelSummaries" in client.list_custom_models()
    finally:
        client.close()
    connection = json.loads(environment["AIRFLOW_CONN_AWS_DEFAULT"])
    assert (connection["conn_type"], connection["extra"]["endpoint_url"]) == ("aws", service.local.endpoint_url)
    assert environment["AIRFLOW_VAR_BEDROCK_BUCKET"] == service.local.bucket
    assert environment["AIRFLOW_VAR_BEDROCK_ROLE_ARN"] == service.local.role_arn


def test_role_check_can_be_switched_off(service: Service) -> None:
    """Without the check, any role will do."""
    with LocalBedrock(check_role=False, job_seconds=0) as local:
        client = local.client("bedrock")
        request = service.request(roleArn="arn:aws:iam::123456789012:role/nobody")
        assert client.create_model_customization_job(**request)["jobArn"]
        client.close()


def test_bedrock_api_key_is_taken(service: Service) -> None:
    """A client with a Bedrock API key signs nothing, and is answered like one that does."""
    job = service.create()
    request = urllib.request.Request(f"{service.local.endpoint_url}/model-customization-jobs?maxResults=1")  # noqa: S310  # loopback HTTP
    request.add_header("Authorization", "Bearer bedrock-api-key-anything")
    with urllib.request.urlopen(request) as answer:  # noqa: S310  # as above
        assert json.load(answer)["modelCustomizationJobSummaries"][0]["jobArn"] == job


def test_what_moto_lacks_is_an_error_at_once(service: Service) -> None:
    """An operation of another service that moto does not have is an error, without a wait for retries."""
    client = service.local.client("iam")
    try:
        with pytest.raises(ClientError) as caught:
            client.generate_service_last_accessed_details(Arn=service.local.role_arn)
    finally:
        client.close()
    metadata = caught.value.response["ResponseMetadata"]
    assert (metadata["HTTPStatusCode"], metadata["RetryAttempts"]) == (501, 0)
    assert service.local.calls[-1].status == 501


def test_two_services_have_their_own_jobs(service: Service) -> None:
    """Two in one process know nothing of each other's jobs."""
    service.create()
    with LocalBedrock() as other:
        client = other.client("bedrock")
        assert client.list_model_customization_jobs()["modelCustomizationJobSummaries"] == []
        client.close()


def test_large_objects_pass_through(service: Service) -> None:
    """Objects of some megabytes, as one upload, come back as they were."""
    body = bytes(range(256)) * 20_000
    service.s3.put_object(Bucket=service.local.bucket, Key="large", Body=body)
    answer = service.s3.get_object(Bucket=service.local.bucket, Key="large")
    with answer["Body"]:
        assert answer["Body"].read() == body


def test_many_clients_at_once(service: Service) -> None:
    """Threads that call at the same time all get their answers."""
    failures: list[BaseException] = []

    def call() -> None:
        try:
            for _ in range(20):
                service.bedrock.list_model_customization_jobs()
                service.s3.list_objects_v2(Bucket=service.local.bucket)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize("path", ["/", "/_local/health", "/nowhere"])
def test_connections_stay_open(service: Service, path: str) -> None:
    """The next call takes the connection of the last one, whatever that was answered."""
    connection = http.client.HTTPConnection(urlsplit(service.local.endpoint_url).netloc)
    connection.connect()
    first = connection.sock
    for _ in range(3):
        connection.request("GET", path)
        connection.getresponse().read()
        assert connection.sock is first
    connection.close()


def test_stop_leaves_nothing(service: Service) -> None:
    """After the end no thread is left and the port is free, though a client still holds a connection."""
    before = set(threading.enumerate())
    local = LocalBedrock(job_seconds=60).start()
    client = local.client("bedrock")
    client.create_model_customization_job(**service.request())
    port = int(local.endpoint_url.rpartition(":")[2])
    local.stop()
    local.stop()
    assert set(threading.enumerate()) <= before
    with socket.create_server(("127.0.0.1", port)):
        pass
    client.close()
    with pytest.raises(RuntimeError, match="not running"):
        _ = local.endpoint_url


def test_taken_port_is_an_error(service: Service) -> None:
    """A port that is in use is an OSError, and does not end the process."""
    port = int(service.local.endpoint_url.rpartition(":")[2])
    with pytest.raises(OSError, match="in use"):
        LocalBedrock(port=port).start()


def test_a_caller_waits_until_everything_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a kill no call fails because the bucket is not there yet: callers would take that as final."""
    answers: list[int] = []
    callers: list[threading.Thread] = []
    make = LocalBedrock._make_bucket_and_role

    def ask(url: str) -> None:
        connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=60)
        connection.request("HEAD", "/kept")
        answers.append(connection.getresponse().status)
        connection.close()

    def make_late(local: LocalBedrock) -> None:
        callers.append(threading.Thread(target=ask, args=[local.endpoint_url]))
        callers[0].start()
        callers[0].join(0.3)
        assert not answers
        make(local)

    monkeypatch.setattr(LocalBedrock, "_make_bucket_and_role", make_late)
    with LocalBedrock(bucket="kept", state=tmp_path):
        callers[0].join()
    assert answers == [200]


def test_unsigned_requests_to_s3(service: Service) -> None:
    """What nobody signed, such as curl's upload, is for S3, and is written down as that."""
    url = f"{service.local.endpoint_url}/{service.local.bucket}/by-curl"
    request = urllib.request.Request(url, b"hello", {"Content-Type": "text/plain"}, method="PUT")  # noqa: S310  # loopback HTTP
    with urllib.request.urlopen(request) as answer:  # noqa: S310  # as above
        assert answer.status == 200
    assert service.local.calls.of("PutObject", Key="by-curl")[0].service == "s3"


def test_own_error_is_an_aws_error(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """An error that nobody foresaw answers InternalServerException (500) in AWS's form, and is logged."""
    monkeypatch.setattr("airflow_bedrock.local.web.application.parse", lambda *_: 1 / 0)
    service.local.calls.clear()
    once = boto3.session.Session("local", "local", region_name="us-east-1").client(
        "bedrock", endpoint_url=service.local.endpoint_url, config=Config(retries={"total_max_attempts": 1})
    )
    with pytest.raises(ClientError, match="InternalServerException"):
        once.list_custom_models()
    once.close()
    assert "ListCustomModels failed because of an internal error" in caplog.text
    assert service.local.calls[-1].status == 500


def test_no_user_agent_hides_a_call(service: Service) -> None:
    """Journal and faults pass over Local Bedrock's own calls, which nobody can pretend to make."""
    local = service.local
    client = boto3.session.Session("local", "local", region_name="us-east-1").client(
        "bedrock",
        endpoint_url=local.endpoint_url,
        config=Config(user_agent="airflow-bedrock-local-internal airflow_bedrock.inside"),
    )
    client.meta.events.register("before-send", lambda request, **_: request.headers.update(pretended()))
    before = len(local.calls.of("ListCustomModels"))
    client.list_custom_models()
    client.close()
    assert len(local.calls.of("ListCustomModels")) == before + 1


def pretended() -> dict[str, str]:
    return {"airflow_bedrock.inside": "true", "X-Airflow_bedrock.inside": "true"}


def test_its_own_calls_need_no_connection(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job reads and writes S3, calls IAM and EventBridge in the process; the journal has none of it."""
    asked: set[str] = set()
    ask = HTTPConnection.request

    def request(connection: HTTPConnection, *args: Any, **kwargs: Any) -> None:
        asked.add(threading.current_thread().name)
        ask(connection, *args, **kwargs)

    monkeypatch.setattr(HTTPConnection, "request", request)
    before = len(service.local.calls.of("PutObject"))
    assert service.model()
    assert asked == {threading.current_thread().name}
    assert len(service.local.calls.of("PutObject")) == before


def test_its_own_calls_keep_what_a_header_says(service: Service) -> None:
    """Metadata keeps its underscores and a key its odd characters, as over HTTP."""
    own = service.local._clients.client("s3", "us-east-1")
    where = {"Bucket": service.local.bucket, "Key": "odd/ä +%2F?&#/~.txt"}
    own.put_object(**where, Body=io.BytesIO(b"content"), Metadata={"with_underscore": "1", "with-dash": "2"})
    for client in (own, service.s3):
        got = client.get_object(**where)
        with got["Body"] as body:
            assert body.read() == b"content"
        assert got["Metadata"] == {"with_underscore": "1", "with-dash": "2"}
        assert client.head_object(**where)["ContentLength"] == len(b"content")

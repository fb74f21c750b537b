"""What the operator checks before it asks for a job: logs, locations that do not respond, and exact names."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, Literal, cast

import pytest
from airflow.providers.amazon.aws.hooks.s3 import S3Hook
from botocore.config import Config

from airflow_bedrock.customization.job import Job
from airflow_bedrock.customization.metrics import TRAINING_METRICS
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.jobs import s3 as looks
from airflow_bedrock.jobs.s3 import LocationError, describe_data, read_losses
from airflow_bedrock.local import LocalBedrock
from airflow_bedrock.operators import BedrockModelCustomizationOperator
from scripts.training_data import record
from tests.kms_keys import make_key

ONE_ATTEMPT = {"retries": {"total_max_attempts": 1}}


@pytest.fixture(scope="module")
def local(local_bedrock_module: LocalBedrock) -> LocalBedrock:
    return local_bedrock_module


@pytest.fixture(autouse=True)
def no_faults_are_left(local: LocalBedrock) -> Iterator[None]:
    yield
    local.faults.clear()


@pytest.fixture
def folder(local: LocalBedrock) -> str:
    return f"s3://{local.bucket}/{uuid.uuid4().hex}"


def put(local: LocalBedrock, uri: str, text: str) -> None:
    client = local.client("s3")
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    client.put_object(Bucket=bucket, Key=key, Body=text.encode())
    client.close()


def log(number: int) -> str:
    content = [{"text": f"number {number}"}]
    return json.dumps(
        {
            "input": {"inputBodyJson": {"messages": [{"role": "user", "content": content}]}},
            "output": {
                "outputBodyJson": {"output": {"message": {"content": [{"text": "odd" if number % 2 else "even"}]}}}
            },
        }
    )


def logs(first: int, count: int = 60) -> str:
    return "".join(f"{log(number)}\n" for number in range(first, first + count))


def operator(local: LocalBedrock, folder: str, **more: Any) -> BedrockModelCustomizationOperator:
    arguments: dict[str, Any] = {
        "task_id": "customize",
        "job_name": folder.rpartition("/")[2],
        "custom_model_name": folder.rpartition("/")[2],
        "role_arn": local.role_arn,
        "base_model_id": "amazon.nova-micro-v1:0:128k",
        "output_data_uri": f"{folder}/output",
        "waiter_delay": 0.2,
        "botocore_config": ONE_ATTEMPT,
    }
    return BedrockModelCustomizationOperator(**{**arguments, **more})


def on_logs(local: LocalBedrock, folder: str, **more: Any) -> BedrockModelCustomizationOperator:
    source = {"usePromptResponse": True, "invocationLogSource": {"s3Uri": f"{folder}/logs/"}}
    teacher = {"teacherModelConfig": {"teacherModelIdentifier": "amazon.nova-pro-v1:0"}}
    return operator(
        local,
        folder,
        customization_type="DISTILLATION",
        training_data_config={"invocationLogsConfig": source},
        customization_config={"distillationConfig": teacher},
        **more,
    )


def context(run_id: str = "run-1", *, try_number: int = 1) -> Any:
    pushed: dict[str, Any] = {}
    ti = SimpleNamespace(
        dag_id="dag",
        task_id="customize",
        run_id=run_id,
        map_index=-1,
        max_tries=1,
        try_number=try_number,
        task=SimpleNamespace(retries=1),
        xcom_push=lambda key, value: pushed.__setitem__(key, value),
    )
    return {"ti": ti, "dag_run": SimpleNamespace(), "outlet_events": {}}


def jobs(local: LocalBedrock, folder: str) -> list[str]:
    client = local.client("bedrock")
    listed = client.list_model_customization_jobs(nameContains=folder.rpartition("/")[2])
    client.close()
    return [job["status"] for job in listed["modelCustomizationJobSummaries"]]


def test_a_job_learns_from_invocation_logs(local: LocalBedrock, folder: str) -> None:
    """Their place is a prefix; new logs are new data, and the same ones the same job."""
    put(local, f"{folder}/logs/1.jsonl", logs(0))
    put(local, f"{folder}/logs/2.jsonl", logs(100))
    first = on_logs(local, folder).execute(context())
    assert on_logs(local, folder).execute(context()) == first
    put(local, f"{folder}/logs/2.jsonl", logs(200))
    assert on_logs(local, folder).execute(context(try_number=2)) == first  # an automatic retry, whatever differs
    assert on_logs(local, folder).execute(context("run-2")) != first
    assert jobs(local, folder) == ["Completed", "Completed"]


def test_no_logs_no_job(local: LocalBedrock, folder: str) -> None:
    """Nothing lies below the prefix."""
    with pytest.raises(BedrockFatalError, match=f"There is no object under {folder}/logs/.*spent nothing"):
        on_logs(local, folder).execute(context())
    assert jobs(local, folder) == []


@pytest.mark.skipif(
    "AIRFLOW_BEDROCK_LOCAL" in os.environ, reason="S3's page size is set in the process of Local Bedrock"
)
def test_all_pages_of_a_folder_count(local: LocalBedrock, folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change on the last page is a change; a page is two objects here, and thousand on AWS."""
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "2")
    for number in range(5):
        put(local, f"{folder}/logs/{number}", "a")
    calls = len(local.calls.of("ListObjectsV2"))
    uri = f"{folder}/logs/"
    [before] = describe_data(S3Hook(), [uri], folders=[uri])
    assert len(local.calls.of("ListObjectsV2")) - calls == 3
    put(local, f"{folder}/logs/4", "b")
    [after] = describe_data(S3Hook(), [uri], folders=[uri])
    assert before["objects"] == after["objects"] == 5
    assert before["digest"] != after["digest"]


def test_one_log_is_described_as_an_object(local: LocalBedrock, folder: str) -> None:
    """As before, so that no name changes that was derived from it; a folder may also be given without its slash."""
    put(local, f"{folder}/logs/1.jsonl", logs(0))
    uri = f"{folder}/logs/1.jsonl"
    assert describe_data(S3Hook(), [uri], folders=[uri]) == describe_data(S3Hook(), [uri])
    [found] = describe_data(S3Hook(), [f"{folder}/logs"], folders=[f"{folder}/logs"])
    assert found["objects"] == 1


def done(folder: str) -> Job:
    """A completed job that has written below the folder."""
    return Job(arn="arn:aws:bedrock:r:1:j/1", name="job", status="Completed", output_data_uri=f"{folder}/output")


DENIED: list[tuple[str, str, str]] = [
    ("train.jsonl", "HeadObject", "403"),
    ("train.jsonl", "GetObject", "AccessDenied"),
    ("logs/", "ListObjectsV2", "AccessDenied"),
]


@pytest.mark.parametrize(("name", "operation", "code"), DENIED)
def test_a_read_that_is_denied_once_changes_no_identity(
    local: LocalBedrock, folder: str, name: str, operation: str, code: str
) -> None:
    """It fails instead, and may be tried again; for good it needs a word of the user."""
    put(local, f"{folder}/train.jsonl", record("which colour?", "red") * 20)
    put(local, f"{folder}/logs/1.jsonl", logs(0))
    uri = f"{folder}/{name}"
    before = describe_data(S3Hook(), [uri], folders=[f"{folder}/logs/"])
    local.faults.fail(operation, code, status=403, service="s3")
    with pytest.raises(BedrockError, match=r"Allow s3:GetObject.*content=.ignore.*Nothing was spent") as caught:
        describe_data(S3Hook(), [uri], folders=[f"{folder}/logs/"])
    assert not isinstance(caught.value, BedrockFatalError)
    assert describe_data(S3Hook(), [uri], folders=[f"{folder}/logs/"]) == before


def upload(local: LocalBedrock, uri: str, content: bytes, *, parts: int = 0, **more: Any) -> None:
    """Put an object, whole or in so many parts."""
    client = local.client("s3")
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not parts:
        client.put_object(Bucket=bucket, Key=key, Body=content, **more)
        client.close()
        return
    upload_id = client.create_multipart_upload(Bucket=bucket, Key=key, **more)["UploadId"]
    size = -(-len(content) // parts)
    etags = [
        client.upload_part(
            Bucket=bucket, Key=key, UploadId=upload_id, PartNumber=n + 1, Body=content[n * size : (n + 1) * size]
        )["ETag"]
        for n in range(parts)
    ]
    done = [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(etags, start=1)]
    client.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": done})
    client.close()


def test_the_same_bytes_are_the_same_data_however_they_were_uploaded(local: LocalBedrock, folder: str) -> None:
    """Again, with another checksum, in parts, encrypted, into a bucket with versions."""
    client = local.client("s3")
    bucket = f"versioned-{uuid.uuid4().hex}"
    client.create_bucket(Bucket=bucket)
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    client.close()
    content = bytes(range(256)) * 40 * 1024  # 10 MB: two parts
    uri, described = f"s3://{bucket}/logs/train.jsonl", []
    for more in (
        {},
        {},
        {"ChecksumAlgorithm": "SHA256"},
        {"parts": 2},
        {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/mine"},
    ):
        upload(local, uri, content, **more)
        described.append(describe_data(S3Hook(), [uri, f"s3://{bucket}/logs/"], folders=[f"s3://{bucket}/logs/"]))
    assert all(one == described[0] for one in described)
    upload(local, uri, content[:-1] + b"x")
    [other, of_folder] = describe_data(S3Hook(), [uri, f"s3://{bucket}/logs/"], folders=[f"s3://{bucket}/logs/"])
    assert other["size"] == len(content)
    assert other["content"] != described[0][0]["content"]
    assert of_folder["digest"] != described[0][1]["digest"]


def test_what_is_too_large_to_read_is_identified_by_its_checksum(
    local: LocalBedrock, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the checksum of the full object, or else by the ETag; nothing is read."""
    monkeypatch.setattr(looks, "READ_LIMIT", 4)
    uri, found, calls = f"{folder}/a/train.jsonl", [], len(local.calls.of("GetObject"))
    uploads: list[tuple[bytes, dict[str, Any]]] = [
        (b"12345", {}),
        (b"12345", {"ChecksumAlgorithm": "SHA256"}),
        (b"54321", {}),
    ]
    for content, more in uploads:
        upload(local, uri, content, **more)
        found += describe_data(S3Hook(), [uri])
        found += describe_data(S3Hook(), [f"{folder}/a/"], folders=[f"{folder}/a/"])
    assert found[0]["content"] != found[4]["content"]
    assert found[1] == found[3] != found[5]
    assert len(local.calls.of("GetObject")) == calls
    heads: list[dict[str, Any]] = [
        {"ChecksumType": "FULL_OBJECT", "ChecksumCRC32": "a", "ChecksumCRC64NVME": "b"},
        {"ChecksumType": "FULL_OBJECT", "ChecksumCRC32": "a"},
        {"ChecksumType": "COMPOSITE", "ChecksumSHA256": "c"},
        {},
    ]
    known = [looks._content(cast("Any", None), "", "", {"ContentLength": 5, "ETag": "e", **head}) for head in heads]
    assert known == ["CRC64NVME:b", "CRC32:a", "ETag:e", "ETag:e"]


@pytest.mark.parametrize(
    ("operation", "code", "status"),
    [
        ("ListObjectsV2", "InternalError", 500),
        ("ListObjectsV2", "AccessDenied", 403),
        ("GetObject", "NoSuchKey", 404),
        ("GetObject", "InvalidObjectState", 403),
    ],
)
def test_unreadable_metrics_do_not_fail_a_completed_job(
    local: LocalBedrock, folder: str, operation: str, code: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """It is paid for: the log says what could not be read."""
    put(local, f"{folder}/output/model-customization-job-1/{TRAINING_METRICS}", "epoch_number,training_loss\n1,2.0\n")
    local.faults.fail(operation, code, status=status, service="s3", times=None)
    assert read_losses(S3Hook(config=Config(retries={"total_max_attempts": 1})), done(folder))["losses_by_epoch"] == []
    assert f"Could not read the metrics files in {folder}/output/" in caplog.text


@pytest.mark.parametrize(
    ("content", "expected"),
    [(b"\xef\xbb\xbfepoch_number,training_loss\n1.0,2.0\n1,\n", [2.0]), (b"\xff\xfe\x00nothing", [])],
)
def test_unusual_metrics_files_fail_nothing(
    local: LocalBedrock, folder: str, content: bytes, expected: list[float]
) -> None:
    """Neither a byte order mark, nor an empty cell, nor bytes that are no text."""
    upload(local, f"{folder}/output/model-customization-job-1/{TRAINING_METRICS}", content)
    assert [epoch["training_loss"] for epoch in read_losses(S3Hook(), done(folder))["losses_by_epoch"]] == expected


def test_metrics_of_any_size_fail_nothing(
    local: LocalBedrock, folder: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A file that would fill the worker's memory is left alone."""
    monkeypatch.setattr(looks, "_METRICS_LIMIT", 10)
    upload(
        local, f"{folder}/output/model-customization-job-1/{TRAINING_METRICS}", b"epoch_number,training_loss\n1,2.0\n"
    )
    assert read_losses(S3Hook(), done(folder))["losses_by_epoch"] == []
    assert "larger than 10 bytes" in caplog.text


def test_a_bucket_is_no_object(local: LocalBedrock, folder: str) -> None:
    """S3's own error would be that of a wrong parameter."""
    task = operator(local, folder, training_data_uri=f"s3://{local.bucket}")
    with pytest.raises(BedrockFatalError, match=f"s3://{local.bucket} names a bucket, but no object.*spent nothing"):
        task.execute(context())
    with pytest.raises(LocationError):
        describe_data(S3Hook(), [f"s3://{local.bucket}/"])


@pytest.mark.parametrize(
    ("service", "operation", "code", "status", "fatal"),
    [
        ("s3", "HeadObject", "InternalError", 500, False),
        ("s3", "HeadBucket", "InternalError", 500, False),
        ("bedrock", "GetModelCustomizationJob", "ThrottlingException", 429, False),
        ("bedrock", "GetModelCustomizationJob", "AccessDeniedException", 403, True),
    ],
)
def test_an_error_before_the_request_says_that_nothing_was_spent(
    local: LocalBedrock,
    folder: str,
    service: Literal["bedrock", "s3"],
    operation: str,
    code: str,
    status: int,
    fatal: bool,
) -> None:
    """A retry may help, but not where the call is not allowed."""
    put(local, f"{folder}/train.jsonl", record("which colour?", "red") * 20)
    local.faults.fail(operation, code, status=status, service=service, times=None)
    with pytest.raises(BedrockError, match="This try made no job and spent nothing") as caught:
        operator(local, folder, training_data_uri=f"{folder}/train.jsonl").execute(context())
    assert isinstance(caught.value, BedrockFatalError) == fatal
    assert jobs(local, folder) == []


@pytest.mark.parametrize("exact", [False, True])
def test_a_temporary_failure_is_retried_only_under_another_name(local: LocalBedrock, folder: str, exact: bool) -> None:
    """An exact name is used up: no retry can help, and the error does not promise it."""
    put(local, f"{folder}/train.jsonl", record("which colour?", "red") * 20)
    local.faults.fail_job("training", "Internal server error")
    data = {"training_data_uri": f"{folder}/train.jsonl"}
    with pytest.raises(BedrockError, match="Internal server error") as caught:
        operator(local, folder, ensure_unique_job_name=not exact, **data).execute(context())
    assert isinstance(caught.value, BedrockFatalError) == exact
    assert ("A retry of this task makes a new job" in str(caught.value)) != exact
    assert "change job_name first" in str(caught.value)


def test_a_mapping_that_a_template_renders_is_part_of_the_request(local: LocalBedrock, folder: str) -> None:
    """As it is documented: the model gets the key."""
    put(local, f"{folder}/train.jsonl", record("which colour?", "red") * 20)
    make_key(local, "alias/customize")
    template = "{{ {'customModelKmsKeyId': 'alias/' ~ task.task_id, 'jobTags': [{'key': 'a', 'value': 'b'}]} }}"
    task = operator(
        local,
        folder,
        training_data_uri=f"{folder}/train.jsonl",
        customization_job_kwargs=template,
        wait_for_completion=False,
    )
    task.render_template_fields({"task": task})
    task.execute(context())
    sent = local.calls.of("CreateModelCustomizationJob")[-1].parameters
    assert sent["customModelKmsKeyId"] == "alias/customize"
    assert {"key": "a", "value": "b"} in sent["jobTags"]

"""The dataset preparation operator and the storage on S3, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import boto3
import pytest
from airflow.sdk import Context
from botocore.config import Config

from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.local import LocalBedrock
from airflow_bedrock.operators import BedrockDatasetCheckOperator
from airflow_bedrock.operators.dataset import BedrockDatasetPreparationOperator
from airflow_bedrock.storage import Storage
from tests.live.postgres import postgres

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.fixture(scope="module")
def local(local_bedrock_module: LocalBedrock) -> Iterator[LocalBedrock]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW_CONN_AWS_LOCAL", local_bedrock_module.environment()["AIRFLOW_CONN_AWS_DEFAULT"])
        yield local_bedrock_module


@pytest.fixture
def s3(local: LocalBedrock) -> Iterator[S3Client]:
    client: S3Client = local.client("s3")
    yield client
    client.close()


@pytest.fixture
def bucket(s3: S3Client) -> str:
    name = f"bucket-{uuid4()}"
    s3.create_bucket(Bucket=name)
    return name


def put_source(s3: S3Client, bucket: str, key: str, first: int, last: int) -> None:
    lines = (f'{{"prompt":"question {n}","completion":"{n % 2}"}}\n' for n in range(first, last))
    s3.put_object(Bucket=bucket, Key=key, Body="".join(lines).encode())


def versions(s3: S3Client, bucket: str, prefix: str) -> dict[str, tuple[str, object]]:
    listed = s3.list_objects_v2(Bucket=bucket, Prefix=prefix)["Contents"]
    return {item["Key"]: (item["ETag"], item["LastModified"]) for item in listed}


def test_prepare_on_s3(s3: S3Client, bucket: str) -> None:
    """Every .jsonl under a prefix is read, the files are written, and a second run leaves them as they are."""
    put_source(s3, bucket, "in/a.jsonl", 0, 60)
    put_source(s3, bucket, "in/b.jsonl", 50, 120)
    operator = BedrockDatasetPreparationOperator(
        task_id="prepare",
        source_uri=f"s3://{bucket}/in/",
        output_uri=f"s3://{bucket}/out",
        base_model_id="amazon.nova-micro-v1:0:128k",
        aws_conn_id="aws_local",
    )
    result = operator.execute(Context())
    assert (result["counts"]["read"], result["counts"]["duplicates"]) == (130, 10)
    train = s3.get_object(Bucket=bucket, Key="out/train.jsonl")["Body"].read()
    assert len(train.splitlines()) == result["counts"]["train"]
    before = versions(s3, bucket, "out/")
    assert set(before) == {
        f"out/{name}" for name in ("train.jsonl", "validation.jsonl", "test.jsonl", "report.json", "manifest.json")
    }

    assert operator.execute(Context()) == result
    assert versions(s3, bucket, "out/") == before

    s3.put_object(Bucket=bucket, Key="out/train.jsonl", Body=b"x" * len(train))
    assert operator.execute(Context()) == result
    assert s3.get_object(Bucket=bucket, Key="out/train.jsonl")["Body"].read() == train


def test_what_is_written_is_encrypted_with_the_users_key(s3: S3Client, bucket: str) -> None:
    """Even what was already there, without a key or with another one; and then it is left unchanged."""
    put_source(s3, bucket, "in.jsonl", 0, 60)

    def prepare(key: str | None) -> dict[str, tuple[str | None, str | None, object]]:
        operator = BedrockDatasetPreparationOperator(
            task_id="prepare",
            source_uri=f"s3://{bucket}/in.jsonl",
            output_uri=f"s3://{bucket}/out",
            base_model_id="amazon.nova-micro-v1:0:128k",
            aws_conn_id="aws_local",
            kms_key_id=key and "{{ key }}",
        )
        operator.render_template_fields({"key": key})  # type: ignore[typeddict-unknown-key]  # what the field uses
        operator.execute(Context())
        heads = {name: s3.head_object(Bucket=bucket, Key=name) for name in versions(s3, bucket, "out/")}
        return {
            name: (head.get("ServerSideEncryption"), head.get("SSEKMSKeyId"), head["LastModified"])
            for name, head in heads.items()
        }

    assert {mode for mode, *_ in prepare(None).values()}.isdisjoint({"aws:kms"})
    for key in ("arn:aws-us-gov:kms:us-gov-west-1:123456789012:key/1", "alias/mine", "key/2"):
        first = prepare(key)
        assert len(first) == 5
        assert all(mode == "aws:kms" for mode, *_ in first.values())
        assert prepare(key) == first


@pytest.mark.parametrize("media_sizes", [True, False])
def test_media_are_checked_on_request(s3: S3Client, bucket: str, tmp_path: Path, *, media_sizes: bool) -> None:
    """An image that is not there is a problem of its record."""
    image = {"image": {"format": "png", "source": {"s3Location": {"uri": f"s3://{bucket}/gone.png"}}}}
    messages = [{"role": "user", "content": [{"text": "What?"}, image]}]
    messages.append({"role": "assistant", "content": [{"text": "A cat."}]})
    file = tmp_path / "train.jsonl"
    file.write_text(json.dumps({"schemaVersion": "bedrock-conversation-2024", "messages": messages}))
    found = BedrockDatasetCheckOperator(
        task_id="check",
        training_data_uri=str(file),
        base_model_id="amazon.nova-lite-v1:0",
        media_sizes=media_sizes,
        fail_on_problems=False,
        aws_conn_id="aws_local",
    ).execute(Context())
    assert ("media-access" in found["problems"]) == media_sizes


def test_missing_source(s3: S3Client, bucket: str) -> None:
    """What does not exist fails for good."""
    storage = Storage(lambda: s3)
    with pytest.raises(BedrockFatalError, match="does not exist"), storage.read(f"s3://{bucket}/none.jsonl"):
        pass
    with pytest.raises(BedrockFatalError, match=f"there is no bucket {bucket}-none"):
        storage.files(f"s3://{bucket}-none/")
    with pytest.raises(BedrockFatalError, match="no file"):
        storage.files(f"s3://{bucket}/none/")


def test_storage_that_does_not_answer() -> None:
    """A server that cannot be reached is worth another try."""
    client = boto3.client(
        "s3",
        region_name="us-east-1",
        endpoint_url="http://127.0.0.1:9",
        aws_access_key_id="id",
        aws_secret_access_key="key",
        config=Config(retries={"total_max_attempts": 1}),
    )
    with pytest.raises(BedrockError) as caught, Storage(lambda: client).read("s3://bucket/key"):
        pass
    assert not isinstance(caught.value, BedrockFatalError)
    client.close()


def test_rows_of_postgresql_are_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a cursor of the server, which does not describe itself before the first row is fetched."""
    psycopg2: Any = pytest.importorskip("psycopg2")
    with postgres() as url:

        class Hook:
            def get_conn(self) -> Any:
                return psycopg2.connect(url.replace("+psycopg2", ""))

        monkeypatch.setattr("airflow_bedrock.compat.BaseHook.get_hook", lambda conn_id: Hook())
        columns = "'q ' || i AS prompt, i % 2 AS completion, now() AS at, 1.5 AS n"
        result = BedrockDatasetPreparationOperator(
            task_id="prepare",
            source_conn_id="support",
            source_sql=f"SELECT {columns} FROM generate_series(1, 2500) i",  # noqa: S608 - no input of anybody's
            output_uri=str(tmp_path / "out"),
            base_model_id="amazon.nova-micro-v1:0",
            time_field="at",
            test_after="2001-01-01T00:00:00+01:00",
            test_fraction=0,
            part=True,
        ).execute(Context())
    assert (result["counts"]["read"], result["counts"]["test"]) == (2500, 2500)

"""State between runs, within one process: what was under way goes on, and what was promised is remembered."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from airflow_bedrock.local import LocalBedrock

if TYPE_CHECKING:
    from tests.integration.local.conftest import Service


def test_what_was_under_way_goes_on(service: Service, tmp_path: Path) -> None:
    """After a restart a running job begins again and ends, and one that was stopping is stopped."""
    with again(service, tmp_path, job_seconds=60) as run:
        running, stopping = run.create(), run.create()
        run.bedrock.stop_model_customization_job(jobIdentifier=stopping)
    with again(service, tmp_path, job_seconds=0.3) as run:
        assert run.job(stopping)["status"] == "Stopped"
        job = run.job(running)
        assert job["status"] == "Completed"
    with again(service, tmp_path, job_seconds=60) as run:
        same = run.job(running)
        assert same["creationTime"] == job["creationTime"]
        assert same["trainingMetrics"] == job["trainingMetrics"]


def test_deployments_go_on(service: Service, tmp_path: Path) -> None:
    """A deployment that was being created or updated becomes ready after a restart, and answers."""
    question, answer = service.questions(1)[0]
    with again(service, tmp_path, deployment_seconds=0.2) as run:
        model, other = run.model(), run.model()
        ready = run.deploy(model)
        run.deployment(ready)
    with again(service, tmp_path, deployment_seconds=60) as run:
        creating = run.deploy(model)
        run.bedrock.update_custom_model_deployment(modelArn=other, customModelDeploymentIdentifier=ready)
    with again(service, tmp_path, deployment_seconds=0.2) as run:
        assert run.deployment(creating)["status"] == "Active"
        assert run.text(creating, question) == answer
        while (updated := run.deployment(ready))["updateDetails"]["updateStatus"] == "Updating":
            pass
        assert updated["modelArn"] == other


def test_token_is_remembered(service: Service, tmp_path: Path) -> None:
    """A request that is sent again after a restart, with its token, makes no second job."""
    request = service.request(clientRequestToken=service.name("token"))
    with again(service, tmp_path) as run:
        arn = run.bedrock.create_model_customization_job(**request)["jobArn"]
    with again(service, tmp_path) as run:
        assert run.bedrock.create_model_customization_job(**request)["jobArn"] == arn


def test_objects_keep_their_etags(service: Service, tmp_path: Path) -> None:
    """Objects come back with ETag, type and metadata, a multipart upload and odd keys among them."""
    bucket, five_megabytes = service.name("bucket"), 5 << 20
    with again(service, tmp_path) as run:
        run.s3.create_bucket(Bucket=bucket)
        run.s3.put_object(Bucket=bucket, Key="a", Body=b"1", ContentType="text/plain", Metadata={"made": "by hand"})
        for key in ("a/b", "c//d", "folder/"):
            run.s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
        upload = {"Bucket": bucket, "Key": "big"}
        upload["UploadId"] = run.s3.create_multipart_upload(**upload)["UploadId"]
        parts = [
            {"PartNumber": number, "ETag": run.s3.upload_part(**upload, PartNumber=number, Body=part)["ETag"]}
            for number, part in enumerate((b"x" * five_megabytes, b"the rest"), start=1)
        ]
        run.s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
        before = etags(run, bucket)
    # moto's S3 outlives the service within one process: only what is put back may be seen.
    empty(service, bucket)
    with again(service, tmp_path) as run:
        assert etags(run, bucket) == before
        head = run.s3.head_object(Bucket=bucket, Key="a")
        assert (head["ContentType"], head["Metadata"]) == ("text/plain", {"made": "by hand"})
        run.s3.delete_object(Bucket=bucket, Key="a")
        run.s3.delete_object(Bucket=bucket, Key="big")
    assert not (tmp_path / "s3" / bucket).exists()
    empty(service, bucket)
    with again(service, tmp_path) as run:
        assert set(etags(run, bucket)) == {"a/b", "c//d", "folder/"}


def test_a_file_stands_where_a_folder_stood(service: Service, tmp_path: Path) -> None:
    """``a/b`` is deleted, and ``a`` is put; then the other way round."""
    bucket, folder = service.name("bucket"), tmp_path / "s3"
    with again(service, tmp_path) as run:
        run.s3.create_bucket(Bucket=bucket)
        for old, new in (("x", "a/b"), ("a/b", "a"), ("a", "a/b")):
            run.s3.delete_object(Bucket=bucket, Key=old)
            run.s3.put_object(Bucket=bucket, Key=new, Body=new.encode())
            files = [path for path in (folder / bucket).rglob("*") if path.is_file()]
            assert {path.relative_to(folder / bucket).as_posix(): path.read_text() for path in files} == {new: new}


def test_reset_is_kept_too(service: Service, tmp_path: Path) -> None:
    """After a reset nothing is there but bucket and role, and nothing comes back at the next start."""
    with again(service, tmp_path) as run:
        run.model()
        run.s3.create_bucket(Bucket="another")
        run.s3.put_object(Bucket="another", Key="key", Body=b"x")
        run.local.faults.throttle("InvokeModel")
        run.local.reset()
        assert run.bedrock.list_model_customization_jobs()["modelCustomizationJobSummaries"] == []
        assert [one["Name"] for one in run.s3.list_buckets()["Buckets"]] == [run.local.bucket]
        assert len(run.local.faults) == 0
    assert not list(tmp_path.glob("models/*"))
    assert not (tmp_path / "s3" / "another").exists()
    with again(service, tmp_path) as run:
        assert run.bedrock.list_custom_models()["modelSummaries"] == []
        assert [one["Name"] for one in run.s3.list_buckets()["Buckets"]] == [run.local.bucket]


@contextmanager
def again(
    service: Service, folder: Path, job_seconds: float = 0.2, deployment_seconds: float = 0.2
) -> Iterator[Service]:
    """One run with this state directory."""
    with LocalBedrock(state=folder, job_seconds=job_seconds, deployment_seconds=deployment_seconds) as local:
        run = type(service)(local)
        try:
            yield run
        finally:
            run.close()


def etags(run: Service, bucket: str) -> dict[str, str]:
    return {one["Key"]: one["ETag"] for one in run.s3.list_objects_v2(Bucket=bucket).get("Contents", [])}


def empty(run: Service, bucket: str) -> None:
    for key in etags(run, bucket):
        run.s3.delete_object(Bucket=bucket, Key=key)

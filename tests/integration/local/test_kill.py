"""SIGKILL at any moment: the command's process is killed, and the next one has all that was acknowledged."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

from scripts.until import until

if TYPE_CHECKING:
    from tests.integration.local.conftest import Service

PROGRAM = Path(sys.executable).parent / "airflow-bedrock"
TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Principal": {"Service": "bedrock.amazonaws.com"}, "Action": "sts:AssumeRole"}
        ],
    }
)
READ_AND_WRITE = json.dumps(
    {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]}
)


class Run:
    """One run of the command, and clients of it."""

    def __init__(self, process: subprocess.Popen[str], exports: dict[str, str]) -> None:
        self.process = process
        self.endpoint_url = exports["AWS_ENDPOINT_URL"]
        self.bucket = exports["AIRFLOW_VAR_BEDROCK_BUCKET"]
        session: Any = boto3.session.Session("local", "local", region_name="us-east-1")
        config = Config(s3={"addressing_style": "path"})
        self.bedrock, self.runtime, self.s3, self.iam = (
            session.client(name, endpoint_url=self.endpoint_url, config=config)
            for name in ("bedrock", "bedrock-runtime", "s3", "iam")
        )

    def close(self) -> None:
        for client in (self.bedrock, self.runtime, self.s3, self.iam):
            client.close()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)

    def job(self, identifier: str) -> dict[str, Any]:
        job: dict[str, Any] = dict(self.bedrock.get_model_customization_job(jobIdentifier=identifier))
        del job["ResponseMetadata"]
        return job

    def local(self, page: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(f"{self.endpoint_url}/_local/{page}", data) as answer:  # noqa: S310  # loopback HTTP
            return json.load(answer)


@contextmanager
def running(state: Path, *arguments: str) -> Iterator[Run]:
    """Run the command with a state directory; however the test ends, the process is gone afterwards."""
    process = subprocess.Popen(
        [PROGRAM, "local", "--port", "0", "--state", state, *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    try:
        exports = {}
        for line in process.stdout:
            if not line.startswith("export "):
                break
            name, _, value = shlex.split(line)[1].partition("=")
            exports[name] = value
        run = Run(process, exports)
        yield run
        run.close()
    finally:
        process.kill()
        process.wait(10)
        process.stdout.close()


def request(run: Run, name: str, role: str) -> dict[str, Any]:
    return {
        "jobName": name,
        "customModelName": name,
        "roleArn": role,
        "baseModelIdentifier": "amazon.nova-micro-v1:0:128k",
        "trainingDataConfig": {"s3Uri": f"s3://{run.bucket}/train.jsonl"},
        "outputDataConfig": {"s3Uri": f"s3://{run.bucket}/out/"},
    }


def test_killed_in_the_middle_of_a_job(service: Service, tmp_path: Path) -> None:
    """A job goes on in the phase and at the step where it stood; objects, roles and models are as they were."""
    state, manual = tmp_path / "state", ("--clock", "manual", "--job-seconds", "1000")
    question, answer = service.questions(1)[0]
    with running(state, *manual) as run:
        role = run.iam.create_role(RoleName="mine", AssumeRolePolicyDocument=TRUST, Path="/team/")["Role"]["Arn"]
        run.iam.put_role_policy(RoleName="mine", PolicyName="inline", PolicyDocument=READ_AND_WRITE)
        policy = run.iam.create_policy(PolicyName="managed", PolicyDocument=READ_AND_WRITE)["Policy"]["Arn"]
        run.iam.attach_role_policy(RoleName="mine", PolicyArn=policy)
        put = {"Bucket": run.bucket, "Key": "train.jsonl", "Body": service.dataset(40).encode()}
        etag = run.s3.put_object(**put, Metadata={"made": "by hand"}, ContentEncoding="identity")["ETag"]
        done = run.bedrock.create_model_customization_job(**request(run, "done", role))["jobArn"]
        run.local("clock", {"advance": 1000})
        completed = run.job(done)
        assert completed["status"] == "Completed"
        half = run.bedrock.create_model_customization_job(**request(run, "half", role))["jobArn"]
        run.local("clock", {"advance": 600})
        before, (_, progress) = run.job(half), run.local("jobs")
        assert before["statusDetails"]["trainingDetails"]["status"] == "InProgress"
        run.kill()

    with running(state, *manual) as run:
        assert run.job(done) == completed
        assert run.job(half) == before
        run.local("clock", {"advance": 0})
        assert run.local("jobs")[1] == progress
        head = run.s3.head_object(Bucket=run.bucket, Key="train.jsonl")
        assert (head["ETag"], head["Metadata"], head["ContentEncoding"]) == (etag, {"made": "by hand"}, "identity")
        kept = run.iam.get_role(RoleName="mine")["Role"]
        assert (kept["Arn"], kept["AssumeRolePolicyDocument"]) == (role, json.loads(TRUST))
        assert run.iam.list_role_policies(RoleName="mine")["PolicyNames"] == ["inline"]
        attached = run.iam.list_attached_role_policies(RoleName="mine")["AttachedPolicies"]
        assert attached == [{"PolicyName": "managed", "PolicyArn": policy}]
        run.local("clock", {"advance": 399})
        assert run.job(half)["status"] == "InProgress"
        run.local("clock", {"advance": 1})
        job = run.job(half)
        assert job["status"] == "Completed"
        assert (job["endTime"] - job["creationTime"]).total_seconds() == pytest.approx(1000, abs=0.01)
        # The same data gives the same model, whether or not its training was interrupted.
        assert job["trainingMetrics"] == completed["trainingMetrics"]
        deployment = run.bedrock.create_custom_model_deployment(
            modelDeploymentName="half", modelArn=job["outputModelArn"]
        )["customModelDeploymentArn"]
        run.local("clock", {"advance": 10})
        run.kill()

    with running(state, *manual) as run:
        messages = [{"role": "user", "content": [{"text": question}]}]
        said = run.runtime.converse(modelId=deployment, messages=messages)
        assert said["output"]["message"]["content"] == [{"text": answer}]


def test_killed_again_and_again(service: Service, tmp_path: Path) -> None:
    """With real time and a kill every now and then, nothing that was answered is lost, and the jobs end."""
    state, quotas = tmp_path / "state", ("--quota", "scheduled_jobs=100", "--quota", "training_jobs=5")
    arns: list[str] = []
    etags: dict[str, str] = {}
    for round_ in range(3):
        with running(state, "--job-seconds", "2", *quotas) as run:
            role = "arn:aws:iam::123456789012:role/AirflowBedrockLocal"
            if not round_:
                run.s3.put_object(Bucket=run.bucket, Key="train.jsonl", Body=service.dataset(20).encode())
            kept = run.bedrock.list_model_customization_jobs(sortOrder="Ascending")["modelCustomizationJobSummaries"]
            assert [job["jobArn"] for job in kept] == arns
            listed = run.s3.list_objects_v2(Bucket=run.bucket, Prefix="kept/").get("Contents", [])
            assert {one["Key"]: one["ETag"] for one in listed} == etags
            for number in range(4):
                name = f"job-{round_}-{number}"
                arns.append(run.bedrock.create_model_customization_job(**request(run, name, role))["jobArn"])
                put = {"Bucket": run.bucket, "Key": f"kept/{name}", "Body": name.encode()}
                etags[f"kept/{name}"] = run.s3.put_object(**put)["ETag"]
            run.kill()
    with running(state, "--job-seconds", "2", *quotas) as run:
        until(lambda: {run.job(arn)["status"] for arn in arns} == {"Completed"}, "all jobs complete")
        models = {run.job(arn)["outputModelArn"] for arn in arns}
        run.kill()
    assert len(models) == len(arns)
    assert len(list((state / "models").iterdir())) == len(arns)


def test_the_time_between_two_runs_does_not_count(service: Service, tmp_path: Path) -> None:
    """With real time, a job that was partly done when its service was killed takes longer by the pause."""
    state, arguments = tmp_path / "state", ("--job-seconds", "8")
    role = "arn:aws:iam::123456789012:role/AirflowBedrockLocal"
    with running(state, *arguments) as run:
        run.s3.put_object(Bucket=run.bucket, Key="train.jsonl", Body=service.dataset(20).encode())
        arn = run.bedrock.create_model_customization_job(**request(run, "half", role))["jobArn"]
        time.sleep(3)
        run.kill()
    time.sleep(4)
    with running(state, *arguments) as run:
        until(lambda: run.job(arn)["status"] == "Completed", "the job completes")
        job = run.job(arn)
        run.kill()
    assert (job["endTime"] - job["creationTime"]).total_seconds() >= 8 + 4


def test_a_change_is_kept_before_it_is_acknowledged(service: Service, tmp_path: Path) -> None:
    """A kill right after a response loses nothing, although the state is also written twice a second."""
    role = "arn:aws:iam::123456789012:role/AirflowBedrockLocal"
    with running(tmp_path, "--job-seconds", "0") as run:
        run.s3.put_object(Bucket=run.bucket, Key="train.jsonl", Body=service.dataset(20).encode())
        arn = run.bedrock.create_model_customization_job(**request(run, "tagged", role))["jobArn"]
        until(lambda: run.job(arn)["status"] == "Completed", "the job completes")
        run.bedrock.tag_resource(resourceARN=arn, tags=[{"key": "team", "value": "support"}])
        run.kill()
    with running(tmp_path) as run:
        tags = run.bedrock.list_tags_for_resource(resourceARN=arn)["tags"]
        run.kill()
    assert tags == [{"key": "team", "value": "support"}]


def test_two_cannot_use_one_directory(tmp_path: Path) -> None:
    """A second process with the same state directory is refused, and the first goes on."""
    with running(tmp_path) as run:
        refused = subprocess.run(
            [PROGRAM, "local", "--port", "0", "--state", tmp_path], capture_output=True, text=True, check=False
        )
        assert refused.returncode == 1
        assert "Another Local Bedrock uses" in refused.stderr
        assert run.local("health")["status"] == "ok"
        run.kill()

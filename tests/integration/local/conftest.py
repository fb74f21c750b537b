"""One Local Bedrock for each module, and what tests do with it; each answer of Bedrock is checked against its shape."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_bedrock.local import LocalBedrock
from airflow_bedrock.shapes import problems
from scripts.training_data import record
from tests.ample_quotas import AMPLE

NOVA = "amazon.nova-micro-v1:0:128k"
ANSWERS = {
    "dynamodb": ["table", "item", "partition", "throughput"],
    "s3": ["bucket", "object", "upload", "acl"],
    "sqs": ["queue", "message", "visibility", "receipt"],
}


# Recorded otherwise than the service model declares them: absent without validation data, empty, and INFERENCE_PROFILE.
RECORDED = ("validationDataConfig", "baseModelName", "inferenceTypesSupported.1.member")


@pytest.fixture(scope="module")
def local(request: pytest.FixtureRequest) -> Iterator[LocalBedrock]:
    """A module says in ``SETTINGS`` what else it needs."""
    settings = {"job_seconds": 0.3, "deployment_seconds": 0.2, "quotas": AMPLE, "allow_graders": True}
    with LocalBedrock(**settings | getattr(request.module, "SETTINGS", {})) as local:
        yield local


@pytest.fixture(scope="module")
def service(local: LocalBedrock) -> Iterator[Service]:
    service = Service(local)
    yield service
    service.close()


def check_answer(http_response: Any, model: Any, **_: Any) -> None:
    """Fail when an answer has unknown members, lacks required ones, or has values that the service never gives."""
    if http_response.status_code >= 300:
        return
    assert http_response.status_code == model.http["responseCode"]
    if model.output_shape is not None and not (model.has_streaming_output or model.has_event_stream_output):
        assert b"null" not in http_response.content
        found = [
            problem
            for problem in problems(model.output_shape, json.loads(http_response.content))
            if not problem.path.endswith(RECORDED)
        ]
        assert not found, f"{model.name}: {[str(problem) for problem in found]}"


class Service:
    """Clients of a running Local Bedrock, and the steps that many tests begin with."""

    def __init__(self, local: LocalBedrock) -> None:
        self.local = local
        self.bedrock, self.runtime, self.s3 = (local.client(one) for one in ("bedrock", "bedrock-runtime", "s3"))
        for client in (self.bedrock, self.runtime):
            client.meta.events.register("after-call", check_answer)
        self.training_data = self.put("train.jsonl", self.dataset(120))

    def close(self) -> None:
        for client in (self.bedrock, self.runtime, self.s3):
            client.close()

    def put(self, key: str, content: str) -> str:
        self.s3.put_object(Bucket=self.local.bucket, Key=key, Body=content.encode())
        return f"s3://{self.local.bucket}/{key}"

    def name(self, prefix: str) -> str:
        return f"{prefix}-{uuid.uuid4().hex[:8]}"

    def questions(self, count: int) -> list[tuple[str, str]]:
        labels = [sorted(ANSWERS)[number % 3] for number in range(count)]
        words = [(ANSWERS[label][n % 4], ANSWERS[label][n // 4 % 4]) for n, label in enumerate(labels)]
        return [(f"Creates the {a} or lists every {b}, number {n}.", labels[n]) for n, (a, b) in enumerate(words)]

    def dataset(self, count: int) -> str:
        return "".join(record(question, answer) for question, answer in self.questions(count))

    def request(self, **changes: Any) -> dict[str, Any]:
        request = {
            "jobName": self.name("job"),
            "customModelName": self.name("model"),
            "roleArn": self.local.role_arn,
            "baseModelIdentifier": NOVA,
            "trainingDataConfig": {"s3Uri": self.training_data},
            "outputDataConfig": {"s3Uri": f"s3://{self.local.bucket}/out/"},
        }
        return request | changes

    def create(self, **changes: Any) -> str:
        arn: str = self.bedrock.create_model_customization_job(**self.request(**changes))["jobArn"]
        return arn

    def job(self, identifier: str) -> dict[str, Any]:
        """Wait for a job to end, and return it."""

        def get() -> dict[str, Any]:
            job: dict[str, Any] = self.bedrock.get_model_customization_job(jobIdentifier=identifier)
            return job

        return wait(get, "InProgress", "Stopping")

    def model(self) -> str:
        """Train a model, and return its ARN."""
        job = self.job(self.create())
        assert job["status"] == "Completed", job
        arn: str = job["outputModelArn"]
        return arn

    def deploy(self, model_arn: str, **more: Any) -> str:
        created = self.bedrock.create_custom_model_deployment(
            **{"modelDeploymentName": self.name("deployment"), "modelArn": model_arn} | more
        )
        arn: str = created["customModelDeploymentArn"]
        return arn

    def deployment(self, identifier: str) -> dict[str, Any]:
        """Wait for a deployment to be ready, and return it."""

        def get() -> dict[str, Any]:
            deployment: dict[str, Any] = self.bedrock.get_custom_model_deployment(
                customModelDeploymentIdentifier=identifier
            )
            return deployment

        return wait(get, "Creating")

    def provision(self, model_arn: str, **more: Any) -> str:
        """Provide throughput for a model, wait until it is in service, and return its ARN."""
        request = {"provisionedModelName": self.name("throughput"), "modelUnits": 1, "modelId": model_arn}
        created = self.bedrock.create_provisioned_model_throughput(**request | more)
        arn: str = created["provisionedModelArn"]
        wait(lambda: dict(self.bedrock.get_provisioned_model_throughput(provisionedModelId=arn)), "Creating")
        return arn

    def ask(self, model_id: str, question: str, **more: Any) -> dict[str, Any]:
        messages = [{"role": "user", "content": [{"text": question}]}]
        answer: dict[str, Any] = self.runtime.converse(modelId=model_id, messages=messages, **more)
        return answer

    def text(self, model_id: str, question: str) -> str:
        text: str = self.ask(model_id, question)["output"]["message"]["content"][0]["text"]
        return text


def wait(get: Callable[[], dict[str, Any]], *busy: str) -> dict[str, Any]:
    deadline = time.monotonic() + 120
    while (found := get())["status"] in busy:
        assert time.monotonic() < deadline, f"still {found}"
        time.sleep(0.05)
    return found

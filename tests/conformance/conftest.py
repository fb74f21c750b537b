"""What the conformance suite calls: its own Local Bedrock or, with an environment variable, AWS itself.

``AIRFLOW_BEDROCK_CONFORMANCE=aws`` asks AWS, with the profile ``AIRFLOW_BEDROCK_CONFORMANCE_PROFILE`` (default:
``default``) and in the region ``AIRFLOW_BEDROCK_CONFORMANCE_REGION`` (default: us-east-1). It then lists, gets, and
makes requests that must be refused; whatever creates something, or needs something that costs money, is skipped.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import boto3
import botocore.session
import pytest
from botocore.config import Config

from airflow_bedrock.local import LocalBedrock, Quotas
from airflow_bedrock.local.state.resources import RegionState
from airflow_bedrock.shapes import problems
from scripts.training_data import record
from scripts.until import until

ON_AWS = os.environ.get("AIRFLOW_BEDROCK_CONFORMANCE") == "aws"
AMPLE = Quotas(*[100_000] * 8)
# Recorded otherwise than the service model declares them: absent without validation data, empty, and INFERENCE_PROFILE.
RECORDED = ("validationDataConfig", "baseModelName", "inferenceTypesSupported.1.member")
# Requests that no SDK would send are part of the suite, and each is one call.
ASK = Config(parameter_validation=False, retries={"total_max_attempts": 1})


@pytest.fixture(scope="session")
def account() -> Iterator[Account]:
    if ON_AWS:
        account = Account(None)
        yield account
        account.close()
    else:
        with LocalBedrock(job_seconds=0.1, deployment_seconds=0.1, quotas=AMPLE) as local:
            account = Account(local)
            yield account
            account.close()


class Account:
    """An account, and what is in it to be asked about; each thing is made when it is first needed.

    :param local: None asks AWS.
    """

    def __init__(self, local: LocalBedrock | None) -> None:
        self.local = local
        session: Any = _local_session() if local else _aws_session()
        endpoint_url = local.endpoint_url if local else None
        self.clients = {
            name: session.client(name, endpoint_url=endpoint_url, config=ASK) for name in ("bedrock", "bedrock-runtime")
        }
        for client in self.clients.values():
            client.meta.events.register("after-call", _check_answer)

    def close(self) -> None:
        for client in self.clients.values():
            client.close()

    def call(self, operation: str, **parameters: Any) -> Any:
        """Call an operation by its name in the service model; an event stream is read to its end."""
        for client in self.clients.values():
            for method, name in client.meta.method_to_api_mapping.items():
                if name == operation:
                    answer = getattr(client, method)(**parameters)
                    for stream in ("stream", "body"):
                        if hasattr(answer.get(stream), "__iter__"):
                            answer[stream] = list(answer[stream])
                    return answer
        raise LookupError(operation)

    def name(self, prefix: str = "conformance") -> str:
        return f"{prefix}-{uuid.uuid4().hex[:10]}"

    @property
    def state(self) -> RegionState:
        """What is in Local Bedrock; lists of thousands are made by laying copies there."""
        assert self.local is not None
        return self.local._world.bedrock("123456789012", "us-east-1")

    @cached_property
    def data(self) -> str:
        return self._put("train.jsonl", record() * 20)

    @cached_property
    def batch(self) -> str:
        body = {"messages": [{"role": "user", "content": [{"text": "Hello"}]}]}
        return self._put("batch.jsonl", (json.dumps({"modelInput": body}) + "\n") * 100)

    @property
    def out(self) -> str:
        assert self.local is not None
        return f"s3://{self.local.bucket}/out/"

    @property
    def role(self) -> str:
        assert self.local is not None
        return self.local.role_arn

    @cached_property
    def job(self) -> str:
        """A customization job that has completed."""
        return self.new_job()

    def new_job(self, wait: bool = True) -> str:
        arn: str = self.call("CreateModelCustomizationJob", **self.job_request())["jobArn"]
        if wait:
            self._wait("GetModelCustomizationJob", {"jobIdentifier": arn}, "status", "Completed")
        return arn

    def job_request(self) -> dict[str, Any]:
        return {
            "jobName": self.name(),
            "customModelName": self.name(),
            "roleArn": self.role,
            "baseModelIdentifier": "amazon.nova-micro-v1:0:128k",
            "trainingDataConfig": {"s3Uri": self.data},
            "outputDataConfig": {"s3Uri": self.out},
        }

    @cached_property
    def model(self) -> str:
        return self.new_model()

    def new_model(self) -> str:
        found: str = self.call("GetModelCustomizationJob", jobIdentifier=self.new_job())["outputModelArn"]
        return found

    @cached_property
    def deployment(self) -> str:
        return self.new_deployment()

    def new_deployment(self) -> str:
        request = {"modelDeploymentName": self.name(), "modelArn": self.model}
        arn: str = self.call("CreateCustomModelDeployment", **request)["customModelDeploymentArn"]
        self._wait("GetCustomModelDeployment", {"customModelDeploymentIdentifier": arn}, "status", "Active")
        return arn

    @cached_property
    def throughput(self) -> str:
        return self.new_throughput()

    def new_throughput(self, **more: Any) -> str:
        request = {"modelUnits": 1, "provisionedModelName": self.name(), "modelId": self.model} | more
        arn: str = self.call("CreateProvisionedModelThroughput", **request)["provisionedModelArn"]
        self._wait("GetProvisionedModelThroughput", {"provisionedModelId": arn}, "status", "InService")
        return arn

    def batch_request(self) -> dict[str, Any]:
        return {
            "jobName": self.name(),
            "roleArn": self.role,
            "modelId": "amazon.nova-micro-v1:0",
            "inputDataConfig": {"s3InputDataConfig": {"s3Uri": self.batch}},
            "outputDataConfig": {"s3OutputDataConfig": {"s3Uri": self.out}},
        }

    def new_batch(self, wait: bool = True) -> str:
        arn: str = self.call("CreateModelInvocationJob", **self.batch_request())["jobArn"]
        if wait:
            self._wait("GetModelInvocationJob", {"jobIdentifier": arn}, "status", "Completed")
        return arn

    def copy_request(self) -> dict[str, Any]:
        return {"sourceModelArn": self.model_elsewhere, "targetModelName": self.name()}

    @cached_property
    def model_elsewhere(self) -> str:
        """A model in another region, itself copied there."""
        assert self.local is not None
        other = self.local.client("bedrock", "us-west-2")
        arn = other.create_model_copy_job(sourceModelArn=self.model, targetModelName=self.name())["jobArn"]
        until(lambda: other.get_model_copy_job(jobArn=arn)["status"] != "InProgress", "the model is copied")
        copied: str = other.get_model_copy_job(jobArn=arn)["targetModelArn"]
        return copied

    def new_copy(self) -> str:
        arn: str = self.call("CreateModelCopyJob", **self.copy_request())["jobArn"]
        self._wait("GetModelCopyJob", {"jobArn": arn}, "status", "Completed")
        return arn

    @cached_property
    def checkpoint(self) -> str:
        """A folder in S3 with the files of a model."""
        header = json.dumps({"w": {"dtype": "F16", "shape": [2], "data_offsets": [0, 4]}})
        self._put("checkpoint/model.safetensors", f"{chr(len(header))}{chr(0) * 7}{header}{chr(0) * 4}")
        self._put("checkpoint/tokenizer.json", "{}")
        self._put("checkpoint/tokenizer_config.json", "{}")
        config = json.dumps({"architectures": ["LlamaForCausalLM"], "model_type": "llama"})
        return self._put("checkpoint/config.json", config).removesuffix("config.json")

    def checkpoint_request(self) -> dict[str, Any]:
        return {"modelName": self.name(), "modelSourceConfig": {"s3DataSource": {"s3Uri": self.checkpoint}}}

    def import_request(self) -> dict[str, Any]:
        return {
            "jobName": self.name(),
            "importedModelName": self.name(),
            "roleArn": self.role,
            "modelDataSource": {"s3DataSource": {"s3Uri": self.checkpoint}},
        }

    def new_import(self) -> str:
        arn: str = self.call("CreateModelImportJob", **self.import_request())["jobArn"]
        self._wait("GetModelImportJob", {"jobIdentifier": arn}, "status", "Completed")
        return arn

    def new_imported(self) -> str:
        found: str = self.call("GetModelImportJob", jobIdentifier=self.new_import())["importedModelArn"]
        return found

    def logging_config(self) -> dict[str, Any]:
        assert self.local is not None
        return {"s3Config": {"bucketName": self.local.bucket, "keyPrefix": "logs"}}

    def _put(self, key: str, content: str) -> str:
        assert self.local is not None
        self.local.client("s3").put_object(Bucket=self.local.bucket, Key=key, Body=content.encode())
        return f"s3://{self.local.bucket}/{key}"

    def _wait(self, operation: str, parameters: dict[str, Any], member: str, wanted: str) -> None:
        until(lambda: self.call(operation, **parameters)[member] == wanted, f"{operation}: {member} is {wanted}")


def _local_session() -> boto3.session.Session:
    return boto3.session.Session("local", "local", region_name="us-east-1")


def _aws_session() -> boto3.session.Session:
    # The tests' own environment leads nowhere near AWS; so this says where the credentials are.
    profile = os.environ.get("AIRFLOW_BEDROCK_CONFORMANCE_PROFILE", "default")
    files = {
        "config_file": (None, None, str(Path("~/.aws/config").expanduser()), None),
        "credentials_file": (None, None, str(Path("~/.aws/credentials").expanduser()), None),
    }
    core = botocore.session.Session(session_vars=files, profile=profile)
    return boto3.session.Session(
        botocore_session=core, region_name=os.environ.get("AIRFLOW_BEDROCK_CONFORMANCE_REGION", "us-east-1")
    )


def _check_answer(http_response: Any, model: Any, **_: Any) -> None:
    """Fail when an answer has unknown members, lacks required ones, or has values that the service never gives."""
    if http_response.status_code >= 300:
        return
    assert http_response.status_code == model.http["responseCode"]
    if model.output_shape is None or model.has_streaming_output or model.has_event_stream_output:
        return
    found = [
        problem
        for problem in problems(model.output_shape, json.loads(http_response.content))
        if not problem.path.endswith(RECORDED)
    ]
    assert not found, f"{model.name}: {[str(problem) for problem in found]}"


@pytest.fixture
def ask(account: Account) -> Callable[..., Any]:
    return account.call

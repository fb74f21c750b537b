"""S3 and Bedrock in memory, in which something happens at any call: a kill before or after it, or another task."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

from botocore.exceptions import ClientError

from airflow_bedrock.jobs.resources.deployment import DEPLOYMENT
from airflow_bedrock.jobs.service import Service


class Killed(BaseException):
    """The process is gone: nothing catches this."""


def refused(code: str, operation: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "for the test"}}, operation)


class World:
    """What survives a process: the objects of a bucket, and deployments.

    What answers of models is as the service's: one that a deployment refers to cannot be deleted.

    :param in_place: whether botocore knows UpdateCustomModelDeployment.
    """

    def __init__(self, *, in_place: bool) -> None:
        self.objects: dict[str, tuple[str, bytes]] = {}
        self.deployments: dict[str, dict[str, Any]] = {}
        self.undeployable: set[str] = set()  # models whose deployments fail after the service has accepted them
        self.models: dict[str, dict[str, Any]] = {}
        self.throughputs: dict[str, dict[str, Any]] = {}
        self.tags: dict[str, dict[str, str]] = {}
        self.tokens: set[str] = set()
        self.calls = 0
        self.before: dict[int, Callable[[], None]] = {}
        self.after: dict[int, Callable[[], None]] = {}
        self.changed: Callable[[], None] = lambda: None
        self.created = datetime(2025, 1, 1, tzinfo=UTC)
        self._etags = itertools.count(1)
        names = {"UpdateCustomModelDeployment"} if in_place else set()
        self.meta = SimpleNamespace(service_model=SimpleNamespace(operation_names=names))

    def service(self) -> Service:
        return Service(DEPLOYMENT, self.hook())

    def hook(self) -> Any:
        hook = SimpleNamespace(conn=self, tags_of=self._tags_of)
        hook.at = lambda _: hook  # one region
        return hook

    def add_model(self, arn: str, name: str, created: datetime, tags: Mapping[str, str]) -> None:
        """Let there be a custom model."""
        self.models[arn] = {
            "modelArn": arn,
            "modelName": name,
            "creationTime": created,
            "baseModelArn": "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0",
        }
        self.tags[arn] = dict(tags)

    @contextmanager
    def _call(self) -> Iterator[None]:
        self.calls += 1
        number = self.calls
        self.before.pop(number, lambda: None)()
        yield
        self.changed()
        self.after.pop(number, lambda: None)()

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        with self._call():
            if Key not in self.objects:
                raise refused("NoSuchKey", "GetObject")
            etag, body = self.objects[Key]
            return {"ETag": etag, "Body": io.BytesIO(body)}

    def put_object(self, *, Key: str, Body: bytes, **given: Any) -> dict[str, Any]:
        with self._call():
            etag = self.objects.get(Key, (None, b""))[0]
            if "IfMatch" in given and etag is None:
                raise refused("NoSuchKey", "PutObject")
            if given.get("IfMatch", etag) != etag or ("IfNoneMatch" in given and etag is not None):
                raise refused("PreconditionFailed", "PutObject")
            new = f'"{next(self._etags)}"'
            self.objects[Key] = (new, Body)
            return {"ETag": new}

    def get_custom_model_deployment(self, *, customModelDeploymentIdentifier: str) -> dict[str, Any]:
        with self._call():
            return self._deployment(customModelDeploymentIdentifier)

    def create_custom_model_deployment(self, **request: Any) -> dict[str, Any]:
        with self._call():
            name = request["modelDeploymentName"]
            self._model(request["modelArn"], "CreateCustomModelDeployment")
            if (token := request.get("clientRequestToken")) in self.tokens:
                return {}  # as the service does, whatever became of what it made then
            self.tokens |= {token} if token else set()
            if name in self.deployments:
                raise refused("ConflictException", "CreateCustomModelDeployment")
            arn = f"arn:aws:bedrock:us-east-1:123456789012:custom-model-deployment/{next(self._etags):012}"
            self.deployments[name] = {
                "customModelDeploymentArn": arn,
                "modelDeploymentName": name,
                "modelArn": request["modelArn"],
                "status": "Failed" if request["modelArn"] in self.undeployable else "Active",
                "createdAt": self.created,
            }
            return {"customModelDeploymentArn": arn}

    def update_custom_model_deployment(self, *, modelArn: str, customModelDeploymentIdentifier: str) -> dict[str, Any]:
        with self._call():
            self._model(modelArn, "UpdateCustomModelDeployment")
            self._deployment(customModelDeploymentIdentifier)["modelArn"] = modelArn
            return {}

    def delete_custom_model_deployment(self, *, customModelDeploymentIdentifier: str) -> dict[str, Any]:
        with self._call():
            found = self._deployment(customModelDeploymentIdentifier)
            del self.deployments[found["modelDeploymentName"]]
            return {}

    def delete_custom_model(self, *, modelIdentifier: str) -> dict[str, Any]:
        with self._call():
            self._model(modelIdentifier, "DeleteCustomModel")
            users = [*self.deployments.values(), *self.throughputs.values()]
            if modelIdentifier in (one["modelArn"] for one in users):
                raise refused("ConflictException", "DeleteCustomModel")
            del self.models[modelIdentifier]
            return {}

    def get_provisioned_model_throughput(self, *, provisionedModelId: str) -> dict[str, Any]:
        with self._call():
            if provisionedModelId not in self.throughputs:
                raise refused("ResourceNotFoundException", "GetProvisionedModelThroughput")
            return {**self.throughputs[provisionedModelId], "status": "InService"}

    def delete_provisioned_model_throughput(self, *, provisionedModelId: str) -> dict[str, Any]:
        with self._call():
            del self.throughputs[provisionedModelId]
            return {}

    def get_paginator(self, operation: str) -> Any:
        return SimpleNamespace(paginate=lambda **given: self._page(operation, given))

    def _page(self, operation: str, given: Mapping[str, Any]) -> list[dict[str, Any]]:
        with self._call():
            if operation == "list_objects_v2":
                return [{"Contents": [{"Key": key} for key in self.objects if key.startswith(given["Prefix"])]}]
            listed = {
                "list_custom_models": ("modelSummaries", self.models),
                "list_custom_model_deployments": ("modelDeploymentSummaries", self.deployments),
                "list_provisioned_model_throughputs": ("provisionedModelSummaries", self.throughputs),
            }
            member, found = listed[operation]
            return [
                {
                    member: [
                        {**one, "customModelDeploymentName": one.get("modelDeploymentName")} for one in found.values()
                    ]
                }
            ]

    def _tags_of(self, arn: str) -> dict[str, str]:
        with self._call():
            return self.tags.get(arn, {})

    def _model(self, arn: str, operation: str) -> None:
        if arn not in self.models:
            raise refused("ResourceNotFoundException", operation)

    def model_of(self, arn: str) -> str:
        """Return the model that answers to the one who asks a deployment."""
        return str(self._deployment(arn)["modelArn"])

    def _deployment(self, identifier: str) -> dict[str, Any]:
        for name, found in self.deployments.items():
            if identifier in (name, found["customModelDeploymentArn"]):
                return found
        raise refused("ResourceNotFoundException", "GetCustomModelDeployment")

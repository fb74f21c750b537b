"""S3 and Bedrock in memory, in which something happens at any call: a kill before or after it, or another task."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

    :param in_place: whether botocore knows UpdateCustomModelDeployment.
    """

    def __init__(self, *, in_place: bool) -> None:
        self.objects: dict[str, tuple[str, bytes]] = {}
        self.deployments: dict[str, dict[str, Any]] = {}
        self.calls = 0
        self.before: dict[int, Callable[[], None]] = {}
        self.after: dict[int, Callable[[], None]] = {}
        self.changed: Callable[[], None] = lambda: None
        self._etags = itertools.count(1)
        names = {"UpdateCustomModelDeployment"} if in_place else set()
        self.meta = SimpleNamespace(service_model=SimpleNamespace(operation_names=names))

    def service(self) -> Service:
        hook: Any = SimpleNamespace(conn=self)
        return Service(DEPLOYMENT, hook)

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
            if name in self.deployments:
                raise refused("ConflictException", "CreateCustomModelDeployment")
            arn = f"arn:aws:bedrock:us-east-1:123456789012:custom-model-deployment/{len(self.deployments):012}"
            self.deployments[name] = {
                "customModelDeploymentArn": arn,
                "modelDeploymentName": name,
                "modelArn": request["modelArn"],
                "status": "Active",
            }
            return {"customModelDeploymentArn": arn}

    def update_custom_model_deployment(self, *, modelArn: str, customModelDeploymentIdentifier: str) -> dict[str, Any]:
        with self._call():
            self._deployment(customModelDeploymentIdentifier)["modelArn"] = modelArn
            return {}

    def delete_custom_model_deployment(self, *, customModelDeploymentIdentifier: str) -> dict[str, Any]:
        with self._call():
            found = self._deployment(customModelDeploymentIdentifier)
            del self.deployments[found["modelDeploymentName"]]
            return {}

    def model_of(self, arn: str) -> str:
        """Return the model that answers to the one who asks a deployment."""
        return str(self._deployment(arn)["modelArn"])

    def _deployment(self, identifier: str) -> dict[str, Any]:
        for name, found in self.deployments.items():
            if identifier in (name, found["customModelDeploymentArn"]):
                return found
        raise refused("ResourceNotFoundException", "GetCustomModelDeployment")

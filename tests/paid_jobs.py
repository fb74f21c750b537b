"""Customization jobs as a boto3 client sees them, in memory, and struck at any call: for tests of the engine.

What a job is worth asking about is kept with it: who made it, for which ask, and who stopped it.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, ClassVar

from botocore.exceptions import ClientError, ReadTimeoutError


class CrashError(BaseException):
    """The worker process is gone: nothing of ours runs any more."""


def error(code: str, message: str, status: int = 400) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]  # the rest of the metadata is not read
        "Operation",
    )


@dataclass(eq=False, repr=False)
class PaidJob:
    """A job that the service has accepted.

    :param hidden: number of Gets that do not show it yet.
    :param unlisted: Lists that do not show it yet.
    """

    arn: str
    request: dict[str, Any]
    tags: dict[str, str]
    hidden: int
    unlisted: int
    maker: Any
    status: str = "InProgress"
    failure: str | None = None
    has_model: bool = False
    stopped_by: Any = None

    def __repr__(self) -> str:
        return f"{self.name}, {self.status}, made by {self.maker!r}"

    @property
    def name(self) -> str:
        return str(self.request["jobName"])

    @property
    def token(self) -> str:
        return str(self.request["clientRequestToken"])

    @property
    def runs(self) -> bool:
        return self.status == "InProgress"

    @property
    def shown(self) -> bool:
        """Whether a poll so far could show it."""
        return self.hidden < 0 or self.unlisted < 0

    def end(self, status: str, failure: str | None = None) -> None:
        self.status, self.failure, self.has_model = status, failure, status == "Completed"

    def described(self) -> dict[str, Any]:
        described = {
            "jobArn": self.arn,
            "jobName": self.name,
            "status": self.status,
            "clientRequestToken": self.token,
            "outputModelName": self.request["customModelName"],
        }
        if self.status == "Completed":
            described["outputModelArn"] = f"{self.arn}/model"
        if self.failure:
            described["failureMessage"] = self.failure
        return described

    def summary(self) -> dict[str, Any]:
        """Return what List shows: neither the token nor why it has failed."""
        summary = {"jobArn": self.arn, "jobName": self.name, "status": self.status}
        summary["customModelName"] = self.request["customModelName"]
        if self.status == "Completed":
            summary["customModelArn"] = f"{self.arn}/model"
        return summary


@dataclass
class PaidJobs:
    """The client, of Bedrock and of S3.

    :param strikes: by the number of a call, counted from 1: what happens around it; it is given the call.
    :param caller: who calls now; it is written on what is made and stopped.
    """

    jobs: list[PaidJob] = field(default_factory=list)
    content: bytes = b""
    looks_until_shown: int = 0
    lists_until_shown: int = 0
    caller: Any = None
    strikes: dict[int, Callable[[str, Callable[[], Any]], Any]] = field(default_factory=dict)
    calls: int = 0
    meta: ClassVar[Any] = SimpleNamespace(
        endpoint_url="https://bedrock.us-east-1.amazonaws.com",
        client=SimpleNamespace(meta=SimpleNamespace(region_name="us-east-1")),
    )

    def __getattr__(self, operation: str) -> Callable[..., Any]:
        work = getattr(type(self), f"_{operation}", None)
        if work is None:
            raise AttributeError(operation)

        def call(**parameters: Any) -> Any:
            self.calls += 1
            strike = self.strikes.get(self.calls)
            return strike(operation, lambda: work(self, **parameters)) if strike else work(self, **parameters)

        return call

    def head_bucket(self, **_: Any) -> dict[str, Any]:
        """Name no region; no fault applies here."""
        return {}

    def running(self) -> list[PaidJob]:
        return [job for job in self.jobs if job.runs]

    def by_arn(self, arn: str) -> PaidJob:
        [job] = [job for job in self.jobs if job.arn == arn]
        return job

    def get_paginator(self, operation: str) -> Any:
        return _Pages(getattr(self, operation))

    def _create_model_customization_job(self, **request: Any) -> dict[str, str]:
        for job in self.jobs:
            if job.token == request["clientRequestToken"]:
                return {"jobArn": job.arn}  # a token seen before: ignored without an error
        if request["jobName"] in [job.name for job in self.jobs]:
            raise error("ValidationException", "The provided job name is currently in use.")
        arn = f"arn:aws:bedrock:us-east-1:123456789012:model-customization-job/nova/{len(self.jobs):012}"
        tags = {tag["key"]: tag["value"] for tag in request.get("jobTags", [])}
        hidden, unlisted = self.looks_until_shown or -1, self.lists_until_shown or -1
        self.jobs.append(PaidJob(arn, request, tags, hidden, unlisted, self.caller))
        return {"jobArn": arn}

    def _get_model_customization_job(self, jobIdentifier: str) -> dict[str, Any]:
        assert jobIdentifier, "the parameter's type is a string"
        for job in self.jobs:
            if jobIdentifier in (job.name, job.arn):
                job.hidden -= 1
                if job.hidden < 0:
                    return job.described()
        raise error("ResourceNotFoundException", "There is no such job.", 404)

    def _list_model_customization_jobs(self, nameContains: str, **_: Any) -> dict[str, Any]:
        for job in self.jobs:
            job.unlisted -= 1
        shown = [job.summary() for job in reversed(self.jobs) if job.unlisted < 0 and nameContains in job.name]
        return {"modelCustomizationJobSummaries": shown}

    def _get_custom_model(self, modelIdentifier: str) -> dict[str, Any]:
        if any(modelIdentifier == f"{job.arn}/model" and job.has_model for job in self.jobs):
            return {}
        raise error("ResourceNotFoundException", "There is no such model.", 404)

    def _stop_model_customization_job(self, jobIdentifier: str) -> None:
        job = self.by_arn(jobIdentifier)
        if not job.runs:
            raise error("ConflictException", "The job has ended.")
        job.status, job.stopped_by = "Stopped", self.caller

    def _list_tags_for_resource(self, resourceARN: str) -> dict[str, Any]:
        if not any(job.arn == resourceARN for job in self.jobs):
            raise error("ResourceNotFoundException", "There is no such resource.", 404)
        return {"tags": [{"key": key, "value": value} for key, value in self.by_arn(resourceARN).tags.items()]}

    def _tag_resource(self, resourceARN: str, tags: list[dict[str, str]]) -> None:
        self.by_arn(resourceARN).tags.update({tag["key"]: tag["value"] for tag in tags})

    def _head_object(self, **_: Any) -> dict[str, Any]:
        return {
            "ContentLength": len(self.content),
            "ETag": hashlib.md5(self.content, usedforsecurity=False).hexdigest(),
        }

    def _get_object(self, **_: Any) -> dict[str, Any]:
        return {"Body": _Body(self.content), "ContentLength": len(self.content)}


class _Body(io.BytesIO):
    def iter_chunks(self, size: int) -> Iterator[bytes]:
        while chunk := self.read(size):
            yield chunk


@dataclass
class _Pages:
    call: Callable[..., Any]

    def paginate(self, **parameters: Any) -> Iterator[dict[str, Any]]:
        yield self.call(**parameters)


Strike = Callable[[str, Callable[[], Any]], Any]
LOOKS = ("get_model_customization_job", "get_custom_model", "list_model_customization_jobs", "head_object")
PAYS = "create_model_customization_job"


def strike(kind: str, act: Callable[[], None]) -> Strike:
    """Return what happens around a call.

    :param kind: which fault; where it cannot strike that operation, the call is answered as ever.
    :param act: what a kind that begins with ``act`` does.
    """

    def around(operation: str, work: Callable[[], Any]) -> Any:
        asked = operation in (*LOOKS, PAYS)
        match kind:
            case "throttled" if asked:
                raise error("ThrottlingException", "Slow down.", 429)
            case "no answer" if asked:
                work()
                raise ReadTimeoutError(endpoint_url="https://bedrock")
            case "5xx" if asked:
                work()
                raise error("InternalServerException", "Oops.", 500)
            case "not found" if operation in LOOKS[:2]:
                raise error("ResourceNotFoundException", "Not now.", 404)
            case "denied" if operation == "head_object":
                raise error("403", "Forbidden", 403)
            case "no model's ARN" if operation == LOOKS[0]:
                return {name: value for name, value in work().items() if name != "outputModelArn"}
            case "act before, no answer" if operation == PAYS:
                act()
                work()
                raise ReadTimeoutError(endpoint_url="https://bedrock")
            case "act before" | "act before, no answer":
                act()
            case "act after":
                try:
                    return work()
                finally:
                    act()
        return work()

    return around

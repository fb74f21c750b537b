"""A custom model deployment, for those who wait until it serves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

import msgspec

from airflow_bedrock.customization.job import Outcome
from airflow_bedrock.jobs.resources import Resource, Seen

# GetCustomModelDeployment, member `status`.
_OUTCOMES = {"Creating": Outcome.RUNNING, "Active": Outcome.SUCCEEDED, "Failed": Outcome.FAILED}


@dataclass(frozen=True, kw_only=True, slots=True)
class Deployment:
    """A custom model deployment at one moment.

    :param status: the service's word, e.g. ``Creating``.
    :param failure_message: why it failed, in the service's words.
    """

    arn: str
    name: str
    status: str
    created: datetime | None = None
    failure_message: str | None = None

    @classmethod
    def from_response(cls, response: Mapping[str, Any]) -> Self:
        """Read a GetCustomModelDeployment response."""
        return cls(
            arn=response["customModelDeploymentArn"],
            name=response["modelDeploymentName"],
            status=response.get("status", "(none)"),
            created=response.get("createdAt"),
            failure_message=response.get("failureMessage"),
        )

    @property
    def outcome(self) -> Outcome:
        """What the status means for whoever waits; an unknown status is never success."""
        return _OUTCOMES.get(self.status, Outcome.UNKNOWN)

    @property
    def progress(self) -> str:
        """What is news when it is another one than before: the status."""
        return self.status


class _Summary(msgspec.Struct, gc=False, rename="camel"):
    custom_model_deployment_arn: str
    custom_model_deployment_name: str
    status: str = "(none)"
    created_at: datetime | None = None
    failure_message: str | None = None


class _Page(msgspec.Struct, gc=False, rename="camel"):
    model_deployment_summaries: list[_Summary] = []
    next_token: str | None = None


_decoder = msgspec.json.Decoder(_Page)


def _read_page(body: bytes) -> tuple[list[Seen], str | None]:
    page = _decoder.decode(body)
    shown: list[Seen] = [
        Deployment(
            arn=summary.custom_model_deployment_arn,
            name=summary.custom_model_deployment_name,
            status=summary.status,
            created=summary.created_at,
            failure_message=summary.failure_message,
        )
        for summary in page.model_deployment_summaries
    ]
    return shown, page.next_token


DEPLOYMENT = Resource(
    noun="custom model deployment",
    get_operation="GetCustomModelDeployment",
    identifier="customModelDeploymentIdentifier",
    list_operation="ListCustomModelDeployments",
    created_after="createdAfter",
    read=Deployment.from_response,
    read_page=_read_page,
)

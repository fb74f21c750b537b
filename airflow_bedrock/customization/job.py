"""A model customization job as the service describes it, and what its status means for a wait."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any

import msgspec


class Outcome(Enum):
    """What a job's status means for a waiting task."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"
    UNKNOWN = "unknown"
    """A status that is unknown to this version. Never success: it fails closed."""


NO_STATUS = "(none)"
"""The status of a resource for which the service reports none."""

# GetModelCustomizationJob, member `status`. Stopping is not terminal: the service may still bill.
_OUTCOMES = {
    "InProgress": Outcome.RUNNING,
    "Stopping": Outcome.RUNNING,
    "Completed": Outcome.SUCCEEDED,
    "Failed": Outcome.FAILED,
    "Stopped": Outcome.STOPPED,
}

# GetModelCustomizationJob, members of `statusDetails`, in the order in which the service goes through them.
PHASES = {
    "validationDetails": "validation",
    "dataProcessingDetails": "data processing",
    "trainingDetails": "training",
}


class Phase(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    gc=False,
    rename={"started": "creationTime", "changed": "lastModifiedTime"},
):
    """One of the three phases of a job: validation, data processing, training."""

    status: str = NO_STATUS
    started: datetime | None = None
    changed: datetime | None = None

    @property
    def seconds(self) -> float | None:
        """How long the phase took, in seconds by the service's clock; None until it has completed."""
        if self.status != "Completed" or self.started is None or self.changed is None:
            return None
        return (self.changed - self.started).total_seconds()

    def result(self, name: str) -> dict[str, str | None]:
        """Return the phase as plain JSON types: name, status, and its times in ISO 8601, UTC."""
        return {
            "name": name,
            "status": self.status,
            "started": self.started.isoformat() if self.started else None,
            "changed": self.changed.isoformat() if self.changed else None,
        }


class Job(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    gc=False,
    rename={
        "arn": "jobArn",
        "name": "jobName",
        "token": "clientRequestToken",
        "failure_message": "failureMessage",
        "base_model_arn": "baseModelArn",
        "model_arn": "customModelArn",
        "model_name": "customModelName",
        "created": "creationTime",
        "ended": "endTime",
        "details": "statusDetails",
    },
):
    """A model customization job at one time. Decoded, it is a ModelCustomizationJobSummary.

    A triggerer keeps thousands of them. They have no reference cycles, so the garbage collector can skip them.

    :param arn: the job's ARN, its identity.
    :param name: the job's name; used up for good, since jobs cannot be deleted.
    :param status: as the service reports it, e.g. ``InProgress``.
    :param token: the clientRequestToken that created it.
    :param failure_message: why it failed, in the service's words.
    :param model_arn: the custom model; None until the job has completed.
    :param training_loss: the final training loss; None until the job has completed.
    :param validation_losses: one loss for each validator; empty until the job has completed.
    :param details: the phases by their members of ``statusDetails``.
    :param local_page: its page on Local Bedrock; empty if it runs on AWS.
    """

    arn: str
    name: str
    status: str = NO_STATUS
    token: str | None = None
    failure_message: str | None = None
    base_model_arn: str | None = None
    model_arn: str | None = None
    model_name: str | None = None
    output_data_uri: str | None = None
    training_loss: float | None = None
    validation_losses: tuple[float, ...] = ()
    created: datetime | None = None
    ended: datetime | None = None
    details: dict[str, Phase] | None = None
    local_page: str = ""

    @classmethod
    def from_response(cls, response: Mapping[str, Any]) -> Job:
        """Read a GetModelCustomizationJob response, or a ModelCustomizationJobSummary, which has fewer members."""
        losses = (metric.get("validationLoss") for metric in response.get("validationMetrics", []))
        return msgspec.structs.replace(
            msgspec.convert(response, cls),
            model_arn=response.get("outputModelArn") or response.get("customModelArn"),
            model_name=response.get("outputModelName") or response.get("customModelName"),
            output_data_uri=response.get("outputDataConfig", {}).get("s3Uri"),
            training_loss=response.get("trainingMetrics", {}).get("trainingLoss"),
            validation_losses=tuple(loss for loss in losses if loss is not None),
        )

    @property
    def phases(self) -> dict[str, Phase]:
        """The phases that the service reports, by name, in their order."""
        details = self.details or {}
        return {name: details[member] for member, name in PHASES.items() if member in details}

    @property
    def outcome(self) -> Outcome:
        """What the status means for a waiting task; an unknown status is never success."""
        return _OUTCOMES.get(self.status, Outcome.UNKNOWN)

    @property
    def progress(self) -> object:
        """What a log reports on a change: the status of the job and of each phase."""
        return self.status, self.details

    @property
    def artifacts_uri(self) -> str | None:
        """The folder of the job's metrics files, under the output location."""
        return artifacts_uri(self.output_data_uri, self.arn) if self.output_data_uri is not None else None

    def result(self) -> dict[str, Any]:
        """What the next task needs to know about the job, as plain JSON types (for XCom). Times are ISO 8601, UTC."""
        return {
            "job_arn": self.arn,
            "job_name": self.name,
            "status": self.status,
            "base_model_arn": self.base_model_arn,
            "custom_model_arn": self.model_arn,
            "custom_model_name": self.model_name,
            "training_loss": self.training_loss,
            "validation_loss": self.validation_losses[0] if self.validation_losses else None,
            "validation_losses": list(self.validation_losses),
            "output_data_uri": self.output_data_uri,
            "artifacts_uri": self.artifacts_uri,
            "created": self.created.isoformat() if self.created else None,
            "ended": self.ended.isoformat() if self.ended else None,
            "phase_seconds": {name: phase.seconds for name, phase in self.phases.items()},
            "phases": [phase.result(name) for name, phase in self.phases.items()],
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class ResourceState:
    """A resource of any other kind at one time, as Get or List shows it.

    :param token: the clientRequestToken that created it, if the response shows it.
    :param model: the ARN of the model that it serves, or copies.
    :param desired_model: the ARN of the model that replaces it during an update; otherwise the same.
    :param base_model: the ARN of the base model of the model that it is or serves, which sets the price.
    :param units: model units; 0 for all but provisioned throughput.
    :param commitment: ``OneMonth`` or ``SixMonths``; None for none.
    :param committed_until: the time before which it cannot be deleted.
    :param model_arn: the ARN of the model that it made.
    """

    arn: str
    name: str
    status: str
    outcome: Outcome
    created: datetime | None = None
    ended: datetime | None = None
    token: str | None = None
    failure_message: str | None = None
    model: str | None = None
    desired_model: str | None = None
    base_model: str = ""
    units: int = 0
    commitment: str | None = None
    committed_until: datetime | None = None
    model_arn: str | None = None
    model_name: str | None = None

    @property
    def progress(self) -> str:
        """What a log reports on a change: the status."""
        return self.status

    def hours(self, now: datetime) -> float:
        """Return the hours since its creation: those that are billed, if it is billed by the hour."""
        return max(0.0, (now - self.created).total_seconds() / 3600) if self.created else 0.0


Seen = Job | ResourceState
"""A resource at one time."""


def artifacts_uri(output_data_uri: str, job_arn: str) -> str:
    """Return the folder of a job's metrics files, which is known as soon as the job exists."""
    return f"{output_data_uri.rstrip('/')}/model-customization-job-{job_arn.rsplit('/', 1)[-1]}/"


def changes(before: Seen | None, now: Seen, noun: str = "job") -> str:
    """Say in one line what has changed since the last poll; empty if nothing has, so that not every poll is logged.

    One line, since each costs a triggerer with thousands of jobs a tenth of a millisecond.

    :param noun: the noun for the resource, such as ``job``.
    """
    news = [f"is {now.status}"] if before is None or before.status != now.status else []
    phases: list[str] = []
    if isinstance(now, Job):
        known = before.phases if isinstance(before, Job) else {}
        phases = [
            f"{name} {phase.status}{_times(phase)}"
            for name, phase in now.phases.items()
            if phase.status != "NotStarted" and (name not in known or phase.status != known[name].status)
        ]
    if not news and not phases:
        return ""
    return " ".join([noun.capitalize(), now.name, *news]) + (f": {', '.join(phases)}" if phases else "")


def _times(phase: Phase) -> str:
    if phase.seconds is not None:
        return f" in {duration(phase.seconds)}"
    if phase.status == "InProgress" and phase.started is not None:
        return f" since {phase.started:%Y-%m-%d %H:%M:%S %Z}"
    return ""


def duration(seconds: float) -> str:
    """Format a duration for a log: ``50 s``, ``12 min 5 s``, ``3 h 12 min``."""
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"

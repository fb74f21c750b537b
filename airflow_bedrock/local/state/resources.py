"""The resources of Bedrock as plain data; ``api/`` makes the responses from them."""

from __future__ import annotations

import random
import string
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, ClassVar

PHASES = ("validation", "dataProcessing", "training")
"""The phases of a customization job, in order; ``statusDetails`` shows each."""

CONFIGURATION = "configuration"
"""The key of the only item of its kind, which has no ARN."""

_ID_CHARACTERS = string.ascii_lowercase + string.digits
_RANDOM = random.SystemRandom()  # a test that seeds `random` must not get the same ids twice


def new_id() -> str:
    """Return an id as at the end of Bedrock's ARNs: 12 lower-case letters and digits."""
    return "".join(_RANDOM.choices(_ID_CHARACTERS, k=12))


@dataclass
class Phase:
    """One phase of a job.

    :param status: NotStarted, InProgress, Completed, Stopping, Stopped or Failed.
    """

    status: str = "NotStarted"
    creation_time: datetime | None = None
    last_modified_time: datetime | None = None


Curve = list[tuple[int, float]]
"""Losses by step."""

POINTS = 200
"""Approximate number of losses of a curve that are kept and shown."""


class Transient:
    """State that is not kept between runs, because it changes all the time; each run starts with new state."""


class Progress(Transient):
    """The progress of training; the admin API shows it.

    ``training_losses`` has one for each step, ``validation_losses`` one with its step for each epoch.
    """

    def __init__(self) -> None:
        self.step = 0
        self.steps = 0
        self.epoch = 0
        self.training_loss: float | None = None
        self.validation_loss: float | None = None
        self.training_losses = array("d")
        self.validation_losses: Curve = []

    @property
    def curves(self) -> tuple[Curve, Curve]:
        """The training and validation losses, or a sample of them with the first and the last."""
        # Copies, since another thread appends to them.
        return _thinned(list(enumerate(self.training_losses[:], start=1))), _thinned(self.validation_losses[:])


@dataclass(kw_only=True)
class Resource:
    """The attributes of all kinds of resources.

    ``UNDER_WAY`` are the statuses in which background work continues.
    """

    UNDER_WAY: ClassVar[tuple[str, ...]] = ("InProgress",)

    arn: str
    name: str
    creation_time: datetime
    status: str = "InProgress"

    @property
    def id(self) -> str:
        """The 12 characters at the end of its ARN; the output folder of a job in S3 has this name."""
        return self.arn.rpartition("/")[2]

    @property
    def active(self) -> bool:
        """Whether work on it is in progress, so that it cannot be changed or deleted."""
        return self.status in self.UNDER_WAY


@dataclass(kw_only=True)
class Job(Resource):
    """A model customization job.

    :param request: the unchanged CreateModelCustomizationJob request.
    :param hyperparameters: those of the request, and the defaults.
    :param curves: the training and validation losses of a job that has ended.
    """

    UNDER_WAY = ("InProgress", "Stopping")

    model_name: str
    base_model: str
    base_model_arn: str
    request: dict[str, Any]
    hyperparameters: dict[str, str]
    last_modified_time: datetime
    kms_key_arn: str | None = None
    end_time: datetime | None = None
    failure_message: str | None = None
    model_arn: str | None = None
    training_loss: float | None = None
    validation_losses: list[float] = field(default_factory=list)
    phases: dict[str, Phase] = field(default_factory=lambda: {name: Phase() for name in PHASES})
    progress: Progress = field(default_factory=Progress)
    curves: tuple[Curve, Curve] = field(default_factory=lambda: ([], []))

    @property
    def phase(self) -> str:
        """The phase it is in, or was in when it ended."""
        started = [name for name in PHASES if self.phases[name].status != "NotStarted"]
        return started[-1] if started else PHASES[0]

    @property
    def type(self) -> str:
        """The customization type; FINE_TUNING by default."""
        kind: str = self.request.get("customizationType", "FINE_TUNING")
        return kind


@dataclass(kw_only=True)
class CustomModel(Resource):
    """A custom model: made by a job, copied, or trained elsewhere. Its weights are kept separately, under its ARN.

    :param base_model: the id of its foundation model.
    :param base_model_arn: the model that was customized: the foundation model, or another custom model.
    :param type: how it was customized; IMPORTED for one that was trained elsewhere.
    :param job_arn: the customization job that made it, if any.
    :param checkpoint: for one that was trained elsewhere and whose weights cannot be read: a digest of its files.
    :param request: for one that was trained elsewhere: the unchanged CreateCustomModel request.
    """

    UNDER_WAY = ("Creating",)

    base_model: str
    base_model_arn: str
    type: str
    job_arn: str | None = None
    kms_key_arn: str | None = None
    status: str = "Active"
    failure_message: str | None = None
    checkpoint: str | None = None
    request: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class CopyJob(Resource):
    """A model copy job, in the target region.

    :param name: the name of the copy.
    """

    source_arn: str
    source_name: str
    source_account: str
    target_arn: str
    kms_key_arn: str | None
    failure_message: str | None = None


@dataclass(kw_only=True)
class ImportJob(Resource):
    """A model import job.

    :param request: the unchanged CreateModelImportJob request.
    """

    request: dict[str, Any]
    last_modified_time: datetime
    kms_key_arn: str | None = None
    end_time: datetime | None = None
    failure_message: str | None = None
    model_arn: str | None = None


@dataclass(kw_only=True)
class ImportedModel(Resource):
    """A model that an import job made; it is called by its own ARN.

    :param instruct: whether it has a template for conversations.
    :param checkpoint: a digest of its files, in place of the weights, which cannot be read here.
    """

    job_arn: str
    architecture: str
    instruct: bool
    checkpoint: str
    status: str = "Active"


@dataclass
class Update:
    """The latest change of the model behind a deployment."""

    model_arn: str
    status: str = "Updating"


@dataclass(kw_only=True)
class Deployment(Resource):
    """A custom model that can be called on demand."""

    model_arn: str
    last_updated_time: datetime
    description: str | None = None
    status: str = "Creating"
    update: Update | None = None

    @property
    def models(self) -> set[str]:
        """The ARNs of the model that answers, and of the one that will replace it."""
        coming = {self.update.model_arn} if self.update and self.update.status == "Updating" else set()
        return {self.model_arn} | coming

    @property
    def active(self) -> bool:
        """Whether it is being created or updated, and so cannot be changed or deleted."""
        return self.status == "Creating" or (self.update is not None and self.update.status == "Updating")


@dataclass(kw_only=True)
class Throughput(Resource):
    """Provisioned throughput: model units for one model, billed by the hour.

    :param model_arn: the model that answers: a foundation model or a custom one.
    :param desired_model_arn: the model that will replace it while the status is Updating.
    :param commitment: OneMonth or SixMonths; None for none.
    """

    UNDER_WAY = ("Creating", "Updating")

    model_arn: str
    desired_model_arn: str
    foundation_model_arn: str
    units: int
    last_modified_time: datetime
    status: str = "Creating"
    commitment: str | None = None
    commitment_expiration_time: datetime | None = None

    @property
    def models(self) -> set[str]:
        """The ARNs of the model that answers, and of the one that will replace it."""
        return {self.model_arn, self.desired_model_arn}


@dataclass
class Meter:
    """The cost of provisioned throughput: a number of model units over a time. It stays when the throughput is deleted.

    :param arn: the throughput's ARN.
    """

    arn: str
    name: str
    units: int
    began: datetime
    ended: datetime | None = None

    def hours(self, now: datetime) -> float:
        """Return the hours so far, or in total when it has ended."""
        return ((self.ended or now) - self.began).total_seconds() / 3600


@dataclass
class Counts:
    """The number of records of a batch inference job, and of those that succeeded or failed."""

    total: int = 0
    processed: int = 0
    succeeded: int = 0
    failed: int = 0

    @property
    def described(self) -> dict[str, int]:
        """The counts as the job and its manifest show them."""
        return {
            "totalRecordCount": self.total,
            "processedRecordCount": self.processed,
            "successRecordCount": self.succeeded,
            "errorRecordCount": self.failed,
        }


@dataclass(kw_only=True)
class InvocationJob(Resource):
    """A batch inference job.

    :param request: the unchanged CreateModelInvocationJob request.
    """

    request: dict[str, Any]
    last_modified_time: datetime
    expiration_time: datetime
    status: str = "Submitted"
    message: str | None = None
    end_time: datetime | None = None
    counts: Counts = field(default_factory=Counts)

    @property
    def active(self) -> bool:
        """Whether it has not ended."""
        return self.end_time is None


@dataclass
class Accepted:
    """A request that was accepted with a clientRequestToken, and the ARN that it made."""

    request: dict[str, Any]
    arn: str


@dataclass
class RegionState:
    """The state of one account in one region, by ARN in the order of creation.

    :param logging: the stored configuration of model invocation logging, under :data:`CONFIGURATION`.
    """

    jobs: dict[str, Job] = field(default_factory=dict)
    models: dict[str, CustomModel] = field(default_factory=dict)
    deployments: dict[str, Deployment] = field(default_factory=dict)
    throughputs: dict[str, Throughput] = field(default_factory=dict)
    imports: dict[str, ImportJob] = field(default_factory=dict)
    imported: dict[str, ImportedModel] = field(default_factory=dict)
    copies: dict[str, CopyJob] = field(default_factory=dict)
    meters: dict[str, Meter] = field(default_factory=dict)
    invocations: dict[str, InvocationJob] = field(default_factory=dict)
    logging: dict[str, dict[str, Any]] = field(default_factory=dict)
    tags: dict[str, dict[str, str]] = field(default_factory=dict)
    tokens: dict[str, Accepted] = field(default_factory=dict)

    def resources(self) -> Iterator[Resource]:
        """Return everything with an ARN, a name and a status."""
        for kind in fields(RegionState):
            yield from (one for one in getattr(self, kind.name).values() if isinstance(one, Resource))


def _thinned(points: Curve) -> Curve:
    every = max(1, len(points) // POINTS)
    return [*points[:-1:every], *points[-1:]]

"""The types of what tasks push. A DAG's author can push anything; a value that does not match its type is not shown."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Required, TypedDict

import msgspec

from airflow_bedrock import shown

_Moment = Annotated[datetime, msgspec.Meta(tz=True)]  # times without a zone cannot be compared with the others
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]  # a float has every one of them
_Address = Annotated[str, msgspec.Meta(pattern="^https?://")]  # other schemes must not become links


class _Phase(TypedDict, total=False):
    name: str
    status: str
    started: _Moment | None
    changed: _Moment | None


class _Epoch(TypedDict, total=False):
    epoch: _Count
    training_loss: float | None
    validation_loss: float | None


class _Data(TypedDict, total=False):
    s3Uri: str  # as in the request


class _Request(TypedDict, total=False):
    customization_type: str
    base_model_id: str
    hyperparameters: dict[str, str]
    training_data: _Data


class _Bill(TypedDict):
    usd: float
    basis: str


class _Budget(TypedDict):
    month: str
    settled: float
    reserved: float
    limit: float | None


class _Job(TypedDict, total=False):
    job_arn: Required[str]
    job_name: str
    status: str
    base_model_arn: str | None
    custom_model_arn: str | None
    artifacts_uri: str | None
    training_loss: float | None
    validation_loss: float | None
    created: _Moment | None
    ended: _Moment | None
    phases: list[_Phase]
    losses_by_step: list[tuple[_Count, float]]
    losses_by_epoch: list[_Epoch]
    failure_message: str | None
    asked: _Request
    bill: _Bill | None
    budget: _Budget | None
    local_page: _Address


class _Score(TypedDict, total=False):
    model: str
    value: float | None


class _Models(TypedDict):
    candidate: _Score
    baseline: _Score


class _Evaluation(TypedDict, total=False):
    verdict: Required[str]
    metric: Required[str]
    models: Required[_Models]
    report_page: _Address


class _Promotion(TypedDict, total=False):
    name: Required[str]
    model_arn: Required[str]
    deployment_arn: str | None
    period: str | None
    promoted_by: str | None
    approved_by: str | None
    rolled_back_by: str | None


class _Unused(TypedDict):
    kind: str
    name: str
    arn: str
    region: str
    why: str
    usd_a_month: float | None


class _Idle(TypedDict):
    usd_a_month: float
    idle: list[_Unused]


_SHAPES = {shown.JOB: _Job, shown.EVALUATION: _Evaluation, shown.PROMOTION: _Promotion, shown.IDLE: _Idle}


def checked(key: str, value: Any) -> dict[str, Any] | None:
    """Return a value in its type, with times as datetimes; None if it has another shape.

    :param key: the key of the XCom.
    """
    try:
        return dict(msgspec.convert(value, _SHAPES[key]))
    except msgspec.ValidationError:
        return None

"""Compute what a resource has cost once it has ended: from its own counts if it has any, else as reserved.

GetModelCustomizationJob returns no count of tokens. The metrics files show how many epochs began; the tokens of an
epoch are the upper end of the estimate.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import msgspec

from airflow_bedrock.aws_errors import CALL_ERRORS
from airflow_bedrock.customization.job import Job, Outcome, Seen
from airflow_bedrock.jobs.resources.copy_job import COPY_JOB
from airflow_bedrock.jobs.resources.created_model import CREATED_MODEL
from airflow_bedrock.jobs.resources.customization_job import CUSTOMIZATION_JOB
from airflow_bedrock.jobs.resources.import_job import IMPORT_JOB
from airflow_bedrock.jobs.resources.invocation_job import INVOCATION_JOB
from airflow_bedrock.jobs.s3 import read_losses
from airflow_bedrock.spend.imported import units_of

if TYPE_CHECKING:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    from airflow_bedrock.jobs.service import Service
    from airflow_bedrock.spend.ledger import Entry

log = logging.getLogger(__name__)


class Bill(NamedTuple):
    """US dollars, and their basis."""

    usd: Decimal
    basis: str


def bill_of(entry: Entry, seen: Seen, service: Service, s3: S3Hook) -> Bill | None:
    """Return the cost of a resource; None while it may cost more.

    :param seen: the resource in its current state.
    :raises botocore.exceptions.ClientError: the service did not respond.
    """
    if seen.outcome in (Outcome.RUNNING, Outcome.UNKNOWN):
        return None
    measure = _MEASURES.get(entry.kind)
    if measure is not None:
        return measure(entry, seen, service, s3)
    return None if seen.outcome is Outcome.SUCCEEDED else Bill(Decimal(), "it was not made")  # it exists and is billed


def by_the_hour(entry: Entry, begun: datetime | None, ended: datetime | None) -> Bill:
    """Return the cost of each hour begun between two times.

    :param begun: the first time; by default, that of the reservation.
    :param ended: the last time; by default, now.
    """
    seconds = ((ended or datetime.now(UTC)) - (begun or entry.at)).total_seconds()
    hours = max(1, -(-int(seconds) // 3600))
    return Bill(entry.rates["hour"] * hours, f"{hours} hours")


def _customization(entry: Entry, seen: Seen, service: Service, s3: S3Hook) -> Bill:
    job = cast("Job", seen)
    phases = {name: phase for name, phase in job.phases.items() if phase.status != "NotStarted"}
    once = entry.rates.get("once", Decimal())
    if job.outcome is not Outcome.SUCCEEDED and job.phases and "training" not in phases:
        return Bill(once if "data processing" in phases else Decimal(), "it ended before it trained")
    if "hour" in entry.rates and (training := phases.get("training")) is not None:
        return by_the_hour(entry, training.started, training.changed or job.ended)
    begun = read_losses(s3, job)["losses_by_epoch"] if "epoch" in entry.rates else []
    epochs = sum(1 for one in begun if one["training_loss"] is not None)
    if not epochs:
        return Bill(entry.reserved, "the estimate")
    return Bill(min(once + entry.rates["epoch"] * epochs, entry.reserved), f"{epochs} epochs of the estimate")


def _batch(entry: Entry, seen: Seen, service: Service, s3: S3Hook) -> Bill:
    """By the counts in ``manifest.json.out``, which a completed job writes."""
    if not entry.rates:  # expected_cost was given
        return Bill(entry.reserved, "the estimate")
    request: dict[str, Any] = service.hook.conn.get_model_invocation_job(jobIdentifier=seen.arn)  # type: ignore[assignment]  # its members are looked up
    folder = request["outputDataConfig"]["s3OutputDataConfig"]["s3Uri"].rstrip("/")
    try:
        bucket, key = s3.parse_s3_url(f"{folder}/{seen.arn.rpartition('/')[2]}/manifest.json.out")
        with closing(cast("Any", s3.conn).get_object(Bucket=bucket, Key=key)["Body"]) as body:
            counts = msgspec.json.decode(body.read())
        usd = sum((entry.rates[one] * counts[f"{one}TokenCount"] for one in ("input", "output")), Decimal())
    except Exception as error:
        log.warning("The bill of %s counts as reserved, since its manifest could not be read: %s", seen.arn, error)
        return Bill(entry.reserved, "the estimate")
    return Bill(usd, "the tokens in its manifest")


def _storage(entry: Entry, seen: Seen, service: Service, s3: S3Hook) -> Bill:
    if seen.outcome is not Outcome.SUCCEEDED:
        return Bill(Decimal(), "it was not made")
    return Bill(entry.reserved, "a month of its storage" if entry.rates else "the estimate")


def _imported(entry: Entry, seen: Seen, service: Service, s3: S3Hook) -> Bill:
    """By the custom model units that Bedrock reports for the model."""
    if seen.outcome is not Outcome.SUCCEEDED or not entry.rates:
        return _storage(entry, seen, service, s3)
    try:
        units = units_of(service.hook.conn, str(seen.model_arn))
    except CALL_ERRORS as error:
        log.warning("The bill of %s counts as reserved, since Bedrock did not return its units: %s", seen.arn, error)
        units = None
    if units is None:
        return _storage(entry, seen, service, s3)
    return Bill(entry.rates["month"] * units, f"a month of its storage, {units} custom model units")


_MEASURES: dict[str, Callable[[Entry, Seen, Service, S3Hook], Bill]] = {
    CUSTOMIZATION_JOB.kind: _customization,
    INVOCATION_JOB.kind: _batch,
    COPY_JOB.kind: _storage,
    CREATED_MODEL.kind: _storage,
    IMPORT_JOB.kind: _imported,
}

"""What a thing has cost once it has ended: counted where that can be, as reserved where it cannot."""

from __future__ import annotations

import io
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from airflow_bedrock.customization.job import Job, Outcome
from airflow_bedrock.jobs.resources import ResourceState
from airflow_bedrock.prices import prices
from airflow_bedrock.spend.bill import Bill, bill_of
from airflow_bedrock.spend.imported import rates_of
from airflow_bedrock.spend.ledger import Entry
from tests.unit.spend.test_ledger import entry

ARN = "arn:aws:bedrock:us-east-1:123456789012:model-customization-job/m/abcdefghijkl"
BEGUN = datetime(2026, 11, 1, tzinfo=UTC)
METRICS = "step_number,epoch_number,training_loss,perplexity\n" + "".join(
    f"{step},{step // 10},0.5,1.6\n" for step in range(1, 30)
)


def paid(kind: str = "model customization job", **rates: str) -> Entry:
    found = {name: Decimal(usd) for name, usd in rates.items()}
    return msgspec.structs.replace(entry("job", reserved=40), kind=kind, rates=found)


def job(status: str, **phases: str) -> Job:
    times = {"creationTime": BEGUN, "lastModifiedTime": BEGUN + timedelta(hours=2, minutes=1)}
    response: dict[str, Any] = {"jobArn": ARN, "jobName": "job", "status": status}
    response["outputDataConfig"] = {"s3Uri": "s3://bucket/output"}
    response["statusDetails"] = {f"{name}Details": {"status": one, **times} for name, one in phases.items()}
    return Job.from_response(response)


def bucket(objects: Mapping[str, str]) -> Any:
    """S3 as the amazon provider's hook shows it."""

    def get_object(Bucket: str, Key: str) -> dict[str, Any]:
        body = objects[Key].encode()
        return {"Body": io.BytesIO(body), "ContentLength": len(body)}

    return SimpleNamespace(
        parse_s3_url=lambda uri: uri.removeprefix("s3://").split("/", 1),
        list_keys=lambda name, prefix: [key for key in objects if key.startswith(prefix)],
        conn=SimpleNamespace(get_object=get_object),
    )


WROTE = bucket(
    {"output/model-customization-job-abcdefghijkl/training_artifacts/step_wise_training_metrics.csv": METRICS}
)


@pytest.mark.parametrize(
    ("ended", "rates", "s3", "usd"),
    [
        (job("Completed", training="Completed"), {"epoch": "10"}, WROTE, 30),
        (job("Completed", training="Completed"), {"epoch": "10", "once": "5"}, WROTE, 35),
        (job("Completed", training="Completed"), {"epoch": "20"}, WROTE, 40),  # no more than was reserved
        (job("Completed", training="Completed"), {"epoch": "10"}, bucket({}), 40),
        (job("Completed", training="Completed"), {}, WROTE, 40),
        (job("Completed", training="Completed"), {"hour": "8"}, WROTE, 24),
        (job("Stopped", training="Stopped"), {"epoch": "10"}, bucket({}), 40),
        (job("Stopped", training="Stopped"), {"epoch": "10"}, WROTE, 30),
        (job("Failed", validation="Failed", training="NotStarted"), {"epoch": "10", "once": "5"}, WROTE, 0),
        (job("Failed", dataProcessing="Failed", training="NotStarted"), {"epoch": "10", "once": "5"}, WROTE, 5),
        (job("Failed", training="Failed"), {"epoch": "10"}, bucket({}), 40),
        (job("Failed"), {"epoch": "10"}, bucket({}), 40),  # nothing says that it did not train
    ],
)
def test_a_customization_job(ended: Job, rates: dict[str, str], s3: Any, usd: int) -> None:
    """By the epochs that it has begun; nothing before it trains; what cannot be known as it was reserved."""
    bill = bill_of(paid(**rates), ended, SimpleNamespace(), s3)  # type: ignore[arg-type]  # not asked
    assert bill is not None
    assert bill.usd == usd


@pytest.mark.parametrize("status", ["InProgress", "Stopping", "Sleeping"])
def test_what_runs_or_is_unknown_has_no_bill_yet(status: str) -> None:
    """It may cost more."""
    assert bill_of(paid(epoch="10"), job(status), SimpleNamespace(), WROTE) is None  # type: ignore[arg-type]  # as above


@pytest.mark.parametrize(("manifest", "usd"), [('{"inputTokenCount": 10, "outputTokenCount": 4}', 14), ("?", 40)])
def test_a_batch_job(manifest: str, usd: int) -> None:
    """By the counts in its manifest, or as it was reserved."""
    described = {"outputDataConfig": {"s3OutputDataConfig": {"s3Uri": "s3://bucket/out/"}}}
    conn = SimpleNamespace(get_model_invocation_job=lambda jobIdentifier: described)
    service: Any = SimpleNamespace(hook=SimpleNamespace(conn=conn))
    seen = ResourceState(arn="arn:a/batch", name="job", status="Completed", outcome=Outcome.SUCCEEDED)
    s3 = bucket({"out/batch/manifest.json.out": manifest})
    bill = bill_of(paid("batch inference job", input="1", output="1"), seen, service, s3)
    assert bill is not None
    assert bill.usd == usd


def test_a_job_that_never_trained_says_so() -> None:
    """The reason stands beside the amount in the ledger."""
    failed = job("Failed", dataProcessing="Failed", training="NotStarted")
    bill = bill_of(paid(epoch="10"), failed, SimpleNamespace(), WROTE)  # type: ignore[arg-type]  # not asked
    assert bill == Bill(Decimal(), "it ended before it trained")


@pytest.mark.parametrize(
    ("outcome", "rates", "units", "bill"),
    [
        (Outcome.SUCCEEDED, {"month": "1.95"}, 3, (Decimal("5.85"), "a month of its storage, 3 custom model units")),
        (Outcome.SUCCEEDED, {"month": "1.95"}, None, (40, "a month of its storage")),
        (Outcome.SUCCEEDED, {}, 3, (40, "the estimate")),
        (Outcome.FAILED, {"month": "1.95"}, 3, (0, "it was not made")),
    ],
)
def test_an_imported_model(outcome: Outcome, rates: dict[str, str], units: int | None, bill: Any) -> None:
    """A month of its storage by the units that Bedrock says; as it was reserved where it does not say."""
    told = {} if units is None else {"customModelUnits": {"customModelUnitsPerModelCopy": units}}
    conn = SimpleNamespace(get_imported_model=lambda modelIdentifier: told)
    service: Any = SimpleNamespace(hook=SimpleNamespace(conn=conn))
    seen = ResourceState(arn="arn", name="job", status="", outcome=outcome, model_arn="model")
    assert bill_of(paid("model import job", **rates), seen, service, bucket({})) == bill


def test_an_imported_model_without_a_price_or_units_has_no_cost_that_is_known() -> None:
    """Neither is taken for zero."""
    rates = rates_of(2, prices(), "us-east-1")
    assert rates.usd_a_month is not None
    assert rates._replace(units=None).usd_a_month is None
    assert rates._replace(storage=None).usd_a_month is None


def test_what_is_billed_until_its_deletion_is_not_settled_before() -> None:
    """Provisioned throughput, say; where it could not be made, it costs nothing."""
    throughput, service = paid("provisioned throughput", hour="60"), SimpleNamespace()
    made = ResourceState(arn="arn", name="job", status="InService", outcome=Outcome.SUCCEEDED)
    failed = ResourceState(arn="arn", name="job", status="Failed", outcome=Outcome.FAILED)
    assert bill_of(throughput, made, service, bucket({})) is None  # type: ignore[arg-type]  # as above
    bill = bill_of(throughput, failed, service, bucket({}))  # type: ignore[arg-type]  # as above
    assert bill is not None
    assert bill.usd == 0

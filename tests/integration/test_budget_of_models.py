"""Copies, imports and custom models under a budget: a month of storage is reserved before Create, and settled."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from airflow_bedrock import configuration
from airflow_bedrock.cli import main
from airflow_bedrock.exceptions import BedrockFatalError
from airflow_bedrock.hooks.bedrock import BedrockHook
from airflow_bedrock.jobs import waiting
from airflow_bedrock.jobs.resources.copy_job import COPY_JOB
from airflow_bedrock.jobs.resources.provisioned_throughput import PROVISIONED_THROUGHPUT
from airflow_bedrock.spend.books import Books
from airflow_bedrock.spend.budget import BudgetError
from airflow_bedrock.spend.ledger import Entry, Ledger
from airflow_bedrock.spend.settling import settle_open
from tests.faults.paid import COPY, IMPORT, MODEL, QUICK, Kind, World
from tests.integration.test_copying import context

PRICES = """
only = true
[sources.ours]
date = 2026-11-01
name = "Ours"
[[prices]]
source = "ours"
[prices.models]
"amazon.nova-micro-v1:0" = { storage = 2, model_unit = 0.001 }
"imported-model" = { imported_storage = 3 }
"""
ASKED = [  # kind, what it is given, reserved, settled, what that rests on
    (COPY, {}, 2, 2, "a month of its storage"),
    (IMPORT, {"custom_model_units": "4"}, 12, 3, "a month of its storage, 1 custom model units"),
    (MODEL, {"base_model_id": "amazon.nova-micro-v1:0:128k"}, 2, 2, "a month of its storage"),
]


@pytest.fixture
def ledger(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[], list[Entry]]]:
    """An empty ledger, a file of prices, and time that passes between two polls."""
    for name, value in world.local.environment().items():
        monkeypatch.setenv(name, value)
    uri = f"s3://{world.local.bucket}/{uuid.uuid4().hex}"
    (tmp_path / "prices.toml").write_text(PRICES, encoding="utf-8")
    monkeypatch.setenv("AIRFLOW__BEDROCK__PRICES", str(tmp_path / "prices.toml"))
    monkeypatch.setenv("AIRFLOW__BEDROCK__LEDGER_URI", uri)
    monkeypatch.setenv("AIRFLOW__BEDROCK__LEDGER_KMS_KEY_ID", "alias/ledger")
    clock = SimpleNamespace(sleep=lambda _: world.pass_time(), monotonic=time.monotonic)
    monkeypatch.setattr(waiting, "time", clock)
    with closing(world.local.client("s3")) as s3:
        yield lambda: list(Books(uri, lambda: s3).read().entries.values())


def run(world: World, kind: Kind, name: str, **more: Any) -> Any:
    """Run a task that asks for one."""
    task = kind.make(world, name, other=False, botocore_config=QUICK, **more)
    with closing(task.hook.conn):
        return task.execute(context(name, {}))


@pytest.mark.parametrize(
    ("kind", "given", "reserved", "settled", "basis"), ASKED, ids=lambda one: getattr(one, "word", "")
)
def test_a_month_of_storage_is_reserved_before_create_and_settled(
    world: World,
    ledger: Callable[[], list[Entry]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: Kind,
    given: dict[str, Any],
    reserved: int,
    settled: int,
    basis: str,
) -> None:
    """Over the budget none is made; the ledger stays encrypted by its key; ``spend`` shows it."""
    name = f"budget{uuid.uuid4().hex[:8]}"
    monkeypatch.setenv("AIRFLOW__BEDROCK__MONTHLY_BUDGET", str(reserved - 1))
    with pytest.raises(BudgetError, match=rf"{name}.* may cost {reserved}\.00, 1\.00 more than is left"):
        run(world, kind, name, **given)
    assert (kind.made(world, name), ledger()) == ([], [])
    monkeypatch.setenv("AIRFLOW__BEDROCK__MONTHLY_BUDGET", str(reserved))
    run(world, kind, name, **given)
    [entry] = ledger()
    assert (entry.reserved, entry.settled) == (Decimal(reserved), Decimal(settled))
    assert (entry.basis, entry.arn is not None) == (basis, True)
    key = f"{configuration.ledger_uri().rpartition('/')[2]}/ledger.json"
    with closing(world.local.client("s3")) as s3:
        assert s3.head_object(Bucket=world.local.bucket, Key=key)["SSEKMSKeyId"] == "alias/ledger"
    assert main(["spend", "--by", "model", "--format", "json"]) == 0
    said = capsys.readouterr().out
    shown = json.loads(said[said.index("{\n") :])  # after the logs of the tasks
    assert (shown["settled_usd"], shown["lines"][0]["model"]) == (f"{settled}", entry.model)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (COPY, "No price is known for storage of a custom model of amazon.nova-micro"),
        (IMPORT, "The number of custom model units is not known in advance. Set custom_model_units"),
        (MODEL, "The base model of the checkpoint is not known in advance. Set base_model_id"),
    ],
    ids=lambda one: getattr(one, "word", ""),
)
def test_what_has_no_price_is_not_made(
    world: World, ledger: Callable[[], list[Entry]], monkeypatch: pytest.MonkeyPatch, kind: Kind, said: str
) -> None:
    """Unless the task says what it may cost."""
    name = f"unknown{uuid.uuid4().hex[:8]}"
    monkeypatch.setenv("AIRFLOW__BEDROCK__PRICES", "")
    monkeypatch.setenv("AIRFLOW__BEDROCK__MONTHLY_BUDGET", "5")
    with pytest.raises(BedrockFatalError, match=rf"{said}.*Or set expected_cost.*Nothing was created"):
        run(world, kind, name)
    assert (kind.made(world, name), ledger()) == ([], [])


def test_what_was_not_made_costs_nothing(
    world: World, ledger: Callable[[], list[Entry]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An import whose files are bad gives back what was reserved."""
    monkeypatch.setenv("AIRFLOW__BEDROCK__MONTHLY_BUDGET", "5")
    with closing(world.local.client("s3")) as s3:
        s3.put_object(Bucket=world.local.bucket, Key="bad/config.json", Body=b"{}")
    with pytest.raises(BedrockFatalError, match="has failed"):
        run(world, IMPORT, "bad", expected_cost=4, model_data_uri=f"s3://{world.local.bucket}/bad")
    [entry] = ledger()
    assert (entry.settled, entry.basis) == (Decimal(), "it was not made")


def test_an_import_says_what_its_model_goes_on_costing(
    world: World,
    ledger: Callable[[], list[Entry]],
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """With the price and its date, or that none is known."""
    with caplog.at_level("INFO"):
        run(world, IMPORT, f"said{uuid.uuid4().hex[:8]}")
    said = capsys.readouterr().out + caplog.text  # Airflow's versions log differently
    assert "it costs: 3 USD a month at 3 USD per custom model unit and month (2026-11-01, Ours); no price" in said
    assert "no price is known for the minutes in which it answers." in said


@pytest.mark.parametrize("rate", ["month", "hour"])
def test_what_was_deleted_before_it_was_settled_is_settled_as_it_was_reserved(
    world: World, ledger: Callable[[], list[Entry]], rate: str
) -> None:
    """Its task was killed after Create: a month of storage is paid for, of hours no more than was reserved."""
    now, hook = datetime.now(UTC), BedrockHook()
    account = world.local.role_arn.split(":")[4]
    noun = COPY_JOB.kind if rate == "month" else PROVISIONED_THROUGHPUT.kind
    words = "model-copy-job" if rate == "month" else "provisioned-model"
    gone = Entry(
        key=f"us-east-1/{account}/{noun}/gone",
        kind=noun,
        name="gone",
        region="us-east-1",
        account=account,
        dag_id="dag",
        task_id="task",
        run_id="run",
        at=now - timedelta(hours=100),
        reserved=Decimal(2),
        rates={rate: Decimal(1)},
        arn=f"arn:aws:bedrock:us-east-1:{account}:{words}/abcdefghijkl",
    )
    with closing(world.local.client("s3")) as s3, closing(hook.conn):
        books = Books(configuration.ledger_uri(), lambda: s3)
        books.change(lambda _: Ledger({gone.key: gone}))
        said = settle_open(books, hook, account, S3Hook(), now)
    assert said == [f"{noun} gone: deleted; 2.00 USD"]
    [entry] = ledger()
    assert (entry.settled, entry.basis) == (Decimal(2), "its storage" if rate == "month" else "its hours")

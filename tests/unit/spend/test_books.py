"""Where the ledger is kept: a writer among many tries again, less and less often, and not for ever."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_bedrock.exceptions import BedrockError
from airflow_bedrock.json_store import ConflictError, JsonStore
from airflow_bedrock.spend import books
from airflow_bedrock.spend.books import Books
from airflow_bedrock.spend.ledger import Entry, Ledger

ENTRY = Entry(
    key="us-east-1/1/job/a",
    kind="job",
    name="a",
    region="us-east-1",
    account="1",
    dag_id="dag",
    task_id="task",
    run_id="run",
    at=datetime(2026, 11, 1, tzinfo=UTC),
    reserved=Decimal(1),
)
CHANGED = Ledger({ENTRY.key: ENTRY})


class Others:
    """Other writers, who are faster each time; the clock goes on by what is slept, and by 50 s for each try."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
        self.times, self.seconds, self.written, self.slept = times, 0.0, list[Any](), list[float]()
        monkeypatch.setattr(JsonStore, "read", lambda store, name: (Ledger(), "etag"))
        monkeypatch.setattr(JsonStore, "put", self.put)
        monkeypatch.setattr(books, "time", SimpleNamespace(monotonic=lambda: self.seconds, sleep=self.slept.append))
        monkeypatch.setattr(books, "random", SimpleNamespace(uniform=lambda least, most: most))

    def put(self, name: str, content: Ledger, etag: str | None) -> None:
        self.seconds += 50
        self.times -= 1
        if self.times >= 0:
            raise ConflictError("The ledger was changed since.")
        self.written.append((name, content, etag))


def kept() -> Books:
    def never() -> Any:
        raise AssertionError("nothing is read from S3 here")

    return Books("s3://bucket/spend", never)


def test_what_others_have_changed_is_changed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a pause that grows, but for 2 s at most: a writer among many has its turn within 5 minutes."""
    others = Others(monkeypatch, 6)
    assert kept().change(lambda ledger: CHANGED) == CHANGED
    assert others.written == [("ledger", CHANGED, "etag")]
    assert others.slept == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6]


def test_a_ledger_that_is_changed_without_end_ends_the_try(monkeypatch: pytest.MonkeyPatch) -> None:
    """After 5 minutes, so that the worker slot is free for others."""
    others = Others(monkeypatch, 100)
    with pytest.raises(BedrockError, match=r"The ledger was changed since\. .* for 300 s\."):
        kept().change(lambda ledger: CHANGED)
    assert len(others.slept) == 6
    assert others.written == []


def test_what_changes_nothing_writes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger is returned as it is."""
    others = Others(monkeypatch, 0)
    assert kept().change(lambda ledger: ledger) == Ledger()
    assert others.written == []


def test_the_pause_between_two_attempts_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that met the others ten times is no slower than one that met them seven times."""
    others = Others(monkeypatch, 9)
    monkeypatch.setattr(books, "_SECONDS", 1000.0)
    kept().change(lambda ledger: CHANGED)
    assert others.slept[-3:] == [2.0, 2.0, 2.0]

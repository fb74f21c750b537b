"""Asking one model: by a clock that does not jump, whatever the wall clock does."""

from __future__ import annotations

import gzip
import itertools
import sqlite3
import time
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_bedrock.evaluation import answer_store
from airflow_bedrock.evaluation import inference as inference_module
from airflow_bedrock.evaluation.answer_store import Answer, Answers, Store, key_of
from airflow_bedrock.evaluation.batch import is_same_model
from airflow_bedrock.evaluation.bill import Bill, Rate
from airflow_bedrock.evaluation.inference import Inference, Later, Question, ServedModel
from tests.evaluated import Memory

COUNT = 40
CUSTOM = "arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.nova-micro-v1:0:128k"
DAYS = 90


class Model:
    """A model that throttles every third call."""

    model_id = "model"

    def __init__(self) -> None:
        self.calls = 0

    def served(self) -> ServedModel:
        return ServedModel("model", "")

    def ask(self, request: Mapping[str, Any], key: str) -> Answer:
        self.calls += 1
        if self.calls % 3 == 0:
            raise Later(ConnectionError("throttled"))
        return Answer("yes", "end_turn")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference_module, "KEEP_ANSWERS", 10)
    monkeypatch.setattr("airflow_bedrock.evaluation.pace._FIRST_PAUSE", 0.001)
    monkeypatch.setattr("airflow_bedrock.evaluation.pace._LONGEST_PAUSE", 0.001)


def run(model: Model, folder: Path, memory: Memory, **more: Any) -> Inference:
    """Ask all questions, and return what asked them."""
    with closing(more.pop("answers", Answers)(folder)) as answers:
        one = Inference(
            model,
            answers,
            Store(memory, "test", DAYS),
            keys=key_of,
            rate=lambda model_id: Rate(0.0, 0.0),
            bill=Bill(),
            most=4,
            no_response_timeout=more.pop("no_response_timeout", 60.0),
            **more,
        )
        one.begin()
        one.run((Question(n, {"messages": [n]}) for n in range(COUNT)), COUNT)
        return one


def test_a_wall_clock_that_jumps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A year forth and a year back with each call: no timeout is reached, no pause is long, and all is asked once."""
    jumps = iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: 1.9e9 + (-1) ** next(jumps) * 365 * 86_400)
    memory = Memory()
    assert run(Model(), tmp_path / "one", memory).progress.answered == COUNT
    assert run(model := Model(), tmp_path / "other", memory).progress.kept == COUNT
    assert model.calls == 0


def test_the_log_says_how_many_questions_remain(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Neither those that were asked nor those that had an answer."""
    memory = Memory()
    with caplog.at_level("INFO"):
        for folder, asked in (("one", COUNT), ("other", 0)):
            caplog.clear()
            run(Model(), tmp_path / folder, memory)
            assert f"Model model: {asked} asked, {COUNT - asked} kept from before" in caplog.messages[-1]
            assert caplog.messages[-1].endswith(", 0 remaining, 0.0000 USD spent")


def test_no_question_remains_when_all_have_an_answer(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Questions that several records have are asked once, and a judge has none about answers that are the same."""
    with caplog.at_level("INFO"), closing(Answers(tmp_path)) as answers:
        one = Inference(
            Model(),
            answers,
            Store(Memory(), "test", DAYS),
            keys=key_of,
            rate=lambda model_id: None,
            bill=Bill(),
            most=4,
            no_response_timeout=60.0,
        )
        one.begin()
        one.run((Question(n, {"messages": [n // 4]}) for n in range(COUNT)), 2 * COUNT)
    assert ", 0 remaining, " in caplog.messages[-1]


def test_a_deleted_model_is_reported_with_what_is_lost(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A deployment that was deleted meanwhile: which model has answered last cannot be known."""

    class Gone(Model):
        def served(self) -> ServedModel:
            if self.calls > 15:
                raise LookupError("it does not exist")
            return super().served()

    memory = Memory()
    with pytest.raises(LookupError, match="it does not exist"):
        run(Gone(), tmp_path / "one", memory)
    assert len(memory) == 1
    assert " answers of model model were not kept" in caplog.text


def test_what_is_paid_for_is_kept_even_if_the_disk_is_full(tmp_path: Path) -> None:
    """SQLite raises an error once its file may grow no more; the store gets all answers nevertheless."""

    class Long(Model):
        def ask(self, request: Mapping[str, Any], key: str) -> Answer:
            return Answer("x" * 1500, super().ask(request, key).stop_reason)

    class Small(Answers):
        def __init__(self, folder: Path) -> None:
            super().__init__(folder)
            self._database.execute("PRAGMA max_page_count=5")

    memory, model = Memory(), Long()
    with pytest.raises(sqlite3.OperationalError, match="full"):
        run(model, tmp_path / "one", memory, answers=Small)
    kept = sum(len(gzip.decompress(content).splitlines()) for content in memory.values())
    assert kept == model.calls - model.calls // 3 > 0
    assert run(Long(), tmp_path / "other", memory).progress.kept == kept


def test_no_response_timeout_counts_on_the_given_clock(tmp_path: Path) -> None:
    """After so many seconds without one answer the last error is raised; the seconds before the first do not count."""
    clock = itertools.count(5e8)  # a second each time that it is read

    class Silent(Model):
        def ask(self, request: Mapping[str, Any], key: str) -> Answer:
            raise Later(ConnectionError("no route"))

    with pytest.raises(ConnectionError, match="no route"):
        run(Silent(), tmp_path / "one", Memory(), clock=lambda: next(clock), no_response_timeout=300.0)
    assert 300 <= next(clock) - 5e8 < 400


def test_answers_expire_by_the_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They serve on the last day; the day after they are asked again, and what has expired is deleted."""
    memory, today = Memory(), datetime.now(tz=UTC).date()
    run(Model(), tmp_path / "one", memory)
    old = set(memory)
    for days, asked in ((DAYS, 0), (DAYS + 1, COUNT)):
        monkeypatch.setattr(answer_store, "_today", lambda days=days: today + timedelta(days=days))
        assert run(Model(), tmp_path / str(days), memory).progress.answered == asked
        assert (old <= memory.keys()) is (asked == 0)
    assert old.isdisjoint(memory)


def test_a_clock_that_is_behind_deletes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another worker has kept for days that this one does not know yet is used."""
    memory = Memory()
    run(Model(), tmp_path / "one", memory)
    kept = dict(memory)
    monkeypatch.setattr(answer_store, "_today", lambda: date(1970, 1, 1))
    assert run(Model(), tmp_path / "other", memory).progress.kept == COUNT
    assert memory == kept


@pytest.mark.parametrize(
    ("asked", "other", "same"),
    [
        ("amazon.nova-micro-v1:0", "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-micro-v1:0", True),
        ("us.amazon.nova-micro-v1:0", "amazon.nova-micro-v1:0", True),
        ("amazon.nova-micro-v1:0", "amazon.nova-lite-v1:0", False),
        (f"{CUSTOM}/abcdefghijkl", f"{CUSTOM}/abcdefghijkl", True),
        (f"{CUSTOM}/abcdefghijkl", f"{CUSTOM}/lkjihgfedcba", False),
        (f"{CUSTOM}/abcdefghijkl", "amazon.nova-micro-v1:0", False),
    ],
)
def test_a_batch_job_has_asked_the_model_whatever_its_identifier(asked: str, other: str, *, same: bool) -> None:
    """Otherwise the answers of a whole job would be thrown away; two custom models of one base are two models."""
    assert is_same_model(asked, other) is is_same_model(other, asked) is same

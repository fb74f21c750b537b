"""An evaluation from its file to its result: what a million records do not change."""

from __future__ import annotations

import math
import tracemalloc
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from airflow_bedrock.evaluation import bootstrap
from airflow_bedrock.evaluation.answer_store import Answer
from airflow_bedrock.evaluation.report import page, sections
from airflow_bedrock.evaluation.run import histogram
from tests.evaluated import Model, evaluate, records

ROLES = ("candidate", "baseline")
METRICS = ("exact_match", "macro_f1")


def test_memory_does_not_grow_with_the_test_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five times as many records, checked, priced, asked, kept and scored, have the same peak of memory.

    python -m benchmarks.evaluation does it with a million.
    """
    monkeypatch.setattr(bootstrap, "GROUPS", 128)  # of which a million records have 2048
    monkeypatch.setattr(bootstrap, "_CELLS", 1 << 14)
    evaluate(tmp_path / "first", records(150), roles=ROLES, metrics=METRICS)
    peaks = []
    for count in (300, 1500):
        tracemalloc.start()
        try:
            result, _ = evaluate(tmp_path / str(count), records(count), roles=ROLES, metrics=METRICS)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert result["records"] == count
    assert peaks[1] < 1.05 * peaks[0]


def test_a_histogram_counts_each_value_once() -> None:
    """The last bin has all that are greater; what was not measured has none."""
    found = histogram(Counter({10: 98, 20: 1, 1000: 1}), bins=2)
    assert found == [(10, 15.5, 98), (15.5, 21, 2)]
    assert histogram(Counter()) == []


def test_each_evaluation_asks_in_a_different_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So two workers at once, who find what the other has kept, do not ask side by side; each asks all, once."""
    ask, asked, firsts = Model.ask, list[int](), set[int]()

    def noted(self: Model, request: Mapping[str, Any], key: str) -> Answer:
        asked.append(int(request["messages"][0]["content"][0]["text"].split()[0]))
        return ask(self, request, key)

    monkeypatch.setattr(Model, "ask", noted)
    for number in range(9):
        evaluate(tmp_path / str(number), records(32), roles=ROLES, metrics=METRICS[:1])
        assert sorted(asked) == sorted([*range(32), *range(32)])
        firsts.add(asked[0])
        asked.clear()
    assert len(firsts) > 1


def test_what_many_records_ask_is_priced_once(tmp_path: Path) -> None:
    """As it is asked and paid for."""
    result, _ = evaluate(tmp_path, lambda: (line for _ in range(5) for line in records(6)()), roles=ROLES)
    assert {role: (one["n"], one["asked"]) for role, one in result["models"].items()} == dict.fromkeys(ROLES, (30, 6))


def scored(value: float) -> Callable[[str, str], float]:
    return lambda answer, reference: value if answer == "d" else 1.0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e308])
def test_a_score_that_is_no_number_is_no_verdict(tmp_path: Path, value: float) -> None:
    """The record is named where a function returns what cannot be summed; what is large and can be is compared."""
    with pytest.raises(ValueError, match=r"^Record 6: metric .* returned .*, which is not a number"):
        evaluate(tmp_path / "one", records(30), roles=ROLES, metrics=(scored(value),))
    result, _ = evaluate(tmp_path / "other", records(30), roles=ROLES, metrics=(scored(-1e99),))
    assert result["verdict"] == "better"
    assert math.isfinite(result["differences"]["baseline"][result["metric"]]["high"])


@pytest.mark.parametrize("count", [1, 2])
def test_next_to_no_records_are_undecided(tmp_path: Path, count: int) -> None:
    """By every metric; the report is written for them too."""
    metrics = ("exact_match", "chrf", "corpus_bleu", "token_f1", "rouge_l", "json_valid", "macro_f1")
    lines = [f'{{"prompt": "{n} question", "completion": "a", "half": "one"}}'.encode() for n in range(count)]
    result, _ = evaluate(tmp_path, lambda: iter(lines), roles=ROLES, metrics=metrics)
    assert (result["verdict"], list(result["slices"])) == ("undecided", ["one"])
    assert "undecided" not in page("x", sections(result))
    assert "cannot be called better" in page("x", sections(result))


def test_a_metric_that_is_used_twice_needs_labels(tmp_path: Path) -> None:
    """Whatever kind it is; the first one decides."""
    metrics: list[Any] = [
        {"name": "regex", "pattern": "^a$", "label": "says a"},
        {"name": "regex", "pattern": r"(\w)"},
        {"name": lambda answer, reference: float(answer == reference), "label": "mine"},
    ]
    result, _ = evaluate(tmp_path, records(30), roles=ROLES, metrics=metrics)
    assert result["metric"] == "says a"
    assert list(result["differences"]["baseline"]) == ["says a", "regex", "mine"]
    assert sum(result["differences"]["baseline"]["regex"][one] for one in ("wins", "losses", "ties")) == 30


def test_a_slice_field_that_no_record_has_fails_before_the_first_question(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A misspelt name would switch off ``max_slice_loss``; records that lack it are one, and a warning says so."""
    lines = [b'{"prompt": "0 question", "completion": "a"}', b'{"prompt": "1 question", "completion": "a"}']
    with pytest.raises(ValueError, match=r"^slice_by is half, a field that no record has"):
        evaluate(tmp_path / "none", lambda: iter(lines), roles=ROLES)
    lines[0] = b'{"prompt": "0 question", "completion": "a", "half": "one"}'
    result, _ = evaluate(tmp_path / "one", lambda: iter(lines), roles=ROLES)
    assert list(result["slices"]) == ["(none)", "one"]
    assert "1 of 2 records lack the field half: they are slice (none)" in caplog.messages


def test_a_reference_that_a_metric_cannot_use_fails_before_anything_is_asked(tmp_path: Path) -> None:
    """By its record: a comparison that would fail in the end is not paid for."""
    lines = [f'{{"prompt": "{n} question", "completion": "{"no" if n == 3 else n}"}}'.encode() for n in range(5)]
    with pytest.raises(ValueError, match=r"^Record 4: metric json_fields needs a reference answer that is JSON"):
        evaluate(tmp_path, lambda: iter(lines), roles=ROLES, metrics=("json_fields",))


def test_an_empty_file_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    """So is one of blank lines."""
    for name, lines in (("empty", records(0)), ("blank", lambda: iter([b"\n", b"  \n"]))):
        with pytest.raises(ValueError, match="nothing to evaluate"):
            evaluate(tmp_path / name, lines, roles=ROLES, metrics=METRICS)

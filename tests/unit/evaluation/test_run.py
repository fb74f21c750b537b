"""An evaluation from its file to its result: what a million records do not change."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from airflow_bedrock.evaluation import bootstrap
from airflow_bedrock.evaluation.run import NothingToAskError
from tests.evaluated import evaluate, records

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


def test_an_empty_file_is_refused_before_anything_is_asked(tmp_path: Path) -> None:
    """So is one of blank lines."""
    for name, lines in (("empty", records(0)), ("blank", lambda: iter([b"\n", b"  \n"]))):
        with pytest.raises(NothingToAskError, match="nothing to evaluate on"):
            evaluate(tmp_path / name, lines, roles=ROLES, metrics=METRICS)

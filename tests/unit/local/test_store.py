"""The file that keeps state: whole after every end, small, and refused when it is something else."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_bedrock.local.state import store as module
from airflow_bedrock.local.state.store import StateError, Store

NAMES = st.sampled_from(["a", "b", "c/ä\n", '"'])
VALUES = st.sampled_from([None, 0, "text", "two\nlines", {"a": [1.5]}])
CHANGES = st.lists(st.dictionaries(NAMES, VALUES, max_size=3), max_size=6)


def write(store: Store, change: dict[str, object]) -> None:
    store.write({name: None if value is None else json.dumps(value).encode() for name, value in change.items()})


def read(path: Path) -> dict[str, object]:
    store = Store(path)
    store.close()
    return {name: json.loads(value) for name, value in store.values.items()}


@given(CHANGES, st.integers(0, 200), st.booleans())
def test_a_process_that_is_killed_leaves_all_that_was_written(
    changes: list[dict[str, object]], cut: int, slack: bool
) -> None:
    """Wherever the last line is cut short, what was written before is there, and the line counts not at all."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        if slack:
            patch.setattr(module, "_SLACK", 0)  # so that the file is written anew all the time
        path = Path(folder, "state.jsonl")
        store, wanted = Store(path), dict[str, object]()
        for change in changes:
            write(store, change)
            wanted |= change
        wanted = {name: value for name, value in wanted.items() if value is not None}
        whole = path.read_bytes()
        write(store, {"a": "x" * 50, "b": None, "new": 1})
        store.close()
        torn = path.read_bytes()
        if torn.startswith(whole):  # else the file was written anew, in one step
            path.write_bytes(torn[: len(whole) + min(cut, len(torn) - len(whole) - 1)])
            assert read(path) == wanted
        path.write_bytes(torn)
        assert read(path) == {
            **{name: wanted[name] for name in wanted if name not in ("a", "b")},
            "a": "x" * 50,
            "new": 1,
        }


def test_the_file_stays_small(tmp_path: Path) -> None:
    """What is out of date is dropped now and then."""
    store = Store(tmp_path / "state.jsonl")
    for number in range(3000):
        store.write({"name": json.dumps(f"{number} " * 500).encode()})
    store.close()
    assert (tmp_path / "state.jsonl").stat().st_size < 3_000_000
    assert list(tmp_path.iterdir()) == [tmp_path / "state.jsonl"]


def test_what_has_not_changed_is_not_written(tmp_path: Path) -> None:
    """Writing the same again adds nothing to the file."""
    store = Store(tmp_path / "state.jsonl")
    store.write({"a": b"1"})
    size = (tmp_path / "state.jsonl").stat().st_size
    store.write({"a": b"1", "b": None})
    store.close()
    assert (tmp_path / "state.jsonl").stat().st_size == size


@pytest.mark.parametrize("content", [b"{}", b'{"airflow-bedrock local state":3}\nnonsense\n{"a":1}\n'])
def test_another_file_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    """A file that is something else, or damaged in the middle, is an error that says what to do."""
    path = tmp_path / "state.jsonl"
    path.write_bytes(content)
    with pytest.raises(StateError, match="Move it away"):
        Store(path)
    assert path.read_bytes() == content

"""The file that keeps state: whole after every end, one process's at a time, and refused when it is something else."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from airflow_bedrock.local.state.store import StateError, Store

KILLED = """
import os, signal, sys
from pathlib import Path
from airflow_bedrock.local.state.store import Store
store = Store(Path(sys.argv[1]))
store.write({"a": b"1", "b": b"2", "c": b"3"})
store.write({"a": b"4", "b": None})
# In the middle of a change, when its first half is in the file.
store._database.execute("PRAGMA cache_size=1")
store._database.execute("DELETE FROM state")
store._database.executemany("INSERT INTO state VALUES (?, ?)", ((str(n), b"x" * 1000) for n in range(1000)))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_that_is_killed_leaves_all_that_was_written(tmp_path: Path) -> None:
    """What was written is there after SIGKILL, and of a change that was being written, nothing."""
    path = tmp_path / "state.sqlite"
    ended = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False, capture_output=True, text=True)
    assert ended.returncode == -9, ended.stderr
    store = Store(path)
    assert store.values == {"a": b"4", "c": b"3"}
    store.close()


def test_changes_are_read_back(tmp_path: Path) -> None:
    """Names and values are any text; what is removed or not changed is no error."""
    store = Store(tmp_path / "state.sqlite")
    for change in ({"a": b"1", 'c/ä\n"': b'"two\\nlines"'}, {"a": None, "b": None}, {"a": b"2"}, {"a": b"2"}, {}):
        store.write(change)
        wanted = dict(store.values)
        store.close()
        store = Store(tmp_path / "state.sqlite")
        assert store.values == wanted
    store.close()
    assert wanted == {"a": b"2", 'c/ä\n"': b'"two\\nlines"'}


def test_names_keep_their_order(tmp_path: Path) -> None:
    """Names come back in the order in which they came, however often their values changed."""
    store = Store(tmp_path / "state.sqlite")
    store.write({"b": b"1", "a": b"1", "gone": b"1"})
    store.write({"c": b"1", "b": b"2", "gone": None})
    store.close()
    store = Store(tmp_path / "state.sqlite")
    assert [*store.values] == ["b", "a", "c"]
    store.close()


def test_the_file_stays_small(tmp_path: Path) -> None:
    """What is out of date takes no place."""
    store = Store(tmp_path / "state.sqlite")
    for number in range(500):
        store.write({"name": json.dumps(f"{number} " * 500).encode()})
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 6_000_000
    store.close()
    assert (tmp_path / "state.sqlite").stat().st_size < 100_000
    assert list(tmp_path.iterdir()) == [tmp_path / "state.sqlite"]


def test_two_do_not_use_one_file(tmp_path: Path) -> None:
    """The second one gets an error; the file is free again when the first has closed it."""
    store = Store(tmp_path / "state.sqlite")
    with pytest.raises(StateError, match="Another Local Bedrock uses"):
        Store(tmp_path / "state.sqlite")
    store.write({"a": b"1"})
    store.close()
    again = Store(tmp_path / "state.sqlite")
    assert again.values == {"a": b"1"}
    again.close()


def test_another_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A file that is something else, or of another version, is an error that says what to do."""
    text, newer = tmp_path / "text", tmp_path / "newer"
    text.write_text("{}")
    with sqlite3.connect(newer) as database:
        database.executescript("CREATE TABLE state (name, value); PRAGMA user_version=99")
    database.close()
    for path in (text, newer):
        with pytest.raises(StateError, match=r"was not written by this version .* Move it away"):
            Store(path)
    assert text.read_text() == "{}"
    with pytest.raises(StateError, match=r"cannot be used: .* Choose another directory"):
        Store(text / "state.sqlite")

"""Where the objects of S3 buckets are kept as files."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_bedrock.local.state.buckets import place_keys

KEYS = st.lists(st.text(st.sampled_from("aAb./é\\ "), min_size=1, max_size=8), unique=True, max_size=12)


@given(KEYS)
def test_every_key_gets_a_file_of_its_own(keys: list[str]) -> None:
    """All objects can be written and read back, whatever their keys, and no file is outside the directory."""
    with tempfile.TemporaryDirectory() as folder:
        for key, file in place_keys("bucket", keys).items():
            path = Path(folder, file)
            assert path.resolve().is_relative_to(Path(folder).resolve())
            path.parent.mkdir(parents=True, exist_ok=True)
            assert not path.exists()
            path.write_text(key)
        assert {Path(folder, file).read_text() for file in place_keys("bucket", keys).values()} == set(keys)


@pytest.mark.parametrize("key", ["train.jsonl", "data/2026-11/train.jsonl", "with space/and é"])
def test_ordinary_keys_are_paths(key: str) -> None:
    """An ordinary key is found under its own name."""
    assert place_keys("bucket", [key]) == {key: f"s3/bucket/{key}"}


@pytest.mark.parametrize("key", ["a//b", "../up", "folder/", "/root", "x" * 300, "dir/.hidden"])
def test_odd_keys_are_kept_elsewhere(key: str) -> None:
    """A key that no file can have as its path is kept under its digest."""
    assert place_keys("bucket", [key])[key].startswith("s3-other/bucket/")

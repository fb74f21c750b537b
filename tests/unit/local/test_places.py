"""Where the objects of S3 buckets are kept as files."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_bedrock.local.state.buckets import Places

KEYS = st.text(st.sampled_from("aAb./é\\ "), min_size=1, max_size=8)


@given(st.lists(st.tuples(KEYS, st.booleans()), max_size=16))
def test_every_key_gets_a_file_of_its_own(changes: list[tuple[str, bool]]) -> None:
    """However keys come and go, all objects can be written and read back, and no file is outside the directory."""
    places, there = Places("bucket"), dict[str, str]()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        for key, put in changes:
            if put:
                file = there[key] = places.place(key)
                assert places.place(key) == file
                path = root / file
                assert path.resolve().is_relative_to(root)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(key)
            elif key in there:
                path = root / there.pop(key)
                path.unlink()
                while path.parent != root and not any(path.parent.iterdir()):
                    path = path.parent
                    path.rmdir()
                places.release(key)
        assert {(root / file).read_text() for file in there.values()} == set(there)
        assert len({file.casefold() for file in there.values()}) == len(there)
        again = Places("bucket", there)
        assert {key: again.place(key) for key in there} == there


@pytest.mark.parametrize("key", ["train.jsonl", "data/2026-11/train.jsonl", "with space/and é"])
def test_ordinary_keys_are_paths(key: str) -> None:
    """An ordinary key is found under its own name."""
    assert Places("bucket").place(key) == f"s3/bucket/{key}"


def test_a_place_is_free_once_its_object_is_gone() -> None:
    """``a`` can be a file when no ``a/b`` is there any more, and a folder when ``a`` is gone."""
    places = Places("bucket")
    for old, new in (("a/b", "a"), ("a", "A/b"), ("A/b", "a")):
        places.place(old)
        assert places.place(new).startswith("s3-other/")
        places.release(new)
        places.release(old)
        assert places.place(new) == f"s3/bucket/{new}"
        places.release(new)


@pytest.mark.parametrize("key", ["a//b", "../up", "folder/", "/root", "x" * 300, "dir/.hidden"])
def test_odd_keys_are_kept_elsewhere(key: str) -> None:
    """A key that no file can have as its path is kept under its digest."""
    assert Places("bucket").place(key).startswith("s3-other/bucket/")

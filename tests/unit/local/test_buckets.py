"""Where the objects of S3 buckets are kept as files."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.response import StreamingBody
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_bedrock.local.state.buckets import Buckets
from airflow_bedrock.local.state.store import Store

KEYS = st.text(st.sampled_from("aAb./é\\ "), min_size=1, max_size=8)


class Kept:
    """A bucket of which each object is kept as it comes and goes; an object's content is its key."""

    def __init__(self, folder: Path, store: Store) -> None:
        self.folder, self.keys = folder, set[str]()
        self._buckets = Buckets(folder, store, self)

    def get_object(self, *, Key: str, **_: Any) -> dict[str, Any]:
        if Key not in self.keys:
            raise ClientError({}, "GetObject")
        content = Key.encode()
        told = {"ETag": '"etag"', "ChecksumCRC64NVME": "", "ChecksumType": "FULL_OBJECT"}
        return {"Body": StreamingBody(io.BytesIO(content), len(content)), **told}

    def put(self, *keys: str) -> None:
        for key in keys:
            self.keys.add(key)
            self._buckets.write("bucket", key)

    def delete(self, key: str) -> None:
        self.keys.discard(key)
        self._buckets.write("bucket", key)

    @property
    def files(self) -> dict[str, str]:
        """The file of each key."""
        found = [path for place in ("s3", "s3-other") for path in (self.folder / place).rglob("*") if path.is_file()]
        return {path.read_text(): path.relative_to(self.folder).as_posix() for path in found}


@contextmanager
def kept_in(folder: Path) -> Iterator[Kept]:
    store = Store(folder / "state.sqlite")
    yield Kept(folder, store)
    store.close()


@settings(max_examples=50)
@given(st.lists(st.tuples(KEYS, st.booleans()), max_size=16))
def test_every_key_gets_a_file_of_its_own(changes: list[tuple[str, bool]]) -> None:
    """However keys come and go, all objects can be written and read back, and no file is outside the directory."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name, "inner")
        with kept_in(folder) as bucket:
            for key, put in changes:
                (bucket.put if put else bucket.delete)(key)
                assert set(bucket.files) == bucket.keys
            files, keys = bucket.files, bucket.keys
            assert len({file.casefold() for file in files.values()}) == len(files)
        assert [*Path(name).iterdir()] == [folder]
        with kept_in(folder) as again:
            again.put(*keys)
            assert again.files == files


@pytest.mark.parametrize("key", ["train.jsonl", "data/2026-11/train.jsonl", "with space/and é"])
def test_ordinary_keys_are_paths(tmp_path: Path, key: str) -> None:
    """An ordinary key is found under its own name."""
    with kept_in(tmp_path) as bucket:
        bucket.put(key)
        assert bucket.files == {key: f"s3/bucket/{key}"}


def test_a_place_is_free_once_its_object_is_gone(tmp_path: Path) -> None:
    """``a`` can be a file when no ``a/b`` is there any more, and a folder when ``a`` is gone."""
    with kept_in(tmp_path) as bucket:
        for old, new in (("a/b", "a"), ("a", "a/b"), ("a", "A")):
            bucket.put(old, new)
            assert bucket.files[new].startswith("s3-other/")
            bucket.delete(new)
            bucket.delete(old)
            bucket.put(new)
            assert bucket.files == {new: f"s3/bucket/{new}"}
            bucket.delete(new)


@pytest.mark.parametrize("key", ["a//b", "../up", "folder/", "/root", "x" * 300, "dir/.hidden"])
def test_odd_keys_are_kept_elsewhere(tmp_path: Path, key: str) -> None:
    """A key that no file can have as its path is kept under its digest."""
    with kept_in(tmp_path) as bucket:
        bucket.put(key)
        assert bucket.files[key].startswith("s3-other/bucket/")

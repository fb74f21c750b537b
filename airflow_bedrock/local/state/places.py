"""Where the objects of a bucket are kept: each under its own key as a path, wherever that can be."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from pathlib import PurePosixPath


class Places:
    """The files of one bucket's objects, relative to the state directory: ``s3/<bucket>/<key>``.

    A key that no file can be named after (``a//b``, ``../x``, ``folder/``), or that is a folder of another key, or that
    differs from another only by case, gets a file named by its digest, in ``s3-other/<bucket>``.

    :param files: the files that keys have already.
    """

    def __init__(self, bucket: str, files: Mapping[str, str] | None = None) -> None:
        self._bucket = bucket
        self._files: dict[str, str] = {}
        self._paths: set[str] = set()
        self._folders: Counter[str] = Counter()
        for key, file in (files or {}).items():
            self._take(key, file)

    def place(self, key: str) -> str:
        """Return the file for a key, which is the same as long as the key is not released."""
        if key not in self._files:
            plain = _nameable(key) and self._is_free(key.casefold())
            digest = hashlib.sha256(key.encode()).hexdigest()
            self._take(key, f"s3/{self._bucket}/{key}" if plain else f"s3-other/{self._bucket}/{digest}")
        return self._files[key]

    def release(self, key: str) -> None:
        """Make room for others: the object is gone."""
        file = self._files.pop(key)
        if self._is_plain(file):
            self._paths.discard(key.casefold())
            self._folders.subtract(_folders(key.casefold()))

    def _take(self, key: str, file: str) -> None:
        self._files[key] = file
        if self._is_plain(file):
            self._paths.add(key.casefold())
            self._folders.update(_folders(key.casefold()))

    def _is_free(self, path: str) -> bool:
        return not (path in self._paths or self._folders[path] or any(one in self._paths for one in _folders(path)))

    def _is_plain(self, file: str) -> bool:
        return file.startswith("s3/")


def _folders(path: str) -> list[str]:
    return [parent.as_posix() for parent in PurePosixPath(path).parents]


def _nameable(key: str) -> bool:
    names = key.split("/")
    return all(name not in ("", ".", "..") and len(name.encode()) < 200 and "\0" not in name for name in names) and (
        not names[-1].startswith(".")  # files that begin with a dot are left alone when files are read back
    )

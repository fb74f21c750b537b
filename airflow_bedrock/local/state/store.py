"""A map of names to values in one file, which a process that is killed at any moment leaves whole.

Each change is a line at the end of the file, written in one go before anybody is told of it; a line that is cut short
was never told of, and counts for nothing. When the file holds much that is out of date it is written anew, beside the
old one, and put in its place in one step.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

_HEADER = b'{"airflow-bedrock local state":3}\n'
_SLACK = 1 << 20
"""Bytes of the file that may be out of date, beside as many as are not."""


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Let ``write`` fill a new file, then put it at ``path`` in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".writing-{uuid.uuid4()}")
    try:
        write(unfinished)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


class StateError(Exception):
    """What the state directory holds cannot be used."""


class Store:
    """The map; names and values are JSON.

    :param path: the file; made when it is not there.
    :raises StateError: it holds something else.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values: dict[str, bytes] = {}
        if path.exists():
            self._read()
        self._rewrite()

    @property
    def values(self) -> Mapping[str, bytes]:
        """All values, as JSON, by name."""
        return self._values

    def write(self, changes: Mapping[str, bytes | None]) -> None:
        """Write changes: all of them or, where the process is killed, none.

        :param changes: the new values by name; None removes one.
        """
        changed = {name: value for name, value in changes.items() if self._values.get(name) != value}
        if not changed:
            return
        line = _line(changed)
        self._file.write(line)
        self._size += len(line)
        for name, value in changed.items():
            self._live += len(value or b"") - len(self._values.get(name, b""))
            if value is None:
                del self._values[name]
            else:
                self._values[name] = value
        if self._size > 2 * self._live + _SLACK:
            self._file.close()
            self._rewrite()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read(self) -> None:
        content = self._path.read_bytes()
        if not content.startswith(_HEADER):
            raise StateError(f"{self._path} was not written by this version of Local Bedrock. Move it away.")
        lines = content[len(_HEADER) :].split(b"\n")
        for number, line in enumerate(lines[:-1], start=2):  # what follows the last line end was cut short
            try:
                changes = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
            except msgspec.MsgspecError as error:
                raise StateError(f"{self._path} cannot be read, line {number}: {error}. Move it away.") from error
            for name, raw in changes.items():
                if (value := bytes(raw)) == b"null":
                    self._values.pop(name, None)
                else:
                    self._values[name] = value

    def _rewrite(self) -> None:
        content = _HEADER + (_line(self._values) if self._values else b"")
        write_whole(self._path, lambda path: _write(path, content))
        self._live = self._size = len(content)
        self._file = self._path.open("ab", buffering=0)


def _line(values: Mapping[str, bytes | None]) -> bytes:
    return msgspec.json.encode({name: msgspec.Raw(value or b"null") for name, value in values.items()}) + b"\n"


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())

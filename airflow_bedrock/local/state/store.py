"""A map of names to values in an SQLite file, which stays intact if the process is killed.

Only one process uses it at a time.
"""

from __future__ import annotations

import sqlite3
import threading
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

_FORMAT = 4
"""The version of the format; SQLite's ``user_version``."""

_PUT = "INSERT INTO state VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value"


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
    """The state directory cannot be used."""


class Store:
    """The map; names and values are JSON.

    :param path: the file; made if it does not exist.
    :raises StateError: it holds something else, or another process uses it.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(path, timeout=0, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            raise StateError(f"{path.parent} cannot be used: {error}. Choose another directory.") from error
        try:
            self._values = self._read()
        except sqlite3.Error as error:
            self._database.close()
            if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY:
                message = f"Another Local Bedrock uses {path.parent}. Stop it, or choose another directory."
            elif isinstance(error, sqlite3.OperationalError):  # as of a directory that may not be written to
                message = f"{path} cannot be used: {error}. Choose another directory."
            else:
                message = f"{path} was not written by this version of Local Bedrock ({error}). Move it away."
            raise StateError(message) from error

    @property
    def values(self) -> Mapping[str, bytes]:
        """All values, as JSON, by name, in the order in which the names were added."""
        return self._values

    def write(self, changes: Mapping[str, bytes | None]) -> None:
        """Write changes: all of them or, if the process is killed, none.

        :param changes: the new values by name; None removes one.
        """
        with self._lock:
            changed = {name: value for name, value in changes.items() if self._values.get(name) != value}
            if not changed:
                return
            gone = [(name,) for name, value in changed.items() if value is None]
            with self._database:
                self._database.executemany(_PUT, changed.items())
                self._database.executemany("DELETE FROM state WHERE name = ?", gone)
            self._values.update({name: value for name, value in changed.items() if value is not None})
            for (name,) in gone:
                del self._values[name]

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _read(self) -> dict[str, bytes]:
        database = self._database
        # Exclusive: no other process can open the file now. Data survives the end of the process, but not a crash of
        # the computer.
        database.executescript("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF")
        (tables,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if not tables:
            database.executescript(
                f"CREATE TABLE state (name TEXT PRIMARY KEY, value BLOB); PRAGMA user_version={_FORMAT}"
            )
        (found,) = database.execute("PRAGMA user_version").fetchone()
        if found != _FORMAT:
            raise sqlite3.DatabaseError(f"its format is {found}, not {_FORMAT}")
        return dict(database.execute("SELECT name, value FROM state ORDER BY rowid"))

"""Store the answers that have been paid for: on disk during the evaluation, and where the next one finds them.

An answer is found by its content: the model, and everything that was sent to it. The store keeps the answers and
digests of the questions, but not the questions. A batch of answers is one immutable object::

    <environment>/<digest of the model>/expires=2027-02-19/<digest of the batch>.jsonl.gz

So two workers at once write different objects, or the same one. The expiry date in the name is for :class:`Store`,
which deletes expired objects that it finds, and for a lifecycle rule of the bucket.
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import sqlite3
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import quote

import msgspec

from airflow_bedrock.decoding import decoder

log = logging.getLogger(__name__)

_READERS = 8

Item = TypeVar("Item")


class Answer(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """An answer of a model.

    :param text: the text, or its tool calls as JSON; empty if the service blocked it.
    :param stop_reason: why it ended, as the service reports it: ``end_turn``, ``max_tokens``, ...
    :param input_tokens: tokens of the question, as billed.
    :param output_tokens: tokens of the answer, as billed.
    :param latency_ms: the latency that the service reports, in milliseconds; None if it reports none.
    """

    text: str
    stop_reason: str
    input_tokens: int = 0
    output_tokens: int = 0
    latency_ms: int | None = None


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An answer and the key of its question."""

    key: str
    answer: Answer


_ANSWER = decoder(Answer)
_ENTRY = decoder(Entry)


def key_of(model: str, request: Mapping[str, Any], media: Iterable[str] = ()) -> str:
    """Return the key of a question: the SHA-256 of the model and of the whole request, including the parameters.

    :param model: the model itself, not the id that is called.
    :param media: the ETags of files that the request names only by URI.
    """
    parts = (model.encode(), msgspec.json.encode(request, order="sorted"), *(tag.encode() for tag in media))
    return hashlib.sha256(b"\0".join(parts)).hexdigest()


class Answers:
    """The answers of one model, on disk: memory does not grow with them. Several threads may use it.

    :param folder: an empty or missing folder of the local disk.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.batches: set[str] = set()  # the names of the store's batches that were read
        self._lock = threading.Lock()
        self._database = sqlite3.connect(folder / "answers.sqlite", check_same_thread=False, isolation_level=None)
        # The database is temporary; the store keeps the answers.
        self._database.execute("PRAGMA journal_mode=OFF")
        self._database.execute("PRAGMA synchronous=OFF")
        self._database.execute("CREATE TABLE answers (key TEXT PRIMARY KEY, answer BLOB) WITHOUT ROWID")

    def add(self, entries: Iterable[Entry]) -> None:
        """Add answers that are not there yet."""
        rows = ((entry.key, msgspec.json.encode(entry.answer)) for entry in entries)
        with self._lock:
            self._database.executemany("INSERT OR IGNORE INTO answers VALUES (?, ?)", rows)

    def get(self, key: str) -> Answer | None:
        """Return an answer, if there is one."""
        with self._lock:
            found = self._database.execute("SELECT answer FROM answers WHERE key = ?", (key,)).fetchone()
        return None if found is None else _ANSWER.decode(found[0])

    def close(self) -> None:
        """Close the file."""
        self._database.close()


def distinct(items: Iterable[Item], key: Callable[[Item], str]) -> Iterator[Item]:
    """Yield the first item with each key. The keys are in a temporary SQLite file: memory does not grow with them."""
    with closing(sqlite3.connect("", check_same_thread=False, isolation_level=None)) as database:
        database.execute("CREATE TABLE seen (key TEXT PRIMARY KEY) WITHOUT ROWID")
        for one in items:
            if database.execute("INSERT OR IGNORE INTO seen VALUES (?)", (key(one),)).rowcount > 0:
                yield one


class Objects(Protocol):
    """A folder of whole objects, by their names in it."""

    def names(self, prefix: str) -> Iterator[str]:
        """List the names with this prefix."""

    def read(self, name: str) -> bytes:
        """Return an object; empty if it no longer exists."""

    def write(self, name: str, content: bytes) -> None:
        """Write an object, whole or not at all."""

    def delete(self, name: str) -> bool:
        """Delete an object; return False if that is not allowed."""


class Store:
    """The store of answers for later evaluations.

    :param objects: the folder of its objects.
    :param environment: the name of this deployment of Airflow.
    :param days: number of days after which an answer is no longer used, and is deleted.
    """

    def __init__(self, objects: Objects, environment: str, days: int) -> None:
        self._objects = objects
        self._environment = quote(environment, safe="")
        self._days = days
        self._may_delete = True

    def fetch(self, model: str, answers: Answers) -> None:
        """Read the answers of a model that any task has kept since the last call."""
        new = [name for name in self._objects.names(self._folder(model)) if name not in answers.batches]
        answers.batches.update(new)
        gone = {name for name in new if _expires(name) < _today()}
        for name in gone:
            self._forget(name)
        with ThreadPoolExecutor(_READERS) as readers:
            for entries in readers.map(self._read, (name for name in new if name not in gone)):
                answers.add(entries)

    def keep(self, model: str, entries: Iterable[Entry], answers: Answers) -> None:
        """Keep a batch of a model's answers, which ``answers`` already has."""
        lines = b"".join(msgspec.json.encode(entry) + b"\n" for entry in entries)
        content = gzip.compress(lines, mtime=0)
        expires = _today() + timedelta(days=self._days)
        name = f"{self._folder(model)}expires={expires}/{hashlib.sha256(lines).hexdigest()[:32]}.jsonl.gz"
        self._objects.write(name, content)
        answers.batches.add(name)

    def _folder(self, model: str) -> str:
        return f"{self._environment}/{hashlib.sha256(model.encode()).hexdigest()[:32]}/"

    def _read(self, name: str) -> list[Entry]:
        try:
            return [_ENTRY.decode(line) for line in gzip.decompress(self._objects.read(name)).splitlines()]
        except (OSError, EOFError, zlib.error, msgspec.MsgspecError) as error:
            log.warning("Cannot read the answers in %s; asking again: %s", name, type(error).__name__)
            return []

    def _forget(self, name: str) -> None:
        if self._may_delete and not self._objects.delete(name):
            self._may_delete = False
            log.warning("Answers have expired and cannot be deleted; allow s3:DeleteObject, or set a lifecycle rule")


def _expires(name: str) -> date:
    stated = name.rpartition("/expires=")[2].partition("/")[0]
    try:
        return date.fromisoformat(stated)
    except ValueError:
        return date.max


def _today() -> date:
    return datetime.now(tz=UTC).date()

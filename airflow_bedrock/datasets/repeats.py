"""Find repeated questions on disk, so that memory does not grow with the data.

Each record takes 32 bytes: the digests of its prompt and completion, and its position. These are divided into parts by
digest, and one part at a time is read. A 128-bit digest stands for the text: the chance that two of a billion texts
collide is 1 in 10^21.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path
from struct import Struct
from typing import NamedTuple
from zlib import crc32

ENTRY = Struct("<16s8sII")
_WRITTEN = Struct("<16sIIII")  # an entry, with the checksum and the length of its answer
_DIGEST = blake2b(digest_size=16)  # copying it takes half the time of making one
PARTS = 256
"""Files on disk; with a billion records each has 125 MB."""


class Place(NamedTuple):
    """The place of a record: the block's number, and the line in it, from 0."""

    block: int
    line: int


class Entry(NamedTuple):
    """The entry of a record."""

    prompt: bytes
    completion: bytes
    block: int
    line: int

    @property
    def place(self) -> Place:
        """Its place."""
        return Place(self.block, self.line)


class BlockEntries:
    """The entries of the records of one block, by part."""

    def __init__(self, block: int) -> None:
        self._block = block
        self._parts = [bytearray() for _ in range(PARTS)]

    def add(self, line: int, prompt: bytes, completion: bytes) -> None:
        """Add the entry of a record, given its normalised texts."""
        digest = _DIGEST.copy()
        digest.update(prompt)
        key = digest.digest()
        # Different answers to a question differ in length or checksum, except for one in 10^9.
        self._parts[key[0]] += _WRITTEN.pack(key, crc32(completion), len(completion), self._block, line)

    def parts(self) -> dict[int, bytes]:
        """Return the entries, by part."""
        return {part: bytes(found) for part, found in enumerate(self._parts) if found}


class Parts:
    """The entries of all blocks, by part, in files.

    :param folder: a new folder with 32 bytes of free space per record.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._waiting: dict[int, list[bytes]] = {}
        self._bytes = 0

    def add(self, parts: dict[int, bytes]) -> None:
        """Add the entries of a block; blocks come in order."""
        for part, entries in parts.items():
            self._waiting.setdefault(part, []).append(entries)
            self._bytes += len(entries)
        if self._bytes > 16 << 20:
            self._write()

    def __iter__(self) -> Iterator[bytes]:
        self._write()
        return (file.read_bytes() for file in sorted(self._folder.iterdir()))

    def _write(self) -> None:
        for part, entries in self._waiting.items():
            with (self._folder / f"{part:03}").open("ab") as file:
                file.writelines(entries)
        self._waiting, self._bytes = {}, 0


def groups(parts: Parts) -> Iterator[list[Entry]]:
    """Yield the groups of records that share a prompt, each in order."""
    for part in parts:
        yield from _groups(part)


def _groups(part: bytes) -> Iterable[list[Entry]]:
    prompts = [part[begin : begin + 16] for begin in range(0, len(part), ENTRY.size)]
    if len(set(prompts)) == len(prompts):
        return ()
    seen: set[bytes] = set()
    again = {one for one in prompts if one in seen or seen.add(one)}  # type: ignore[func-returns-value]
    found: dict[bytes, list[Entry]] = {}
    for number, prompt in enumerate(prompts):
        if prompt in again:
            entry = Entry._make(ENTRY.unpack_from(part, number * ENTRY.size))
            found.setdefault(prompt, []).append(entry)
    return found.values()

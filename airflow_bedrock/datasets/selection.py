"""Select the records to write: one for each question, up to the number that was asked for.

Records are compared by digest, one part at a time (:mod:`repeats`), and selected in the order of a hash of their
question. So the same data gives the same records in whatever order it arrives, and a larger sample contains a smaller
one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from pathlib import Path
from struct import Struct

from airflow_bedrock.datasets.errors import DatasetError
from airflow_bedrock.datasets.repeats import Entry, Parts, Place


class OnConflict(StrEnum):
    """What to do with records that ask the same and answer differently. All but the chosen ones are counted."""

    FIRST = "first"
    """Keep the first."""
    LAST = "last"
    """Keep the last: the newest, where the source is in the order of time."""
    MAJORITY = "majority"
    """Keep the answer that most of them give; of those that are level, the first."""
    DROP = "drop"
    """Keep none of them."""
    FAIL = "fail"
    """Write nothing."""


def chosen(group: Sequence[Entry], on_conflict: OnConflict) -> Entry | None:
    """Return which of the records that ask the same is kept."""
    votes = Counter(one.completion for one in group)
    if len(votes) == 1 or on_conflict in (OnConflict.FIRST, OnConflict.FAIL):
        return group[0]
    if on_conflict is OnConflict.DROP:
        return None
    answer = group[-1].completion if on_conflict is OnConflict.LAST else votes.most_common(1)[0][0]
    return next(one for one in group if one.completion == answer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """How many records are wanted; None for all.

    :param records: in all.
    :param per_class: with the same completion.
    :param per_group: of the same group.
    :param balance: as many of each class as of the smallest.
    :raises DatasetError: a number is less than 1.
    """

    records: int | None = None
    per_class: int | None = None
    per_group: int | None = None
    balance: bool = False

    def __post_init__(self) -> None:
        if any(one is not None and one < 1 for one in (self.records, self.per_class, self.per_group)):
            raise DatasetError("a cap must be 1 or more")

    @property
    def wanted(self) -> bool:
        """Whether there is any."""
        return self.balance or (self.records, self.per_class, self.per_group) != (None, None, None)


KEY = Struct("<8s8s8sII")


def sample_key(key: bytes, completion: bytes, group: bytes, place: Place, seed: str) -> bytes:
    """Return what a choice is made by: the place in the sample, the class, the group, and where the record stands.

    The texts are in their normalised form.
    """
    seeded = blake2b(seed.encode()).digest()
    sample = blake2b(key, digest_size=8, key=seeded, person=b"dataset sample").digest()
    class_ = blake2b(completion, digest_size=8).digest()
    return KEY.pack(sample, class_, blake2b(group, digest_size=8).digest(), *place)


class Sample:
    """Chooses records up to the caps.

    :param folder: exists, and has room for 32 bytes a record.
    """

    def __init__(self, caps: Caps, folder: Path) -> None:
        self._caps = caps
        self._keys = Parts(folder)
        self._classes: Counter[bytes] = Counter()

    def add(self, keys: Iterator[bytes]) -> None:
        """Take the :func:`sample_key` of records that may be chosen."""
        parts: defaultdict[int, bytearray] = defaultdict(bytearray)
        for key in keys:
            parts[key[0]] += key
            self._classes[key[8:16]] += 1
        self._keys.add({part: bytes(found) for part, found in parts.items()})

    def left_out(self) -> Iterator[Place]:
        """Yield where the records stand that are not chosen."""
        caps, total = self._caps, 0
        per_class = caps.per_class
        if caps.balance and self._classes:
            smallest = min(self._classes.values())
            per_class = smallest if per_class is None else min(per_class, smallest)
        classes: Counter[bytes] = Counter()
        groups: Counter[bytes] = Counter()
        for key in self._in_order():
            _, class_, group, block, line = KEY.unpack(key)
            full = (
                (caps.records is not None and total >= caps.records)
                or (per_class is not None and classes[class_] >= per_class)
                or (caps.per_group is not None and groups[group] >= caps.per_group)
            )
            if full:
                yield Place(block, line)
            else:
                total, classes[class_], groups[group] = total + 1, classes[class_] + 1, groups[group] + 1

    def _in_order(self) -> Iterator[bytes]:
        for part in self._keys:
            yield from sorted(part[begin : begin + KEY.size] for begin in range(0, len(part), KEY.size))

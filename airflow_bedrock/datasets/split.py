"""Assign a record to a split by a stable hash of its key, so that no change of other data can move it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache

from airflow_bedrock.datasets.choices import Split, check_fractions
from airflow_bedrock.datasets.records import normalised


@cache
def _key(seed: str) -> bytes:
    """Return a key of the maximum length for blake2b."""
    return hashlib.blake2b(seed.encode()).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Splitter:
    """Assigns keys to splits by fractions; the rest, ``1 - validation - test``, is for training.

    The same key gets the same split whatever the order and the rest of the data, in this run and the next one, so a
    record that a model was trained on never becomes test data for a later one. Changing ``validation`` leaves the test
    split unchanged. The fractions hold on average: a small dataset may deviate from them.

    :param validation: fraction of the keys for validation, 0 to 1.
    :param test: fraction of the keys for testing, 0 to 1.
    :param seed: another seed gives another, independent assignment.
    :raises DatasetError: a fraction is outside 0 to 1, or nothing is left for training.
    """

    validation: float = 0.1
    test: float = 0.1
    seed: str = ""

    def __post_init__(self) -> None:
        check_fractions(self.validation, self.test)

    def split(self, key: str) -> Split:
        """Return the split of the records with this key; keys are compared in their normalised form."""
        return self.split_normalised(normalised(key))

    def split_normalised(self, key: bytes) -> Split:
        """Like :meth:`split`, for a normalised key."""
        place = self._place(key)
        if place < self.test:
            return Split.TEST
        return Split.VALIDATION if place < self.test + self.validation else Split.TRAIN

    def _place(self, key: bytes) -> float:
        """Return the place of the key between 0 and 1."""
        digest = hashlib.blake2b(key, digest_size=8, key=_key(self.seed), person=b"dataset split").digest()
        return int.from_bytes(digest, "big") / 2**64

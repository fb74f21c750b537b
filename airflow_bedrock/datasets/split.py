"""Assign a record to a split by a stable hash of its key, so that no change of other data can move it."""

from __future__ import annotations

import hashlib
from functools import cache

from airflow_bedrock.datasets.choices import Split


@cache
def hash_key(seed: str) -> bytes:
    """Return a key of the maximum length for blake2b."""
    return hashlib.blake2b(seed.encode()).digest()


def split_of(key: bytes, validation: float, test: float, seed: str) -> Split:
    """Return the split of the records with this key: by fractions; the rest is for training.

    The same key gets the same split whatever the order and the rest of the data, in this run and the next one, so a
    record that a model was trained on never becomes test data for a later one. Changing ``validation`` leaves the test
    split unchanged. The fractions hold on average: a small dataset may deviate from them.

    :param key: in its normalised form.
    :param validation: fraction of the keys for validation, 0 to 1.
    :param test: fraction of the keys for testing, 0 to 1.
    :param seed: another seed gives another, independent assignment.
    """
    digest = hashlib.blake2b(key, digest_size=8, key=hash_key(seed), person=b"dataset split").digest()
    place = int.from_bytes(digest, "big") / 2**64
    if place < test:
        return Split.TEST
    return Split.VALIDATION if place < test + validation else Split.TRAIN

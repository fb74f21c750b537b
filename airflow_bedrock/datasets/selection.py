"""Select the records to write: one for each question, up to the requested number; and assign them to splits.

Records are compared by digest, one part at a time (:mod:`repeats`), and selected in the order of a hash of their
question. So the same data gives the same records in any order, and a larger sample contains a smaller one. A hash
decides the split too, so that no change of other data can move a record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from hashlib import blake2b
from struct import Struct

from airflow_bedrock.datasets.choices import OnConflict, Split
from airflow_bedrock.datasets.repeats import Entry, Parts, Place


def chosen(group: Sequence[Entry], on_conflict: OnConflict) -> Entry | None:
    """Return which of the records with the same question is kept."""
    votes = Counter(one.completion for one in group)
    if len(votes) == 1 or on_conflict in (OnConflict.FIRST, OnConflict.FAIL):
        return group[0]
    if on_conflict is OnConflict.DROP:
        return None
    answer = group[-1].completion if on_conflict is OnConflict.LAST else votes.most_common(1)[0][0]
    return next(one for one in group if one.completion == answer)


@cache
def hash_key(seed: str) -> bytes:
    """Return a key of the maximum length for blake2b."""
    return blake2b(seed.encode()).digest()


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
    digest = blake2b(key, digest_size=8, key=hash_key(seed), person=b"dataset split").digest()
    place = int.from_bytes(digest, "big") / 2**64
    if place < test:
        return Split.TEST
    return Split.VALIDATION if place < test + validation else Split.TRAIN


KEY = Struct("<8s8s8sII")


def sample_key(key: bytes, completion: bytes, group: bytes, place: Place, seed: str) -> bytes:
    """Return what decides whether a record is chosen: its place in the sample, its class, its group, and its position.

    The texts are in their normalised form.
    """
    sample = blake2b(key, digest_size=8, key=hash_key(seed), person=b"dataset sample").digest()
    class_ = blake2b(completion, digest_size=8).digest()
    return KEY.pack(sample, class_, blake2b(group, digest_size=8).digest(), *place)


def left_out(
    keys: Parts,
    has: Callable[[int, int], int],
    *,
    most: int | None,
    per_class: int | None,
    per_group: int | None,
    balance: bool,
) -> Iterator[Place]:
    """Yield the places of the records that exceed a maximum; None is for no maximum.

    :param keys: the :func:`sample_key` of each record.
    :param has: whether the record at a block and line may be chosen.
    :param most: of all records.
    :param per_class: of records with the same completion.
    :param per_group: of records of the same group.
    :param balance: whether to keep as many of each class as of the smallest.
    """

    def in_order() -> Iterator[tuple[bytes, bytes, Place]]:
        for part in keys:
            for key in sorted(part[begin : begin + KEY.size] for begin in range(0, len(part), KEY.size)):
                _, class_, group, block, line = KEY.unpack(key)
                if has(block, line):
                    yield class_, group, Place(block, line)

    total = 0
    if balance and (sizes := Counter(class_ for class_, _, _ in in_order())):
        smallest = min(sizes.values())
        per_class = smallest if per_class is None else min(per_class, smallest)
    classes: Counter[bytes] = Counter()
    groups: Counter[bytes] = Counter()
    for class_, group, place in in_order():
        full = (
            (most is not None and total >= most)
            or (per_class is not None and classes[class_] >= per_class)
            or (per_group is not None and groups[group] >= per_group)
        )
        if full:
            yield place
        else:
            total, classes[class_], groups[group] = total + 1, classes[class_] + 1, groups[group] + 1

"""Calls in threads: in order, bounded, ended by the first failure."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_bedrock.evaluation.pool import ordered_map


@given(st.lists(st.integers()), st.integers(1, 4))
def test_order(items: list[int], workers: int) -> None:
    """Results come in the order of the items."""
    assert list(ordered_map(str, items, workers)) == [str(item) for item in items]


def test_items_are_taken_as_they_are_needed() -> None:
    """Of an endless stream, no more than twice the workers are taken ahead."""
    taken = 0

    def endless() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    with closing(ordered_map(str, endless(), workers=3)) as results:
        assert [next(results) for _ in range(10)] == [str(n) for n in range(1, 11)]
    assert taken <= 16


def test_the_first_failure_ends_it() -> None:
    """An exception reaches the caller, and what has not begun never begins."""
    begun: list[int] = []
    lock = threading.Lock()

    def fail_at_five(item: int) -> int:
        with lock:
            begun.append(item)
        if item == 5:
            raise RuntimeError("five")
        return item

    with pytest.raises(RuntimeError, match="five"):
        list(ordered_map(fail_at_five, range(1000), workers=2))
    assert len(begun) < 15

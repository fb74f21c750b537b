"""The journal: complete, bounded, and found by what one searches for."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_bedrock.local.web import journal as module
from airflow_bedrock.local.web.journal import Filter, Journal

NOW = datetime(2026, 11, 21, tzinfo=UTC)
CALL = st.fixed_dictionaries(
    {
        "service": st.sampled_from(["bedrock", "s3"]),
        "operation": st.sampled_from(["ListCustomModels", "PutObject"]),
        "status": st.sampled_from([200, 429]),
        "error": st.sampled_from([None, "ThrottlingException"]),
        "fault": st.sampled_from([None, "error", "delay, drop"]),
    }
)
WANTED = st.fixed_dictionaries(
    {},
    optional={
        "service": st.just("s3"),
        "operation": st.just("PutObject"),
        "status": st.just(429),
        "error": st.just("ThrottlingException"),
    },
)


def filled(calls: list[dict[str, Any]]) -> Journal:
    journal = Journal()
    for call in calls:
        journal.add(time=NOW, **call)
    return journal


@given(st.lists(CALL, max_size=12), WANTED, st.none() | st.booleans(), st.none() | st.integers(0, 12))
def test_filters(calls: list[dict[str, Any]], wanted: dict[str, Any], fault: bool | None, after: int | None) -> None:
    """A filter lets through exactly the calls that have all it asks for, in their order."""
    journal = filled(calls)
    shown = Filter(**wanted, fault=fault, after=after).apply(journal)
    assert shown == [
        call
        for call in journal
        if all(getattr(call, name) == value for name, value in wanted.items())
        and fault in (None, call.fault is not None)
        and call.number > (after or 0)
    ]


@given(st.integers(0, 30), st.integers(0, 8), st.none() | st.integers(0, 30))
def test_limits(count: int, limit: int, after: int | None) -> None:
    """A limit shows the latest calls or, reading on, the first after those that one has seen."""
    numbers = [call.number for call in Filter(limit=limit, after=after).apply(filled([{**ANY}] * count))]
    every = list(range((after or 0) + 1, count + 1))
    assert numbers == (every[:limit] if after is not None else every[max(0, len(every) - limit) :])


ANY: dict[str, Any] = {"service": "bedrock", "operation": "ListCustomModels", "status": 200}


def test_old_calls_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limited number of calls is kept; their numbers go on."""
    monkeypatch.setattr(module, "KEPT", 10)
    assert [call.number for call in filled([ANY] * 25)] == list(range(16, 26))


def test_many_threads_write() -> None:
    """Calls of many threads are all written down, each with a number of its own."""
    journal = Journal()

    def write() -> None:
        for _ in range(500):
            journal.add(time=NOW, **ANY)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [call.number for call in journal] == list(range(1, 2001))


def test_calls_of_an_operation() -> None:
    """Calls are found by operation and by parameters, and all are forgotten on demand."""
    journal = filled([ANY, {**ANY, "operation": "GetCustomModel", "parameters": {"modelIdentifier": "a"}}])
    assert [call.operation for call in journal.of("GetCustomModel", modelIdentifier="a")] == ["GetCustomModel"]
    assert journal.of("GetCustomModel", modelIdentifier="b") == []
    assert (len(journal), journal[-1].operation, [call.number for call in journal[:1]]) == (2, "GetCustomModel", [1])
    journal.clear()
    assert list(journal) == []


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"operation": "Create*"}, [1]),
        ({"operation": "Create*", "service": "s3"}, [2]),
        ({"operation": "*e*", "service": "*"}, [1, 2, 3]),
        ({"operation": "Con?erse"}, [3]),
        ({"operation": "CreateBucket"}, [2]),
        ({"operation": "create*"}, []),
    ],
)
def test_calls_are_named_as_faults_are(given: dict[str, Any], found: list[int]) -> None:
    """An operation may be a pattern, which means Bedrock's operations unless a service is named."""
    named = [("bedrock", "CreateModelCopyJob"), ("s3", "CreateBucket"), ("bedrock-runtime", "Converse")]
    journal = filled([{**ANY, "service": service, "operation": operation} for service, operation in named])
    assert [call.number for call in Filter(**given).apply(journal)] == found

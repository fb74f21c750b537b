"""When a wait without a response ends, and how often it is logged."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_bedrock.jobs.no_response import POLLS_UNTIL_MISSING, SECONDS_UNTIL_MISSING, Absence, NoResponseTimeout


@given(steps=st.lists(st.tuples(st.floats(0.1, 1000), st.booleans()), max_size=50), limit=st.floats(1, 5000))
def test_the_wait_ends_at_no_response_timeout_and_not_before(steps: list[tuple[float, bool]], limit: float) -> None:
    """The timeout counts from the first poll that failed since the last response."""
    timeout, now = NoResponseTimeout(limit), 0.0
    failing_since: float | None = None
    for pause, answered in steps:
        now += pause
        if answered:
            timeout.answered()
            failing_since = None
        else:
            failing_since = now if failing_since is None else failing_since
            why = timeout.gives_up(now, "", "", lambda *_: None)
            assert (why is not None) == (now - failing_since >= limit)


def test_a_wait_without_a_timeout_never_ends_and_logs_now_and_then() -> None:
    """A missing response is logged at once, then each quarter of the timeout, or of an hour."""
    timeout, told = NoResponseTimeout(0), []
    for now in (0.0, 60.0, 899.9, 900.0, 1000.0, 1e9):
        assert timeout.gives_up(now, "about it", "gone", lambda *said: told.append(said[2])) is None
    assert told == ["0 s", "15 min 0 s", "277777 h 46 min"]


@given(pauses=st.lists(st.floats(0.01, 200), min_size=1, max_size=300))
def test_what_is_known_to_exist_is_missing_only_after_minutes_and_polls(pauses: list[float]) -> None:
    """A new job may be hidden for a minute, however often it is polled, and for one poll of an hourly interval."""
    absence, now = Absence(known=True), 0.0
    for looks, pause in enumerate(pauses, 1):
        now += pause
        believed = absence.missed(now)
        since = now - pauses[0]
        assert believed == (looks >= POLLS_UNTIL_MISSING and since >= SECONDS_UNTIL_MISSING)


@pytest.mark.parametrize(
    ("looks", "seconds", "missing"),
    [
        (POLLS_UNTIL_MISSING, SECONDS_UNTIL_MISSING, True),
        (POLLS_UNTIL_MISSING - 1, SECONDS_UNTIL_MISSING, False),
        (POLLS_UNTIL_MISSING, SECONDS_UNTIL_MISSING - 0.1, False),
    ],
)
def test_it_is_missing_at_the_very_limits(looks: int, seconds: float, missing: bool) -> None:
    """Not one poll or moment earlier; from a clock that began at any time, and again after the job was seen."""
    absence = Absence(known=True)
    absence.missed(0.0)
    absence.seen()
    moments = [1000.0 + seconds * number / (looks - 1) for number in range(looks)]
    assert [absence.missed(now) for now in moments] == [*[False] * (looks - 1), missing]


def test_what_nobody_has_seen_is_missing_at_once_until_it_is_seen() -> None:
    """A wrong name is an error at once; a poll that finds the job restarts the count."""
    absence = Absence(known=False)
    assert absence.missed(0.0)
    absence.seen()
    assert not absence.missed(1.0)
    assert not absence.missed(1000.0)


def test_the_limits_are_those_that_the_docs_promise() -> None:
    """docs/waiting.md: at least 2 minutes and 5 polls."""
    assert (SECONDS_UNTIL_MISSING, POLLS_UNTIL_MISSING) == (120.0, 5)


def test_a_poll_that_finds_it_restarts_the_count() -> None:
    """Five polls and two minutes, from the first one on that does not."""
    absence = Absence(known=False)
    absence.seen()
    assert not any(absence.missed(now) for now in (0.0, 30.0, 60.0, 90.0))
    absence.seen()
    assert [absence.missed(now) for now in (100.0, 130.0, 160.0, 190.0, 219.0, 220.0)] == [False] * 5 + [True]

"""Clocks: the computer's, a faster one, and one that stands until it is moved."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_bedrock.local.clock import Clock, ManualClock
from airflow_bedrock.local.runner import Runner, Work


def test_the_computers_clock() -> None:
    """Without a speed the time is the computer's, in UTC and to the millisecond."""
    before = time.time()
    clock = Clock()
    assert before <= clock.time() <= time.time()
    assert clock.now().microsecond % 1000 == 0
    assert 0 < (clock.seconds_until(clock.time() + 60) or 0) <= 60
    assert clock.seconds_until(0) == 0


def test_a_faster_clock() -> None:
    """An hour passes in a second at speed 3600, and who waits for an hour waits a second."""
    clock = Clock(speed=3600)
    begun, computers = clock.time(), time.time()
    assert (clock.seconds_until(begun + 3600) or 0) <= 1
    time.sleep(0.01)
    passed = clock.time() - begun
    assert 36 <= passed <= (time.time() - computers) * 3600 + 1


def test_a_clock_that_begins_at_another_time() -> None:
    """The clock may be turned back; it runs on from there."""
    clock = Clock(start=1_000_000_000)
    time.sleep(0.01)
    assert 1_000_000_000 < clock.time() < 1_000_000_060


def test_time_does_not_run_backwards_after_a_restart() -> None:
    """A clock goes on from the time of an earlier run, if that was ahead."""
    clock, ahead = Clock(), time.time() + 1000
    clock.catch_up(ahead)
    assert clock.time() == pytest.approx(ahead, abs=5)
    clock.catch_up(0)
    assert clock.time() == pytest.approx(ahead, abs=5)


@pytest.mark.parametrize("speed", [0, -1, float("nan"), float("inf")])
def test_a_clock_that_stands_or_runs_backwards_is_refused(speed: float) -> None:
    """A speed has to be more than zero."""
    with pytest.raises(ValueError, match="more than 0"):
        Clock(speed)


def test_only_a_manual_clock_can_be_moved() -> None:
    """The computer's clock cannot be advanced, and says what to use."""
    with pytest.raises(RuntimeError, match='clock="manual"'):
        Clock().advance(1)
    with pytest.raises(ValueError, match="only be moved forward"):
        ManualClock().advance(-1)


@given(st.lists(st.lists(st.floats(0, 50), max_size=4), max_size=4), st.lists(st.floats(0, 60), max_size=4))
def test_work_is_done_at_its_moment(waits: list[list[float]], steps: list[float]) -> None:
    """However a manual clock is moved, each piece of work sees the very moments that it waited for."""
    clock = ManualClock(1000.0)
    runner = Runner(clock)
    seen: list[tuple[float, float]] = []

    def work(pauses: list[float]) -> Work:
        due = clock.time()
        for pause in pauses:
            due += pause
            yield due
            seen.append((due, clock.time()))

    for number, pauses in enumerate(waits):
        runner.add(str(number), work(pauses))
    for step in steps:
        clock.advance(step)
    clock.advance(250)
    assert len(seen) == sum(map(len, waits))
    assert all(due == moment for due, moment in seen)
    assert [moment for _, moment in seen] == sorted(moment for _, moment in seen)


def test_advance_returns_when_the_runners_thread_is_done() -> None:
    """With a thread that does the work, all that was due is done when advance() returns."""
    clock, done = ManualClock(), list[float]()
    runner = Runner(clock)

    def work() -> Work:
        for _ in range(20):
            yield clock.time() + 10
            time.sleep(0.001)
            done.append(clock.time())

    start = clock.time()
    runner.start()
    try:
        runner.add("a", work())
        clock.advance(95)
        assert done == [start + 10 * number for number in range(1, 10)]
        mover = threading.Thread(target=clock.advance, args=(100,))
        mover.start()
        clock.advance(5)
        mover.join()
        assert len(done) == 20
    finally:
        runner.stop()

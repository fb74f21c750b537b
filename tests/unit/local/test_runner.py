"""The runner: work goes on when its time has come, and one piece's failure is not another's."""

from __future__ import annotations

import logging
import threading

import pytest

from airflow_bedrock.local.clock import Clock, ManualClock
from airflow_bedrock.local.work.runner import Runner, Work


def counting(clock: Clock, steps: list[str], name: str, times: int, every: float) -> Work:
    for number in range(times):
        steps.append(f"{name}{number}")
        yield clock.time() + every


def test_work_goes_on_when_due() -> None:
    """Each piece of work is resumed at the time it asked for, not before."""
    clock, steps = ManualClock(), list[str]()
    runner = Runner(clock)
    runner.add("a", counting(clock, steps, "a", 3, every=1))
    runner.add("b", counting(clock, steps, "b", 3, every=2))
    runner.run_due()
    assert steps == ["a0", "b0"]
    clock.advance(1)
    assert steps == ["a0", "b0", "a1"]
    clock.advance(1)
    assert sorted(steps) == ["a0", "a1", "a2", "b0", "b1"]


def test_woken_work_goes_on_at_once() -> None:
    """Work that is woken does not wait for its time."""
    clock, steps = ManualClock(), list[str]()
    runner = Runner(clock)
    runner.add("a", counting(clock, steps, "a", 2, every=100))
    runner.run_due()
    runner.wake("a")
    runner.run_due()
    assert steps == ["a0", "a1"]


def test_woken_work_waits_anew() -> None:
    """After it was woken, work is resumed at the new time it asked for, and not at the old one."""
    clock, steps = ManualClock(), list[str]()
    runner = Runner(clock)
    runner.add("a", counting(clock, steps, "a", 3, every=10))
    runner.run_due()
    clock.advance(5)
    runner.wake("a")
    runner.run_due()
    clock.advance(5)
    assert steps == ["a0", "a1"]
    clock.advance(5)
    assert steps == ["a0", "a1", "a2"]


def test_work_woken_while_it_runs_is_resumed_again() -> None:
    """A wake-up that comes while the work is running is not lost."""
    clock, steps = ManualClock(), list[str]()
    runner = Runner(clock)

    def wakes_itself() -> Work:
        steps.append("first")
        runner.wake("a")
        yield clock.time() + 100
        steps.append("second")

    runner.add("a", wakes_itself())
    runner.run_due()
    assert steps == ["first", "second"]


def test_failure_of_one_leaves_the_others(caplog: pytest.LogCaptureFixture) -> None:
    """Work that raises is dropped and logged; the rest goes on."""
    clock, steps = ManualClock(), list[str]()

    def broken() -> Work:
        yield clock.time()
        raise ValueError("no good")

    runner = Runner(clock)
    runner.add("broken", broken())
    runner.add("a", counting(clock, steps, "a", 2, every=0))
    with caplog.at_level(logging.ERROR):
        runner.run_due()
    assert steps == ["a0", "a1"]
    assert "broken ended in an error" in caplog.text


def test_thread_runs_work_and_ends() -> None:
    """Started, it runs by itself; stopped, its thread is gone and work that was left is closed."""
    done, closed = threading.Event(), threading.Event()
    runner = Runner(Clock())

    def short() -> Work:
        yield Clock().time() + 0.01
        done.set()

    def endless() -> Work:
        try:
            while True:
                yield Clock().time() + 60
        finally:
            closed.set()

    before = set(threading.enumerate())  # other tests' services may run beside this one
    runner.start()
    [own] = [thread for thread in set(threading.enumerate()) - before if thread.name == "local-bedrock-runner"]
    runner.add("short", short())
    runner.add("endless", endless())
    assert done.wait(5)
    runner.stop()
    assert closed.is_set()
    assert not own.is_alive()

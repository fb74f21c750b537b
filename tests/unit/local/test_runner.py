"""The runner: work goes on when its time has come, and one piece's failure is not another's."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import pytest

from airflow_bedrock.local.clock import Clock, ManualClock
from airflow_bedrock.local.runner import Runner, Work


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
    assert "broken failed because of an internal error" in caplog.text


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


def asking(runner: Runner, steps: list[str], answer: threading.Event, ask: Callable[[], str]) -> Work:
    """Work that makes a call which takes long."""
    try:
        steps.append((yield from runner.aside("asking", ask, answer.set)))
    except ValueError as error:
        steps.append(str(error))


@pytest.mark.parametrize("threaded", [True, False])
def test_other_work_goes_on_while_a_call_takes_long(threaded: bool) -> None:
    """A call aside stops neither other work nor a manual clock for good: the clock waits for it."""
    clock, steps, answer = ManualClock(), list[str](), threading.Event()
    runner = Runner(clock)

    def other() -> Work:
        steps.append("other")
        answer.set()  # what the call waits for: it can only end because other work goes on
        yield from ()

    def ask() -> str:
        return str(answer.wait(30))

    runner.add("asking", asking(runner, steps, answer, ask))
    runner.add("other", other())
    if threaded:
        runner.start()
    clock.advance(7200)
    assert steps == ["other", "True"]
    assert runner.under_way() == {}
    runner.stop()


def test_what_a_call_raises_is_the_works() -> None:
    """An error of a call aside is raised where the work waits for it."""
    clock, steps, answer = ManualClock(), list[str](), threading.Event()
    runner = Runner(clock)

    def ask() -> str:
        raise ValueError("no answer")

    runner.add("asking", asking(runner, steps, answer, ask))
    clock.advance(0)
    assert steps == ["no answer"]


def test_work_that_is_dropped_cancels_its_call() -> None:
    """Nothing goes on aside after the runner has stopped."""
    steps, answer = list[str](), threading.Event()
    runner = Runner(ManualClock())
    runner.add("asking", asking(runner, steps, answer, lambda: str(answer.wait())))
    runner.run_due()
    runner.stop()
    assert answer.is_set()
    assert "local-bedrock-aside" not in {thread.name for thread in threading.enumerate()}

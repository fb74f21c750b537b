"""The runner: one thread that executes all background work, whether or not requests come in.

A piece of work is a generator. It does a step, then yields the time of the next one. So thousands of jobs share a
thread, a job can be read between any two steps, and a test controls everything with a manual clock.

After a restart the work is repeated from its beginning, with the time at which it was first started: the steps of the
earlier run are already due and run without waiting, so that the work soon reaches its former state.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import TypeVar

from airflow_bedrock.local.clock import Clock

log = logging.getLogger(__name__)

Work = Generator[float, None, None]
"""Yields the times to resume it at, in seconds since the epoch on the runner's clock."""

Result = TypeVar("Result")

IDLE = 3600.0
"""How often work that waits for other work checks itself, in seconds; it is woken when it can continue."""


class Runner:
    """Resumes each piece of work when it is due.

    :param clock: the clock.
    :param stepped: called with the key of a piece of work after each of its steps.
    """

    def __init__(self, clock: Clock, stepped: Callable[[str], None] = lambda key: None) -> None:
        self._clock = clock
        self._stepped = stepped
        self._started: dict[str, float] = {}
        self.current: str | None = None
        """The key of the work whose step is running."""
        self._changed = threading.Condition(threading.RLock())
        self._queue: list[tuple[float, int, str]] = []
        self._works: dict[str, Work] = {}
        # The ticket of the valid entry of each piece of work: waking it leaves an older entry in the queue.
        self._tickets: dict[str, int] = {}
        self._numbers = itertools.count()
        self._aside = 0
        self._stopping = False
        self._thread: threading.Thread | None = None
        clock.attach(self)

    def start(self) -> None:
        """Begin to run, in a separate thread."""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="local-bedrock-runner", daemon=True)
        self._thread.start()

    def pause(self) -> None:
        """Stop after the current step; the remaining work stays."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread:
            self._thread.join()
            self._thread = None

    def stop(self) -> None:
        """Stop after the current step, and drop the remaining work."""
        self.pause()
        for work in self._works.values():
            work.close()
        self._works.clear()
        self._started.clear()
        self._tickets.clear()
        self._queue.clear()

    def add(self, key: str, work: Work, started: float | None = None) -> None:
        """Add a piece of work, and start it at once.

        :param key: its name for :meth:`wake`; when it has ended, other work may have the same key.
        :param started: when it was first started, if it continues after a restart.
        """
        with self._changed:
            self._works[key] = work
            self._started[key] = self._clock.time() if started is None else started
        self.wake(key)

    def started(self, key: str) -> float:
        """Return when a piece of work was started, on the clock; its times count from then."""
        return self._started[key]

    def aside(self, key: str, call: Callable[[], Result], cancel: Callable[[], None]) -> Generator[float, None, Result]:
        """Make a long call in a separate thread while other work continues; for ``yield from``.

        A manual clock stands still during the call. If the work is closed, the call is cancelled and waited for.

        :param key: the key of the work that makes the call.
        :param cancel: makes the call end soon.
        """
        ended: Future[Result] = Future()

        def run() -> None:
            try:
                ended.set_result(call())
            except BaseException as error:  # the work raises it again
                ended.set_exception(error)
            with self._changed:
                self.wake(key)
                self._aside -= 1
                self._changed.notify_all()

        with self._changed:
            self._aside += 1
        thread = threading.Thread(target=run, name="local-bedrock-aside", daemon=True)
        thread.start()
        try:
            while not ended.done():
                yield self._clock.time() + IDLE
            return ended.result()
        finally:
            cancel()
            thread.join()

    def under_way(self) -> dict[str, float]:
        """Return the keys of all work that has not ended, and when each was started."""
        with self._changed:
            return {key: self._started[key] for key in self._works}

    def wake(self, key: str) -> None:
        """Resume a piece of work before its time, because something happened to it."""
        self._enqueue(key, self._clock.time())

    def run_due(self) -> None:
        """Resume everything that is due."""
        while (key := self._next_due()) is not None:
            self._resume(key)

    def next_due(self) -> float | None:
        """Return when the next work is due."""
        with self._changed:
            while self._queue and self._tickets.get(self._queue[0][2]) != self._queue[0][1]:
                heapq.heappop(self._queue)
            return self._queue[0][0] if self._queue else None

    def settle(self) -> None:
        """Return once all work that is due is done; without a thread, do it here."""
        if self._thread is None:
            self.run_due()
            while self._aside:
                with self._changed:
                    self._changed.wait_for(self._is_due)
                self.run_due()
            return
        with self._changed:
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._stopping or not (self.current or self._aside or self._is_due()))

    def _is_due(self) -> bool:
        due = self.next_due()
        return due is not None and due <= self._clock.time()

    def _run(self) -> None:
        while not self._stopping:
            self.run_due()
            with self._changed:
                if not self._stopping:
                    due = self.next_due()
                    self._changed.wait(None if due is None else self._clock.seconds_until(due))

    def _next_due(self) -> str | None:
        with self._changed:
            self.current = None
            if self._stopping or not self._is_due():
                self._changed.notify_all()
                return None
            _, _, self.current = heapq.heappop(self._queue)
            del self._tickets[self.current]
            return self.current

    def _resume(self, key: str) -> None:
        work = self._works.get(key)
        if work is None:
            return
        try:
            due = next(work)
        except StopIteration:
            self._drop(key, work)
        except Exception:
            log.exception("Local Bedrock: %s failed because of an internal error", key)
            self._drop(key, work)
        else:
            with self._changed:
                if key not in self._tickets:  # nobody woke it in the meantime
                    self._enqueue(key, due)
        self._stepped(key)

    def _enqueue(self, key: str, due: float) -> None:
        with self._changed:
            self._tickets[key] = ticket = next(self._numbers)
            heapq.heappush(self._queue, (due, ticket, key))
            self._changed.notify_all()

    def _drop(self, key: str, work: Work) -> None:
        with self._changed:
            if self._works.get(key) is work:  # not one that was added under the same key in the meantime
                del self._works[key], self._started[key]

"""The runner: one thread that moves all work on, whether or not anybody asks.

A piece of work is a generator. It does a little, then yields the time at which it wants to go on. So thousands of jobs
share a thread, a job can be looked at between any two steps, and a test drives everything with a clock of its own.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections.abc import Generator

from airflow_bedrock.local.clock import Clock

log = logging.getLogger(__name__)

Work = Generator[float, None, None]
"""Yields times (seconds since the epoch, as of the runner's clock) to be resumed at."""


class Runner:
    """Resumes each piece of work when its time has come.

    :param clock: the time to go by.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._changed = threading.Condition(threading.RLock())
        self._queue: list[tuple[float, int, str]] = []
        self._works: dict[str, Work] = {}
        # The ticket of the entry that counts for each piece of work: waking it leaves an older entry in the queue.
        self._tickets: dict[str, int] = {}
        self._numbers = itertools.count()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to run, in a thread of its own."""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="local-bedrock-runner", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop after the step that is being done, and drop what is left."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread:
            self._thread.join()
            self._thread = None
        for work in self._works.values():
            work.close()
        self._works.clear()
        self._tickets.clear()
        self._queue.clear()

    def add(self, key: str, work: Work) -> None:
        """Take on a piece of work, and start it at once.

        :param key: names it for :meth:`wake`; work that has ended makes room for other work of the same key.
        """
        with self._changed:
            self._works[key] = work
        self.wake(key)

    def wake(self, key: str) -> None:
        """Resume a piece of work before its time, because something happened to it."""
        self._enqueue(key, self._clock.time())

    def run_due(self) -> None:
        """Resume everything whose time has come."""
        while (key := self._next_due()) is not None:
            self._resume(key)

    def _run(self) -> None:
        while not self._stopping:
            self.run_due()
            with self._changed:
                if not self._stopping:
                    self._changed.wait(self._seconds_to_next())

    def _next_due(self) -> str | None:
        with self._changed:
            while not self._stopping and self._queue and self._queue[0][0] <= self._clock.time():
                _, ticket, key = heapq.heappop(self._queue)
                if self._tickets.get(key) == ticket:
                    del self._tickets[key]
                    return key
            return None

    def _seconds_to_next(self) -> float | None:
        return max(0.0, self._queue[0][0] - self._clock.time()) if self._queue else None

    def _resume(self, key: str) -> None:
        work = self._works.get(key)
        if work is None:
            return
        try:
            due = next(work)
        except StopIteration:
            self._drop(key, work)
        except Exception:
            log.exception("Local Bedrock: %s ended in an error that is not the user's", key)
            self._drop(key, work)
        else:
            with self._changed:
                if key not in self._tickets:  # nobody woke it in the meantime
                    self._enqueue(key, due)

    def _enqueue(self, key: str, due: float) -> None:
        with self._changed:
            self._tickets[key] = ticket = next(self._numbers)
            heapq.heappush(self._queue, (due, ticket, key))
            self._changed.notify()

    def _drop(self, key: str, work: Work) -> None:
        with self._changed:
            if self._works.get(key) is work:  # not one that was added under the same key in the meantime
                del self._works[key]

"""The queue of tasks that wait for the account's quota of jobs: it decides which one to wake when a job ends.

The service does not say what the quota is. The number of jobs that ran when it refused another one is known: when fewer
run, there is a slot. Times are seconds of any monotonic clock, except wall-clock times that survive a restart of the
triggerer.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from airflow_bedrock.aws_errors import CALL_ERRORS
from airflow_bedrock.jobs.no_response import SECONDS_UNTIL_MISSING
from airflow_bedrock.jobs.planner import GATHER_SECONDS, Call, ListJobs, Pace, Trouble
from airflow_bedrock.jobs.resources import Seen
from airflow_bedrock.jobs.service import Service

log = logging.getLogger(__name__)

ACTIVE_STATUSES = ("InProgress", "Stopping")
"""The statuses in which a job counts against the quota."""

IDLE_SECONDS = SECONDS_UNTIL_MISSING
"""If no job runs and no task gets a slot for this time, the quota is zero. A new job may be hidden for a while."""

_POLL_AGAIN_SECONDS = 5.0  # seconds between two counts for tasks that join
_ARRIVE_SECONDS = 120.0  # seconds from the waking of a task until its job is shown
_THROTTLED = 4  # times the interval until the next count

_ZERO = re.compile(r"\b(quota|limit)\b\D{0,20}\b0\b")


def is_zero(error: str) -> bool:
    """Whether the service says that the quota is zero."""
    return bool(_ZERO.search(error))


def active_jobs(service: Service) -> int | None:
    """Return how many jobs count against the quota; None if the service did not respond."""
    try:
        return sum(len(service.list_all(status=status)) for status in ACTIVE_STATUSES)
    except CALL_ERRORS as error:
        log.warning("Cannot count the running jobs; allow bedrock:ListModelCustomizationJobs for the role: %s", error)
        return None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A task's record of a refusal because of the quota. It survives a restart of the triggerer.

    :param task: identifies the task instance.
    :param asked_at: the wall-clock time of the task's first request: its place in the queue.
    :param refused_at: the wall-clock time of its last refusal.
    :param running: number of running jobs at that time; None if unknown.
    """

    task: str
    asked_at: float
    refused_at: float
    running: int | None


@dataclass(frozen=True, slots=True)
class Turn:
    """The position of a task in the queue.

    :param go: whether it should request its job now.
    :param running: number of running jobs; None if unknown.
    :param ahead: number of tasks before it in the queue.
    :param waiting: number of tasks in the queue.
    """

    go: bool
    running: int | None
    ahead: int
    waiting: int


@dataclass(slots=True)
class _Waiting:
    refusal: Refusal
    pace: Pace
    reported: Turn | None = None


@dataclass(slots=True)
class _Poll:
    """A count of the running jobs, in progress: List filters by one status at a time."""

    statuses: list[str] = field(default_factory=lambda: list(ACTIVE_STATUSES))
    token: str | None = None
    arns: set[str] = field(default_factory=set)
    in_flight: bool = False


@dataclass
class QuotaQueue:
    """The tasks that wait for a slot, and the number of running jobs. Pure: it plans calls and processes responses.

    The first task in the queue retries now and then even if no job has ended: the quota may have been raised, or a slot
    may have become free before the running jobs were counted.

    :param jitter: a factor around 1 for each count.
    """

    jitter: Callable[[], float] = lambda: 1.0
    _waiting: dict[str, _Waiting] = field(default_factory=dict)
    _woken: dict[str, float] = field(default_factory=dict)  # when each was woken; their jobs are not shown yet
    _room: int | None = None  # number of jobs that may run at the same time, if known
    _refused_at: float = -math.inf
    _running: set[str] | None = None
    _poll: _Poll | None = None
    _poll_at: float = math.inf
    _polled_at: float = -math.inf
    _refused_or_woken_at: float = -math.inf  # when a task was last refused or woken

    def __len__(self) -> int:
        """Number of waiting tasks."""
        return len(self._waiting)

    def join(self, refusal: Refusal, pace: Pace, now: float) -> None:
        """Add a task. A task that was woken and refused again gets its former place."""
        self._woken.pop(refusal.task, None)
        self._waiting[refusal.task] = _Waiting(refusal, pace)
        if refusal.refused_at >= self._refused_at:
            self._room, self._refused_at = refusal.running, refusal.refused_at
        self._refused_or_woken_at = now
        self._poll_at = min(self._poll_at, max(now + GATHER_SECONDS, self._polled_at + _POLL_AGAIN_SECONDS))

    def unwatch(self, task: str) -> None:
        """Remove a task: it was woken, or no longer waits."""
        del self._waiting[task]

    def job_ended(self, now: float) -> None:
        """Count at once, since a job has ended."""
        self._poll_at = min(self._poll_at, now)

    def next(self, now: float) -> Call | None:
        """Return the next call; None if nothing is due before :meth:`wakes_at`."""
        if self._poll is None and self._waiting and now >= self._poll_at:
            self._poll, self._polled_at = _Poll(), now
            self._poll_at = now + self._interval() * self.jitter()
        if (poll := self._poll) is None or poll.in_flight:
            return None
        poll.in_flight = True
        return ListJobs(None, poll.token, status=poll.statuses[0])

    def wakes_at(self) -> float:
        """When :meth:`next` will have a call, unless something happens earlier."""
        if self._poll is not None:
            return math.inf if self._poll.in_flight else -math.inf
        return self._poll_at if self._waiting else math.inf

    def without_list(self, noun: str) -> str:
        """Return the message about how tasks wait if the caller is not allowed to list what fills the quota."""
        return (
            f"The number of running {noun}s is unknown, so the first of the {len(self)} tasks that wait for the quota "
            "tries to make its own once per poll interval."
        )

    def got(self, call: Call, job: Seen, now: float) -> list[tuple[str, Turn]]:
        """Do nothing: no single job is polled here."""
        return []

    def listed(self, jobs: Iterable[Seen], token: str | None, now: float) -> list[tuple[str, Turn]]:
        """Process a page of List."""
        if (poll := self._poll) is None:
            return []
        poll.in_flight = False
        poll.arns.update(job.arn for job in jobs)
        poll.token = token
        if token is None:
            poll.statuses.pop(0)
        if poll.statuses:
            return []
        self._poll = None
        for _ in poll.arns - (poll.arns if self._running is None else self._running):
            if self._woken:  # the task that was woken first has its job, or another task took the slot
                del self._woken[next(iter(self._woken))]
        self._running = poll.arns
        if self._room is not None:
            self._room = max(self._room, len(poll.arns))
        return self._turns(now)

    def failed(self, call: Call, trouble: Trouble, why: str, now: float) -> list[tuple[str, Turn]]:
        """Process a failed call. Without access to List, the first task in the queue retries once per interval."""
        self._poll = None
        if trouble is Trouble.THROTTLED:
            self._poll_at = max(self._poll_at, now + _THROTTLED * self._interval())
        if trouble is not Trouble.REFUSED:
            return []
        self._running = None
        return self._turns(now)

    def _turns(self, now: float) -> list[tuple[str, Turn]]:
        self._woken = {task: at for task, at in self._woken.items() if now - at < _ARRIVE_SECONDS}
        queue = sorted(
            (waiting for task, waiting in self._waiting.items() if task not in self._woken),
            key=lambda waiting: (waiting.refusal.asked_at, waiting.refusal.task),
        )
        running = None if self._running is None else len(self._running)
        free = self._free(queue[0].refusal, now) if queue else 0
        turns = []
        for place, waiting in enumerate(queue):
            turn = Turn(go=place < free, running=running, ahead=place, waiting=len(queue))
            if turn.go:
                self._woken[waiting.refusal.task] = self._refused_or_woken_at = now
            if turn != waiting.reported:
                waiting.reported = turn
                turns.append((waiting.refusal.task, turn))
        return turns

    def _free(self, first: Refusal, now: float) -> int:
        """Return how many tasks may retry now.

        :param first: the refusal of the first task in the queue.
        """
        if self._running is not None and self._room is not None:
            free = self._room - len(self._running) - len(self._woken)
            if free > 0:
                return free
        return 0 if self._woken or now - self._refused_or_woken_at < self._retry_pause(first) else 1

    def _retry_pause(self, first: Refusal) -> float:
        """Return the seconds until the first task retries even if no job has ended: few if ends cannot be seen.

        Otherwise the time that it had waited at its last refusal, which a new queue knows too.
        """
        if not self._room or self._running is None:
            return self._interval()
        ceiling = min((waiting.pace.ceiling for waiting in self._waiting.values()), default=math.inf)
        return min(max(self._interval(), first.refused_at - first.asked_at), ceiling)

    def _interval(self) -> float:
        return min((waiting.pace.interval for waiting in self._waiting.values()), default=math.inf)

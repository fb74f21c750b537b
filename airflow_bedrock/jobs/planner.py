"""Plan the polls, so that one loop can watch thousands of jobs. Pure: no clock, no I/O.

The loop (:mod:`airflow_bedrock.jobs.poll_loop`) takes requests from :meth:`Planner.next`, sends them and passes the
responses back. What the watchers need to know is returned as :data:`News`. Times are seconds of any monotonic clock.

A planner watches one kind of resource (:mod:`airflow_bedrock.jobs.resources`); what this module says about jobs holds
for every kind.

Each job has its own pace. A round polls the jobs that are due or nearly due: with List, up to 1000 jobs a call, or, if
the role is not allowed to list, with a Get for each job, spread over its interval. Other jobs that a List shows count
as polled. A job that List does not show is polled with Get.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

import msgspec

from airflow_bedrock.customization.job import Outcome
from airflow_bedrock.jobs.no_response import Absence
from airflow_bedrock.jobs.resources import Seen

PAGE_SIZE = 1000
"""Jobs per page of List: the maximum of ``maxResults``."""

GATHER_SECONDS = 0.25
"""Jobs whose watch begins within this time are polled together: a triggerer starts its triggers one after the other."""

_FEW = 3  # maximum number of new jobs that are polled one by one; for more, List takes fewer calls
_ARRIVALS_SECONDS = 5.0  # seconds between two Lists for new jobs
_LIST_AGAIN_SECONDS = 3600.0  # until a refused List is tried again: the permission may have been granted
_GET_SECONDS = 0.1  # seconds between two Gets that are not urgent
_NEARLY = 0.25  # of the due job's interval: jobs that are due within this time are polled too
_SPREAD = 0.9  # of the interval, over which polls of single jobs are spread; the rest is for jitter
_LEVELS = 4  # at least; after throttling, all polls pause for up to 2 ** level seconds


class Pace(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How often to poll.

    :param interval: minimum seconds between two polls of a job.
    :param ceiling: maximum seconds between two polls of a job: while throttled, or after backing off.
    :param backoff: pause for as long as the job has been watched, from ``interval`` up to ``ceiling``.
    """

    interval: float
    ceiling: float
    backoff: bool = False

    def __post_init__(self) -> None:
        if self.interval <= 0:
            raise ValueError(f"The poll interval must be more than 0 seconds; got {self.interval}")
        if self.ceiling < self.interval:
            raise ValueError(f"The longest poll interval ({self.ceiling} s) is below the shortest ({self.interval} s)")

    def faster(self, other: Pace) -> Pace:
        """Return the pace for two tasks that wait for the same job."""
        return Pace(
            interval=min(self.interval, other.interval),
            ceiling=min(self.ceiling, other.ceiling),
            backoff=self.backoff and other.backoff,
        )


@dataclass(frozen=True)
class ListJobs:
    """Call List for a page, the newest jobs first.

    :param created_after: show only jobs created after this time; None for all.
    :param token: the page to continue from; None for the first.
    :param status: show only jobs in this status; None for all.
    """

    created_after: datetime | None
    token: str | None = None
    status: str | None = None


@dataclass(frozen=True)
class GetJob:
    """Call Get for one job, by its ARN or name."""

    identifier: str


Call = ListJobs | GetJob


class Trouble(Enum):
    """Why a call has no response."""

    MISSING = "missing"
    """The service says that the job does not exist."""
    REFUSED = "refused"
    """The caller is denied access, or the request is wrong."""
    THROTTLED = "throttled"
    """Throttled: all calls must slow down."""
    NO_ANSWER = "no answer"
    """A fault of the service, of the network or of the credentials."""


@dataclass(frozen=True)
class Missing:
    """The job does not exist."""


@dataclass(frozen=True)
class Unanswered:
    """A poll has failed. Not an end: the next round polls again."""

    why: str
    refused: bool = False
    """Whether the caller is denied access to this job, so that another poll will hardly help."""


Finding = Seen | Missing | Unanswered
"""The job, if it has changed, perhaps as List shows it, with fewer details than Get; or why its state is unknown."""
News = list[tuple[str, Finding]]
"""News by the identifier under which the job is watched."""


class _Watched(msgspec.Struct, gc=False):
    pace: Pace
    created: datetime | None
    since: float
    due_at: float = math.inf
    """When its next poll is due."""
    queued_at: float = math.inf
    """The time of its entry in the queue of due jobs: not later than when it is due."""
    job: Seen | None = None
    answered_at: float = -math.inf
    get_at: float | None = None
    in_flight: bool = False
    exists: bool = False
    """Whether it is known to exist."""
    absence: Absence | None = None
    """The time at which Get did not find it."""
    silent: bool = False
    """Whether its latest poll has failed."""
    end: Seen | Missing | None = None

    @property
    def free(self) -> bool:
        """Whether no poll of it is in flight."""
        return self.end is None and self.get_at is None and not self.in_flight


@dataclass(slots=True)
class _Listing:
    """A round by List, in progress."""

    began_at: float
    created_after: datetime | None
    pages_left: float
    unseen: set[str]
    token: str | None = None
    in_flight: bool = False


@dataclass
class Planner:
    """The watched jobs, and the next call. A job may be watched under its ARN, its name, or both.

    :param jitter: a factor around 1 for each round, so that triggerers that start together drift apart.
    """

    jitter: Callable[[], float] = lambda: 1.0
    _watched: dict[str, _Watched] = field(default_factory=dict)
    _fresh: dict[str, None] = field(default_factory=dict)  # jobs that were never polled; a dict keeps their order
    _queue: list[tuple[float, str]] = field(default_factory=list)  # when jobs are due: a heap, one valid entry a job
    _gets: list[tuple[float, str]] = field(default_factory=list)  # when each job is due for a Get: a heap
    _rate: float = 0.0  # polls per second of all jobs, one by one, at the fastest pace
    _rate_at_ceiling: float = 0.0  # polls per second at the slowest pace
    _factor: float = 1.0  # the jitter of the latest round
    _spread_at: float = -math.inf
    _soon_at: float = -math.inf
    _next_get_at: float = -math.inf  # while throttled, Gets are spaced
    _listing: _Listing | None = None
    _arrivals_at: float = math.inf
    _listed_at: float = -math.inf
    _list_again_at: float = -math.inf
    _level: int = 0  # each level halves every pace
    _level_at: float = -math.inf
    _hold_until: float = -math.inf

    def __len__(self) -> int:
        """Number of watched jobs."""
        return len(self._watched)

    def watch(
        self, identifier: str, created: datetime | None, pace: Pace, now: float, *, exists: bool = False
    ) -> Finding | None:
        """Begin to watch a job.

        :param created: when the job was created, if known: it saves a poll.
        :param pace: how often to poll it; if two tasks watch the same job, the faster pace counts.
        :param exists: whether it is known to exist, as it is if ``created`` is known.
        :return: the latest news of the job, if it is already watched.
        """
        known = self._watched.get(identifier)
        if known is not None:
            self._count(known.pace, -1)
            known.pace = known.pace.faster(pace)
            self._count(known.pace, 1)
            self._due(identifier, known, min(known.due_at, now + self._pause(known, now)))
            return known.end or known.job
        watched = self._watched[identifier] = _Watched(pace, created, now, exists=exists or created is not None)
        self._count(pace, 1)
        self._fresh[identifier] = None
        self._arrivals_at = min(self._arrivals_at, now + GATHER_SECONDS)
        self._due(identifier, watched, now + self._pause(watched, now))
        return None

    def unwatch(self, identifier: str) -> None:
        """Stop watching a job."""
        self._count(self._watched.pop(identifier).pace, -1)
        self._fresh.pop(identifier, None)
        if not self._watched:
            self._queue.clear()
            self._gets.clear()
            self._arrivals_at = math.inf

    def next(self, now: float) -> Call | None:
        """Return the next call; None if nothing is due before :meth:`wakes_at`."""
        if now < self._hold_until:
            return None
        self._plan(now)
        if (listing := self._listing) is not None and not listing.in_flight:
            listing.in_flight = True
            return ListJobs(listing.created_after, listing.token)
        while self._gets and max(self._gets[0][0], self._next_get_at) <= now:
            at, identifier = heapq.heappop(self._gets)
            watched = self._watched.get(identifier)
            if watched is not None and watched.get_at == at:
                watched.get_at = None
                watched.in_flight = True
                watched.due_at = now + self._pause(watched, now) * self._factor
                if self._level:
                    distance = _GET_SECONDS * 2.0 ** (self._level - 1)
                    self._next_get_at = now + min(distance, 1 / self._rate_at_ceiling)
                return GetJob(identifier)
        return None

    def wakes_at(self) -> float:
        """When :meth:`next` will have a call, unless something happens earlier."""
        if not self._watched:
            return math.inf
        times = [max(self._gets[0][0], self._next_get_at)] if self._gets else []
        if self._listing is None:
            times += [self._arrivals_at, self._queue[0][0] if self._queue else math.inf]
        elif not self._listing.in_flight:
            times.append(-math.inf)
        return max(self._hold_until, min(times, default=math.inf))

    def without_list(self, noun: str) -> str:
        """Return the message about how resources are polled if the caller is not allowed to list them."""
        return (
            f"List returns 1000 {noun}s in one call; polling each of {len(self)} by Get instead, spread over the "
            "poll interval."
        )

    def lag(self, now: float) -> float:
        """Age of the oldest response in seconds: the maximum delay in noticing an end."""
        times = [watched.answered_at for watched in self._watched.values() if watched.job is not None]
        return now - min(times, default=now)

    def listed(self, jobs: Iterable[Seen], token: str | None, now: float) -> News:
        """Process a page of List.

        :param jobs: the jobs on the page, watched or not.
        :param token: continues after the page; None if there is no more.
        """
        listing = self._listing
        if listing is None:
            return []
        news: News = []
        for job in jobs:
            for identifier in (job.arn, job.name):
                if (watched := self._watched.get(identifier)) is not None:
                    listing.unseen.discard(identifier)
                    covered_until = listing.began_at + self._pause(watched, now) * self._factor
                    watched.due_at = max(watched.due_at, covered_until)
                    news += self._shown(identifier, watched, job, now)
        listing.pages_left -= 1
        listing.token = token
        listing.in_flight = False
        if token is None or not listing.unseen or listing.pages_left <= 0:
            self._listing = None
            self._get_soon(listing.unseen, now, gap=_GET_SECONDS)
        return news

    def got(self, call: GetJob, job: Seen, now: float) -> News:
        """Process a response of Get."""
        watched = self._watched.get(call.identifier)
        if watched is None:
            return []
        watched.in_flight = False
        return self._shown(call.identifier, watched, job, now)

    def failed(self, call: Call, trouble: Trouble, why: str, now: float) -> News:
        """Process a failed call."""
        if trouble is Trouble.THROTTLED:
            self._slow_down(now)
        if isinstance(call, ListJobs):
            return self._list_failed(trouble, why, now)
        watched = self._watched.get(call.identifier)
        if watched is None:
            return []
        watched.in_flight = False
        self._fresh.pop(call.identifier, None)
        if trouble is Trouble.THROTTLED:
            self._get_soon([call.identifier], now, gap=0.0)
        if trouble is not Trouble.MISSING:
            watched.silent = True
            return [(call.identifier, Unanswered(why, refused=trouble is Trouble.REFUSED))]
        watched.absence = watched.absence or Absence(known=watched.exists)
        if not watched.absence.missed(now):
            return []
        watched.end = Missing()
        return [(call.identifier, watched.end)]

    def _list_failed(self, trouble: Trouble, why: str, now: float) -> News:
        listing, self._listing = self._listing, None
        if listing is None:
            return []
        if trouble in (Trouble.REFUSED, Trouble.MISSING):
            self._list_again_at = now + _LIST_AGAIN_SECONDS
            self._poll_by_get(listing.unseen, now)
            return []
        unseen = [identifier for identifier in listing.unseen if identifier in self._watched]
        for identifier in unseen:
            self._watched[identifier].silent = True
        return [(identifier, Unanswered(why)) for identifier in unseen]

    def _plan(self, now: float) -> None:
        if self._listing is not None:
            return
        if self._is_due(now):
            self._begin_round(now)
        elif self._arrivals_at <= now:
            self._poll_arrivals(now)

    def _poll_arrivals(self, now: float) -> None:
        if len(self._fresh) <= _FEW or not self._may_list(now):
            self._arrivals_at = math.inf
            self._get_soon(self._fresh, now, gap=_GET_SECONDS)
        elif now < (again_at := self._listed_at + min(_ARRIVALS_SECONDS, self._fastest(self._fresh))):
            self._arrivals_at = again_at
        else:
            self._begin_listing(self._fresh, now)

    def _is_due(self, now: float) -> bool:
        """Whether a poll of any job is due; jobs that were polled since they were queued go to the back."""
        while self._queue and self._queue[0][0] <= now:
            at, identifier = self._queue[0]
            watched = self._watched.get(identifier)
            if watched is not None and watched.end is None and watched.queued_at == at:
                if watched.due_at <= now:
                    return True
                watched.queued_at = watched.due_at
                heapq.heapreplace(self._queue, (watched.due_at, identifier))
            else:
                heapq.heappop(self._queue)
        return False

    def _begin_round(self, now: float) -> None:
        pause = self._pause(self._watched[self._queue[0][1]], now)
        if self._level and now - self._level_at >= pause:
            self._level -= 1
            self._level_at = now
        self._factor = self.jitter()
        if len(self._watched) > 1 and self._may_list(now):
            self._begin_listing([*self._pop_due(now, nearly=pause * _NEARLY), *self._fresh], now)
        else:
            self._poll_by_get([*self._pop_due(now), *self._fresh], now)

    def _pop_due(self, now: float, nearly: float = 0.0) -> list[str]:
        """Take the jobs that are due within ``nearly`` seconds; each is due again after its pause."""
        due = []
        while self._is_due(now + nearly):
            _, identifier = heapq.heappop(self._queue)
            due.append(identifier)
            self._watched[identifier].queued_at = math.inf
        for identifier in due:
            watched = self._watched[identifier]
            self._due(identifier, watched, now + self._pause(watched, now) * self._factor)
        return due

    def _due(self, identifier: str, watched: _Watched, at: float) -> None:
        watched.due_at = at
        if at < watched.queued_at:
            watched.queued_at = at
            heapq.heappush(self._queue, (at, identifier))

    def _begin_listing(self, identifiers: Iterable[str], now: float) -> None:
        unseen = {identifier for identifier in identifiers if self._watched[identifier].end is None}
        created = [at for identifier in unseen if (at := self._watched[identifier].created) is not None]
        self._arrivals_at = math.inf
        self._listed_at = now
        self._listing = _Listing(
            began_at=now,
            # "After" excludes the time itself, which the service may have rounded.
            created_after=min(created) - timedelta(seconds=1) if created else None,
            # For a few jobs of unknown creation time, listing all jobs of the account is not worthwhile.
            pages_left=math.inf if created else math.ceil(len(unseen) / PAGE_SIZE),
            unseen=unseen,
        )

    def _poll_by_get(self, identifiers: Iterable[str], now: float) -> None:
        """Poll new jobs soon, and spread the others evenly, each within its interval."""
        self._arrivals_at = math.inf
        self._get_soon(self._fresh, now, gap=_GET_SECONDS)
        for identifier in identifiers:
            if (watched := self._watched.get(identifier)) is not None and watched.free:
                distance = min(2.0**self._level / self._rate, 1 / self._rate_at_ceiling) * _SPREAD
                turn_at = max(self._spread_at + distance, now)
                at = min(turn_at, now + self._pause(watched, now))
                self._spread_at = max(self._spread_at, at)
                self._get_at(identifier, at)

    def _get_soon(self, identifiers: Iterable[str], now: float, *, gap: float) -> None:
        chosen = [name for name in identifiers if name in self._watched and self._watched[name].free]
        if not chosen:
            return
        gap = min(gap, self._fastest(chosen) / len(chosen))
        for identifier in chosen:
            self._soon_at = max(self._soon_at + gap, now)
            self._get_at(identifier, self._soon_at)

    def _get_at(self, identifier: str, at: float) -> None:
        self._watched[identifier].get_at = at
        heapq.heappush(self._gets, (at, identifier))

    def _shown(self, identifier: str, watched: _Watched, job: Seen, now: float) -> News:
        """Process a poll of a job."""
        if watched.end is not None:
            return []
        before = watched.job
        self._fresh.pop(identifier, None)
        watched.created = job.created or watched.created
        watched.answered_at = now
        watched.exists = True
        watched.absence = None
        if job.outcome is not Outcome.RUNNING:
            watched.end = job
            return [(identifier, job)]
        silent, watched.silent = watched.silent, False
        same = before is not None and before.progress == job.progress
        if same and not silent:  # the first response after a silence is news
            return []
        watched.job = job
        return [(identifier, job)]

    def _may_list(self, now: float) -> bool:
        return now >= self._list_again_at

    def _slow_down(self, now: float) -> None:
        if now >= self._hold_until and self._watched:  # concurrent calls that are throttled count once
            paces = [watched.pace for watched in self._watched.values()]
            # One level above the one that reaches the ceiling, since each round tries one level less.
            slowest = max(math.ceil(math.log2(pace.ceiling / pace.interval)) + 1 for pace in paces)
            self._level = min(self._level + 1, max(_LEVELS, slowest))
            self._level_at = now
            pause = min(self._pause(watched, now) for watched in self._watched.values())
            self._hold_until = now + min(2.0**self._level, pause)

    def _fastest(self, identifiers: Iterable[str]) -> float:
        return min(self._watched[identifier].pace.interval for identifier in identifiers)

    def _count(self, pace: Pace, sign: int) -> None:
        self._rate += sign / pace.interval
        self._rate_at_ceiling += sign / pace.ceiling

    def _pause(self, watched: _Watched, now: float) -> float:
        pause = watched.pace.interval
        if watched.pace.backoff:
            pause = max(pause, now - watched.since)
        return min(pause * 2.0**self._level, watched.pace.ceiling)

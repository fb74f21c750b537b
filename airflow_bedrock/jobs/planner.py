"""When to ask Bedrock which question, so that one loop can watch thousands of jobs. Pure: no clock, no I/O.

The loop (:mod:`airflow_bedrock.jobs.poll_loop`) takes questions from :meth:`Planner.next`, asks them and hands the
answers back; what the watchers have to hear of them is returned as :data:`News`. Times are seconds of any clock that
does not run backwards.

A round asks about every job: by ListModelCustomizationJobs, up to 1000 jobs a call, or, where the role may not List,
by GetModelCustomizationJob for each job, spread over the round. Get also settles what List does not show, and confirms
what List says has ended.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum

from airflow_bedrock.customization.job import Job, Outcome

PAGE_SIZE = 1000
"""Jobs in an answer of ListModelCustomizationJobs, its member ``maxResults`` at its highest."""

GATHER_SECONDS = 0.25
"""Jobs that begin to be watched within this time are looked at together: a triggerer starts its triggers in a row."""

_FEW = 3  # so many new jobs are looked at one by one; for more, List is less to ask
_ARRIVALS_SECONDS = 5.0  # no more than one List in this time for jobs that are new
_LIST_AGAIN_SECONDS = 3600.0  # a permission that was refused may have been given since
_LOOKS_UNTIL_MISSING = 3  # a job that was seen before is not taken for missing by one answer
_GET_SECONDS = 0.1  # between two Gets that are not urgent
_LEVELS = 4  # at least; after a call that is throttled all are held back for up to 2 ** level seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """How often to look.

    :param interval: seconds between two looks at a job, at the fastest.
    :param ceiling: seconds between two looks at a job, at the slowest: while throttled, or after backing off.
    :param backoff: wait as long again as the youngest job has been watched, from ``interval`` up to ``ceiling``.
    """

    interval: float
    ceiling: float
    backoff: bool = False

    def __post_init__(self) -> None:
        if self.interval <= 0:
            raise ValueError(f"The poll interval must be more than 0 seconds; got {self.interval}")
        if self.ceiling < self.interval:
            raise ValueError(f"The longest poll interval ({self.ceiling} s) is below the shortest ({self.interval} s)")


@dataclass(frozen=True)
class ListJobs:
    """Ask ListModelCustomizationJobs for a page, the newest jobs first.

    :param created_after: show only jobs created after this time; None for all.
    :param token: the page to continue from; None for the first.
    """

    created_after: datetime | None
    token: str | None = None


@dataclass(frozen=True)
class GetJob:
    """Ask GetModelCustomizationJob for one job, by its ARN or name."""

    identifier: str


Ask = ListJobs | GetJob


class Trouble(Enum):
    """Why a question has no answer."""

    MISSING = "missing"
    """The service says that there is no such job."""
    REFUSED = "refused"
    """The caller may not ask this, or the question is wrong."""
    THROTTLED = "throttled"
    """Too many calls: everybody has to ask less often."""
    NO_ANSWER = "no answer"
    """A fault of the service, of the network or of the credentials."""


@dataclass(frozen=True)
class Running:
    """The job runs; something about it is new."""

    job: Job


@dataclass(frozen=True)
class Ended:
    """The job runs no longer, confirmed by GetModelCustomizationJob; or its status is not known."""

    job: Job


@dataclass(frozen=True)
class Missing:
    """There is no such job."""


@dataclass(frozen=True)
class Unanswered:
    """A look has failed. Not an end: the next round looks again."""

    why: str
    refused: bool = False
    """Whether the caller may not look at this job, so that the next look hardly helps."""


Finding = Running | Ended | Missing | Unanswered
News = list[tuple[str, Finding]]
"""What was found out, by the identifier under which the job is watched."""


@dataclass(slots=True)
class _Watched:
    created: datetime | None
    job: Job | None = None
    answered_at: float = -math.inf
    get_at: float | None = None
    asking: bool = False
    lost: int = 0
    """How often in a row Get did not find it."""
    silent: bool = False
    """Whether the latest that was told of it is a look without an answer."""
    end: Ended | Missing | None = None

    @property
    def free(self) -> bool:
        """Whether a look at it may be planned."""
        return self.end is None and self.get_at is None and not self.asking


@dataclass(slots=True)
class _Listing:
    """A round by List, under way."""

    created_after: datetime | None
    pages_left: float
    unseen: set[str]
    token: str | None = None
    asking: bool = False


@dataclass
class Planner:
    """What is watched, and what to ask next. A job may be watched under its ARN, its name, or both.

    :param pace: how often to look.
    :param jitter: a factor around 1 for each round, so that triggerers that were started together drift apart.
    """

    pace: Pace
    jitter: Callable[[], float] = lambda: 1.0
    _watched: dict[str, _Watched] = field(default_factory=dict)
    _fresh: dict[str, None] = field(default_factory=dict)  # never looked at; a dict keeps their order
    _gets: list[tuple[float, str]] = field(default_factory=list)  # a heap
    _soon_at: float = -math.inf
    _next_get_at: float = -math.inf  # while throttled, Gets keep a distance
    _listing: _Listing | None = None
    _round_at: float = -math.inf
    _arrivals_at: float = math.inf
    _listed_at: float = -math.inf
    _list_again_at: float = -math.inf
    _youngest: float = -math.inf
    _level: int = 0  # each level halves the pace
    _level_at: float = -math.inf
    _hold_until: float = -math.inf

    def __len__(self) -> int:
        """How many jobs are watched."""
        return len(self._watched)

    @property
    def answered(self) -> int:
        """Of how many of those jobs something is known."""
        return len(self._watched) - len(self._fresh)

    def watch(self, identifier: str, created: datetime | None, now: float) -> Finding | None:
        """Begin to watch a job.

        :param created: when the job was created, as far as it is known: it spares a look.
        :return: what is known of the job, if it is watched already.
        """
        known = self._watched.get(identifier)
        if known is not None:
            return known.end or (Running(known.job) if known.job else None)
        if not self._watched:
            self._round_at = math.inf
        self._watched[identifier] = _Watched(created)
        self._fresh[identifier] = None
        self._youngest = now
        self._arrivals_at = min(self._arrivals_at, now + GATHER_SECONDS)
        self._round_at = min(self._round_at, now + self._pause(now))
        return None

    def unwatch(self, identifier: str) -> None:
        """Ask no more about a job."""
        self._watched.pop(identifier, None)
        self._fresh.pop(identifier, None)

    def lost_asks(self) -> None:
        """Whoever had taken questions is gone, and their answers with him."""
        self._listing = None
        for watched in self._watched.values():
            watched.asking = False

    def next(self, now: float) -> Ask | None:
        """Take the next question; None where nothing is due before :meth:`wakes_at`."""
        if now < self._hold_until:
            return None
        self._plan(now)
        if (listing := self._listing) is not None and not listing.asking:
            listing.asking = True
            return ListJobs(listing.created_after, listing.token)
        while self._gets and max(self._gets[0][0], self._next_get_at) <= now:
            at, identifier = heapq.heappop(self._gets)
            watched = self._watched.get(identifier)
            if watched is not None and watched.get_at == at:
                watched.get_at = None
                watched.asking = True
                if self._level:
                    distance = _GET_SECONDS * 2.0 ** (self._level - 1)
                    self._next_get_at = now + min(distance, self.pace.ceiling / len(self._watched))
                return GetJob(identifier)
        return None

    def wakes_at(self) -> float:
        """When :meth:`next` has a question again, unless something happens before."""
        if not self._watched:
            return math.inf
        times = [max(self._gets[0][0], self._next_get_at)] if self._gets else []
        if self._listing is None:
            times += [self._arrivals_at, self._round_at]
        elif not self._listing.asking:
            times.append(-math.inf)
        return max(self._hold_until, min(times, default=math.inf))

    def lag(self, now: float) -> float:
        """How old the oldest answer is, in seconds: how late an end may be noticed."""
        times = [watched.answered_at for watched in self._watched.values() if watched.job is not None]
        return now - min(times, default=now)

    def listed(self, jobs: Iterable[Job], token: str | None, now: float) -> News:
        """Take a page of List.

        :param jobs: the jobs on the page, watched or not.
        :param token: continues after the page; None where there is no more.
        """
        listing = self._listing
        if listing is None:
            return []
        news: News = []
        for job in jobs:
            for identifier in (job.arn, job.name):
                if (watched := self._watched.get(identifier)) is not None:
                    listing.unseen.discard(identifier)
                    news += self._shown(identifier, watched, job, now)
        listing.pages_left -= 1
        listing.token = token
        listing.asking = False
        if token is None or not listing.unseen or listing.pages_left <= 0:
            self._listing = None
            self._get_soon(listing.unseen, now, gap=_GET_SECONDS)
        return news

    def got(self, ask: GetJob, job: Job, now: float) -> News:
        """Take an answer of Get."""
        watched = self._watched.get(ask.identifier)
        if watched is None:
            return []
        watched.asking = False
        if job.outcome is Outcome.RUNNING:
            return self._shown(ask.identifier, watched, job, now)
        self._answered(ask.identifier, watched, job, now)
        watched.end = Ended(job)
        return [(ask.identifier, watched.end)]

    def failed(self, ask: Ask, trouble: Trouble, why: str, now: float) -> News:
        """Take a question that has no answer."""
        if trouble is Trouble.THROTTLED:
            self._slow_down(now)
        if isinstance(ask, ListJobs):
            return self._list_failed(trouble, why, now)
        watched = self._watched.get(ask.identifier)
        if watched is None:
            return []
        watched.asking = False
        self._fresh.pop(ask.identifier, None)
        if trouble is Trouble.THROTTLED:
            self._get_soon([ask.identifier], now, gap=0.0)
        if trouble is not Trouble.MISSING:
            watched.silent = True
            return [(ask.identifier, Unanswered(why, refused=trouble is Trouble.REFUSED))]
        watched.lost += 1
        seen_before = watched.job is not None or watched.created is not None
        if seen_before and watched.lost < _LOOKS_UNTIL_MISSING:
            return []
        watched.end = Missing()
        return [(ask.identifier, watched.end)]

    def _list_failed(self, trouble: Trouble, why: str, now: float) -> News:
        listing, self._listing = self._listing, None
        if listing is None:
            return []
        if trouble in (Trouble.REFUSED, Trouble.MISSING):
            self._list_again_at = now + _LIST_AGAIN_SECONDS
            self._round_at = now  # the same round, by Get
            return []
        unseen = [identifier for identifier in listing.unseen if identifier in self._watched]
        for identifier in unseen:
            self._watched[identifier].silent = True
        return [(identifier, Unanswered(why)) for identifier in unseen]

    def _plan(self, now: float) -> None:
        if self._listing is not None:
            return
        if self._round_at <= now:
            self._begin_round(now)
        elif self._arrivals_at <= now:
            self._look_at_arrivals(now)

    def _look_at_arrivals(self, now: float) -> None:
        if len(self._fresh) <= _FEW or not self._may_list(now):
            self._arrivals_at = math.inf
            self._get_soon(self._fresh, now, gap=_GET_SECONDS)
        elif now < (again_at := self._listed_at + min(_ARRIVALS_SECONDS, self.pace.interval)):
            self._arrivals_at = again_at
        else:
            self._begin_round(now)

    def _begin_round(self, now: float) -> None:
        if self._level and now - self._level_at >= self._pause(now):
            self._level -= 1
            self._level_at = now
        self._arrivals_at = math.inf
        pause = self._pause(now)
        self._round_at = now + pause * self.jitter()
        awaited = {identifier: watched for identifier, watched in self._watched.items() if watched.end is None}
        if len(awaited) > 1 and self._may_list(now):
            self._begin_listing(awaited, now)
        else:
            self._get_soon(self._fresh, now, gap=_GET_SECONDS)
            free = [identifier for identifier, watched in awaited.items() if watched.free]
            for i, identifier in enumerate(free):
                self._get_at(identifier, now + i * pause / len(free))

    def _begin_listing(self, awaited: Mapping[str, _Watched], now: float) -> None:
        created = [watched.created for watched in awaited.values() if watched.created is not None]
        self._listed_at = now
        self._listing = _Listing(
            # "After" excludes the time itself, and the service may have rounded it.
            created_after=min(created) - timedelta(seconds=1) if created else None,
            # An account's jobs of all time are not worth reading for a few whose creation time is not known.
            pages_left=math.inf if created else math.ceil(len(awaited) / PAGE_SIZE),
            unseen=set(awaited),
        )

    def _get_soon(self, identifiers: Iterable[str], now: float, *, gap: float) -> None:
        chosen = [name for name in identifiers if name in self._watched and self._watched[name].free]
        for identifier in chosen:
            self._soon_at = max(self._soon_at + min(gap, self.pace.interval / len(chosen)), now)
            self._get_at(identifier, self._soon_at)

    def _get_at(self, identifier: str, at: float) -> None:
        self._watched[identifier].get_at = at
        heapq.heappush(self._gets, (at, identifier))

    def _shown(self, identifier: str, watched: _Watched, job: Job, now: float) -> News:
        """Take a look at a job that either runs, or has ended according to List alone."""
        if watched.end is not None:
            return []
        if job.outcome is not Outcome.RUNNING:
            self._get_soon([identifier], now, gap=0.0)
            return []
        before = watched.job
        self._answered(identifier, watched, job, now)
        silent, watched.silent = watched.silent, False
        same = before is not None and (before.status, before.phases) == (job.status, job.phases)
        if same and not silent:  # that the silence is over is news
            return []
        watched.job = job
        return [(identifier, Running(job))]

    def _answered(self, identifier: str, watched: _Watched, job: Job, now: float) -> None:
        self._fresh.pop(identifier, None)
        watched.created = job.created or watched.created
        watched.answered_at = now
        watched.lost = 0

    def _may_list(self, now: float) -> bool:
        return now >= self._list_again_at

    def _slow_down(self, now: float) -> None:
        if now >= self._hold_until:  # several calls at once that are throttled count once
            self._level = min(self._level + 1, self._slowest_level)
            self._level_at = now
            self._hold_until = now + min(2.0**self._level, self._pause(now))

    @property
    def _slowest_level(self) -> int:
        """One more than makes the ceiling the pace, since each round tries one less; coming back takes that long."""
        return max(_LEVELS, math.ceil(math.log2(self.pace.ceiling / self.pace.interval)) + 1)

    def _pause(self, now: float) -> float:
        pause = self.pace.interval
        if self.pace.backoff:
            pause = max(pause, now - self._youngest)
        return min(pause * 2.0**self._level, self.pace.ceiling)

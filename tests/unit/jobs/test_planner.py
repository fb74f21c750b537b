"""The planner asks what it must, soon enough, and no more than that, whatever the service does."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_bedrock.customization.job import Job, Outcome
from airflow_bedrock.jobs.planner import (
    GATHER_SECONDS,
    Call,
    Finding,
    GetJob,
    ListJobs,
    Missing,
    Pace,
    Planner,
    Trouble,
    Unanswered,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
INTERVAL = 60.0
PACE = Pace(interval=INTERVAL, ceiling=600.0)


@dataclass
class Play:
    """A service with jobs, a clock, and a planner whose questions it answers at once.

    :param fault: what goes wrong with a question at a time; None for an answer.
    :param page_size: jobs on a page of List.
    """

    planner: Planner = field(default_factory=Planner)
    pace: Pace = PACE
    fault: Callable[[Call, float], Trouble | None] = lambda ask, now: None
    page_size: int = 1000
    now: float = 0.0
    jobs: dict[str, tuple[float, float]] = field(default_factory=dict)  # name: created, ends
    unlisted: set[str] = field(default_factory=set)
    asked: list[tuple[float, Call]] = field(default_factory=list)
    news: list[tuple[float, str, Finding]] = field(default_factory=list)

    def add(
        self,
        name: str,
        *,
        ends: float = math.inf,
        known: bool = True,
        created: float | None = None,
        pace: Pace | None = None,
    ) -> None:
        """Make a job and watch it."""
        created = self.now if created is None else created
        self.jobs[name] = (created, ends)
        self.planner.watch(name, time_of(created) if known else None, pace or self.pace, self.now)

    def run(self, until: float) -> Play:
        """Let time pass."""
        while True:
            before = len(self.asked)
            while (ask := self.planner.next(self.now)) is not None:
                self._answer(ask)
                assert len(self.asked) - before < 20_000, "the planner asks without end"
            wakes_at = self.planner.wakes_at()
            assert wakes_at > self.now, "the planner has nothing to ask, and wants to be asked at once"
            if wakes_at > until:
                self.now = until
                rate = sum(1 / watched.pace.interval for watched in self.planner._watched.values())
                assert self.planner._rate == pytest.approx(rate), "the Gets are spread over another number of jobs"
                return self
            self.now = wakes_at

    def _answer(self, ask: Call) -> None:
        self.asked.append((self.now, ask))
        if (trouble := self.fault(ask, self.now)) is not None:
            self._hear(self.planner.failed(ask, trouble, trouble.value, self.now))
        elif isinstance(ask, GetJob):
            if ask.identifier in self.jobs:
                self._hear(self.planner.got(ask, self.job(ask.identifier), self.now))
            else:
                self._hear(self.planner.failed(ask, Trouble.MISSING, "no such job", self.now))
        else:
            shown = [
                self.job(name)
                for name, (created, _) in sorted(self.jobs.items(), key=lambda item: -item[1][0])
                if name not in self.unlisted and (ask.created_after is None or time_of(created) > ask.created_after)
            ]
            start = int(ask.token or 0)
            token = str(start + self.page_size) if start + self.page_size < len(shown) else None
            self._hear(self.planner.listed(shown[start : start + self.page_size], token, self.now))

    def _hear(self, news: list[tuple[str, Finding]]) -> None:
        for name, finding in news:
            self.news.append((self.now, name, finding))
            if isinstance(finding, Missing) or is_end(finding):
                self.planner.unwatch(name)

    def job(self, name: str) -> Job:
        created, ends = self.jobs[name]
        status = "InProgress" if self.now < ends else "Completed"
        return Job(arn=f"arn:aws:bedrock:r:1:job/{name}", name=name, status=status, created=time_of(created))

    def heard(self, kind: type[Finding], name: str | None = None) -> list[float]:
        return [at for at, who, finding in self.news if isinstance(finding, kind) and name in (None, who)]

    def ends(self, name: str | None = None) -> list[float]:
        return [at for at, who, finding in self.news if is_end(finding) and name in (None, who)]

    def lists(self) -> list[float]:
        return [at for at, ask in self.asked if isinstance(ask, ListJobs)]

    def gets(self) -> list[float]:
        return [at for at, ask in self.asked if isinstance(ask, GetJob)]


def is_end(finding: Finding) -> bool:
    return isinstance(finding, Job) and finding.outcome is not Outcome.RUNNING


def time_of(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def refuse_list(ask: Call, now: float) -> Trouble | None:
    return Trouble.REFUSED if isinstance(ask, ListJobs) else None


ends = st.lists(st.floats(min_value=0, max_value=5_000), min_size=1, max_size=40)


@given(ends=ends, known=st.booleans(), page_size=st.integers(1, 50), hidden=st.sets(st.integers(0, 39), max_size=5))
def test_each_end_is_reported_once_and_soon(ends: list[float], known: bool, page_size: int, hidden: set[int]) -> None:
    """Whatever List shows and on how many pages, an end is reported once, within an interval and the Gets it takes."""
    play = Play(page_size=page_size)
    for i, end in enumerate(ends):
        play.add(f"job-{i}", ends=end, known=known, created=-float(i))
    play.unlisted = {f"job-{i}" for i in hidden}
    play.run(until=6_000)
    for i, end in enumerate(ends):
        told = play.ends(f"job-{i}")
        assert len(told) == 1
        assert end <= told[0] <= end + INTERVAL + 0.1 * len(ends) + GATHER_SECONDS
    assert len(play.planner) == 0
    assert play.planner.wakes_at() == math.inf


@given(count=st.integers(2, 2500))
@settings(max_examples=30)
def test_a_round_costs_the_pages_and_nothing_else(count: int) -> None:
    """While jobs run, what is asked grows with the pages of 1000, not with the jobs."""
    play = Play()
    for i in range(count):
        play.add(f"job-{i}", created=-float(i))
    rounds = 10
    play.run(until=rounds * INTERVAL)
    assert play.gets() == [] or count <= 3
    assert len(play.lists()) <= (rounds + 1) * math.ceil(count / 1000)


paces = st.builds(
    lambda interval, slower, backoff: Pace(interval=interval, ceiling=interval * slower, backoff=backoff),
    st.floats(5, 3000),
    st.floats(1, 20),
    st.booleans(),
)
intervals = st.lists(st.floats(5, 3000), min_size=2, max_size=100)


@given(jobs=st.lists(st.tuples(paces, st.floats(0, 5000), st.floats(0, 5000)), min_size=1, max_size=30))
def test_each_end_is_reported_at_the_interval_of_its_own_job(jobs: list[tuple[Pace, float, float]]) -> None:
    """However paces are mixed, and whichever job is the older one: nobody waits for the pace of another."""
    play = Play()
    for i, (pace, age, end) in enumerate(jobs):
        play.add(f"job-{i}", ends=end, created=-age, pace=pace)
    play.run(until=70_000)
    for i, (pace, _, end) in enumerate(jobs):
        told = play.ends(f"job-{i}")
        pause = min(max(pace.interval, end), pace.ceiling) if pace.backoff else pace.interval
        assert len(told) == 1
        assert end <= told[0] <= end + pause + 0.1 * len(jobs) + GATHER_SECONDS


@given(intervals=intervals, data=st.data())
def test_different_intervals_cost_hardly_more_than_the_shortest_alone(
    intervals: list[float], data: st.DataObject
) -> None:
    """A hundred intervals are no hundred loops: one List serves all that are due or nearly are."""
    ages = data.draw(st.permutations(range(len(intervals))))
    play = Play()
    for i, (interval, age) in enumerate(zip(intervals, ages, strict=True)):
        play.add(f"job-{i}", created=-float(age), pace=Pace(interval=interval, ceiling=interval))
    shortest = min(intervals)
    play.run(until=20 * shortest)
    assert len(play.lists()) <= 2 + 20 * 4
    assert len(play.gets()) <= 3
    assert len(play.planner._queue) == len(intervals)


def test_an_old_job_with_a_long_interval_does_not_delay_a_new_one() -> None:
    """A List goes back to the oldest job that is due, not to the oldest of all."""
    play = Play()
    play.add("old", created=-1_000_000.0, pace=Pace(interval=86_400, ceiling=86_400))
    for i in range(5):
        play.add(f"new-{i}", created=-float(i))
    play.run(until=10 * INTERVAL)
    bounds = [ask.created_after for _, ask in play.asked if isinstance(ask, ListJobs)]
    assert bounds == [time_of(-1_000_001)] + [time_of(-5)] * 9


def test_what_a_list_shows_of_other_jobs_counts_for_them() -> None:
    """A task that polls once an hour gets the end when another task's List shows it."""
    play = Play()
    play.add("old", created=-100.0)
    play.add("other", created=-99.0)
    play.add("hourly", ends=2 * INTERVAL + 1, pace=Pace(interval=3600, ceiling=3600))
    play.run(until=4 * INTERVAL)
    assert len(play.ends("hourly")) == 1
    assert len(play.gets()) == 3


@given(intervals=intervals)
def test_without_list_each_job_is_polled_at_its_own_interval(intervals: list[float]) -> None:
    """No job is asked for more often than at its pace, nor left for two intervals."""
    play = Play(fault=refuse_list)
    for i, interval in enumerate(intervals):
        play.add(f"job-{i}", pace=Pace(interval=interval, ceiling=interval))
    until = min(100 * min(intervals), 3500.0)  # List is tried again after an hour
    play.run(until=until)
    for i, interval in enumerate(intervals):
        looks = [at for at, ask in play.asked if ask == GetJob(f"job-{i}")]
        gaps = [after - before for before, after in pairwise(looks)]
        assert all(interval * 0.99 <= gap <= 2.01 * interval for gap in gaps[1:])
        assert len(looks) <= 2 + until / interval


def test_of_two_watchers_of_one_job_the_faster_one_sets_the_interval() -> None:
    """Until the job has ended."""
    slow, fast = Pace(interval=600, ceiling=6000, backoff=True), Pace(interval=10, ceiling=900)
    play = Play()
    play.add("one", pace=slow)
    play.run(until=1)
    play.planner.watch("one", None, fast, play.now)
    play.run(until=101)
    assert len(play.gets()) == 1 + 10
    assert slow.faster(fast) == fast.faster(slow) == Pace(interval=10, ceiling=900)


def test_ten_thousand_jobs_cost_a_wake_up_a_round() -> None:
    """The queue keeps one entry a job however often others' Lists show it, and nothing happens between two rounds."""
    play = Play()
    for i in range(10_000):
        play.add(f"job-{i}", created=-float(i), pace=Pace(interval=60.0 + i % 100, ceiling=600.0))
    play.run(until=300)
    assert len(play.planner._queue) == 10_000
    rounds = [ask for _, ask in play.asked if isinstance(ask, ListJobs) and ask.token is None]
    assert len(play.heard(Job)) == 10_000
    assert len(rounds) <= 1 + 4 * 300 / 60


def test_the_first_poll_comes_at_once() -> None:
    """A new job does not wait for an interval; those that begin together are polled together."""
    play = Play()
    for i in range(100):
        play.add(f"job-{i}")
    play.run(until=GATHER_SECONDS)
    assert len(play.heard(Job)) == 100
    assert len(play.asked) == 1


def test_a_new_job_is_polled_without_polling_all_the_others() -> None:
    """One Get for one job; the round of the others keeps its time."""
    play = Play()
    for i in range(100):
        play.add(f"job-{i}")
    play.run(until=30)
    play.add("late")
    play.run(until=31)
    assert play.asked[-1][1] == GetJob("late")
    play.run(until=GATHER_SECONDS + INTERVAL + 1)
    assert len(play.lists()) == 2


def test_a_crowd_that_arrives_one_by_one_does_not_cause_a_list_each() -> None:
    """A thousand tasks that are deferred within a minute cost a List each few seconds at most."""
    play = Play()
    for i in range(1000):
        play.add(f"job-{i}")
        play.run(until=play.now + 0.06)
    assert len(play.lists()) <= 60 / 5 + 2
    assert len(play.gets()) <= 10


def test_one_job_alone_is_polled_by_get() -> None:
    """List would show the account's other jobs too."""
    play = Play()
    play.add("only")
    play.run(until=10 * INTERVAL - 1)
    assert play.lists() == []
    assert len(play.gets()) == 10


def test_list_begins_at_the_oldest_job_that_is_watched() -> None:
    """What is older is not read, and the bound moves on when the oldest job has ended."""
    play = Play()
    play.add("old", created=-1000.0, ends=30)
    play.add("middle", created=-500.0)
    play.add("new")
    play.run(until=200)
    bounds = [ask.created_after for _, ask in play.asked if isinstance(ask, ListJobs)]
    assert bounds[0] == time_of(-1001)
    assert bounds[-1] == time_of(-501)


def test_jobs_of_unknown_age_do_not_cause_all_jobs_of_the_account_to_be_read() -> None:
    """One page for those watched; what it does not show is asked for by name, once."""
    play = Play(page_size=5)
    for i in range(200):
        play.jobs[f"other-{i}"] = (-float(i), math.inf)
    for i in range(10):
        play.add(f"job-{i}", known=False, created=-50.5 - i)
    play.run(until=GATHER_SECONDS + 5)
    assert len(play.lists()) == 1
    assert len(play.gets()) == 10
    play.run(until=1.5 * INTERVAL)
    again = next(ask for at, ask in play.asked if isinstance(ask, ListJobs) and at >= INTERVAL)
    assert again.created_after == time_of(-60.5), "the ages are known by now"


@given(count=st.integers(1, 300))
def test_without_permission_to_list_the_gets_are_spread(count: int) -> None:
    """Each job once an interval, never in a burst; List is tried once."""
    play = Play(fault=refuse_list)
    for i in range(count):
        play.add(f"job-{i}")
    play.run(until=10 * INTERVAL)
    assert len(play.lists()) <= 1
    assert len(play.gets()) <= 11 * count
    assert len(play.heard(Job)) == count
    assert play.gets()[count - 1] <= 1 + 0.1 * count, "what is new is polled soon"
    steady = [at for at in play.gets() if at > 2 * INTERVAL]
    for at in steady[:50]:
        assert sum(at <= other < at + INTERVAL / 10 for other in steady) <= math.ceil(count / 9) + 2


def test_list_is_tried_again_after_an_hour() -> None:
    """A permission that was missing may have been given."""
    play = Play(fault=refuse_list)
    for i in range(5):
        play.add(f"job-{i}")
    play.run(until=3 * 3600)
    assert 3 <= len(play.lists()) <= 4


def test_throttling_slows_all_polls_to_the_ceiling_and_then_passes() -> None:
    """Fewer and fewer calls while throttled; after it, the old pace."""
    play = Play(fault=lambda ask, now: Trouble.THROTTLED if now < 6000 else None)
    for i in range(100):
        play.add(f"job-{i}")
    play.run(until=6000)
    assert len([at for at in play.lists() if at < 6000]) <= 6 + 6000 / 600
    gaps = [after - before for before, after in zip(play.lists(), play.lists()[1:], strict=False)]
    assert gaps == sorted(gaps)
    assert max(gaps) == pytest.approx(600)
    play.run(until=20_000)
    latest = play.lists()[-3:]
    assert latest[2] - latest[1] == pytest.approx(INTERVAL)


def test_backoff_ends_one_level_a_pause_and_not_one_level_a_round() -> None:
    """Else a loop that polls many jobs would be back at full speed, and throttled again, within seconds."""
    play = Play(fault=lambda ask, now: Trouble.THROTTLED if 50 < now < 70 else None)
    play.add("a")
    play.add("b")
    play.run(310)
    assert [at - GATHER_SECONDS for at in play.lists()] == [60, 120, 240, 300]

    def fault(ask: Call, now: float) -> Trouble | None:
        return Trouble.REFUSED if isinstance(ask, ListJobs) else Trouble.THROTTLED if now < 5 else None

    play = Play(fault=fault)
    for i in range(20):
        play.add(f"job-{i}")
    late = [at for at in play.run(300).gets() if at > 5]
    assert len(late) == 30
    assert min(after - before for before, after in pairwise(late)) == pytest.approx(0.2)


def test_many_ends_under_throttling_are_all_reported() -> None:
    """If only some Gets a second are allowed, all ends are still reported soon."""
    taken: list[float] = []

    def ten_a_second(ask: Call, now: float) -> Trouble | None:
        if isinstance(ask, ListJobs):
            return None
        if sum(at > now - 1 for at in taken) >= 10:
            return Trouble.THROTTLED
        taken.append(now)
        return None

    play = Play(fault=ten_a_second)
    for i in range(500):
        play.add(f"job-{i}", ends=100)
    play.run(until=300)
    assert len(play.ends()) == 500


@given(
    faults=st.lists(
        st.sampled_from([None, Trouble.THROTTLED, Trouble.NO_ANSWER, Trouble.REFUSED, Trouble.MISSING]), max_size=60
    ),
    ends=ends,
)
def test_no_fault_ends_a_wait_or_loses_a_job(faults: list[Trouble | None], ends: list[float]) -> None:
    """Once the faults are over, every end is reported; none before the job has ended."""
    left = list(faults)

    def fault(ask: Call, now: float) -> Trouble | None:
        trouble = left.pop(0) if left else None
        # That a job does not exist is an answer, and repeated it is believed; it has a test of its own.
        return Trouble.NO_ANSWER if trouble is Trouble.MISSING and isinstance(ask, GetJob) else trouble

    play = Play(fault=fault)
    for i, end in enumerate(ends):
        play.add(f"job-{i}", ends=end)
    play.run(until=100_000)
    for i, end in enumerate(ends):
        told = play.ends(f"job-{i}")
        assert len(told) == 1
        assert told[0] >= end


def test_each_poll_without_a_response_is_reported() -> None:
    """So that the timeout of its wait counts, and no other's. A missing response is no refusal, which ends a wait."""
    play = Play(fault=lambda ask, now: Trouble.NO_ANSWER)
    play.add("a")
    play.add("b")
    play.run(until=5 * INTERVAL + 1)
    assert len(play.lists()) == 5
    assert len(play.heard(Unanswered, "a")) == len(play.heard(Unanswered, "b")) == 1 + 5
    assert {finding for _, _, finding in play.news} == {Unanswered("no answer", refused=False)}


def test_a_job_that_nobody_saw_and_that_does_not_exist_is_missing_at_once() -> None:
    """An error at once, not after a time-out."""
    play = Play()
    play.planner.watch("nobody", None, PACE, play.now)
    play.run(until=1)
    assert len(play.heard(Missing, "nobody")) == 1


def test_a_job_that_was_seen_is_not_missing_by_one_answer() -> None:
    """An answer that lags behind the creation of the job does not end the wait."""
    hidden_until = 1.5 * INTERVAL
    play = Play(fault=lambda ask, now: Trouble.MISSING if isinstance(ask, GetJob) and now < hidden_until else None)
    play.unlisted = {"new"}
    play.add("new")
    play.add("other")
    play.run(until=3 * INTERVAL)
    assert play.heard(Missing) == []
    assert play.heard(Job, "new")


def test_a_job_that_was_seen_once_is_known_to_exist() -> None:
    """Though nobody has said when it was made: a moment in which the service does not show it ends no wait."""
    play = Play(fault=lambda ask, now: Trouble.MISSING if INTERVAL < now < 2 * INTERVAL else None)
    play.add("job", known=False)
    play.run(until=4 * INTERVAL)
    assert play.heard(Missing) == []


def test_new_jobs_are_not_polled_all_at_once() -> None:
    """Where List may not be asked: ten a second, which Bedrock does not throttle."""
    play = Play(fault=refuse_list)
    for i in range(20):
        play.add(f"job-{i}")
    gets = play.run(INTERVAL).gets()
    assert len(gets) == 20
    assert [after - before for before, after in pairwise(gets)] == pytest.approx([0.1] * 19)


def test_the_name_and_the_arn_lead_to_the_same_job() -> None:
    """One task may wait by name and another by ARN."""
    play = Play()
    play.add("one")
    play.planner.watch("arn:aws:bedrock:r:1:job/one", None, PACE, play.now)
    play.run(until=1)
    assert {name for _, name, _ in play.news} == {"one", "arn:aws:bedrock:r:1:job/one"}


def test_a_second_watcher_gets_what_is_known() -> None:
    """And nothing is asked for that."""
    play = Play()
    play.add("one")
    play.run(until=1)
    asked = len(play.asked)
    assert isinstance(play.planner.watch("one", None, PACE, play.now), Job)
    play.run(until=2)
    assert len(play.asked) == asked


def test_a_response_without_a_change_is_not_reported() -> None:
    """No news for a poll."""
    play = Play()
    play.add("a")
    play.add("b")
    play.run(until=100 * INTERVAL)
    assert len(play.news) == 2


def test_the_first_response_after_an_outage_is_reported() -> None:
    """Otherwise two errors hours apart would look like one outage of hours."""
    for jobs in (1, 3):
        play = Play(fault=lambda ask, now: Trouble.NO_ANSWER if int(now) // 60 in {2, 66} else None)
        for i in range(jobs):
            play.add(f"job-{i}")
        play.run(until=6000)
        for i in range(jobs):
            kinds = [type(finding) for _, who, finding in play.news if who == f"job-{i}"]
            assert kinds == [Job, Unanswered, Job, Unanswered, Job]


@given(failing=st.sets(st.integers(0, 99)), jobs=st.integers(1, 5), listed=st.booleans())
def test_a_watcher_that_gets_an_outage_gets_its_end(failing: set[int], jobs: int, listed: bool) -> None:
    """In whatever order polls succeed and fail, a waiting task knows whether the latest one had a response."""
    counted = iter(range(10_000))

    def fault(ask: Call, now: float) -> Trouble | None:
        if isinstance(ask, ListJobs) and not listed:
            return Trouble.REFUSED
        return Trouble.NO_ANSWER if next(counted) in failing else None

    play = Play(fault=fault)
    for i in range(jobs):
        play.add(f"job-{i}")
    play.run(until=100 * INTERVAL)
    play.fault = lambda ask, now: refuse_list(ask, now) if not listed else None
    play.run(until=103 * INTERVAL)
    for i in range(jobs):
        latest = [finding for _, who, finding in play.news if who == f"job-{i}"][-1]
        assert isinstance(latest, Job)


@given(
    interval=st.floats(1, 100),
    slower=st.floats(1, 50),
    jobs=st.integers(1, 60),
    listed=st.booleans(),
    rounds=st.floats(1, 400),
)
def test_after_throttling_the_ceiling_is_kept(
    interval: float, slower: float, jobs: int, listed: bool, rounds: float
) -> None:
    """However long it lasted, an end is reported within two rounds at the slowest pace, even if List is refused."""
    pace = Pace(interval=interval, ceiling=interval * slower)
    healthy_at = rounds * interval
    play = Play(pace=pace)

    def fault(ask: Call, now: float) -> Trouble | None:
        if now < healthy_at:
            return Trouble.THROTTLED
        return refuse_list(ask, now) if not listed else None

    play.fault = fault
    for i in range(jobs):
        play.add(f"job-{i}", ends=healthy_at)
    slack = 2.0 ** (4 + math.log2(slower) + 1) + 0.1 * jobs
    play.run(until=healthy_at + 2 * pace.ceiling + slack)
    assert len(play.ends()) == jobs


def test_a_thousand_jobs_without_list_keep_the_ceiling_after_throttling() -> None:
    """The distance between two Gets is never more than what lets all of them into a round at the slowest pace."""
    play = Play(pace=Pace(interval=60.0, ceiling=120.0))
    play.fault = lambda ask, now: refuse_list(ask, now) or (Trouble.THROTTLED if now < 1200 else None)
    for i in range(1000):
        play.add(f"job-{i}", ends=1200)
    play.run(until=1200 + 2.5 * 120)
    assert len(play.ends()) == 1000


def test_the_largest_ratio_of_ceiling_to_interval_decides_the_backoff() -> None:
    """Else one impatient task would keep a throttled service busy for everybody."""
    play = Play()
    play.fault = lambda ask, now: refuse_list(ask, now) or Trouble.THROTTLED
    play.add("impatient", pace=Pace(interval=60.0, ceiling=120.0))
    play.add("patient", pace=Pace(interval=60.0, ceiling=3600.0))
    play.run(until=100_000)
    assert len(play.asked) < 1.5 * 100_000 / 120


def test_an_unknown_status_is_an_end() -> None:
    """It fails closed: it is reported to the worker, which does not take it for success."""
    planner = Planner()
    planner.watch("one", START, PACE, 0.0)
    ask = planner.next(GATHER_SECONDS)
    assert ask == GetJob("one")
    paused = Job(arn="arn:one", name="one", status="Paused")
    assert planner.got(ask, paused, 1.0) == [("one", paused)]


def test_an_end_that_list_shows_costs_no_get() -> None:
    """The worker calls Get for what List leaves out; a response to a Get still in flight is too late."""
    planner = Planner()
    for name in ("a", "b", "c", "d"):
        planner.watch(name, START, PACE, 0.0)
    assert isinstance(planner.next(1.0), ListJobs)
    ended = Job(arn="arn:a", name="a", status="Completed", created=START)
    running = [Job(arn=f"arn:{name}", name=name, status="InProgress", created=START) for name in "bcd"]
    told = planner.listed([ended, *running], None, 1.0)
    assert told == [("a", ended), *((job.name, job) for job in running)]
    assert planner.next(INTERVAL - 1) is None
    still = Job(arn="arn:a", name="a", status="InProgress", created=START)
    assert planner.got(GetJob("a"), still, 1.1) == []


def test_answers_that_come_too_late_are_ignored() -> None:
    """Nobody watches any more: no news, no error, nothing to wake for."""
    planner = Planner()
    planner.watch("one", START, PACE, 0.0)
    ask = planner.next(1.0)
    assert isinstance(ask, GetJob)
    planner.unwatch("one")
    job = Job(arn="arn:one", name="one", status="Completed")
    assert planner.got(ask, job, 2.0) == []
    for trouble in Trouble:
        assert planner.failed(ask, trouble, "", 2.0) == []
    assert planner.listed([job], None, 2.0) == []
    assert planner.wakes_at() == math.inf


def test_a_watcher_before_the_first_response_gets_nothing_yet() -> None:
    """What is not known is no news."""
    planner = Planner()
    assert planner.watch("job", None, PACE, 0.0) is None
    assert planner.watch("job", None, PACE, 0.0) is None


def test_the_loop_sleeps_during_a_list_and_wakes_for_the_next_page() -> None:
    """Else it would turn at full speed until the response is there, or leave the rest of the page unread."""
    play = Play()
    for i in range(10):
        play.add(f"job-{i}")
    asked = play.planner.next(1.0)
    assert isinstance(asked, ListJobs)
    assert play.planner.wakes_at() > 1.0
    play.planner.listed([play.job("job-0")], "2", 1.0)
    assert play.planner.wakes_at() <= 1.0
    assert play.planner.next(1.0) == ListJobs(asked.created_after, "2")


def test_backing_off_doubles_the_pause_up_to_the_ceiling() -> None:
    """And a newcomer brings the fast pace back."""
    play = Play(pace=Pace(interval=60, ceiling=960, backoff=True))
    play.add("one")
    play.run(until=6000)
    gaps = [after - before for before, after in zip(play.gets(), play.gets()[1:], strict=False)]
    assert gaps == sorted(gaps)
    assert gaps[0] == pytest.approx(60, abs=GATHER_SECONDS)
    assert gaps[-1] == pytest.approx(960)
    play.add("two")
    play.run(until=6000 + 150)
    assert len([at for at in play.lists() if at > 6000]) >= 1


def test_rounds_are_jittered() -> None:
    """Triggerers that were started together do not stay together."""
    factors = iter([0.9, 1.1, 0.95, 1.0, 1.0])
    play = Play(planner=Planner(jitter=lambda: next(factors)))
    play.add("one")
    play.run(until=150)
    first, second, third = play.gets()[:3]
    assert second - first != pytest.approx(third - second)


def test_the_lag_is_the_age_of_the_oldest_answer() -> None:
    """So that an operator sees how late an end may be noticed."""
    play = Play(fault=lambda ask, now: Trouble.NO_ANSWER if now > 100 else None)
    assert play.planner.lag(0.0) == 0
    play.add("a")
    play.add("b")
    play.run(until=1000)
    assert play.planner.lag(1000.0) > 850
    play.planner.got(GetJob("a"), play.job("a"), 1000.0)
    assert play.planner.lag(1000.0) > 850


@pytest.mark.parametrize(("interval", "ceiling"), [(0, 10), (-1, 10), (10, 5)])
def test_an_invalid_interval_is_refused(interval: float, ceiling: float) -> None:
    """No endless loop by a wrong number."""
    with pytest.raises(ValueError, match="interval"):
        Pace(interval=interval, ceiling=ceiling)


def test_a_job_is_not_polled_while_a_get_of_it_is_in_flight() -> None:
    """One that takes minutes would take up all the loop's threads."""
    planner = Planner()
    planner.watch("job", None, PACE, 0.0)
    assert planner.next(GATHER_SECONDS) == GetJob("job")
    assert [planner.next(minute * INTERVAL) for minute in range(1, 10)] == [None] * 9


def test_a_list_that_takes_long_is_waited_for() -> None:
    """Another one meanwhile would make the service slower still, and the pages of the first would be lost."""
    planner = Planner()
    for i in range(5):
        planner.watch(f"job-{i}", None, PACE, 0.0)
    assert planner.next(GATHER_SECONDS) == ListJobs(None)
    assert [planner.next(minute * INTERVAL) for minute in range(1, 10)] == [None] * 9

"""The queue wakes the right task when a slot is free, and a longer queue costs no more polls."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_bedrock.customization.job import Job
from airflow_bedrock.jobs.planner import GATHER_SECONDS, Call, ListJobs, Pace, Trouble
from airflow_bedrock.jobs.quota import ACTIVE_STATUSES, QuotaQueue, Refusal, Turn, is_zero

PACE = Pace(interval=60.0, ceiling=600.0)
WORKER_SECONDS = 10.0  # from its waking until a task asks


@dataclass
class Play:
    """A service with a quota, a clock, and a queue of tasks that ask again when they are woken.

    :param fault: what goes wrong with a question at a time; None for an answer.
    :param page_size: jobs on a page of List.
    :param hidden: seconds for which List does not show a new job.
    """

    quota: int
    queue: QuotaQueue = field(default_factory=QuotaQueue)
    fault: Callable[[float], Trouble | None] = lambda now: None
    page_size: int = 1000
    hidden: float = 0.0
    now: float = 0.0
    running: dict[str, tuple[float, float]] = field(default_factory=dict)  # task: made, ends
    stopping: set[str] = field(default_factory=set)
    asking: dict[str, tuple[float, float]] = field(default_factory=dict)  # woken task: asked first, asks again
    seconds: dict[str, float] = field(default_factory=dict)  # how long the job of a task takes
    made: list[tuple[float, str]] = field(default_factory=list)
    refused: list[tuple[float, str]] = field(default_factory=list)
    polls: list[float] = field(default_factory=list)
    turns: dict[str, Turn] = field(default_factory=dict)

    def ask(self, task: str, seconds: float = math.inf, asked_at: float | None = None) -> None:
        """Let a task ask for a job, which takes so long."""
        self.seconds[task] = seconds
        asked_at = self.now if asked_at is None else asked_at
        if len(self._active()) < self.quota:
            self.running[task] = (self.now, self.now + seconds)
            self.made.append((self.now, task))
            return
        self.refused.append((self.now, task))
        shown = len(self._shown("InProgress") + self._shown("Stopping"))
        known = None if self.fault(self.now) is Trouble.REFUSED else shown
        self.queue.join(Refusal(task, asked_at, self.now, known), PACE, self.now)
        self.turns[task] = Turn(go=False, running=None, ahead=0, waiting=0)

    def restart(self) -> None:
        """Let another triggerer take over: it gets the triggers in any order, here the wrong one."""
        waiting = [each.refusal for each in self.queue._waiting.values()]
        self.queue = QuotaQueue()
        for refusal in sorted(waiting, key=lambda refusal: -refusal.asked_at):
            self.queue.join(refusal, PACE, self.now)

    def run(self, until: float) -> Play:
        """Let time pass."""
        while True:
            while (question := self.queue.next(self.now)) is not None:
                self._answer(question)
            times = [self.queue.wakes_at(), *(at for _, at in self.asking.values())]
            assert min(times) > self.now, "the queue has nothing to ask, and wants to be asked at once"
            if min(times) > until:
                self.now = until
                return self
            self.now = min(times)
            for task, (asked_at, at) in list(self.asking.items()):
                if at <= self.now:
                    del self.asking[task]
                    self.ask(task, self.seconds[task], asked_at)

    def _active(self) -> list[str]:
        return [task for task, (_, ends) in self.running.items() if self.now < ends]

    def _shown(self, status: str) -> list[Job]:
        tasks = [task for task in self._active() if self.now - self.running[task][0] >= self.hidden]
        of_status = [task for task in tasks if (task in self.stopping) == (status == "Stopping")]
        return [Job(arn=f"arn:{task}", name=task, status=status) for task in of_status]

    def _answer(self, question: Call) -> None:
        assert isinstance(question, ListJobs)
        assert question.status is not None
        self.polls.append(self.now)
        if (trouble := self.fault(self.now)) is not None:
            return self._hear(self.queue.failed(question, trouble, trouble.value, self.now))
        shown = self._shown(question.status)
        start = int(question.token or 0)
        token = str(start + self.page_size) if start + self.page_size < len(shown) else None
        return self._hear(self.queue.listed(shown[start : start + self.page_size], token, self.now))

    def _hear(self, news: list[tuple[str, Turn]]) -> None:
        for task, turn in news:
            self.turns[task] = turn
            if turn.go:
                asked_at = self.queue._waiting[task].refusal.asked_at
                self.queue.unwatch(task)
                if not len(self.queue):
                    self.queue = QuotaQueue()  # the poll loop forgets a queue that is empty
                self.asking[task] = (asked_at, self.now + WORKER_SECONDS)

    def order(self) -> list[str]:
        return [task for _, task in self.made]


def test_the_first_in_the_queue_is_woken_when_a_job_ends() -> None:
    """One for each slot, within an interval and the time that a worker takes; nobody else is refused again."""
    play = Play(quota=2)
    play.ask("a", seconds=1000)
    play.ask("b", seconds=5000)
    for task in ("c", "d", "e"):
        play.run(play.now + 1)
        play.ask(task, seconds=2000)
    play.run(10_000)
    assert play.order() == ["a", "b", "c", "d", "e"]
    assert [at for at, _ in play.made[2:]] == [
        pytest.approx(ended, abs=PACE.interval + WORKER_SECONDS) for ended in (1000, 3060, 5000)
    ]


def test_one_task_is_woken_for_each_ended_job() -> None:
    """All at once, and not one after the other."""
    play = Play(quota=10)
    for i in range(10):
        play.ask(f"first-{i}", seconds=1000 if i < 8 else math.inf)
    for i in range(9):
        play.ask(f"then-{i}")
    play.run(1000 + PACE.interval + WORKER_SECONDS)
    assert play.order()[10:] == [f"then-{i}" for i in range(8)]


def test_a_hundred_that_wait_cost_no_more_polls_than_one() -> None:
    """Their logs say how many jobs run and how many tasks wait before them."""

    def polls(count: int) -> Play:
        play = Play(quota=1)
        play.ask("first")
        for i in range(count):
            play.ask(f"task-{i:03}")
        return play.run(3600)

    one, hundred = polls(1), polls(100)
    assert len(hundred.polls) <= len(one.polls) + 2
    assert hundred.turns["task-099"] == Turn(go=False, running=1, ahead=99, waiting=100)


def test_a_restart_of_the_triggerer_keeps_the_order() -> None:
    """The place is the time of the first asking, which the trigger's arguments say."""
    play = Play(quota=1)
    play.ask("first", seconds=1000)
    for i in range(5):
        play.run(play.now + 1)
        play.ask(f"task-{i}", seconds=300)
    play.run(500).restart()
    play.run(10_000)
    assert play.order() == ["first", *(f"task-{i}" for i in range(5))]


def test_a_task_refused_again_keeps_its_place() -> None:
    """Where somebody else was faster."""
    play = Play(quota=1)
    play.ask("first", seconds=1000)
    play.ask("a")
    play.run(1)
    play.ask("b")
    play.run(1000)
    while not play.asking:
        play.run(play.now + 1)
    play.ask("somebody else", seconds=1000)
    play.run(3000)
    assert play.order() == ["first", "somebody else", "a"]


def test_a_job_that_is_being_stopped_still_takes_its_slot() -> None:
    """Nobody is woken to be refused."""
    play = Play(quota=1)
    play.ask("first", seconds=1000)
    play.ask("a")
    play.stopping.add("first")
    play.run(999)
    assert len(play.refused) <= 5  # the first asks now and then
    play.run(1100)
    assert play.order() == ["first", "a"]


def test_a_raised_quota_is_noticed() -> None:
    """The first asks again now and then although no job has ended, less and less often."""
    play = Play(quota=1)
    play.ask("first")
    for task in ("a", "b"):
        play.ask(task)
    play.run(3600)
    again = [at for at, _ in play.refused if at > 0]
    assert 4 <= len(again) <= 9
    assert {task for at, task in play.refused if at > 0} == {"a"}
    play.quota = 3
    play.run(3600 + 2 * (PACE.ceiling + 120))
    assert play.order() == ["first", "a", "b"]


def test_after_a_free_slot_a_raised_quota_is_tried_at_the_first_interval_again() -> None:
    """What was tried in vain before says nothing about the quota of now."""
    play = Play(quota=1)
    play.ask("first", seconds=3600)
    for task in ("a", "b"):
        play.ask(task)
    play.run(4000)
    made_at = next(at for at, task in play.made if task == "a")
    again = next(at for at, task in play.refused if task == "b" and at > made_at)
    assert PACE.interval <= again - made_at < 2 * PACE.interval


def test_without_permission_to_list_the_first_in_the_queue_tries_once_an_interval() -> None:
    """So that the wait still ends."""
    play = Play(quota=1, fault=lambda now: Trouble.REFUSED)
    play.ask("first", seconds=1000)
    play.ask("a", seconds=1000)
    play.run(1)
    play.ask("b")
    play.run(4000)
    assert play.order() == ["first", "a", "b"]
    assert play.made[1][0] <= 1000 + 2 * (PACE.interval + WORKER_SECONDS)


def test_the_first_pauses_are_an_interval_then_twice_as_long_each_time() -> None:
    """Up to the longest poll interval, while all that ran when it was refused run on."""
    play = Play(quota=1)
    play.ask("first")
    play.ask("a")
    play.run(4000)
    again = [at for at, task in play.refused if at > 0]
    pauses = [after - before for before, after in zip([0.0, *again], again, strict=False)]
    assert pauses == [pause + GATHER_SECONDS + WORKER_SECONDS for pause in (60, 120, 240, 480, *[600] * 5)]


def test_the_count_is_unknown_once_list_is_denied() -> None:
    """What ran when it could be asked last says nothing of now; the first asks once an interval from then on."""
    play = Play(quota=1, fault=lambda now: Trouble.REFUSED if now > 100 else None)
    play.ask("first")
    for task in ("a", "b"):
        play.ask(task)
    play.run(99)
    assert play.turns["b"].running == 1
    play.run(4000)
    assert play.turns["b"].running is None
    again = [at for at, task in play.refused if at > 200]
    assert max(after - before for before, after in itertools.pairwise(again)) <= 2 * PACE.interval


def test_a_permission_to_list_that_is_given_later_is_used() -> None:
    """How many may run at once is not known then, since the worker that was refused could not count."""
    play = Play(quota=1, fault=lambda now: Trouble.REFUSED if now < 1 else None)
    play.ask("first", seconds=5000)
    play.ask("a")
    play.run(10_000)
    assert play.order() == ["first", "a"]


def test_a_service_that_does_not_answer_wakes_nobody() -> None:
    """No response says nothing about the quota."""
    play = Play(quota=1, fault=lambda now: Trouble.NO_ANSWER if now < 2000 else None)
    play.ask("first", seconds=1000)
    play.ask("a")
    play.run(1999)
    assert not play.asking
    assert len(play.refused) == 1
    play.run(2100)
    assert play.order() == ["first", "a"]


def test_throttling_leads_to_fewer_polls() -> None:
    """A quarter of them."""
    calm, throttled = Play(quota=1), Play(quota=1, fault=lambda now: Trouble.THROTTLED)
    for play in (calm, throttled):
        play.ask("first")
        play.ask("a")
        play.run(3600)
    assert len(throttled.polls) <= len(calm.polls) / 6
    assert throttled.polls[2] - throttled.polls[1] == 4 * PACE.interval


def test_the_end_of_a_watched_job_is_counted_at_once() -> None:
    """And not an interval later."""
    play = Play(quota=1)
    play.ask("first", seconds=1000)
    play.ask("a")
    play.run(1000.5)
    play.queue.job_ended(play.now)
    play.run(1000.5 + WORKER_SECONDS)
    assert play.order() == ["first", "a"]


def polled(queue: QuotaQueue, now: float, *running: str) -> list[str]:
    """Count the running jobs, and return the tasks that are woken."""
    woken = []
    queue.job_ended(now)
    while isinstance(question := queue.next(now), ListJobs):
        jobs = [Job(arn=arn, name=arn, status="InProgress") for arn in running if question.status == "InProgress"]
        for task, turn in queue.listed(jobs, None, now):
            if turn.go:
                queue.unwatch(task)
                woken.append(task)
    return woken


def queue_of(*tasks: str, running: int) -> QuotaQueue:
    """Return a queue of tasks that were refused one after the other while so many jobs ran."""
    queue = QuotaQueue()
    for i, task in enumerate(tasks):
        queue.join(Refusal(task, float(i), float(i), running), PACE, 0.0)
    return queue


def test_the_loop_makes_one_request_at_a_time() -> None:
    """A count that is under way is not begun again, nor is the loop awake for it."""
    queue = queue_of("a", running=1)
    assert queue.next(1.0) == ListJobs(None, status="InProgress")
    assert queue.next(1.0) is None
    assert queue.wakes_at() == math.inf


def test_waiting_tasks_get_what_is_new_and_nothing_twice() -> None:
    """Each report is a line in a task's log."""
    queue = queue_of("a", "b", running=1)
    told = []
    for now in (1.0, 2.0):
        queue.job_ended(now)
        while isinstance(question := queue.next(now), ListJobs):
            jobs = [Job(arn="x", name="x", status="InProgress")] if question.status == "InProgress" else []
            told += [(now, task) for task, _ in queue.listed(jobs, None, now)]
    assert told == [(1.0, "a"), (1.0, "b")]


def test_a_quota_is_at_least_what_has_run_at_once() -> None:
    """New jobs are hidden for a while: one of three was shown when the task was refused."""
    queue = queue_of("a", running=1)
    assert polled(queue, 1.0, "x", "y", "z") == []
    assert polled(queue, 2.0, "x", "y") == ["a"]


def test_a_woken_task_has_the_slot_until_its_job_is_shown() -> None:
    """The next one is not woken to be refused, unless the job does not come for two minutes."""
    queue = queue_of("a", "b", running=1)
    assert polled(queue, 1.0, "x") == []
    assert polled(queue, 10.0) == ["a"]
    assert polled(queue, 20.0) == []
    assert polled(queue, 129.0) == []
    assert polled(queue, 131.0) == ["b"]


def test_the_slot_is_free_again_once_the_job_of_the_woken_task_has_ended() -> None:
    """However short it was."""
    queue = queue_of("a", "b", running=1)
    assert polled(queue, 1.0, "x") == []
    assert polled(queue, 10.0) == ["a"]
    assert polled(queue, 20.0, "job of a") == []
    assert polled(queue, 30.0) == ["b"]


@given(
    quota=st.integers(1, 6),
    jobs=st.lists(st.tuples(st.integers(0, 2000), st.integers(1, 2000)), min_size=1, max_size=25),
    page_size=st.integers(1, 10),
    hidden=st.sampled_from([0.0, 60.0]),
    restarts=st.lists(st.integers(0, 20_000), max_size=3),
)
def test_no_task_waits_while_a_slot_is_free_and_none_overtakes(
    quota: int, jobs: list[tuple[int, int]], page_size: int, hidden: float, restarts: list[int]
) -> None:
    """Whatever the quota, the jobs and the restarts: all get their jobs, and those who were refused in their order."""
    play = Play(quota=quota, page_size=page_size, hidden=hidden)
    happenings = sorted(
        [(at, f"task-{i}", seconds) for i, (at, seconds) in enumerate(jobs)] + [(at, "", 0) for at in restarts]
    )
    first_refused: dict[str, float] = {}
    for at, task, seconds in happenings:
        play.run(max(play.now, float(at)))
        if task:
            play.ask(task, seconds)
        else:
            play.restart()
    play.run(200_000)
    for when, task in play.refused:
        first_refused.setdefault(task, when)
    assert sorted(play.order()) == sorted(f"task-{i}" for i in range(len(jobs)))
    queued = [task for task in play.order() if task in first_refused]
    if not restarts:
        assert queued == sorted(queued, key=lambda task: (first_refused[task], task))
    longest = max(seconds for _, seconds in jobs)
    rounds = math.ceil(len(jobs) / quota)
    assert play.made[-1][0] <= 2000 + rounds * (longest + PACE.ceiling + 200)


@pytest.mark.parametrize(
    ("error", "zero"),
    [
        ("You have reached the quota of 0 scheduled model customization jobs.", True),
        ("Account limit: 0 for training jobs", True),
        ("You have reached the quota of 10 scheduled model customization jobs.", False),
        ("You have reached the limit of 100", False),
        ("Too many jobs; 0 seconds left", False),
    ],
)
def test_a_quota_of_zero_is_read_from_the_services_words(error: str, zero: bool) -> None:
    """A quota that has been reached is another thing."""
    assert is_zero(error) is zero


def test_tasks_that_join_are_counted_for_together_and_not_each_for_itself() -> None:
    """The first count comes a moment after the first task, the next one not before five seconds."""
    queue = QuotaQueue()

    def join(task: str, now: float) -> float:
        queue.join(Refusal(task, now, now, 1), PACE, now)
        return queue.wakes_at()

    assert join("first", 100.0) == 100.0 + GATHER_SECONDS == join("second", 100.0)
    for status in ACTIVE_STATUSES:
        assert queue.next(100.0 + GATHER_SECONDS) == ListJobs(None, None, status=status)
        queue.listed([], None, 100.0 + GATHER_SECONDS)
    assert join("third", 101.0) == 100.0 + GATHER_SECONDS + 5.0
    assert join("fourth", 120.0) == 100.0 + GATHER_SECONDS + 5.0


def test_where_no_job_runs_the_first_in_the_queue_tries_once_an_interval() -> None:
    """A quota that is taken by what List does not show, or that is 0 for a while: it may be free at any time."""
    play = Play(quota=0)
    play.ask("a")
    play.run(1000)
    refused = [at for at, _ in play.refused]
    assert max(after - before for before, after in itertools.pairwise(refused)) < 2 * PACE.interval


def test_the_latest_refusal_decides_the_quota() -> None:
    """In whatever order a triggerer that takes over is given the tasks."""
    queue = QuotaQueue()
    queue.join(Refusal("b", asked_at=1.0, refused_at=10.0, running=5), PACE, 0.0)
    queue.join(Refusal("a", asked_at=0.0, refused_at=0.0, running=2), PACE, 0.0)
    assert polled(queue, 1.0, *"wxyz") == ["a"]


def test_the_queue_sleeps_during_a_page_and_wakes_for_the_next() -> None:
    """Else an account with more than a thousand jobs would be counted an interval later."""
    queue = queue_of("a", running=1)
    assert isinstance(queue.next(1.0), ListJobs)
    assert queue.wakes_at() == math.inf
    queue.listed([], "2", 1.0)
    assert queue.wakes_at() == -math.inf
    assert queue.next(1.0) == ListJobs(None, "2", status="InProgress")

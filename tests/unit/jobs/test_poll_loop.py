"""What one of several that watch the same job hears, and what becomes of the pace when another one leaves."""

from __future__ import annotations

import pytest

from airflow_bedrock.customization.job import Job
from airflow_bedrock.jobs.connection import Connection
from airflow_bedrock.jobs.planner import GetJob, Pace, Planner, Running
from airflow_bedrock.jobs.poll_loop import PollLoop, loop_for
from airflow_bedrock.jobs.resources.customization_job import CUSTOMIZATION_JOB

CONNECTION = Connection.of(aws_conn_id=None, region_name="us-east-1", verify=None, config=None)
FAST, SLOW = Pace(interval=10.0, ceiling=100.0), Pace(interval=60.0, ceiling=600.0)
JOB = Running(Job(arn="arn:job", name="job", status="InProgress"))


def planner_of(loop: PollLoop) -> Planner:
    (planner,) = loop._planners()
    return planner


async def test_news_that_come_before_they_are_waited_for_are_not_lost() -> None:
    """In their order: a trigger that writes its log while the next news come would wait for ever."""
    loop = loop_for(CONNECTION)
    with loop.watch(CUSTOMIZATION_JOB, "job", SLOW) as watch:
        later = Running(Job(arn="arn:job", name="job", status="Stopping"))
        watch.tell(JOB)
        watch.tell(later)
        watch.tell(RuntimeError("the loop broke"))
        assert await watch.next() is JOB
        assert await watch.next() is later
        with pytest.raises(RuntimeError, match="the loop broke"):
            await watch.next()
        waited = watch.next()
        assert not waited.done()
        watch.tell(JOB)
        watch.tell(later)
        assert [await waited, await watch.next()] == [JOB, later]


async def test_who_comes_later_hears_at_once_and_who_stays_sets_the_pace() -> None:
    """Not after a poll interval; and a job is polled no faster than those who still watch it have asked for."""
    loop = loop_for(CONNECTION)
    with loop.watch(CUSTOMIZATION_JOB, "job", SLOW):
        planner = planner_of(loop)
        planner.got(GetJob("job"), JOB.job, 0.0)
        with loop.watch(CUSTOMIZATION_JOB, "job", FAST) as faster:
            assert await faster.next() == JOB
            assert planner._watched["job"].pace == FAST
        assert planner._watched["job"].pace == SLOW
        assert loop.watched == 1
    assert loop.watched == 0
    assert loop_for(CONNECTION) is not loop
    with loop_for(CONNECTION).watch(CUSTOMIZATION_JOB, "job", SLOW):
        """And so it ends again."""

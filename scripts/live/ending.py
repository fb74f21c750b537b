"""The jobs of tasks that people end, or that take too long, are stopped; those of other tasks are not."""

from __future__ import annotations

import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from airflow_bedrock.local import Quotas
from scripts.live.arguments import RANDOM
from scripts.live.scenario import scenario
from scripts.live.stage import Run, Stage, check
from scripts.live.witness import lived
from scripts.until import until

SHAPES = tuple(f"{RANDOM}_{shape}" for shape in ("in_a_worker", "in_the_triggerer", "by_a_sensor"))
SWEEP = f"{RANDOM}_sweep"
SETTLE_SECONDS = 60.0  # in which a process that lives stops its job
RUNS = 200
AT_ONCE = 8
AFTER_THE_START, AFTER_THE_JOB = 20.0, 8.0  # seconds, by which a run is marked failed


@scenario(asked_for=1)
def marked_failed_while_the_sensor_waits(stage: Stage) -> None:
    """An operator with wait_for_completion=False, and a sensor; the run is marked failed while the sensor waits."""
    run = stage.start()
    run.until("deferred", "wait")
    stage.until_polled()
    run.mark_failed()
    until(lambda: not stage.in_progress(), "the job is stopped")


@scenario(asked_for=1)
def two_runs_share_a_job(stage: Stage) -> None:
    """reuse="dag". Two runs wait for one job, and one of them is marked failed: the other one gets its model."""
    first = stage.start()
    first.until("deferred")
    stage.until_polled()
    second = stage.start()
    second.until("deferred")
    first.mark_failed()
    first.until("failed")
    time.sleep(10)  # for a stop that comes late
    check(len(stage.in_progress()) == 1, "the job keeps running")
    stage.end_jobs()
    second.until_success()


@scenario(asked_for=6)
def execution_timeout(stage: Stage) -> None:
    """Three mapped tasks in workers and three in the triggerer run out of execution_timeout: no retry."""
    run = stage.start()
    check(run.until_ended() == "failed", "the run fails")
    check({one["try_number"] for one in run.instances()} == {1}, f"no task is retried: {run}")
    check(run.states() == ["failed"] * 6, f"all tasks fail: {run}")


@scenario(asked_for=3, quotas=Quotas(scheduled_jobs=1))
def quota_of_one(stage: Stage) -> None:
    """Three mapped tasks in an account that may have one job at a time: each gets its job in turn."""
    run = stage.start()
    for done in range(3):
        until(lambda: len(stage.in_progress()) == 1, f"a job runs after {done}", 900)
        check(len(stage.jobs()) == done + 1, f"one job at a time: {stage.jobs()}")
        stage.end_jobs()
    run.until_success()


ROOMY = Quotas(scheduled_jobs=RUNS, training_jobs=RUNS, custom_models=RUNS)


@scenario(asked_for=RUNS, at_most=True, dags=(*SHAPES, SWEEP), quotas=ROOMY)
def marked_failed_at_random_moments(stage: Stage) -> str:
    """200 runs, 8 at a time, each marked failed at a random moment: one half soon after its start, the other half soon
    after its job was made; the job is waited for in a worker, in the triggerer or by a sensor. A minute after the last
    run has ended, a run of BedrockStopOrphanedJobsOperator stops what no process was there to stop.
    """
    moments = random.Random(10)  # noqa: S311  # the same moments each time
    with ThreadPoolExecutor(AT_ONCE) as people:
        mark = partial(_mark_failed, stage)
        marked = dict(people.map(mark, range(RUNS), [moments.random() for _ in range(RUNS)]))
    for run in marked:
        run.until_ended()
    time.sleep(SETTLE_SECONDS)
    left = stage.left_running()
    home = stage.cluster.airflow.home
    had = {run.run_id for run, during in marked.items() if run.run_id in left and lived(home, run.run_id, *during)}
    sweep = stage.start(SWEEP)
    sweep.until_ended()
    check(len(sweep.returned("stop")) == len(left), f"the operator stops what is left: {left}")
    until(lambda: not stage.in_progress(), "all jobs are stopped", 600)
    check(max(Counter(stage.askers().values()).values()) == 1, f"a run has one job: {stage.askers()}")
    check(not had, f"no job is left where a process of ours lived: {had}")
    return (
        f"of {len(stage.jobs())} jobs {len(had)} were left though a process of ours lived when the run was marked, and "
        f"{len(left - had)} where none lived, which the operator stopped; the others were stopped by their own tasks"
    )


def _mark_failed(stage: Stage, number: int, moment: float) -> tuple[Run, tuple[float, float]]:
    """Return the run, and between which moments it was marked."""
    run = stage.start(SHAPES[number % len(SHAPES)])
    if number % 2:
        until(lambda: run.run_id in stage.askers().values(), f"a job is made: {run}")
    time.sleep(moment * (AFTER_THE_JOB if number % 2 else AFTER_THE_START))
    began = time.time()
    run.mark_failed()
    return run, (began, time.time())


SCENARIOS = (
    execution_timeout,
    quota_of_one,
    marked_failed_while_the_sensor_waits,
    two_runs_share_a_job,
    marked_failed_at_random_moments,
)

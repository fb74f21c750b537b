"""What ends, stops: the jobs of tasks that people end or that take too long, and of nobody else."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from airflow_bedrock.local import Quotas
from scripts.live.asking import RANDOM
from scripts.live.cluster import LateError, until
from scripts.live.scenario import scenario
from scripts.live.stage import Run, Stage, check

SHAPES = tuple(f"{RANDOM}_{shape}" for shape in ("in_a_worker", "in_the_triggerer", "by_a_sensor"))
SWEEP, SWEEP_SECONDS = f"{RANDOM}_sweep", 60.0
RUNS = 200
AT_ONCE = 8
AFTER_THE_START, AFTER_THE_JOB = 20.0, 8.0  # seconds, by which a run is marked failed


@scenario(asked_for=1)
def marked_failed_while_the_sensor_waits(stage: Stage) -> None:
    """An operator with wait_for_completion=False, and a sensor; the run is marked failed while the sensor waits."""
    run = stage.start()
    run.until("deferred", "wait")
    stage.until_looked_at()
    run.mark_failed()
    until(lambda: not stage.in_progress(), "the job is stopped")


@scenario(asked_for=1)
def two_runs_share_a_job(stage: Stage) -> None:
    """reuse="dag". Two runs wait for one job, and one of them is marked failed: the other one gets its model."""
    first = stage.start()
    first.until("deferred")
    stage.until_looked_at()
    second = stage.start()
    second.until("deferred")
    first.mark_failed()
    first.until("failed")
    time.sleep(10)  # for a stop that comes late
    check(len(stage.in_progress()) == 1, "the job runs on")
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
    after its job was made; the job is waited for in a worker, in the triggerer or by a sensor. Once a minute a run of
    BedrockStopOrphanedJobsOperator stops what no process was there to stop.
    """
    moments = random.Random(10)  # noqa: S311  # the same moments each time
    over = threading.Event()
    with ThreadPoolExecutor(AT_ONCE + 1) as people:
        sweeps = people.submit(_sweep, stage, over)
        try:
            runs = list(people.map(partial(_mark_failed, stage), range(RUNS), [moments.random() for _ in range(RUNS)]))
            for run in runs:
                run.until_ended()
            with contextlib.suppress(LateError):
                until(lambda: not stage.in_progress(), "all jobs are stopped", 600)
        finally:
            over.set()
    check(max(Counter(stage.askers().values()).values()) == 1, f"a run has one job: {stage.askers()}")
    check(not stage.in_progress(), "all jobs are stopped")
    return f"{sweeps.result()} of {len(stage.jobs())} jobs were stopped by that operator, the others by their own tasks"


def _sweep(stage: Stage, over: threading.Event) -> int:
    """Stop orphaned jobs once a minute; return how many there were."""
    stopped = 0
    while not over.wait(SWEEP_SECONDS):
        run = stage.start(SWEEP)
        run.until_ended()
        stopped += len(run.returned("stop"))
    return stopped


def _mark_failed(stage: Stage, number: int, moment: float) -> Run:
    run = stage.start(SHAPES[number % len(SHAPES)])
    if number % 2:
        until(lambda: run.run_id in stage.askers().values(), f"a job is made: {run}")
    time.sleep(moment * (AFTER_THE_JOB if number % 2 else AFTER_THE_START))
    run.mark_failed()
    return run


SCENARIOS = (
    execution_timeout,
    quota_of_one,
    marked_failed_while_the_sensor_waits,
    two_runs_share_a_job,
    marked_failed_at_random_moments,
)

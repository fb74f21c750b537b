"""Retries, Clears and backfills pay once for each request: the table of docs/exactly-once.md, by real Clears."""

from __future__ import annotations

from airflow_bedrock.local import Quotas
from airflow_bedrock.local.faults import Drop
from scripts.live.scenario import scenario
from scripts.live.stage import Run, Stage, check
from scripts.until import until

DIFFERS = "request or data differs"
CREATE = "CreateModelCustomizationJob"


@scenario(asked_for=3)
def retried_with_another_request(stage: Stage) -> None:
    """Three workers are killed while they wait. The retry's template renders another time, a variable was edited, the
    data was replaced: each adopts the job of its own ask.
    """
    run = stage.start()
    stage.until_in_progress(3)
    stage.edit(epochs="2")
    stage.put_data(records=30)
    tasks = ("clock", "variable", "data")
    for task in tasks:
        run.kill_workers(task)
    run.until("running", tries=2)
    for task in tasks:
        run.until_says(task, 2, DIFFERS)
    stage.end_jobs()
    run.until_success()


@scenario(asked_for=1)
def cleared_with_the_same(stage: Stage) -> None:
    """The task is cleared while its job runs, and again after it has succeeded: one job, one model."""
    run = stage.start()
    run.until("deferred")
    run.clear("customize")
    run.until("deferred", tries=2)
    stage.end_jobs()
    run.until_success()
    run.clear("customize")
    run.until("success", tries=3)
    run.until_says("customize", 3, "reusing its model")


@scenario(asked_for=2)
def cleared_after_a_failure(stage: Stage) -> None:
    """The job fails for good, the task is not retried; a person clears it: the next generation."""
    stage.local.faults.fail_job("training", "The training data is not diverse enough.")
    run = stage.start()
    run.until("deferred")
    stage.end_jobs()
    check(run.until_ended() == "failed", "the run fails")
    check(run.instances()[0]["try_number"] == 1, f"the task is not retried: {run}")
    run.clear("customize")
    run.until("deferred", tries=2)
    stage.end_jobs()
    run.until_success()


@scenario(asked_for=5)
def cleared_with_a_change(stage: Stage) -> None:
    """The variable is edited and three tasks cleared while their jobs run. superseded="stop" stops the earlier job and
    makes another, "keep" makes another beside it, "fail" fails and, the variable changed back, adopts its job.
    """
    run = stage.start()
    run.until("deferred")
    earlier = stage.in_progress()
    check(len(earlier) == 3, "three jobs run")
    stage.edit(epochs="2")
    run.clear()
    run.until("failed", "fail", tries=2)
    for task in ("stop", "keep"):
        run.until("deferred", task, tries=2)
    check(len(stage.jobs()) == 5, f"two more jobs were made: {stage.jobs()}")
    check(len(stage.in_progress() & earlier) == 2, f"one of the earlier jobs was stopped: {stage.jobs()}")
    run.until_says("stop", 2, "is being stopped")
    stage.edit(epochs="1")
    run.clear("fail")
    run.until("deferred", "fail", tries=3)
    stage.end_jobs()
    run.until_success()


@scenario(asked_for=3)
def never_cleared(stage: Stage) -> None:
    """reuse="never". A sibling is cleared and the worker killed: the retry adopts. A task is cleared while its job
    runs: that job is stopped, and another made.
    """
    run = stage.start()
    run.until("deferred", "in_the_triggerer")
    stage.until_in_progress(2)
    run.until("success", "sibling")
    run.clear("sibling")
    run.until("success", "sibling", tries=2)
    run.kill_workers("in_a_worker")
    run.until("running", "in_a_worker", tries=2)
    run.clear("in_the_triggerer")
    run.until("deferred", "in_the_triggerer", tries=2)
    run.until_says("in_the_triggerer", 2, "is being stopped")
    run.until_says("in_a_worker", 2, "adopting it")
    stage.end_jobs()
    run.until_success()


@scenario(asked_for=3)
def reordered_expand(stage: Stage) -> None:
    """Three mapped tasks have succeeded; the list that they expand changes its order, and all are cleared."""
    stage.edit(order=["1", "2", "3"])
    run = stage.start()
    run.until("deferred", "customize", number=3)
    stage.end_jobs()
    run.until_success()
    stage.edit(order=["3", "1", "2"])
    run.clear()
    run.until("success", "customize", tries=2, number=3)


@scenario(asked_for=3)
def reordered_expand_while_the_jobs_run(stage: Stage) -> None:
    """The same while the jobs run."""
    stage.edit(order=["1", "2", "3"])
    run = stage.start()
    run.until("deferred", "customize", number=3)
    stage.edit(order=["3", "1", "2"])
    run.clear()
    run.until("deferred", "customize", tries=2, number=3)
    stage.end_jobs()
    run.until_success()


@scenario(asked_for=3)
def backfilled_again(stage: Stage) -> None:
    """Three partitions are backfilled twice; the second time makes new runs."""
    first = stage.backfill(2026)
    for run in first:
        run.until("deferred")
    stage.end_jobs()
    for run in first:
        run.until_success()
    for run in stage.backfill(2026, reprocess_behavior="completed"):
        run.until_success()


@scenario(asked_for=8, quotas=Quotas(training_jobs=8))
def a_year_under_a_budget(stage: Stage) -> str:
    """Twelve months are backfilled under a budget for eight: four tasks fail, say why not, and are not retried."""
    runs = stage.backfill(2025, months=12, max_active_runs=12)
    until(lambda: _states(runs) == ["deferred"] * 8 + ["failed"] * 4, f"8 jobs, 4 failed: {runs[0]}", 900)
    refused = [run for run in runs if run.states() == ["failed"]]
    for run in refused:
        run.until_says("customize", 1, "1.00 more than is left")
        check(run.instances()[0]["try_number"] == 1, f"the task is not retried: {run}")
    stage.end_jobs()
    check(sorted(run.until_ended() for run in runs) == ["failed"] * 4 + ["success"] * 8, "8 runs succeed")
    told = [run for run in runs if run.says("customize", 1, "12 runs to go")]
    return f"{len(told)} tasks said before the first job what all twelve cost"


def _states(runs: list[Run]) -> list[str]:
    return sorted(str(state) for run in runs for state in run.states())


@scenario(asked_for=0)
def another_region(stage: Stage) -> None:
    """The bucket is in another region than the connection's: the task fails before it pays, and is not retried."""
    bucket, region = "another-region-than-ours", "eu-west-1"
    client = stage.local.client("s3", region)
    client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": region})
    stage.put_data(bucket=bucket)
    stage.edit(bucket=bucket)
    run = stage.start()
    check(run.until_ended() == "failed", "the run fails")
    check(run.instances()[0]["try_number"] == 1, f"the task is not retried: {run}")
    run.until_says("customize", 1, region)


@scenario(asked_for=0)
def another_account(stage: Stage) -> None:
    """The role is of another account than the connection's: the task fails before it pays, and is not retried."""
    stage.edit(role_arn="arn:aws:iam::210987654321:role/bedrock")
    run = stage.start()
    check(run.until_ended() == "failed", "the run fails")
    check(run.instances()[0]["try_number"] == 1, f"the task is not retried: {run}")
    run.until_says("customize", 1, "210987654321")


@scenario(asked_for=1)
def answer_lost_and_job_hidden(stage: Stage) -> None:
    """Every answer to the first try's Create is lost, the service does not show the job for a minute, and the template
    renders another time in each try.
    """
    stage.local.faults.hide_new_jobs(60)
    lost = stage.local.faults.add(Drop(operation=CREATE, executed=True))
    run = stage.start()
    run.until("running", tries=2)
    stage.local.faults.remove(lost)
    until(lambda: run.instances()[0]["try_number"] >= 3, "a try has not seen the job, and made no other")
    stage.local.clock.advance(60)
    run.until("deferred", tries=3)
    stage.local.faults.clear()
    stage.end_jobs()
    run.until_success()


SCENARIOS = (
    retried_with_another_request,
    cleared_with_the_same,
    cleared_after_a_failure,
    cleared_with_a_change,
    never_cleared,
    reordered_expand,
    reordered_expand_while_the_jobs_run,
    backfilled_again,
    a_year_under_a_budget,
    another_region,
    another_account,
    answer_lost_and_job_hidden,
)

"""The DAGs of the scenarios in scripts/live/identity.py."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG, CronPartitionTimetable, Variable, task

from airflow_bedrock.operators import BedrockModelCustomizationOperator as Customize
from scripts.live.arguments import job_arguments

NOW = "s3://{{ var.json.%s.bucket }}/{{ macros.datetime.now().timestamp() }}"

with DAG("retried_with_another_request", schedule=None):
    arguments = job_arguments("retried_with_another_request", deferrable=False)
    Customize(task_id="clock", **arguments | {"output_data_uri": NOW % "retried_with_another_request"})
    Customize(task_id="variable", **arguments)
    Customize(task_id="data", **arguments | {"hyperparameters": {"epochCount": "1"}})

with DAG("cleared_with_the_same", schedule=None):
    Customize(task_id="customize", **job_arguments("cleared_with_the_same", deferrable=True))

with DAG("cleared_after_a_failure", schedule=None):
    Customize(task_id="customize", **job_arguments("cleared_after_a_failure", deferrable=True))

with DAG("cleared_with_a_change", schedule=None):
    for superseded in ("stop", "keep", "fail"):
        Customize(task_id=superseded, **job_arguments("cleared_with_a_change", superseded=superseded, deferrable=True))

with DAG("never_cleared", schedule=None):
    Customize(task_id="in_a_worker", **job_arguments("never_cleared", reuse="never", deferrable=False))
    Customize(task_id="in_the_triggerer", **job_arguments("never_cleared", reuse="never", deferrable=True))

    @task
    def sibling() -> None:
        """A task whose Clear does not concern the others."""

    sibling()


def reordered(scenario: str) -> None:
    """Make a DAG whose map indexes follow a list in the variable."""
    with DAG(scenario, schedule=None):

        @task
        def epochs() -> list[dict[str, str]]:
            """Return the hyperparameters, in the list's order."""
            return [{"epochCount": number} for number in Variable.get(scenario, deserialize_json=True)["order"]]

        mapped = job_arguments(scenario, deferrable=True)
        del mapped["hyperparameters"]
        Customize.partial(task_id="customize", **mapped).expand(hyperparameters=epochs())


reordered("reordered_expand")
reordered("reordered_expand_while_the_jobs_run")

MONTHLY = CronPartitionTimetable("0 0 1 * *", timezone="UTC", key_format="%Y-%m")
# It ends, so that the scheduler makes no run of its own, for the present month.
with DAG("backfilled_again", schedule=MONTHLY, end_date=datetime(2026, 4, 1, tzinfo=UTC)):
    Customize(task_id="customize", **job_arguments("backfilled_again", deferrable=True))

with DAG("a_year_under_a_budget", schedule=MONTHLY, end_date=datetime(2026, 1, 1, tzinfo=UTC)):
    Customize(task_id="customize", **job_arguments("a_year_under_a_budget", deferrable=True, expected_cost=1))

with DAG("another_region", schedule=None):
    Customize(task_id="customize", **job_arguments("another_region", deferrable=True))

with DAG("another_account", schedule=None):
    Customize(task_id="customize", **job_arguments("another_account", deferrable=True))

with DAG("answer_lost_and_job_hidden", schedule=None):
    hidden = job_arguments("answer_lost_and_job_hidden", deferrable=True, retries=20)
    Customize(task_id="customize", **hidden | {"output_data_uri": NOW % "answer_lost_and_job_hidden"})

"""Stop the running jobs that no task waits for."""

from __future__ import annotations

from typing import Any

from airflow.sdk import Context

from airflow_bedrock import configuration, jobs
from airflow_bedrock.operators.base import BedrockOperator


class BedrockStopOrphanedJobsOperator(BedrockOperator):
    """Stop running jobs, of every kind, of this Airflow if all tasks that wait for them have ended; keep jobs in doubt.

    Returns a list of ``{"job_arn": …, "outcome": …}``, one for each orphaned job.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._check_literals()

    def execute(self, context: Context) -> list[dict[str, str]]:
        """Find the orphaned jobs, and stop them."""
        self._checked()
        found = []
        for one in jobs.orphans.running_jobs(self.hook, configuration.environment(), jobs.task_state.state_of_waiter):
            arn, resource = one.job.arn, one.service.resource
            still_runs = f"{resource.noun.capitalize()} {arn} still runs and {resource.billed}"
            if one.kept:
                self.log.info("%s: %s.", still_runs, one.kept)
                continue
            outcome = jobs.stopping.patiently(jobs.stopping.stop_job, one.service, arn)
            self.log.warning("%s", outcome)
            found.append({"job_arn": arn, "outcome": outcome})
        return found

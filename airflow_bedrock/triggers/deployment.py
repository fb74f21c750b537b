"""The trigger that waits for a custom model deployment."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from airflow_bedrock.jobs.planner import Finding
from airflow_bedrock.jobs.poll_loop import Watch
from airflow_bedrock.jobs.resources.deployment import DEPLOYMENT
from airflow_bedrock.triggers.resource import ResourceTrigger


class BedrockCustomModelDeploymentTrigger(ResourceTrigger):
    """Wait until a custom model deployment is no longer being created. The event is that of the base, or ``late``.

    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_GetCustomModelDeployment.html

    :param deployment_arn: the deployment's ARN or name.
    :param deadline: when to give up, in seconds of the wall clock, as by ``time.time()``.
    :param waiter_delay: seconds between two polls.
    :param aws_conn_id: the Airflow connection used for AWS credentials; with ``region_name``, ``verify`` and
        ``botocore_config`` as in :class:`~airflow_bedrock.triggers.base.BedrockTrigger`.
    """

    resource = DEPLOYMENT
    exists = True

    def __init__(self, *, deployment_arn: str, deadline: float, waiter_delay: float = 30.0, **connection: Any) -> None:
        super().__init__(job_identifier=deployment_arn, poll_interval=waiter_delay, **connection)
        self.deadline = deadline

    async def _wait(self, watch: Watch[Finding]) -> dict[str, Any]:
        try:
            async with asyncio.timeout(self.deadline - time.time()):
                return await super()._wait(watch)
        except TimeoutError:
            return self._event("late", "at its deadline")

    def _own_arguments(self) -> dict[str, Any]:
        return {
            "deployment_arn": self.job_identifier,
            "deadline": self.deadline,
            "waiter_delay": self.pace.interval,
        }

"""Waiting for a custom model deployment: what is found out of it, and the trigger that hears of that."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from airflow_bedrock import configuration
from airflow_bedrock.customization.job import Outcome
from airflow_bedrock.jobs.planner import Finding, Missing, Pace, Unanswered
from airflow_bedrock.jobs.poll_loop import PollLoop, Watch
from airflow_bedrock.jobs.resources import Seen
from airflow_bedrock.jobs.resources.deployment import DEPLOYMENT
from airflow_bedrock.triggers.connected import BedrockTrigger

# One logger for all: Airflow adds to each line which trigger's task it belongs to.
log = logging.getLogger(__name__)


class DeploymentWatch:
    """Decides, finding by finding, whether the wait is over. Pure: whoever waits does the looking and the sleeping.

    The wait ends with an event, a mapping: ``kind`` (``active``, ``failed``, ``missing``, ``unknown``, ``refused`` or
    ``late``), ``deployment_arn`` and ``message``.

    :param deployment_arn: the deployment that is waited for; it is known to exist.
    :param deadline: when to give up, in seconds of the wall clock (a trigger moves between machines).
    """

    def __init__(self, *, deployment_arn: str, deadline: float) -> None:
        self.deployment_arn = deployment_arn
        self.deadline = deadline
        self._state = "it was not looked at"

    def told(self, finding: Finding) -> dict[str, Any] | None:
        """Take in what the poll loop found out; return the event if the wait is over."""
        if isinstance(finding, Missing):
            return self._missing()
        if isinstance(finding, Unanswered):
            return self._unanswered(finding.why, refused=finding.refused)
        return self._found(finding.job)

    def late(self) -> dict[str, Any]:
        """Return the event of a wait that is given up."""
        return self._event("late", self._state)

    def _found(self, deployment: Seen) -> dict[str, Any] | None:
        if deployment.outcome is Outcome.RUNNING:
            return self._goes_on(f"it is still {deployment.status}")
        if deployment.outcome is Outcome.SUCCEEDED:
            return self._event("active", f"it is {deployment.status}")
        if deployment.outcome is Outcome.FAILED:
            why = deployment.failure_message or "no reason was given"
            return self._event("failed", f"it has Failed: {why}")
        return self._event("unknown", f"its status {deployment.status} is not known")

    def _missing(self) -> dict[str, Any]:
        return self._event("missing", "it does not exist")

    def _unanswered(self, why: str, *, refused: bool) -> dict[str, Any] | None:
        if refused:
            return self._event("refused", f"its status may not be read: {why}")
        return self._goes_on(f"its status could not be read, last because of: {why}")

    def _goes_on(self, state: str) -> dict[str, Any] | None:
        self._state = state
        return self.late() if time.time() >= self.deadline else None

    def _event(self, kind: str, message: str) -> dict[str, Any]:
        return {"kind": kind, "deployment_arn": self.deployment_arn, "message": message}


class BedrockCustomModelDeploymentTrigger(BedrockTrigger):
    """Wait until a custom model deployment is no longer being created.

    Throttling and faults of the service and of the network are absorbed until the deadline. The event is that of
    :class:`DeploymentWatch`.

    https://docs.aws.amazon.com/bedrock/latest/APIReference/API_GetCustomModelDeployment.html

    :param deployment_arn: the deployment's ARN or name.
    :param deadline: when to give up, in seconds of the wall clock, as by ``time.time()``.
    :param waiter_delay: seconds between two looks.
    :param aws_conn_id: the Airflow connection used for AWS credentials; with ``region_name``, ``verify`` and
        ``botocore_config`` as in :class:`~airflow_bedrock.triggers.connected.BedrockTrigger`.
    """

    def __init__(
        self,
        *,
        deployment_arn: str,
        deadline: float,
        waiter_delay: float = 30.0,
        **connection: Any,
    ) -> None:
        super().__init__(**connection)
        if not deployment_arn:
            raise ValueError("deployment_arn must be the ARN or the name of a custom model deployment")
        if waiter_delay <= 0:
            raise ValueError("waiter_delay must be more than 0 seconds")
        self.deployment_arn = deployment_arn
        self.deadline = deadline
        self.waiter_delay = waiter_delay

    def _watch(self, poll_loop: PollLoop) -> Watch[Finding]:
        pace = Pace(interval=self.waiter_delay, ceiling=max(self.waiter_delay, configuration.poll_interval_max()))
        return poll_loop.watch(DEPLOYMENT, self.deployment_arn, pace, exists=True)

    async def _wait(self, watch: Watch[Finding]) -> dict[str, Any]:
        log.info("Waiting for deployment %s, looking every %g s", self.deployment_arn, self.waiter_delay)
        verdict = DeploymentWatch(deployment_arn=self.deployment_arn, deadline=self.deadline)
        while True:
            try:
                async with asyncio.timeout(self.deadline - time.time()):
                    finding = await watch.next()
            except TimeoutError:
                return verdict.late()
            if isinstance(finding, Unanswered):
                log.warning("Could not look at deployment %s: %s", self.deployment_arn, finding.why)
            if (event := verdict.told(finding)) is not None:
                return event

    def _own_arguments(self) -> dict[str, Any]:
        return {"deployment_arn": self.deployment_arn, "deadline": self.deadline, "waiter_delay": self.waiter_delay}

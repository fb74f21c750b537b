"""Waiting for a custom model deployment: what its status means, and the trigger that polls it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from airflow.triggers.base import TriggerEvent

from airflow_bedrock.aws_errors import is_not_found, is_transient
from airflow_bedrock.triggers.connected import BedrockTrigger

_MISSES = 5  # a deployment that was just created may not be there for the first looks


@dataclass(slots=True, kw_only=True)
class DeploymentWatch:
    """Decides, look by look, whether the wait is over. Pure: whoever waits does the looking and the sleeping.

    The wait ends with an event, a mapping: ``kind`` (``active``, ``failed``, ``missing``, ``unknown``, ``refused`` or
    ``late``), ``deployment_arn`` and ``message``.

    :param deployment_arn: the deployment that is waited for.
    :param deadline: when to give up, in seconds of the wall clock (a trigger moves between machines).
    :param misses: how often in a row it was not found.
    """

    deployment_arn: str
    deadline: float
    misses: int = 0

    def seen(self, deployment: Mapping[str, Any]) -> dict[str, Any] | None:
        """Take in an answer of GetCustomModelDeployment; return the event if the wait is over."""
        self.misses = 0
        status = deployment.get("status", "(none)")
        if status == "Creating":
            return self._late("it is still Creating")
        if status == "Active":
            return self._event("active", "it is Active")
        if status == "Failed":
            return self._event("failed", f"it has Failed: {deployment.get('failureMessage') or 'no reason was given'}")
        return self._event("unknown", f"its status {status} is not known")

    def failed(self, error: Exception) -> dict[str, Any] | None:
        """Take in what the call raised; return the event if the wait is over."""
        if is_not_found(error):
            self.misses += 1
            return (
                self._event("missing", "it does not exist") if self.misses >= _MISSES else self._late("it is not there")
            )
        if is_transient(error):
            return self._late(f"its status could not be read, last because of: {error}")
        return self._event("refused", f"its status may not be read: {error}")

    def _late(self, state: str) -> dict[str, Any] | None:
        return self._event("late", state) if time.time() >= self.deadline else None

    def _event(self, kind: str, message: str) -> dict[str, Any]:
        return {"kind": kind, "deployment_arn": self.deployment_arn, "message": message}


class BedrockCustomModelDeploymentTrigger(BedrockTrigger):
    """Wait until a custom model deployment is no longer being created, polling GetCustomModelDeployment.

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

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event when the wait is over."""
        async with await self.connection.bedrock().get_async_conn() as client:  # type: ignore[no-untyped-call]  # not typed upstream
            yield TriggerEvent(await self._wait(client))

    async def _wait(self, client: Any) -> dict[str, Any]:
        watch = DeploymentWatch(deployment_arn=self.deployment_arn, deadline=self.deadline)
        while True:
            try:
                found = await client.get_custom_model_deployment(customModelDeploymentIdentifier=self.deployment_arn)
            except Exception as error:
                self.log.warning("Could not look at deployment %s: %s", self.deployment_arn, error)
                event = watch.failed(error)
            else:
                event = watch.seen(found)
            if event is not None:
                return event
            await asyncio.sleep(self.waiter_delay)

    def _own_arguments(self) -> dict[str, Any]:
        return {"deployment_arn": self.deployment_arn, "deadline": self.deadline, "waiter_delay": self.waiter_delay}

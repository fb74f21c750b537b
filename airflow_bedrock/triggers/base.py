"""The base of the triggers: an AWS connection, and the poll loop that all triggers of one connection share."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_bedrock.jobs.connection import Connection
from airflow_bedrock.jobs.poll_loop import PollLoop, Watch, loop_for

KILLED_BY_CANCEL = not hasattr(BaseTrigger, "on_kill")  # before Airflow 3.3
_ENDED_BY_A_PERSON = "__airflow_user_action__"  # Airflow's message when it cancels; it has others when it shuts down


class BedrockTrigger(BaseTrigger):
    """A trigger that waits for a Bedrock resource, through an AWS connection of Airflow.

    All triggers of a triggerer with the same connection and region share one loop, whatever they wait for and whatever
    their intervals (see :mod:`airflow_bedrock.jobs.poll_loop`). They do not use a shared stream of Airflow 3.3, which
    keeps a queue for each trigger: the loop itself wakes the right one.

    :param aws_conn_id: the Airflow connection used for AWS credentials.
    :param region_name: the AWS region; by default the connection's.
    :param verify: whether to verify TLS certificates, or the path of a CA bundle.
    :param botocore_config: configuration for the botocore client.
    """

    def __init__(
        self,
        *,
        aws_conn_id: str | None = "aws_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        botocore_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow does not type it
        self.connection = Connection.of(
            aws_conn_id=aws_conn_id, region_name=region_name, verify=verify, config=botocore_config
        )

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments from which a triggerer makes this trigger again."""
        arguments = {**self._own_arguments(), **self.connection.arguments()}
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event when the wait is over.

        Before Airflow 3.3 a cancel has no reason: a person ended or cleared the task, or the triggerer ends. So
        :meth:`on_kill` is called here, and reads whether the task has ended for good. Since 3.3, a message says that a
        person ended it, and Airflow calls :meth:`on_kill`, but only after it has written a log line. While many tasks
        end, the next cancel comes earlier, and prevents the call: so its work begins here.
        """
        try:
            async with self._watch(loop_for(self.connection)) as watch:
                event = await self._wait(watch)
        except asyncio.CancelledError as error:
            if KILLED_BY_CANCEL:
                await self.on_kill()
            elif error.args == (_ENDED_BY_A_PERSON,):
                self._begin_on_kill()
            raise
        yield TriggerEvent(event)

    async def on_kill(self) -> None:
        """Do nothing: the resource is left unchanged."""

    def _begin_on_kill(self) -> asyncio.Future[None] | None:
        """Begin the work of :meth:`on_kill`, unless it has begun; it ends even if nobody awaits it."""
        return None

    @abstractmethod
    def _watch(self, poll_loop: PollLoop) -> Watch[Any]:
        """Begin the watch."""

    @abstractmethod
    async def _wait(self, watch: Watch[Any]) -> dict[str, Any]:
        """Return the event that ends the wait."""

    @abstractmethod
    def _own_arguments(self) -> dict[str, Any]:
        """Return the arguments besides those of the connection, as JSON types."""

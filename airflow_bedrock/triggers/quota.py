"""The trigger that waits until the account's quota of model customization jobs has a free slot."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import asdict
from typing import Any

from airflow_bedrock import configuration
from airflow_bedrock.jobs.planner import Pace
from airflow_bedrock.jobs.poll_loop import PollLoop, Watch
from airflow_bedrock.jobs.quota import Refusal, Turn
from airflow_bedrock.jobs.resources.customization_job import CUSTOMIZATION_JOB
from airflow_bedrock.triggers.base import BedrockTrigger

# One logger for all: Airflow adds to each line which trigger's task it belongs to.
log = logging.getLogger(__name__)

_WAITS = "Running customization jobs: %s. Tasks waiting for the quota: %d, before this one: %d"


class BedrockQuotaTrigger(BedrockTrigger):
    """Wait until the account's quota of model customization jobs has a free slot.

    When any job of the account has ended, the triggerer wakes the task that has waited longest. (Tasks that were never
    refused do not queue.) The event is a mapping, ``kind``: ``room``, or ``late`` after the deadline.

    :param task: identifies the task instance.
    :param asked_at: the time of the task's first request, in seconds of the wall clock, as by ``time.time()``. It is
        the task's place in the queue, even if it is refused again or the triggerer restarts.
    :param refused_at: the time of its last refusal, by the same clock.
    :param running: number of running jobs at that time; None if unknown.
    :param deadline: when to give up, by the same clock.
    :param poll_interval: seconds between two polls of the running jobs. (default: ``[bedrock] poll_interval``)
    :param aws_conn_id: the Airflow connection used for AWS credentials; with ``region_name``, ``verify`` and
        ``botocore_config`` as in :class:`~airflow_bedrock.triggers.base.BedrockTrigger`.
    """

    def __init__(
        self,
        *,
        task: str,
        asked_at: float,
        refused_at: float,
        running: int | None,
        deadline: float,
        poll_interval: float | None = None,
        **connection: Any,
    ) -> None:
        super().__init__(**connection)
        self.refusal = Refusal(task=task, asked_at=asked_at, refused_at=refused_at, running=running)
        self.deadline = deadline
        self.poll_interval = configuration.poll_interval() if poll_interval is None else poll_interval

    def _watch(self, poll_loop: PollLoop) -> Watch[Turn]:
        pace = Pace(interval=self.poll_interval, ceiling=max(self.poll_interval, configuration.poll_interval_max()))
        return poll_loop.queue(CUSTOMIZATION_JOB, self.refusal, pace)

    async def _wait(self, watch: Watch[Turn]) -> dict[str, Any]:
        try:
            async with asyncio.timeout(self.deadline - time.time()):
                while not (turn := await watch.next()).go:
                    log.info(_WAITS, _number(turn.running), turn.waiting, turn.ahead)
        except TimeoutError:
            return {"kind": "late"}
        log.info("Running customization jobs: %s. Requesting the job again", _number(turn.running))
        return {"kind": "room"}

    def _own_arguments(self) -> dict[str, Any]:
        return {**asdict(self.refusal), "deadline": self.deadline, "poll_interval": self.poll_interval}


def _number(running: int | None) -> str:
    return "unknown" if running is None else str(running)

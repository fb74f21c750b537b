"""The trigger that waits for a model customization job. It stays thin: it looks and reports, the worker acts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_bedrock.aws_errors import is_not_found, is_transient
from airflow_bedrock.customization.job import Job, Outcome, changes
from airflow_bedrock.hooks.bedrock import BedrockHook


class BedrockModelCustomizationTrigger(BaseTrigger):
    """Wait until a model customization job has ended, polling GetModelCustomizationJob.

    Throttling, faults of the service and of the network are absorbed; only a long time without any answer ends the
    wait, and even that leaves the job as it is.

    The event is a mapping: ``kind`` (``ended``, ``missing`` or ``silent``), ``job_identifier``, ``message`` and, for
    a job that has ended, ``result`` (see :meth:`airflow_bedrock.customization.job.Job.result`).

    :param job_identifier: the job's ARN or name.
    :param poll_interval: seconds between two looks.
    :param silence_limit: seconds without any answer of the service after which the wait is given up.
    :param aws_conn_id: the Airflow connection used for AWS credentials.
    :param region_name: the AWS region; by default the connection's.
    :param verify: whether to verify TLS certificates, or the path of a CA bundle.
    :param botocore_config: configuration for the botocore client.
    """

    def __init__(
        self,
        *,
        job_identifier: str,
        poll_interval: float = 60.0,
        silence_limit: float = 3600.0,
        aws_conn_id: str | None = "aws_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        botocore_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Airflow does not type it
        if not job_identifier:
            raise ValueError("job_identifier must be the ARN or the name of a model customization job")
        if poll_interval <= 0 or silence_limit <= 0:
            raise ValueError("poll_interval and silence_limit must be more than 0 seconds")
        self.job_identifier = job_identifier
        self.poll_interval = poll_interval
        self.silence_limit = silence_limit
        self.aws_conn_id = aws_conn_id
        self.region_name = region_name
        self.verify = verify
        self.botocore_config = botocore_config

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class and the arguments from which a triggerer makes this trigger again."""
        return (
            f"{type(self).__module__}.{type(self).__qualname__}",
            {
                "job_identifier": self.job_identifier,
                "poll_interval": self.poll_interval,
                "silence_limit": self.silence_limit,
                "aws_conn_id": self.aws_conn_id,
                "region_name": self.region_name,
                "verify": self.verify,
                "botocore_config": self.botocore_config,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield one event: the job has ended, does not exist, or nothing was heard of it for too long."""
        hook = BedrockHook(
            aws_conn_id=self.aws_conn_id,
            region_name=self.region_name,
            verify=self.verify,
            config=self.botocore_config,
        )
        async with await hook.get_async_conn() as client:  # type: ignore[no-untyped-call]  # not typed upstream
            yield TriggerEvent(await self._watch(client))

    async def _watch(self, client: Any) -> dict[str, Any]:
        seen: Job | None = None
        answered = time.time()
        while True:
            try:
                job = Job.from_response(await client.get_model_customization_job(jobIdentifier=self.job_identifier))
            except Exception as error:
                if is_not_found(error):
                    return self._event("missing", f"There is no model customization job {self.job_identifier}")
                if not is_transient(error):
                    raise
                silent = time.time() - answered
                if silent > self.silence_limit:
                    return self._event("silent", f"Bedrock has not answered for {silent:.0f} s, last with: {error}")
                self.log.warning("Could not look at job %s, will look again: %s", self.job_identifier, error)
            else:
                answered = time.time()
                for line in changes(seen, job):
                    self.log.info(line)
                if job.outcome is not Outcome.RUNNING:
                    return self._event("ended", f"Job {job.name} is {job.status}", job.result())
                seen = job
            await asyncio.sleep(self.poll_interval)

    def _event(self, kind: str, message: str, result: dict[str, Any] | None = None) -> dict[str, Any]:
        return {"kind": kind, "job_identifier": self.job_identifier, "message": message, "result": result}

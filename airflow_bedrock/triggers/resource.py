"""The trigger that waits for any kind of resource, by its declaration. It only polls and reports; the worker acts."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from pkgutil import resolve_name
from typing import Any

from airflow_bedrock import configuration
from airflow_bedrock.customization.job import Outcome, Seen, changes, duration
from airflow_bedrock.customization.waiters import OWN_RUN
from airflow_bedrock.jobs.no_response import NoResponseTimeout
from airflow_bedrock.jobs.planner import Finding, Missing, Pace, Unanswered
from airflow_bedrock.jobs.poll_loop import PollLoop, Watch
from airflow_bedrock.jobs.resources import Resource
from airflow_bedrock.triggers.base import BedrockTrigger

# One logger for all: Airflow adds to each line which trigger's task it belongs to.
log = logging.getLogger(__name__)


class ResourceTrigger(BedrockTrigger):
    """Wait until a resource has been made, or has ended. "Job" stands for each kind.

    Throttling, faults of the service and of the network are absorbed; only a long time without a response ends the
    wait, and even that leaves the job as it is.

    The event is a mapping: ``kind`` (``ended``, ``missing``, ``refused`` or ``silent``), ``job_identifier``,
    ``message``, ``waiting_since`` and ``status``, which is None unless the job has ended.

    :param job_identifier: the job's ARN or name.
    :param poll_interval: seconds between two polls, at the fastest. (default: ``[bedrock] poll_interval``)
    :param poll_interval_max: seconds between two polls, at the slowest: while the service throttles, or with
        ``backoff``. (default: ``[bedrock] poll_interval_max``)
    :param backoff: poll less and less often as the wait gets longer.
    :param no_response_timeout: seconds without a response from the service after which the wait ends; 0 for never,
        not even if access is denied. (default: ``[bedrock] no_response_timeout``)
    :param created: when the job was created, or a time before that; an ISO 8601 string or a datetime. It saves polls,
        and one "not found" response then does not end the wait.
    :param waiting_since: when the task began to wait. (default: now)
    :param stop_on_kill: stop the job when the task ends for good: a person marks it failed or successful, or its run
        failed, or the run times out. Not when it is cleared, nor when the triggerer ends or stalls, nor while the job's
        tags name others that may wait for it. ``OWN_RUN``: only if the task's DAG run requested the job.
    :param silence_limit: the name of ``no_response_timeout`` in 0.1.0, for tasks that have waited since then.
    :param aws_conn_id: the Airflow connection used for AWS credentials; with ``region_name``, ``verify`` and
        ``botocore_config`` as in :class:`~airflow_bedrock.triggers.base.BedrockTrigger`.
    """

    resource: Resource
    exists = False
    """Whether the resource is known to exist: the service may take a while to show a new one."""
    _killing: asyncio.Future[None] | None = None
    """The work of on_kill, once it has begun."""

    def __init__(
        self,
        *,
        job_identifier: str,
        poll_interval: float | None = None,
        poll_interval_max: float | None = None,
        backoff: bool = False,
        no_response_timeout: float | None = None,
        silence_limit: float | None = None,
        created: datetime | str | None = None,
        waiting_since: datetime | str | None = None,
        stop_on_kill: bool | str = False,
        **connection: Any,
    ) -> None:
        super().__init__(**connection)
        if not job_identifier:
            raise ValueError(f"job_identifier must be the ARN or the name of a {self.resource.kind}")
        self.job_identifier = job_identifier
        interval = configuration.poll_interval() if poll_interval is None else poll_interval
        # The default ceiling is raised to a longer interval.
        ceiling = max(interval, configuration.poll_interval_max()) if poll_interval_max is None else poll_interval_max
        self.pace = Pace(interval=interval, ceiling=ceiling, backoff=backoff)
        given = silence_limit if no_response_timeout is None else no_response_timeout
        limit = configuration.no_response_timeout() if given is None else given
        self.no_response_timeout = configuration.seconds("no_response_timeout", limit, zero=True)
        self.created = _time(created)
        self.waiting_since = _time(waiting_since) or datetime.now(UTC)
        self.stop_on_kill = stop_on_kill

    async def on_kill(self) -> None:
        """Stop the job if that is configured and the task has ended for good."""
        if (work := self._begin_on_kill()) is not None:
            from airflow_bedrock.jobs.on_kill import to_its_end

            await to_its_end(work)

    def _begin_on_kill(self) -> asyncio.Future[None] | None:
        if self._killing is None and self.stop_on_kill and self.task_instance is not None:
            from airflow_bedrock.jobs.on_kill import begin, hook_of, stop_unless_wanted
            from airflow_bedrock.jobs.service import Service

            def service() -> Service:
                return Service(self.resource, hook_of(self.connection))

            own_run_only = self.stop_on_kill == OWN_RUN
            stop = stop_unless_wanted(service, self.job_identifier, self.task_instance, own_run_only=own_run_only)
            self._killing = begin(stop)
        return self._killing

    def _watch(self, poll_loop: PollLoop) -> Watch[Finding]:
        exists = self.exists or self.resource.is_for_good(self.job_identifier)
        return poll_loop.watch(self.resource, self.job_identifier, self.pace, created=self.created, exists=exists)

    async def _wait(self, watch: Watch[Finding]) -> dict[str, Any]:
        log.info("Waiting for %s %s, polling every %g s", self.resource.noun, self.job_identifier, self.pace.interval)
        timeout: NoResponseTimeout | None = None
        finding: Finding | None
        seen: Seen | None = None
        while True:
            finding = None  # a trigger that waits for hours should not keep it
            finding = await watch.next()
            if isinstance(finding, Unanswered):
                timeout = timeout or NoResponseTimeout(self.no_response_timeout)
                if (event := self._unanswered(finding, timeout)) is not None:
                    return event
                continue
            timeout = None
            if isinstance(finding, Missing):
                return self._event("missing", f"There is no {self.resource.kind} {self.job_identifier}")
            line, seen = changes(seen, finding, self.resource.noun), finding
            if seen.outcome is not Outcome.RUNNING:
                waited = duration((datetime.now(UTC) - self.waiting_since).total_seconds())
                log.info("%s; waited for %s", line, waited)
                what = f"{self.resource.noun.capitalize()} {seen.name} is {seen.status}"
                return self._event("ended", what, seen.status)
            if line:
                log.info(line)

    def _unanswered(self, finding: Unanswered, timeout: NoResponseTimeout) -> dict[str, Any] | None:
        name = f"{self.resource.noun} {self.job_identifier}"
        if finding.refused and self.no_response_timeout:
            return self._event("refused", f"Access denied to {name}: {finding.why}")
        why = timeout.gives_up(time.monotonic(), f"about {name}", finding.why, log.warning)
        return None if why is None else self._event("silent", why)

    def _own_arguments(self) -> dict[str, Any]:
        return {
            "job_identifier": self.job_identifier,
            "poll_interval": self.pace.interval,
            "poll_interval_max": self.pace.ceiling,
            "backoff": self.pace.backoff,
            "no_response_timeout": self.no_response_timeout,
            "created": self.created.isoformat() if self.created else None,
            "waiting_since": self.waiting_since.isoformat(),
            "stop_on_kill": self.stop_on_kill,
        }

    def _event(self, kind: str, message: str, status: str | None = None) -> dict[str, Any]:
        return {
            "kind": kind,
            "job_identifier": self.job_identifier,
            "message": message,
            "waiting_since": self.waiting_since.isoformat(),
            "status": status,
        }


def _time(given: datetime | str | None) -> datetime | None:
    time = datetime.fromisoformat(given) if isinstance(given, str) else given
    if time is not None and time.tzinfo is None:
        raise ValueError(f"The time {given} has no time zone")
    return time


class BedrockResourceTrigger(ResourceTrigger):
    """Wait for any kind of resource, by its declaration alone: a new kind does not need its own trigger.

    :param declaration: the declaration of the kind (:mod:`airflow_bedrock.jobs.resources`): ``module:name``.
    """

    def __init__(self, *, declaration: str, **arguments: Any) -> None:
        self.declaration, self.resource = declaration, resolve_name(declaration)
        super().__init__(**arguments)

    def _own_arguments(self) -> dict[str, Any]:
        return {"declaration": self.declaration, **super()._own_arguments()}

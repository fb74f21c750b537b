"""Looking at one job time and again from a worker: it logs what is new, and bears errors that pass by themselves."""

from __future__ import annotations

import logging
import time

from airflow_bedrock.aws_errors import is_transient
from airflow_bedrock.customization.job import Job, changes, duration
from airflow_bedrock.customization.patience import Patience
from airflow_bedrock.exceptions import BedrockError
from airflow_bedrock.hooks.bedrock import BedrockHook
from airflow_bedrock.hooks.finished_job import look_at_job, unknown_health

log = logging.getLogger(__name__)


class Lookout:
    """What a worker knows of the job that it waits for.

    :param job_identifier: the job's ARN or name.
    :param silence_limit: seconds without any answer of the service after which to give up; 0 for never.
    """

    def __init__(self, job_identifier: str, silence_limit: float) -> None:
        self.job_identifier = job_identifier
        self.seen: Job | None = None
        self._patience = Patience(silence_limit)

    def look(self, hook: BedrockHook) -> Job | None:
        """Return the job as it is now; None where the service did not answer.

        :raises BedrockFatalError: there is no such job.
        :raises BedrockError: no look has had an answer for ``silence_limit``.
        """
        try:
            job = look_at_job(hook, self.job_identifier)
        except Exception as error:
            if not is_transient(error):
                raise
            self._unanswered(error)
            return None
        self._patience.answered()
        for line in changes(self.seen, job):
            log.info(line)
        self.seen = job
        return job

    def _unanswered(self, error: Exception) -> None:
        now = time.monotonic()
        silent = duration(self._patience.silence(now))
        if self._patience.is_over(now):
            why = f"no answer for {silent}, last with: {error}"
            raise BedrockError(unknown_health(self.job_identifier, why)) from error
        if self._patience.should_tell(now):
            log.warning("No answer about job %s for %s, will look again: %s", self.job_identifier, silent, error)

"""Find the jobs that a task may have made or adopted before. It only reads.

The names and the token of a job say who made it; its tags say who has adopted it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cached_property
from typing import Any

from airflow_bedrock.customization.decision import Decision, decide, decide_by_model
from airflow_bedrock.customization.identity import Identity, Token
from airflow_bedrock.customization.job import Outcome, Seen
from airflow_bedrock.customization.waiters import has_asked, is_waiter
from airflow_bedrock.exceptions import nothing_spent
from airflow_bedrock.jobs.request_note import NO_NOTE, RequestNote
from airflow_bedrock.jobs.resources import Resource
from airflow_bedrock.jobs.service import Service

CLOCK_SKEW = timedelta(minutes=15)
"""Maximum difference of the clocks of Airflow and the service: signatures allow no more."""


@dataclass(kw_only=True)
class EarlierJobs:
    """The jobs of a task, as seen by one try of it.

    :param request: the members of the Create request; the names and the token come from the identity.
    :param tagged: whether the jobs' tags say who waits for them.
    :param note: the note of an earlier try.
    """

    service: Service
    request: Mapping[str, Any]
    identity: Identity
    tagged: bool = True
    note: RequestNote = NO_NOTE
    _adopted: dict[str, bool] = field(default_factory=dict, init=False)
    """By ARN: whether the tags of the job say that this ask adopted it."""

    @property
    def _resource(self) -> Resource:
        return self.service.resource

    @property
    def _noun(self) -> str:
        return self._resource.noun

    def _reading(self, what: str, allow: str = "") -> AbstractContextManager[None]:
        """Turn AWS errors into errors that say what was made: nothing by this try, perhaps a job by an earlier one."""
        return nothing_spent(what, self._noun, earlier=self.identity.task_key.try_number > 1, allow=allow)

    def _find(self, name: str) -> Seen | None:
        with self._reading(f"Reading {self._noun} {name}"):
            return self.service.find(name)

    def _generations(self, after: int = 0) -> Iterator[Seen]:
        """Get the jobs that have the derived names, until no job has the next name.

        :param after: the number of generations to skip.
        """
        for name in self.identity.job_names(after):
            if (found := self._find(name)) is None:
                return
            yield found

    def _tags_of(self, job: Seen, whose: str) -> dict[str, str]:
        with self._reading(f"Reading {whose} {self._noun} {job.arn}", "bedrock:ListTagsForResource"):
            return self.service.tags_of(job.arn)

    def _decide(self, found: Seen, *, listed: bool = False) -> Decision:
        if (serves := self._resource.serves) is not None:
            return decide_by_model(found, same=serves(found, self.request))
        return decide(found, self.identity, listed=listed, adopted=self._has_adopted(found))

    def _is_of_ask(self, found: Seen) -> bool:
        return self.identity.is_of_ask(Token.read(found.token)) or self._has_adopted(found)

    @property
    def _is_retry(self) -> bool:
        """Whether an earlier try of this ask may have requested a job."""
        return self.identity.task_key.is_retry or self.note.name_before is not None

    @property
    def _reads_tags(self) -> bool:
        """Whether an earlier try of this ask may have adopted a job, so that tags must be read."""
        return self._is_retry and self._has_tags

    @property
    def _has_tags(self) -> bool:
        return self.tagged and self._resource.taggable and not self._resource.lasts

    def _has_adopted(self, job: Seen) -> bool:
        """Whether the job's tags say that an earlier try of this ask adopted it; its token says who made it."""
        token, arn = Token.read(job.token), job.arn
        if not self._reads_tags or (token and (self.identity.is_of_ask(token) or not self.identity.is_of_task(token))):
            return False
        if arn not in self._adopted:
            self._adopted[arn] = has_asked(self._tags_of(job, "the tags of"), self.identity.task_key)
        return self._adopted[arn]

    @property
    def _others_count(self) -> bool:
        """Whether the jobs of other runs or map indexes count."""
        identity = self.identity
        return identity.reuse == "dag" or (identity.reuse == "run" and identity.task_key.map_index >= 0)

    @cached_property
    def _listed(self) -> list[Seen]:
        """The other jobs of the task that may count."""
        identity, task_key, operation = self.identity, self.identity.task_key, self._resource.list_operation
        if identity.exact or (not self._others_count and task_key.try_number == 1):
            return []  # no other task's job counts, and this task has not asked before
        # An earlier try may have asked with reuse="dag", which derives other names.
        narrow = identity.reuse != "dag" and task_key.try_number == 1
        part = f"{identity.family_part}-{identity.period_part}" if narrow else identity.family_part
        with self._reading(f"Listing earlier {self._noun}s of this task", f"bedrock:{operation}"):
            return self.service.list_all(part)

    def _candidates(self, *, own_only: bool = False) -> Iterator[Seen]:
        """Yield, by name, the jobs that may fulfil the request, and those of this task instance.

        A job of this task instance that has ended may belong to the same ask: the name that Get was called with
        contains ``job_name``, and with ``dag`` the request, which may have changed.
        """
        identity = self.identity
        if own_only and identity.task_key.try_number == 1:
            return  # this task has not asked before
        for summary in self._listed:
            alive = summary.outcome in (Outcome.RUNNING, Outcome.SUCCEEDED) and self._counts(summary)
            same = identity.reuse != "never" and f"-{identity.what_part}-" in self._names(summary)
            if self._is_own(summary) or (alive and same and not own_only):
                yield summary

    def _adopted_before(self) -> Iterator[Seen]:
        """Yield the jobs that an earlier try of this ask adopted from another ask, run or map index.

        Only their tags show that, with one call for each candidate. Jobs with the current request come first, since
        usually nothing has changed. Jobs that ended before this run could ask are left out: they were never adopted.
        """
        since = self.identity.task_key.since
        for summary in sorted(self._listed, key=self._unlikely) if self._others_count and self._reads_tags else ():
            gone = since and summary.ended and summary.ended < since - CLOCK_SKEW
            may_be = not gone and self._counts(summary) and summary.outcome is not Outcome.STOPPED
            if may_be and self._has_adopted(summary):
                yield summary

    def _adopted_by_earlier_asks(self) -> Iterator[Seen]:
        """Yield the running jobs that this task instance adopted before it was cleared: only their tags show that.

        Its own jobs come first: a task that still waits for one of them has adopted no other.
        """
        task_key = self.identity.task_key
        if task_key.try_number == 1 or task_key.ask == task_key.retries or not (self._others_count and self._has_tags):
            return
        running = [summary for summary in self._listed if summary.outcome is Outcome.RUNNING and self._counts(summary)]
        for summary in sorted(running, key=lambda one: not self._is_own(one)):
            waits = is_waiter(self._tags_of(summary, "who waits for"), task_key)
            if waits and self._is_own(summary):
                return
            if waits:
                yield summary

    def _unlikely(self, summary: Seen) -> int:
        parts = (self.identity.who_part, self.identity.what_part)
        return -sum(f"-{part}-" in self._names(summary) for part in parts)

    def _names(self, summary: Seen) -> str:
        return f"{summary.name}-{summary.model_name or self.identity.what_part}-"

    def _is_own(self, summary: Seen) -> bool:
        return f"-{self.identity.who_part}-" in self._names(summary)

    def _counts(self, summary: Seen) -> bool:
        """Whether a job belongs to a run whose jobs count."""
        return self.identity.reuse == "dag" or f"-{self.identity.period_part}" in self._names(summary)

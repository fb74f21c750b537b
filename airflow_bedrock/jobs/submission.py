"""Find the requested job, or create it: the only place that spends money.

A crash at any line leaves nothing to clean up. Before the call nothing exists; after it the job has the derived name
and token, by which the next try finds it. Nothing is recorded in between, so no record can be lost.

What this module says about jobs holds for every kind of resource (:mod:`airflow_bedrock.jobs.resources`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from botocore.exceptions import ClientError

from airflow_bedrock.aws_errors import CALL_ERRORS, error_code
from airflow_bedrock.customization.decision import Decision, is_foreign
from airflow_bedrock.customization.identity import Token
from airflow_bedrock.customization.job import Outcome, Seen
from airflow_bedrock.customization.remedy import Remedy, remedy_for_error
from airflow_bedrock.customization.request import Superseded
from airflow_bedrock.customization.tags import token_tag
from airflow_bedrock.customization.waiters import Waiter, waiters
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.jobs.account import check_account
from airflow_bedrock.jobs.earlier_jobs import EarlierJobs
from airflow_bedrock.jobs.no_response import SECONDS_UNTIL_MISSING
from airflow_bedrock.jobs.own_jobs import shown
from airflow_bedrock.jobs.resources import NEW, ResourceState
from airflow_bedrock.jobs.stopping import NotStoppedError, repeated, stop_unless_others_wait

log = logging.getLogger(__name__)

_POLLS = 3  # until a contradictory response counts, such as a completed job without a model
_PAUSE = 2.0  # seconds between them
_POLLS_UNTIL_MISSING = 5  # within SECONDS_UNTIL_MISSING
_SIBLINGS_SECONDS = 60.0  # within which the other map indexes of a cleared task request their jobs
_ROLE_PAUSES = (5.0, 10.0, 15.0, 30.0)  # seconds; a new role takes effect everywhere within about a minute


# The messages for a request that Bedrock has not accepted.
_REFUSALS = {
    Remedy.WAIT_FOR_SLOT: "The account's quota has been reached: {job} was not created. Bedrock said: {error}",
    Remedy.WAIT_FOR_ROLE: "Bedrock could not assume the role of {job}; nothing was created or spent. If the role was "
    "created seconds ago, the next try of this task may succeed; otherwise let bedrock.amazonaws.com assume it. "
    "Bedrock said: {error}",
    Remedy.RETRY: "Bedrock did not confirm the request for {job}: {error}. If Bedrock accepted it, the next try of "
    "this task finds that {noun} by its name and does not pay again.",
    Remedy.MODEL_NAME_IN_USE: "The custom model name for {job} is in use by another model, or by a job that will make "
    "one; nothing was created or spent. Choose another custom_model_name, or delete that model: {error}",
    Remedy.CREDENTIALS: "Bedrock refused the credentials for {job}; nothing was created or spent. A retry uses the "
    "connection's credentials at that time: {error}",
    Remedy.NONE: "Bedrock refused the request for {job}; nothing was created or spent: {error}",
}


class NoSlotError(BedrockError):
    """The quota has been reached; nothing was created."""


class NoTagError(BedrockError):
    """The earlier job has as many tags as Bedrock allows, so none can name this task as waiting for it.

    :param found: the earlier job or resource, which is not adopted.
    """

    def __init__(self, message: str, found: Seen) -> None:
        super().__init__(message)
        self.found = found


@dataclass(eq=False)
class DryRunError(Exception):
    """A dry run has reached Create, which it does not call.

    :param name: what would be created.
    :param superseded: the jobs of earlier asks that would be stopped first, unless others wait for them.
    """

    name: str
    superseded: list[Seen]


class Budget(Protocol):
    """The budget (:class:`airflow_bedrock.spend.budget.Budget`). Names are those in the Create request."""

    def reserve(self, name: str) -> None:
        """Reserve what the resource may cost; if it raises, nothing is created. A second call changes nothing."""

    def made(self, name: str, arn: str) -> None:
        """Note that the resource exists."""

    def release(self, name: str) -> None:
        """Release the reservation, since nothing was created."""


@dataclass(kw_only=True)
class Submission(EarlierJobs):
    """One try of a task to get its job.

    :param waiter: the task that will wait for the job, for the job's tags.
    :param superseded: what to do with a running job of an earlier ask if the request has changed.
    :param update: whether to change a resource of the same name that serves another model.
    :param check_cost: called if a job must be created, before another is stopped for it; if it raises, nothing is
        created.
    :param before_paying: called right before Create; if it raises, nothing is created.
    :param budget: reserves what a job may cost, before another is stopped for it; None if no budget is set.
    :param dry_run: change nothing: do not create, stop or tag.
    :param unknown: why the request is unknown: then only the job of an earlier try is adopted, and none is created.
    """

    waiter: Waiter
    superseded: Superseded = "stop"
    update: bool = False
    check_cost: Callable[[], object] = lambda: None
    before_paying: Callable[[], object] = lambda: None
    budget: Budget | None = None
    dry_run: bool = False
    unknown: BedrockError | None = None
    in_flight: str | None = field(default=None, init=False)
    """The name of the last requested job, if it is unknown whether the service has made it."""
    _waited: bool = field(default=False, init=False)
    """Whether this try has waited for the job that an earlier try of this ask may have made."""
    _settled: set[str] = field(default_factory=set, init=False)
    _superseded: list[Seen] = field(default_factory=list, init=False)

    def find_or_create(self) -> Seen:
        """Return the requested job, and stop the jobs of earlier asks that no task waits for.

        :raises DryRunError: in a dry run, something would be created.
        :raises NoSlotError: the quota of jobs is used up.
        :raises BedrockFatalError: the name belongs to another task, or the service refuses the request.
        :raises BedrockError: the service did not accept the request now.
        """
        if self.unknown is not None:
            if self.identity.task_key.try_number == 1 or (own := self.of_earlier_try() or self._own_listed()) is None:
                raise self.unknown
            log.warning(
                "%s An earlier try of this task has made %s %s: adopting it.", self.unknown, self._noun, own.arn
            )
            return own
        job = self._find_or_create()
        if not self.in_flight:  # otherwise it was done before paying
            try:
                self._stop_superseded(job)
            except BedrockError as error:  # the requested job exists nevertheless
                log.warning("A job that an earlier ask of this task adopted may still run and be billed: %s", error)
        return job

    def _find_or_create(self) -> Seen:
        if self._reads_tags and (own := self.of_earlier_try() or self._first_match(self._adopted_before())):
            return own
        # If names depend on the request, this task's jobs for another request have other names: they come first.
        if self.identity.reuse == "dag" and (own := self._first_match(self._candidates(own_only=True))):
            return own
        generation = 0
        for generation, found in enumerate(self._generations(), start=1):
            decision = self._decide(found)
            if self.identity.exact and decision is Decision.SUPERSEDE:
                raise BedrockFatalError(self._cannot_go_on(found, decision))  # a stopped job would keep the name
            if decision in (Decision.ADOPT, Decision.REUSE) and not (self.identity.exact or self._is_of_ask(found)):
                self._supersede_after(generation)
            if (job := self._act_on(found, decision)) is not None:
                return job
            if self.identity.exact:
                raise BedrockFatalError(self._cannot_go_on(found, decision))
            log.info(
                "%s %s is %s and does not count for this request; trying the next generation of the name",
                *self._described(found),
            )
        return self._first_match(self._candidates()) or self._create(generation + 1)

    def _supersede_after(self, generation: int) -> None:
        """Supersede the later jobs that run for another request, since an earlier ask's job is the requested one."""
        for found in self._generations(generation):
            if self._decide(found) is Decision.SUPERSEDE:
                self._supersede(found)

    def of_earlier_try(self) -> Seen | None:
        """Return the job of an earlier try of this ask, if it has a name of this task instance; otherwise None.

        The request does not matter, so it may be unknown; so may the prefix of the name, which is then empty.

        :raises BedrockFatalError: that job has failed, and no retry can fix it; or its model is gone.
        """
        if not self.identity.job_prefix or (self.identity.reuse == "dag" and not self.identity.exact):
            return None  # unknown, or shared by all instances of the task
        for found in self._generations():
            decision = self._decide(found)
            if self._is_of_ask(found) and decision is not Decision.NEXT_GENERATION:
                return self._act_on(found, decision)
        return None

    def _described(self, found: Seen) -> tuple[str, str, str]:
        return self._noun.capitalize(), found.arn, found.status

    def _act_on(self, found: Seen, decision: Decision) -> Seen | None:
        """Act on a job that was found; return it if it is the requested one."""
        accepted = decision in (Decision.ADOPT, Decision.REUSE) and not self._resource.lasts
        if accepted and not self._is_of_ask(found):
            # The job of an earlier try of this ask may exist, and not be shown yet.
            hidden = not self.identity.exact and not self.note.readable
            if (own := self._shown_late(found.name, hidden=hidden)) is not None:
                return own
        match decision:
            case Decision.ADOPT:
                return self._adopt(found)
            case Decision.REUSE:
                return self._reuse(found)
            case Decision.FAIL:
                raise BedrockFatalError(self._resource.failure_message(found))
            # Nobody else uses what an earlier try of the same ask has made.
            case Decision.CLASH if self.update or (self._is_of_ask(found) and self._is_alone(found)):
                return self._update(found)
            case Decision.CLASH | Decision.UNKNOWN:
                raise BedrockFatalError(self._cannot_go_on(found, decision))
            case Decision.SUPERSEDE:
                self._check_account()  # a request that cannot succeed fails before another job is stopped for it
                _ = self._listed
                self._supersede(found)
        return None

    def _is_alone(self, found: Seen) -> bool:
        """Whether this task made the resource, and no other task has requested it since, so that it can be changed."""
        if self._resource.update_operation is None:
            return False
        return waiters(self._tags_of(found, "who waits for")) == [self.waiter]

    def _update(self, found: Seen) -> Seen:
        """Change a resource that serves another model; it keeps its name and ARN."""
        resource = self._resource
        self.before_paying()
        log.info("%s %s serves another model: changing it to the requested one", *self._described(found)[:2])
        try:
            self.service.update(found.arn, self.request)
        except CALL_ERRORS as error:
            now = shown(self.service, found.arn)  # another task may be changing it, or may have deleted it
            settled = now is not None and now.outcome is not Outcome.RUNNING
            kind = BedrockFatalError if settled and remedy_for_error(error) is Remedy.NONE else BedrockError
            raise kind(
                f"Bedrock did not confirm {resource.update_operation} for {self._noun} {found.arn}. It serves its "
                f"former model, unless the response was lost, or somebody has changed or deleted it since; a retry "
                f"reads it again: {error}"
            ) from error
        return ResourceState(arn=found.arn, name=found.name, status="Updating", outcome=Outcome.RUNNING)

    def _adopt(self, found: Seen) -> Seen:
        log.info("%s %s was requested before and is %s: adopting it", *self._described(found))
        token = Token.read(found.token)
        if not self._resource.lasts:
            self._warn_if_changed(token)
        if not self.identity.is_of_ask(token):
            self._join(found)
        return found

    def _warn_if_changed(self, token: Token | None) -> None:
        if self.request and not self.identity.is_of_what(token):
            log.warning(
                "This try's request or data differs from that of the earlier try, which has made or adopted the job; "
                "an automatic retry does not pay for another. To make a job for the current request, clear this task "
                "(once more, if you have cleared it already)."
            )

    def _join(self, found: Seen) -> None:
        """Add the tag that names this task as also waiting. Without it, the task that made the job could stop it.

        :raises NoTagError: it has as many tags as it can have.
        """
        resource = self._resource
        if self.tagged and resource.names_waiters and not self.dry_run:
            in_service = resource.lasts and found.outcome is Outcome.SUCCEEDED
            tags = self.waiter.tags(self.identity.task_key, for_good=in_service)
            what = f"Tagging {self._noun} {found.arn} as waited for by this task"
            with self._reading(what, "bedrock:TagResource"):
                try:
                    self.service.tag(found.arn, tags)
                except ClientError as error:
                    if error_code(error) != "TooManyTagsException":
                        raise
                    raise NoTagError(
                        f"{self._noun.capitalize()} {found.arn} has as many tags as Bedrock allows, so none can name "
                        f"this task as waiting for it: it was not adopted. This try made no {self._noun} and spent "
                        "nothing. Set fewer tags, or let fewer tasks request it at the same time.",
                        found,
                    ) from error
            self.note.write(found.name)

    def _reuse(self, found: Seen) -> Seen | None:
        if self._resource.lasts:
            return self._adopt(found)
        completed = self._with_model(found)
        token = Token.read(found.token)
        if completed is not None:
            self._warn_if_changed(token)
            log.info(
                "Job %s already fulfils this request: reusing its %s, which costs nothing. To make another, %s.",
                found.arn,
                f"model {completed.model_arn}" if completed.model_arn else "output",
                "set another job_name" if self.identity.exact else "set reuse='never' and clear this task",
            )
            return completed
        if self._is_of_ask(found):
            raise BedrockFatalError(
                f"{self._noun.capitalize()} {found.arn} has completed for an earlier try of this task, but its model "
                "no longer exists. This try made no other and spent nothing: clear this task to make it again."
            )
        return None

    def _with_model(self, found: Seen) -> Seen | None:
        """Return the completed job with its model; None if the model was deleted. A single response is not trusted."""
        if self._resource.model_operation is None:
            return found  # it makes no model
        for attempt in range(_POLLS):
            if attempt:
                time.sleep(_PAUSE)
            with self._reading(f"Reading the model of {self._noun} {found.arn}"):
                job = found if found.model_arn else self.service.get(found.arn)
                if job is not None and job.model_arn and self.service.has_model(job.model_arn):
                    return job
        if job is None or not job.model_arn:
            raise BedrockError(
                f"Bedrock says that {self._noun} {found.arn} has completed, but not which model it made. This try made "
                "no other and spent nothing; a retry reads it again."
            )
        return None

    def _supersede(self, found: Seen) -> None:
        """Apply ``superseded`` to a running job of an earlier ask, once."""
        if found.arn in self._settled:
            return
        self._settled.add(found.arn)
        job = f"{self._noun.capitalize()} {found.arn}"
        if self.superseded == "fail":
            raise BedrockFatalError(
                f"{job} was made for an earlier ask of this task, and the request has changed. It still runs and "
                f"{self._resource.billed}; this try made no other. Stop it, or set superseded='stop' or 'keep', and "
                "clear this task."
            )
        if self.superseded == "keep":
            log.warning("%s of an earlier ask still runs and %s: superseded='keep'", job, self._resource.billed)
            return
        log.warning("The request has changed since %s %s was made.", self._noun, found.arn)
        self._superseded.append(found)

    def _stop_superseded(self, requested: Seen | None = None) -> None:
        """Stop the jobs of earlier asks that no task waits for, before another is paid for or when one is adopted."""
        for adopted in self._adopted_by_earlier_asks():
            if requested is None or adopted.arn != requested.arn:
                self._supersede(adopted)
        if self.dry_run:
            return
        if self._superseded and self.identity.task_key.map_index >= 0 and self._others_count:
            log.info("Leaving these jobs to the other map indexes of this task for %g s", _SIBLINGS_SECONDS)
            time.sleep(_SIBLINGS_SECONDS)  # if the order has changed, one of them requests this job, and adopts it
        leaving = self.waiter.leaving_tags(self.identity.task_key) if self.tagged else ()
        while self._superseded:
            superseded = self._superseded.pop(0).arn
            try:
                outcome = repeated(stop_unless_others_wait, self.service, superseded, self.waiter, leaving=leaving)
            except NotStoppedError as error:
                outcome = error.final
                if requested is None:  # two jobs would be billed where a person has asked for one
                    nothing = f"{outcome} This try made no other {self._noun} and spent nothing"
                    if error.seconds:
                        raise BedrockError(f"{nothing}; a retry stops it first.") from error
                    remedy = "Once it is stopped, or with superseded='keep', clear this task."
                    raise BedrockFatalError(f"{nothing}. {remedy}") from error
            log.warning("%s", outcome)

    def _own_listed(self) -> Seen | None:
        """Return the job of an earlier try of this ask, whatever its name; None if it has none, or List fails."""
        try:
            _ = self._listed
        except BedrockError:
            return None
        return self._first_match(self._candidates(own_only=True), this_ask=True)

    def _check_account(self) -> None:
        if role_arn := self.request.get("roleArn"):
            check_account(self.service.hook, role_arn)

    def _first_match(self, listed: Iterable[Seen], *, this_ask: bool = False) -> Seen | None:
        """Return the first of these jobs that is the requested one; supersede those before it.

        :param listed: jobs as List shows them.
        :param this_ask: check only those of this ask, and supersede none.
        """
        for summary in listed:
            found = self._find(summary.arn)
            if found is None:
                raise BedrockError(
                    f"Bedrock lists {self._noun} {summary.arn}, but does not show it yet. This try made no other and "
                    "spent nothing; the next try reads it again."
                )
            decision, of_ask = self._decide(found, listed=True), self._is_of_ask(found)
            if not of_ask and (this_ask or decision is Decision.UNKNOWN):
                continue
            if decision in (Decision.CLASH, Decision.NEXT_GENERATION):
                continue
            if (job := self._act_on(found, decision)) is not None:
                return job
        return None

    def _shown_late(self, name: str, *, hidden: bool) -> Seen | None:
        """Wait for the job of an earlier try of this ask, before the job ``name`` is adopted or created instead.

        If it has another name, because ``job_name`` differs, or with ``dag`` the request, Get for ``name`` does not
        show it: Get for its own name does, or List, after a while.

        :param hidden: whether there may be one although no note names it.
        """
        before = self.note.name_before
        if self._waited or not self._is_retry or name == before or not (before or hidden):
            return None
        self._waited = True
        log.info("An earlier try may have made a %s that is not shown yet; waiting up to 2 minutes", self._noun)
        for poll in _polls_until_missing():
            if poll:
                vars(self).pop("_listed", None)
            if before and (found := self._find(before)) and self._is_of_ask(found):
                decision = self._decide(found)
                return None if decision is Decision.NEXT_GENERATION else self._act_on(found, decision)
            listed = self._candidates(own_only=True)
            if own := (
                self.of_earlier_try()
                or self._first_match(listed, this_ask=True)
                or self._first_match(self._adopted_before())
            ):
                return own
        return self._first_match(self._candidates(own_only=True))

    def _create(self, generation: int) -> Seen:
        name = self.identity.job_name(generation)
        self._check_account()
        # Otherwise its name would be the same; and if the store can be read and has no note, nothing was requested.
        hidden = self.identity.reuse == "dag" and not self.identity.exact and not self.note.readable
        if (own := self._shown_late(name, hidden=hidden)) is not None:
            return own
        if self.dry_run:
            self._stop_superseded()
            raise DryRunError(name, self._superseded)
        self._check_cost(name)
        try:
            job = self._pay(name, generation)
        except BaseException:
            if self.budget and self.in_flight is None:
                self.budget.release(name)
            raise
        if self.budget:
            self.budget.made(name, job.arn)
        return job

    def _pay(self, name: str, generation: int) -> Seen:
        self._stop_superseded()
        self.before_paying()
        identity, resource = self.identity, self._resource
        request = {**self.request, resource.name: name, "clientRequestToken": identity.token(generation)}
        if resource.model_name:
            request[resource.model_name] = identity.model_name(generation)
        tags = [] if resource.token_shows else [token_tag(identity.token(generation))]
        if self.tagged and resource.names_waiters:
            tags += self.waiter.tags(identity.task_key)
        if tags := [*tags, *request.get(resource.tags, [])]:
            request[resource.tags] = tags
        log.info("Creating %s %s", resource.kind, name)
        self.note.write(name)
        self.in_flight = name
        try:
            arn = self._call(request)
        except CALL_ERRORS as error:
            return self._after_error(name, error)
        if arn is None:  # the service ignores a known token; its response then is not documented
            return self._made_by_another_try(
                name, f"Bedrock accepted the request, but its response does not name the {self._noun}"
            )
        log.info("Created %s %s; it %s", resource.kind, arn, resource.billed)
        return ResourceState(arn=arn, name=name, status=NEW, outcome=Outcome.RUNNING, token=identity.token(generation))

    def _check_cost(self, name: str) -> None:
        try:
            self.check_cost()
            if self.budget:
                self.budget.reserve(name)
        except BedrockError as error:
            if not self._superseded:
                raise
            running = ", ".join(job.arn for job in self._superseded)
            billed = f"Still running from an earlier ask of this task: {running}, which {self._resource.billed}."
            raise type(error)(f"{error} {billed}") from error

    def _call(self, request: Mapping[str, Any]) -> str | None:
        """Call Create; retry while the role is unknown, since a new one takes seconds to take effect."""
        for pause in _ROLE_PAUSES:
            try:
                return self.service.create(request)
            except ClientError as error:
                if remedy_for_error(error) is not Remedy.WAIT_FOR_ROLE:
                    raise
                log.warning("Bedrock cannot assume the role yet; retrying in %g s: %s", pause, error)
                time.sleep(pause)
                self.before_paying()
        return self.service.create(request)

    def _after_error(self, name: str, error: Exception) -> Seen:
        job, remedy = f"{self._noun} {name}", remedy_for_error(error)
        if remedy is Remedy.MODEL_NAME_IN_USE and self._resource.lasts:
            # It makes no model, so the message means its own name, which another task has taken since the poll.
            remedy = Remedy.NAME_IN_USE
        if remedy not in (Remedy.NAME_IN_USE, Remedy.RETRY):
            self.in_flight = None  # it was refused
            self.note.clear()
        if remedy is Remedy.NAME_IN_USE:
            return self._made_by_another_try(name, str(error).rstrip("."))
        # A derived name is in use only if a job of the same ask is not shown yet.
        fatal = remedy is Remedy.NONE or (remedy is Remedy.MODEL_NAME_IN_USE and self.identity.exact)
        kind = BedrockFatalError if fatal else NoSlotError if remedy is Remedy.WAIT_FOR_SLOT else BedrockError
        raise kind(_REFUSALS[remedy].format(job=job, noun=self._noun, error=str(error).rstrip("."))) from error

    def _made_by_another_try(self, name: str, why: str) -> Seen:
        """Return the job with the name, if it is ours; the service may take a while to show a new job."""
        for poll in _polls_until_missing():
            if (found := shown(self.service, name)) is not None:
                break
            hidden = f"Bedrock says that {self._noun} {name} exists, but does not show it yet: {why}."
            if not poll:
                log.info("%s Waiting up to 2 minutes", hidden)
        else:
            raise BedrockError(f"{hidden} A retry or a Clear of this task reads it again and does not pay again.")
        decision = self._decide(found)
        if decision in (Decision.ADOPT, Decision.REUSE):
            log.info("%s %s was created by another try at the same moment", *self._described(found)[:2])
            return self._adopt(found)
        if decision is Decision.FAIL:
            raise BedrockFatalError(self._resource.failure_message(found))
        # It was made, and has ended, between Get and Create: the next try's Get shows it.
        kind = BedrockFatalError if self.identity.exact else BedrockError
        raise kind(f"{self._cannot_go_on(found, decision)} Bedrock said: {why}")

    def _cannot_go_on(self, found: Seen, decision: Decision) -> str:
        resource = self._resource
        if decision is Decision.UNKNOWN:
            return (
                f"{self._noun.capitalize()} {found.arn} has an unknown status: {found.status}. It was neither "
                "reused nor replaced, since it may run and be billed. Check it in the AWS console, and upgrade "
                "airflow-bedrock."
            )
        remedy = resource.name_taken
        if not resource.lasts and is_foreign(Token.read(found.token), self.identity):
            whose = "it was made for another request, in a run with the same id"
            remedy = (
                "If that run was deleted, clear this task or trigger a run with another id. If another Airflow has the "
                f"same [bedrock] environment, {self.identity.task_key.environment!r}, set a different one in each."
            )
        elif decision is not Decision.CLASH:
            whose = "an earlier ask or try of this task made it, for another request"
        else:
            whose = "another request made it" if not resource.lasts else "it serves another model"
        bill = (
            f"It still runs and {resource.billed}; this try spent nothing."
            if found.outcome is Outcome.RUNNING or (resource.stop_operation and resource.lasts)
            else "Nothing was spent."
        )
        return (
            f"The {self._noun} name {found.name} is used up: {self._noun} {found.arn} is {found.status}, and {whose}. "
            f"{bill} {remedy}"
        )


def _polls_until_missing() -> Iterator[int]:
    """Yield the number of each poll, with pauses, until what is not shown counts as missing."""
    for poll in range(_POLLS_UNTIL_MISSING):
        if poll:
            time.sleep(SECONDS_UNTIL_MISSING / (_POLLS_UNTIL_MISSING - 1))
        yield poll

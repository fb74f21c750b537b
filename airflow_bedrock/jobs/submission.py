"""Find the job that was asked for, or create it: the only place that spends money.

A crash at any line leaves nothing to clean up. Before the call nothing exists; after it the job bears the derived name
and token, by which the next try finds it. No record is kept in between, so none can be lost.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from airflow_bedrock.aws_errors import is_about_credentials, is_denied
from airflow_bedrock.customization.decision import Decision, decide
from airflow_bedrock.customization.failure import failure_message
from airflow_bedrock.customization.identity import Identity, Superseded, Token
from airflow_bedrock.customization.job import Job, Outcome
from airflow_bedrock.customization.remedy import Remedy, remedy_for_error
from airflow_bedrock.customization.waiters import Waiter, fits
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.hooks.bedrock import BedrockHook
from airflow_bedrock.jobs.account import check_account
from airflow_bedrock.jobs.stopping import stop_unless_others_wait

log = logging.getLogger(__name__)

_LOOKS = 3  # before an answer that contradicts another one is believed, e.g. a completed job without a model
_PAUSE = 2.0  # seconds between them
_ROLE_PAUSES = (5.0, 10.0, 15.0, 30.0)  # seconds; a fresh role is known everywhere within a minute or so


class NoSlotError(BedrockError):
    """The account has as many jobs as it may have; nothing was created."""


def _nobody_cares() -> None:
    """The default for whoever does not want to be asked before money is spent."""


@dataclass(kw_only=True)
class Submission:
    """One try to get the job that was asked for.

    :param request: CreateModelCustomizationJob's members; the names and the token are the identity's.
    :param waiter: who will wait for the job, which its tags say.
    :param superseded: what becomes of a job of an earlier ask that runs, where another thing is asked for now.
    :param before_paying: called right before Create; what it raises keeps the money.
    """

    hook: BedrockHook
    request: Mapping[str, Any]
    identity: Identity
    waiter: Waiter
    superseded: Superseded = "stop"
    tagged: bool = True
    before_paying: Callable[[], None] = _nobody_cares
    in_flight: str | None = field(default=None, init=False)
    """The name of the job that was asked for last, where it is not known whether the service has made it."""

    def find_or_create(self) -> Job:
        """Return the job that was asked for.

        :raises NoSlotError: the quota of jobs is used up.
        :raises BedrockFatalError: the name is somebody else's, or the service refuses the request.
        :raises BedrockError: the service did not take the request now.
        """
        # Where names hold what is asked for, this task's own jobs for another what have other names: they come first.
        if self.identity.reuse == "dag" and (own := self._by_list(own_only=True)):
            return own
        generation = 1
        while True:
            name = self.identity.job_name(generation)
            with nothing_spent(f"Looking for job {name}"):
                found = self.hook.get_customization_job(name)
            if found is None:
                return self._by_list() or self._create(name, generation)
            decision = decide(found, self.identity)
            if self.identity.exact and decision is Decision.SUPERSEDE:
                raise BedrockFatalError(_cannot_go_on(found, decision))  # stopped, it would leave the name used up
            if (taken := self._take(found, decision)) is not None:
                self._settle_later(taken, generation)
                return taken
            if self.identity.exact:
                raise BedrockFatalError(_cannot_go_on(found, decision))
            log.info("Job %s is %s and no answer to what is asked for now: its name's next generation", *_known(found))
            generation += 1

    def _settle_later(self, taken: Job, generation: int) -> None:
        """Settle a later generation that runs for another what, where an earlier ask's job is what is asked for."""
        if self.identity.exact or self.identity.is_of_ask(Token.read(taken.token)):
            return
        while True:
            generation += 1
            with nothing_spent(f"Looking for job {self.identity.job_name(generation)}"):
                found = self.hook.get_customization_job(self.identity.job_name(generation))
            if found is None:
                return
            if decide(found, self.identity) is Decision.SUPERSEDE:
                self._supersede(found)

    def _take(self, found: Job, decision: Decision) -> Job | None:
        """Act on a job that was found; return it if it is what was asked for."""
        match decision:
            case Decision.ADOPT:
                return self._adopt(found)
            case Decision.REUSE:
                return self._reuse(found)
            case Decision.FAIL:
                raise BedrockFatalError(failure_message(found))
            case Decision.CLASH | Decision.UNKNOWN:
                raise BedrockFatalError(_cannot_go_on(found, decision))
            case Decision.SUPERSEDE:
                self._supersede(found)
        return None

    def _adopt(self, found: Job) -> Job:
        log.info("Job %s was asked for before and is %s: adopting it", found.arn, found.status)
        token = Token.read(found.token)
        self._say_what_differs(token)
        if not self.identity.is_of_ask(token):
            self._join(found)
        return found

    def _say_what_differs(self, token: Token | None) -> None:
        if not self.identity.is_of_what(token):
            log.warning(
                "This try's request or data differs from that of the earlier try, which has made the job; an automatic "
                "retry pays for no other. To train on what is asked for now, clear this task (once more, if you have)."
            )

    def _join(self, found: Job) -> None:
        """Add the tag that says that this asker waits too, so that nobody stops the job under it."""
        tag = self.waiter.tag(self.identity.asker)
        try:
            if not fits(tag):
                raise ValueError("the ids of DAG, task and run are longer than a tag may be")
            self.hook.conn.tag_resource(resourceARN=found.arn, tags=[tag])  # type: ignore[list-item]  # a mapping of two texts
        except (BotoCoreError, ClientError, ValueError) as error:
            log.warning(
                "Cannot tag job %s as waited for by this task, so whoever made it may stop it: %s. Allow "
                "bedrock:TagResource to the role of the connection.",
                found.arn,
                error,
            )

    def _reuse(self, found: Job) -> Job | None:
        completed = self._with_model(found)
        if completed is not None:
            self._say_what_differs(Token.read(found.token))
            log.info(
                "Job %s has already done what is asked for: reusing its model %s, which costs nothing. To train again, "
                "%s.",
                found.arn,
                completed.model_arn,
                "set another job_name" if self.identity.exact else "set reuse='never' and clear this task",
            )
            return completed
        if self.identity.is_of_ask(Token.read(found.token)):
            raise BedrockFatalError(
                f"Job {found.arn} has completed for an earlier try of this task, but its model is gone. This try made "
                "no job and spent nothing: clear this task to train again."
            )
        return None

    def _with_model(self, found: Job) -> Job | None:
        """Return the completed job with its model; None where the model was deleted. One answer is not believed."""
        for attempt in range(_LOOKS):
            if attempt:
                time.sleep(_PAUSE)
            with nothing_spent(f"Looking for the model of job {found.arn}"):
                job = found if found.model_arn else self.hook.get_customization_job(found.arn)
                if job is not None and job.model_arn and self.hook.has_custom_model(job.model_arn):
                    return job
        if job is None or not job.model_arn:
            raise BedrockError(
                f"Bedrock says that job {found.arn} has completed, but not which model it made. This try made no job "
                "and spent nothing; another try looks again."
            )
        return None

    def _supersede(self, found: Job) -> None:
        """Settle what becomes of an earlier ask's job that runs."""
        if self.superseded == "fail":
            raise BedrockFatalError(
                f"Job {found.arn} runs for an earlier ask of this task, and what is asked for has changed. It runs on "
                "and is billed; this try made no job. Stop it, or set superseded='stop' or 'keep', and clear this task."
            )
        if self.superseded == "keep":
            log.warning("Job %s of an earlier ask runs on and is billed, since superseded='keep'", found.arn)
            return
        log.warning(
            "What is asked for has changed since job %s was made. %s",
            found.arn,
            stop_unless_others_wait(self.hook, found.arn, self.waiter),
        )

    def _by_list(self, *, own_only: bool = False) -> Job | None:
        """Look among the other jobs of the task for one that is what was asked for; settle those that no longer are."""
        identity, asker = self.identity, self.identity.asker
        if own_only and asker.try_number == 1:
            return None  # this task has not asked before
        wide = identity.reuse == "dag" or (identity.reuse == "run" and asker.map_index >= 0)
        if identity.exact or (not wide and asker.try_number == 1):
            return None  # nobody else's job counts, and this task has not asked before
        part = identity.family_part if identity.reuse == "dag" else f"{identity.family_part}-{identity.period_part}"
        with nothing_spent("Looking for earlier jobs of this task (allow bedrock:ListModelCustomizationJobs)"):
            listed = self.hook.list_customization_jobs(part)
        for summary in listed:
            if self._may_count(summary, own_only=own_only) and (taken := self._take_listed(summary)) is not None:
                return taken
        return None

    def _may_count(self, summary: Job, *, own_only: bool) -> bool:
        """Whether a job may be what is asked for, or one of this asker's: its names say so.

        One of this asker's that has ended may be of the same ask; with ``dag`` only List shows it, if what is asked
        for has come out differently: the name that Get was asked for holds that.
        """
        identity, names = self.identity, f"{summary.name}-{summary.model_name or self.identity.what_part}-"
        if f"-{identity.who_part}-" in names and (identity.reuse == "dag" or summary.outcome is Outcome.RUNNING):
            return True
        if own_only:
            return False
        alive = summary.outcome in (Outcome.RUNNING, Outcome.SUCCEEDED)
        return alive and identity.reuse != "never" and f"-{identity.what_part}-" in names

    def _take_listed(self, summary: Job) -> Job | None:
        with nothing_spent(f"Looking at job {summary.arn}"):
            found = self.hook.get_customization_job(summary.arn)
        if found is None:
            raise BedrockError(
                f"Bedrock lists job {summary.arn}, but does not show it yet. This try made no job and spent nothing; "
                "the next try looks again."
            )
        decision = decide(found, self.identity, listed=True)
        if decision in (Decision.CLASH, Decision.UNKNOWN, Decision.NEXT_GENERATION):
            return None
        return self._take(found, decision)

    def _create(self, name: str, generation: int) -> Job:
        self.before_paying()
        if role_arn := self.request.get("roleArn"):
            check_account(self.hook, role_arn)
        identity = self.identity
        request = {
            **self.request,
            "jobName": name,
            "customModelName": identity.model_name(generation),
            "clientRequestToken": identity.token(generation),
        }
        if self.tagged and fits(tag := self.waiter.tag(identity.asker)):
            request["jobTags"] = [tag, *request.get("jobTags", [])][:50]
        log.info("Creating model customization job %s", name)
        self.in_flight = name
        try:
            response = self._call(request)
        except (BotoCoreError, ClientError) as error:
            return self._after_error(name, error)
        if "jobArn" not in response:  # the service ignores a token that it has seen; what it answers then is not said
            return self._made_by_another_try(name, "Bedrock took the request without naming the job")
        log.info("Created model customization job %s; it is billed from now on", response["jobArn"])
        return Job(arn=response["jobArn"], name=name, status="InProgress", token=identity.token(generation))

    def _call(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Call Create; a role that is not known yet is waited for, since a new one takes seconds to be known."""
        for pause in _ROLE_PAUSES:
            try:
                return self.hook.conn.create_model_customization_job(**request)
            except ClientError as error:
                if remedy_for_error(error) is not Remedy.WAIT_FOR_ROLE:
                    raise
                log.warning("Bedrock cannot assume the role yet; asking again in %g s: %s", pause, error)
                time.sleep(pause)
                self.before_paying()
        return self.hook.conn.create_model_customization_job(**request)

    def _after_error(self, name: str, error: BotoCoreError | ClientError) -> Job:
        match remedy_for_error(error):
            case Remedy.LOOK:
                return self._made_by_another_try(name, str(error))
            case Remedy.WAIT_FOR_SLOT:
                raise NoSlotError(
                    f"The account has no room for job {name} now; none was created. Bedrock said: {error}"
                )
            case Remedy.WAIT_FOR_ROLE:
                raise BedrockError(
                    f"Bedrock could not assume the role of job {name}; nothing was created or spent. Where the role "
                    "was made seconds ago, the next try of this task finds it known; otherwise let "
                    f"bedrock.amazonaws.com assume it. Bedrock said: {error}"
                ) from error
            case Remedy.RETRY:
                raise BedrockError(
                    f"Bedrock did not answer the request for job {name}: {error}. Should it have accepted it all the "
                    "same, the next try of this task finds that job by its name and pays for no other."
                ) from error
            case Remedy.MODEL_NAME_IN_USE:
                # A derived name is in use only where a job of this very ask is not shown yet.
                kind = BedrockFatalError if self.identity.exact else BedrockError
                raise kind(
                    f"The custom model name for job {name} is in use, by another model or by a job that is to make it; "
                    f"nothing was created or spent. Choose another custom_model_name, or delete that model: {error}"
                ) from error
            case Remedy.CREDENTIALS:
                raise BedrockError(
                    f"Bedrock did not take the credentials for job {name}; nothing was created or spent. A retry takes "
                    f"those that the connection has by then: {error}"
                ) from error
            case Remedy.NONE:
                raise BedrockFatalError(
                    f"Bedrock refused the request for job {name}; nothing was created or spent: {error}"
                ) from error

    def _made_by_another_try(self, name: str, said: str) -> Job:
        """Return the job that has the name, if it is ours; the service may take a while to show a new job."""
        found = _shown(self.hook, name)
        if found is None:
            raise BedrockError(
                f"Bedrock says that job {name} exists, but does not show it yet: {said}. The next try of this task "
                "looks for it again and pays for no other."
            )
        decision = decide(found, self.identity)
        if decision in (Decision.ADOPT, Decision.REUSE):
            log.info("Job %s was created by another try at the same moment: adopting it", found.arn)
            return self._adopt(found) if decision is Decision.ADOPT else found
        raise BedrockError(f"{_cannot_go_on(found, Decision.CLASH)} Bedrock said: {said}")


def job_made_under(hook: BedrockHook, name: str) -> str | None:
    """Return the ARN of the job with the name; the service may take a while to show a new one. Never raises for AWS."""
    for attempt in range(_LOOKS):
        if attempt:
            time.sleep(_PAUSE)
        if found := _shown(hook, name):
            return found.arn
    return None


def _shown(hook: BedrockHook, name: str) -> Job | None:
    """Return the job; None also where Bedrock does not tell."""
    try:
        return hook.get_customization_job(name)
    except (BotoCoreError, ClientError):
        return None


def running_job_of(hook: BedrockHook, identity: Identity) -> str | None:
    """Return the ARN of a job that this asker has made before, and that runs. What is asked for does not matter.

    :raises BotoCoreError: the service did not tell.
    :raises ClientError: the same.
    """
    own = list(_by_name(hook, identity))
    if not identity.exact:
        listed = hook.list_customization_jobs(identity.family_part)
        own += [job for job in listed if f"-{identity.who_part}-" in f"{job.name}-{job.model_name}-"]
    return next((job.arn for job in own if job.outcome is Outcome.RUNNING), None)


def _by_name(hook: BedrockHook, identity: Identity) -> Iterator[Job]:
    """Get the asker's jobs by their names, where those do not hold what was asked for: List may show them later."""
    for generation in itertools.count(1) if identity.reuse != "dag" or identity.exact else ():
        found = hook.get_customization_job(identity.job_name(generation))
        if found is None or not identity.is_of_who(Token.read(found.token)):
            return
        yield found
        if identity.exact:
            return


@contextmanager
def nothing_spent(what: str) -> Iterator[None]:
    """Say of an error of AWS, where nothing was asked for yet, that nothing was made.

    :param what: what was tried, as the beginning of a sentence.
    """
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        kind = BedrockFatalError if is_denied(error) and not is_about_credentials(error) else BedrockError
        raise kind(f"{what} failed. This try made no job and spent nothing. AWS said: {error}") from error


def _known(found: Job) -> tuple[str, str]:
    return found.arn, found.status


def _cannot_go_on(found: Job, decision: Decision) -> str:
    if decision is Decision.UNKNOWN:
        return (
            f"Job {found.arn} has a status that is not known: {found.status}. It was neither reused nor replaced, "
            "since it may run and be billed: look at it in the AWS console, and upgrade airflow-bedrock."
        )
    whose = "another request made it" if decision is Decision.CLASH else "it is no answer to what is asked for now"
    bill = (
        "It runs on and is billed; this try spent nothing."
        if found.outcome is Outcome.RUNNING
        else "Nothing was spent."
    )
    return (
        f"The job name {found.name} is used up: job {found.arn} is {found.status}, and {whose}. {bill} "
        "A job's name cannot be used again: choose another one, or let ensure_unique_job_name=True add to it."
    )

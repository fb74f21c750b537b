"""Find the job that was asked for, or create it: the only place that spends money.

A crash at any line leaves nothing to clean up. Before the call nothing exists; after it the job bears the derived name
and token, by which the next try finds it. No record is kept in between, so none can be lost.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from airflow_bedrock.aws_errors import is_denied
from airflow_bedrock.customization.decision import Decision, decide
from airflow_bedrock.customization.failure import failure_message
from airflow_bedrock.customization.identity import Identity
from airflow_bedrock.customization.job import Job
from airflow_bedrock.customization.remedy import Remedy, remedy_for_error
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.hooks.bedrock import BedrockHook

log = logging.getLogger(__name__)


class NoSlotError(BedrockError):
    """The account has as many jobs as it may have; nothing was created."""


def find_or_create(hook: BedrockHook, request: Mapping[str, Any], identity: Identity) -> Job:
    """Return the job that was asked for.

    :raises NoSlotError: the quota of jobs is used up.
    :raises BedrockFatalError: the name is somebody else's, or the service refuses the request.
    :raises BedrockError: the service did not take the request now.
    """
    generation = 1
    while True:
        name, token = identity.job_name(generation), identity.token(generation)
        with nothing_spent(f"Looking for job {name}"):
            found = hook.get_customization_job(name)
        decision = decide(found, identity)
        if found is None:
            named = {"jobName": name, "customModelName": identity.model_name(generation), "clientRequestToken": token}
            return _create(hook, {**request, **named}, identity)
        if decision is Decision.ADOPT:
            log.info("Job %s was asked for before and is %s: adopting it", found.arn, found.status)
            return found
        if decision is Decision.REUSE and _has_model(hook, found):
            log.info(
                "Job %s has already done what is asked for, with the same request and the same data: reusing its "
                "model %s, which costs nothing. To train again, %s.",
                found.arn,
                found.model_arn,
                "set another job_name" if identity.exact else "set reuse='never' and clear this task",
            )
            return found
        if decision is Decision.FAIL:
            raise BedrockFatalError(failure_message(found))
        if decision in (Decision.CLASH, Decision.UNKNOWN) or identity.exact:
            raise BedrockFatalError(_cannot_go_on(found, decision))
        log.info("Job %s is %s and has left no model: going on to its next generation", found.arn, found.status)
        generation += 1


@contextmanager
def nothing_spent(what: str) -> Iterator[None]:
    """Say of an error of AWS, where nothing was asked for yet, that nothing was made.

    :param what: what was tried, as the beginning of a sentence.
    """
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        kind = BedrockFatalError if is_denied(error) else BedrockError
        raise kind(f"{what} failed. This try made no job and spent nothing. AWS said: {error}") from error


def _has_model(hook: BedrockHook, job: Job) -> bool:
    with nothing_spent(f"Looking for the model of job {job.arn}"):
        return hook.has_custom_model(str(job.model_arn))


def _create(hook: BedrockHook, request: Mapping[str, Any], identity: Identity) -> Job:
    name = request["jobName"]
    log.info("Creating model customization job %s", name)
    try:
        response: Mapping[str, Any] = hook.conn.create_model_customization_job(**request)
    except (BotoCoreError, ClientError) as error:
        return _after_error(hook, name, identity, error)
    if "jobArn" not in response:  # the service ignores a token that it has seen, and does not say what it answers then
        return _made_by_another_try(hook, name, identity, "Bedrock took the request without naming the job")
    log.info("Created model customization job %s; it is billed from now on", response["jobArn"])
    return Job(arn=response["jobArn"], name=name, status="InProgress")


def _after_error(hook: BedrockHook, name: str, identity: Identity, error: BotoCoreError | ClientError) -> Job:
    match remedy_for_error(error):
        case Remedy.LOOK:
            return _made_by_another_try(hook, name, identity, str(error))
        case Remedy.WAIT_FOR_SLOT:
            raise NoSlotError(f"The account has no room for job {name} now; none was created. Bedrock said: {error}")
        case Remedy.WAIT_FOR_ROLE:
            raise BedrockError(
                f"Bedrock could not assume the role of job {name}; nothing was created or spent. Where the role was "
                "made seconds ago, the next try of this task finds it known; otherwise let bedrock.amazonaws.com "
                f"assume it. Bedrock said: {error}"
            ) from error
        case Remedy.RETRY:
            raise BedrockError(
                f"Bedrock did not answer the request for job {name}: {error}. Should it have accepted it all the same, "
                "the next try of this task finds that job by its name and pays for no other."
            ) from error
        case Remedy.MODEL_NAME_IN_USE:
            raise BedrockFatalError(
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


def _made_by_another_try(hook: BedrockHook, name: str, identity: Identity, said: str) -> Job:
    """Return the job that has the name, if it is ours; the service may take a while to show a new job."""
    found = hook.get_customization_job(name)
    if found is None:
        raise BedrockError(
            f"Bedrock says that job {name} exists, but does not show it yet: {said}. The next try of this task looks "
            "for it again and pays for no other."
        )
    if decide(found, identity) in (Decision.ADOPT, Decision.REUSE):
        log.info("Job %s was created by another try at the same moment: adopting it", found.arn)
        return found
    raise BedrockError(f"{_cannot_go_on(found, Decision.CLASH)} Bedrock said: {said}")


def _cannot_go_on(found: Job, decision: Decision) -> str:
    if decision is Decision.UNKNOWN:
        return (
            f"Job {found.arn} has a status that is not known: {found.status}. It was neither reused nor replaced, "
            "since it may run and be billed: look at it in the AWS console, and upgrade airflow-bedrock."
        )
    whose = "another request made it" if decision is Decision.CLASH else "it has left no model"
    return (
        f"The job name {found.name} is used up: job {found.arn} is {found.status}, and {whose}. Nothing was spent. "
        "A job's name cannot be used again: choose another one, or let ensure_unique_job_name=True add to it."
    )

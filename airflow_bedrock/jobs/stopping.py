"""Stop a job that no task waits for, and delete a resource that serves."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from typing import ParamSpec

from botocore.exceptions import ClientError

from airflow_bedrock.aws_errors import CALL_ERRORS, error_code, is_denied, is_not_found
from airflow_bedrock.customization.job import Outcome
from airflow_bedrock.customization.waiters import Waiter, waiters
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError, kind_of
from airflow_bedrock.jobs import task_state
from airflow_bedrock.jobs.no_response import SECONDS_UNTIL_MISSING
from airflow_bedrock.jobs.service import Service
from airflow_bedrock.jobs.task_state import TERMINAL_STATES

P = ParamSpec("P")
log = logging.getLogger(__name__)

TRY_AGAIN_SECONDS = 5.0  # between two attempts to stop what cannot be stopped yet
_TRANSIENT_SECONDS = 60.0  # how long a transient error is retried


class NotStoppedError(Exception):
    """The service refuses to stop or delete a resource, at least for now.

    :param seconds: how long retries may help, counted from the first one; 0 if they cannot.
    :param final: what to report if all retries fail: a sentence.
    :param transient: whether the error is transient: a caller that blocks nothing may retry for longer.
    """

    def __init__(self, message: str, seconds: float, final: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.seconds = seconds
        self.final = final
        self.transient = transient


def patiently(stop: Callable[P, str], *args: P.args, **kwargs: P.kwargs) -> str:
    """Call :func:`stop_job` or :func:`stop_unless_others_wait`, and repeat it for as long as that may help.

    Return the sentence on the job and its bill, even if it was not stopped.
    """
    try:
        return repeated(stop, *args, **kwargs)
    except NotStoppedError as error:
        return error.final


def repeated(stop: Callable[P, str], *args: P.args, **kwargs: P.kwargs) -> str:
    """Do the same as :func:`patiently`, but raise in the end.

    :raises NotStoppedError: it was not stopped, and no repetition helps now.
    """
    began = time.monotonic()
    while True:
        try:
            return stop(*args, **kwargs)
        except NotStoppedError as error:
            if time.monotonic() - began >= error.seconds:
                raise
            log.info("%s Trying again.", error)
            time.sleep(TRY_AGAIN_SECONDS)


def stop_job(service: Service, job_arn: str) -> str:
    """Stop the job, and return a sentence on the job and its bill; never raises for an AWS error.

    :raises NotStoppedError: it was not stopped; its ``seconds`` say whether a retry may help.
    """
    resource, job = service.resource, f"{service.resource.noun.capitalize()} {job_arn}"
    if resource.stop_operation is None:
        return f"{job} still runs and {resource.billed}: Bedrock has no operation that stops a {resource.kind}."
    stopping = f"{job} {resource.stopping}; {resource.stopped}."
    try:
        service.stop(job_arn)
    except CALL_ERRORS as error:
        message = f"{job} COULD NOT BE STOPPED and may run and be billed on; stop it in the AWS console: {error}"
        _raise_if_transient(service, job_arn, error, message)
        try:
            found = service.get(job_arn)
        except CALL_ERRORS as unread:
            _raise_if_transient(service, job_arn, unread, message)
            raise NotStoppedError(message, 0, message) from error
        if found is None:
            raise _not_shown(service, job_arn) from error
        if found.status == "Stopping":
            return stopping
        if found.outcome is not Outcome.RUNNING and not resource.lasts:
            return f"{job} had already ended: {found.status}."
        if resource.stop_seconds and _cannot_yet(error):  # it may be in service since
            raise NotStoppedError(
                f"{job} {resource.billed}, and cannot be stopped yet: {error}.", resource.stop_seconds, message
            ) from error
        raise NotStoppedError(message, 0, message) from error
    return stopping


def _raise_if_transient(service: Service, job_arn: str, error: Exception, message: str) -> None:
    """Raise NotStoppedError for a transient error, or if the service may not show the job yet.

    :param message: what to report if retries do not help.
    """
    if is_not_found(error):
        raise _not_shown(service, job_arn) from error
    if service.can_retry(error):
        raise NotStoppedError(message, _TRANSIENT_SECONDS, message, transient=True) from error


def _not_shown(service: Service, job: str) -> NotStoppedError:
    noun = service.resource.noun
    if service.resource.is_for_good(job):
        message = (
            f"{noun.capitalize()} {job} was NOT stopped, and may run and be billed on: connection "
            f"{service.hook.aws_conn_id} does not show it, and may now lead to another account. Stop it in the AWS "
            "console if it is not needed."
        )
    else:
        message = f"{noun.capitalize()} {job} does not exist; there was nothing to stop."
    return NotStoppedError(f"Bedrock does not show {noun} {job}.", SECONDS_UNTIL_MISSING, message)


def _cannot_yet(error: Exception) -> bool:
    """Whether the service refuses to stop or delete a resource because it is being created or changed."""
    # Observed as a ValidationException with "mutating state".
    return error_code(error) == "ConflictException" or "mutating" in str(error)


def stop_unless_others_wait(
    service: Service,
    job_arn: str,
    waiter: Waiter,
    *,
    own_run_only: bool = False,
    leaving: Sequence[Mapping[str, str]] = (),
) -> str:
    """Stop the job if no task other than ``waiter`` may wait for it, and return a sentence on the job and its bill.

    The job's tags name the tasks that may wait. If a task's state or the tags cannot be read, the job is kept. Never
    raises for an error of AWS or of Airflow.

    A sensor is not itself a waiter: it represents the one task of its DAG run that requested the job and does not wait
    for it. If several tasks did, the sensor could represent any of them.

    :param own_run_only: stop it only if this DAG run requested it.
    :param leaving: the tags by which ``waiter``, which continues without the job, leaves it to other waiters. They are
        written before the others' tags are read again: if two leave at once, the last one stops the job.
    :raises NotStoppedError: it was not stopped; its ``seconds`` say whether a retry may help.
    """
    resource, noun = service.resource, service.resource.noun.capitalize()
    if resource.stop_operation is None:
        return stop_job(service, job_arn)
    try:
        job_arn = _arn(service, job_arn)
        tags = service.tags_of(job_arn)
    except CALL_ERRORS as error:
        remedy = (
            "Allow bedrock:ListTagsForResource for the role of the connection"
            if is_denied(error)
            else "Stop it in the AWS console if it is not needed"
        )
        message = (
            f"{noun} {job_arn} was NOT stopped, and may run and be billed on: its tags, which say who else waits for "
            f"it, could not be read. {remedy}. AWS said: {error}"
        )
        _raise_if_transient(service, job_arn, error, message)
        return message

    def kept(why: str) -> str:
        return f"{noun} {job_arn} still runs and {resource.billed}: {why}."

    known = waiters(tags)
    of_run = [other for other in known if other and (other.dag_id, other.run_id) == (waiter.dag_id, waiter.run_id)]
    if own_run_only and not of_run:
        return kept("this DAG run did not request it" if known else "no tag says that this DAG run requested it")
    mine = [other for other in of_run if other.is_same_task(waiter)] or [w for w in of_run if w.until == "run"]
    if len(mine) > 1:
        mine = []
    for other in known:
        if other not in mine and (why := why_kept(other, lasts=resource.lasts)):
            return _leave(service, job_arn, waiter, leaving, kept(why)) if leaving else kept(why)
    if mine and (why := _why_kept_for_another_sensor(waiter, mine[0])):
        return kept(why)
    return stop_job(service, job_arn)


def _why_kept_for_another_sensor(sensor: Waiter, maker: Waiter) -> str | None:
    """Return why a job is kept although its sensor has ended: a person may have renamed the sensor in the DAG file.

    Airflow then removes the sensor from the run and adds the renamed one. If it has removed the task that made the job
    as well, that task's successor makes another job.
    """
    if maker.is_same_task(sensor):
        return None
    try:
        if task_state.state_of(sensor) != "removed" or task_state.state_of(maker) == "removed":
            return None
    except LookupError:  # the run was deleted
        return None
    except Exception as error:
        log.warning("Could not read the states of %s and %s", sensor.name, maker.name, exc_info=True)
        return f"{sensor.name} may have been renamed in its DAG; its state could not be read: {error!r}"
    return f"{sensor.name} is no longer in its DAG, but {maker.name} is, and another sensor may wait for it"


def _leave(service: Service, job_arn: str, waiter: Waiter, leaving: Sequence[Mapping[str, str]], kept: str) -> str:
    try:
        service.tag(job_arn, leaving)
    except CALL_ERRORS as error:
        remedy = " Allow bedrock:TagResource for the role of the connection." if is_denied(error) else ""
        message = (
            f"{kept} They cannot stop it while this task runs, since the tag that names this task as waiting for it "
            f"could not be changed.{remedy} AWS said: {error}"
        )
        _raise_if_transient(service, job_arn, error, message)
        return message
    return stop_unless_others_wait(service, job_arn, waiter)


def _arn(service: Service, job_identifier: str) -> str:
    """Return the job's ARN, which is needed to read its tags."""
    if job_identifier.startswith("arn:"):
        return job_identifier
    if (job := service.find(job_identifier)) is None:
        raise _not_shown(service, job_identifier)
    return job.arn


def why_kept(
    waiter: Waiter | None,
    ask: Callable[[Waiter], str | None] = task_state.state_of_waiter,
    *,
    lasts: bool = False,
) -> str | None:
    """Return why a job is kept for this waiter; None if it no longer waits.

    :param ask: returns the state of the waiter's task instance or DAG run.
    :param lasts: whether a task that has succeeded still needs it.
    """
    if waiter is None:
        return "a task whose tag this version cannot read may wait for it"
    try:
        state = ask(waiter)
    except Exception as error:
        log.warning("Could not read the state of %s", waiter.name, exc_info=True)
        return f"{waiter.name} may wait for it; its state could not be read: {error!r}"
    if lasts and state == "success":
        return f"{waiter.name} requested it, and has succeeded"
    if state in TERMINAL_STATES:
        return None
    return f"{waiter.name} may wait for it; its state is {state}"


def delete(service: Service, identifier: str, *, delay: float, max_polls: int) -> None:
    """Delete the resource with this ARN or name, and wait until it is gone; do nothing if it does not exist.

    :param delay: seconds between two tries or polls.
    :param max_polls: maximum number of tries until it can be deleted, and of polls until it is gone.
    :raises BedrockFatalError: the service rejected it.
    :raises BedrockError: it was not deleted in time, or a transient error occurred.
    """
    resource, name = service.resource, f"{service.resource.noun.capitalize()} {identifier}"
    accepted = False
    try:
        if (found := service.get(identifier)) is None:
            log.info("%s does not exist: nothing to delete", name)
            return
        for _ in range(max_polls):
            # By its ARN: another resource may get the name once this one is gone.
            accepted = accepted or _deletion_begins(service, found.arn)
            if accepted and service.get(found.arn) is None:
                log.info("%s is gone", name)
                return
            time.sleep(delay)
    except CALL_ERRORS as error:
        kind = kind_of(error)
        what = "is being deleted, but could not be checked" if accepted else "was not deleted"
        remedy = "delete it in the AWS console" if kind is BedrockFatalError else "a retry continues the deletion"
        raise kind(f"{name} {what}. It {resource.billed}; {remedy}: {error}") from error
    raise BedrockError(
        f"{name} still exists after {max_polls} polls, {delay} s apart. It {resource.billed}; a retry continues "
        "the deletion."
    )


def _deletion_begins(service: Service, identifier: str) -> bool:
    """Request the deletion; return False if it cannot begin yet."""
    try:
        service.delete(identifier)
    except ClientError as error:
        if not _cannot_yet(error):
            raise
        log.info("%s %s is being created or updated: waiting to delete it", service.resource.noun, identifier)
        return False
    return True

"""Stopping a job that no task will take up again, from a worker and from the triggerer; and deleting what serves.

Airflow 3.3 calls a trigger's on_kill also where the task goes on elsewhere: for every trigger of a triggerer that had
stalled, and, when a task is cleared, perhaps after its next try has adopted the job. A worker's on_kill is called when
its pod is evicted. So the task instance's state decides.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from asgiref.sync import sync_to_async
from botocore.exceptions import BotoCoreError, ClientError

from airflow_bedrock.aws_errors import error_code, is_about_credentials, is_not_found, is_transient
from airflow_bedrock.compat import conf
from airflow_bedrock.customization.job import Outcome
from airflow_bedrock.customization.waiters import Waiter, waiters
from airflow_bedrock.exceptions import BedrockError, kind_of
from airflow_bedrock.jobs import task_state
from airflow_bedrock.jobs.patience import SECONDS_UNTIL_MISSING
from airflow_bedrock.jobs.service import Service
from airflow_bedrock.jobs.task_state import ENDED_RUN_STATES, TERMINAL_STATES

T = TypeVar("T")
log = logging.getLogger(__name__)

_ASK_AGAIN_SECONDS = 1.0
_TRY_AGAIN_SECONDS = 5.0  # to stop what cannot be stopped yet
_PASSING_SECONDS = 60.0  # for an error that passes by itself
_HANDLER_SECONDS = 1.0  # of the 5 after which Airflow kills a process that it has asked to end


class NotYetError(Exception):
    """The service does not stop or delete something now; a little later it may.

    :param seconds: for so long it is worth another try.
    :param at_last: what became of it where none has helped: a sentence.
    """

    def __init__(self, said: str, seconds: float, at_last: str) -> None:
        super().__init__(said)
        self.seconds = seconds
        self.at_last = at_last


def stop_job(service: Service, job_arn: str, *, patient: bool = True) -> str:
    """Stop the job, and return a sentence on what became of it and of its bill; never raises for an AWS error.

    :param patient: try again for as long as that may help.
    :raises NotYetError: it may help, to who is not patient.
    """
    return _tried(partial(_stop, service, job_arn), patient)


def _tried(attempt: Callable[[], str], patient: bool) -> str:
    began = time.monotonic()
    while True:
        try:
            return attempt()
        except NotYetError as error:
            if not patient:
                raise
            if time.monotonic() - began >= error.seconds:
                return error.at_last
            log.info("%s Trying again.", error)
            time.sleep(_TRY_AGAIN_SECONDS)


def asked_again(ask: Callable[[], T]) -> T:
    """Ask what a task has made; again, for as long as a new thing may be hidden, where that is not told.

    A task often runs out of time just while the service is slow, or does not answer.
    """
    began = time.monotonic()
    while True:
        try:
            return ask()
        except (BotoCoreError, ClientError, BedrockError) as error:
            passes = isinstance(error, BedrockError) or is_transient(error) or is_about_credentials(error)
            if not passes or time.monotonic() - began >= SECONDS_UNTIL_MISSING:
                raise
            log.info("%s Asking again.", error)
            time.sleep(_TRY_AGAIN_SECONDS)


def _stop(service: Service, job_arn: str, *, again: bool = False) -> str:
    resource, job = service.resource, f"{service.resource.word.capitalize()} {job_arn}"
    if resource.stop_operation is None:
        return f"{job} runs on and {resource.billed}: Bedrock has no operation that stops a {resource.noun}."
    stopping = f"{job} {resource.stopping}; {resource.stopped}."
    try:
        service.stop(job_arn)
    except (BotoCoreError, ClientError) as error:
        left = f"{job} COULD NOT BE STOPPED and may run and be billed on; stop it in the AWS console: {error}"
        _check_passing(service, job_arn, error, left)
        try:
            found = service.get(job_arn)
        except (BotoCoreError, ClientError) as unread:
            _check_passing(service, job_arn, unread, left)
            return left
        if found is None:
            raise _not_shown(service, job_arn) from error
        if found.status == "Stopping":
            return stopping
        if found.outcome is not Outcome.RUNNING and not resource.lasts:
            return f"{job} had ended already: {found.status}."
        if not resource.stop_seconds or again or not _cannot_yet(error):
            return left
        if found.outcome is not Outcome.RUNNING:  # it was made since it was refused
            return _stop(service, job_arn, again=True)
        raise NotYetError(
            f"{job} {resource.billed}, and cannot be stopped yet: {error}.", resource.stop_seconds, left
        ) from error
    return stopping


def _check_passing(service: Service, job_arn: str, error: BotoCoreError | ClientError, left: str) -> None:
    """Raise NotYetError of an error that passes by itself, or of a job that the service may not show yet.

    :param left: what to say where it does not pass.
    """
    if is_not_found(error):
        raise _not_shown(service, job_arn) from error
    if is_about_credentials(error):
        service.hook.forget_client()  # the connection may have better ones by now
    elif not is_transient(error):
        return
    raise NotYetError(left, _PASSING_SECONDS, left) from error


def _not_shown(service: Service, job: str) -> NotYetError:
    word = service.resource.word
    gone = f"{word.capitalize()} {job} does not exist; there was nothing to stop."
    return NotYetError(f"Bedrock does not show {word} {job}.", SECONDS_UNTIL_MISSING, gone)


def _cannot_yet(error: Exception) -> bool:
    """Whether the service will not stop or delete something now because it is being made or changed."""
    # Seen as a ValidationException that says "mutating state".
    conflict = isinstance(error, ClientError) and error_code(error) == "ConflictException"
    return conflict or "mutating" in str(error)


def stop_unless_others_wait(
    service: Service,
    job_arn: str,
    me: Waiter,
    *,
    own_run_only: bool = False,
    leaving: Sequence[Mapping[str, str]] = (),
    patient: bool = True,
) -> str:
    """Stop the job if no other than ``me`` may wait for it, and return a sentence on what became of it and of its bill.

    The job's tags say who may. A waiter whose state cannot be read, or tags that cannot be read, keep the job. Never
    raises for an error of AWS or of Airflow.

    A sensor is no waiter of its own: it stands for the one task of its DAG run that asked for the job and left it to
    others to wait. Where several did, it cannot be told for which of them it stands.

    :param own_run_only: stop it only if this DAG run asked for it.
    :param leaving: the tags by which ``me``, who goes on without the job, leaves it to the others that wait. They
        are written before the others are looked at again: of two that leave at once, the last one stops it.
    :param patient: as for :func:`stop_job`.
    :raises NotYetError: as that does.
    """
    return _tried(partial(_stop_unless_others_wait, service, job_arn, me, own_run_only, leaving), patient)


def _stop_unless_others_wait(
    service: Service, job_arn: str, me: Waiter, own_run_only: bool, leaving: Sequence[Mapping[str, str]]
) -> str:
    resource, word = service.resource, service.resource.word.capitalize()
    if resource.stop_operation is None:
        return _stop(service, job_arn)
    try:
        job_arn = _arn(service, job_arn)
        tags = service.tags_of(job_arn)
    except (BotoCoreError, ClientError) as error:
        left = (
            f"{word} {job_arn} was NOT stopped, and may run and be billed on: its tags, which say who else waits for "
            "it, could not be read. Allow bedrock:ListTagsForResource to the role of the connection. AWS said: "
            f"{error}"
        )
        _check_passing(service, job_arn, error, left)
        return left
    known = waiters(tags)
    of_run = [waiter for waiter in known if waiter and (waiter.dag_id, waiter.run_id) == (me.dag_id, me.run_id)]
    if own_run_only and not of_run:
        not_ours = "this DAG run has not asked for it" if known else "no tag says that this DAG run has asked for it"
        return f"{word} {job_arn} runs on and {resource.billed}: {not_ours}."
    mine = [waiter for waiter in of_run if _is_same(waiter, me)] or [w for w in of_run if w.until == "run"]
    if len(mine) > 1:
        mine = []
    for waiter in known:
        if waiter not in mine and (why := why_kept(waiter, lasts=resource.lasts)):
            kept = f"{word} {job_arn} runs on and {resource.billed}: {why}."
            return _leave(service, job_arn, me, leaving, kept) if leaving else kept
    return _stop(service, job_arn)


def _leave(service: Service, job_arn: str, me: Waiter, leaving: Sequence[Mapping[str, str]], kept: str) -> str:
    try:
        service.tag(job_arn, leaving)
    except (BotoCoreError, ClientError) as error:
        return (
            f"{kept} While this task goes on, they cannot stop it, since it could not be tagged as waited for by this "
            f"task no longer. Allow bedrock:TagResource to the role of the connection. AWS said: {error}"
        )
    return _stop_unless_others_wait(service, job_arn, me, False, ())


def running_jobs_of(service: Service, me: Waiter) -> list[str]:
    """Return the ARNs of the running jobs whose tags name ``me``: for a task that does not know what it has made.

    :raises BotoCoreError: the service did not tell which there are.
    :raises ClientError: the same.
    """
    running = [job.arn for job in service.list_running()]
    return [arn for arn in running if any(one and _is_same(one, me) for one in waiters(service.tags_of(arn)))]


def _arn(service: Service, job_identifier: str) -> str:
    """Return the job's ARN, by which alone its tags are found."""
    if job_identifier.startswith("arn:"):
        return job_identifier
    if (job := service.find(job_identifier)) is None:
        raise _not_shown(service, job_identifier)
    return job.arn


def _is_same(one: Waiter, other: Waiter) -> bool:
    return replace(one, until="task") == replace(other, until="task")


def why_kept(
    waiter: Waiter | None,
    ask: Callable[[Waiter], str | None] = task_state.state_of_waiter,
    *,
    lasts: bool = False,
) -> str | None:
    """Say why a job is kept for this waiter; None where it waits no longer.

    :param ask: for the state of the waiter's task instance or DAG run.
    :param lasts: whether who has succeeded wants it on.
    """
    if waiter is None:
        return "someone whose tag this version cannot read may wait for it"
    try:
        state = ask(waiter)
    except Exception as error:
        log.warning("Could not read the state of %s", waiter.name, exc_info=True)
        return f"{waiter.name} may wait for it; its state could not be read: {error!r}"
    if lasts and state == "success":
        return f"{waiter.name} has asked for it, and has succeeded"
    if state in (ENDED_RUN_STATES if waiter.until == "run" else TERMINAL_STATES):
        return None
    return f"{waiter.name} may wait for it, whose state is {state}"


def delete(service: Service, identifier: str, *, delay: float, max_polls: int) -> None:
    """Delete what has this ARN or name, and wait until it is gone; what is not there is deleted already.

    :param delay: seconds between two tries or polls.
    :param max_polls: maximum number of them, both while it cannot be deleted yet and until it is gone.
    :raises BedrockFatalError: the service refused it for good.
    :raises BedrockError: it is not gone in time, or a fault that may pass came between.
    """
    resource, one = service.resource, f"{service.resource.word.capitalize()} {identifier}"
    try:
        if (found := service.get(identifier)) is None:
            log.info("%s does not exist: nothing to delete", one)
            return
        accepted = False
        for _ in range(max_polls):
            # By its ARN: another one may have the name, once this one is gone.
            accepted = accepted or _deletion_begins(service, found.arn)
            if accepted and service.get(found.arn) is None:
                log.info("%s is gone", one)
                return
            time.sleep(delay)
    except (BotoCoreError, ClientError) as error:
        raise kind_of(error)(f"{one} was not deleted: {error}") from error
    raise BedrockError(
        f"{one} still exists after {max_polls} polls, {delay} s apart. It {resource.billed}; another try goes on "
        "deleting it."
    )


def _deletion_begins(service: Service, identifier: str) -> bool:
    """Ask for the deletion; return False where it cannot begin yet."""
    try:
        service.delete(identifier)
    except ClientError as error:
        if is_not_found(error):
            return True
        if not _cannot_yet(error):
            raise
        log.info("%s %s is being created or updated: waiting to delete it", service.resource.word, identifier)
        return False
    return True


class KillSwitch:
    """What a worker does when Airflow ends its task: nothing, unless the task has ended for good.

    Airflow calls ``on_kill`` from a signal handler, at any line; also between the service's acceptance of a job and
    our knowing of it. A kill that comes so early is remembered, and takes effect when the job is known. The handler may
    have interrupted a call to the supervisor, which a question for the task's state would have to wait for, and Airflow
    kills the process 5 s later: so a thread asks and stops, and the handler returns within a second.
    """

    def __init__(self) -> None:
        self._ti: Any = None
        self._target: tuple[str, Callable[[], str]] | None = None
        self._pulled = False
        self._thread: threading.Thread | None = None

    def arm(self, ti: Any) -> None:
        """Say which task instance this is."""
        self._ti = ti

    def aim(self, job: str, stop: Callable[[], str]) -> None:
        """Say which job the task has; stop it at once if the task was killed already.

        :param stop: stops it, unless others wait, and returns a sentence on what became of it.
        """
        self._target = (job, stop)
        if self._pulled:
            self._begin()
            self.wait()

    def before_paying(self) -> None:
        """Pay for nothing once the task was killed.

        :raises BedrockError: it was.
        """
        if self._pulled:
            raise BedrockError("The task was ended before it had asked for a job: no job was made, nothing was spent.")

    def last_check(self) -> None:
        """Ask for the task's state once more before the worker lets go of its job.

        Airflow tells a worker only with the next heartbeat, seconds later, that its task was ended: until then it may
        have handed the task over, and no process would be left to stop the job.
        """
        try:
            ended = self._target is not None and task_state.state_of(self._ti) in TERMINAL_STATES
        except Exception as error:
            log.info("Could not read the state of this task before handing it over: %s", error)
        else:
            if ended:
                self.pull()

    def pull(self) -> None:
        """Stop the job if no other try of the task will pick it up."""
        self._pulled = True
        self._begin()
        self.wait(_HANDLER_SECONDS)

    def wait(self, seconds: float | None = None) -> None:
        """Give a stop that has begun time to end: with the task's process the thread ends too."""
        if (thread := self._thread) is not None:
            thread.join(_SECONDS if seconds is None else seconds)

    def _begin(self) -> None:
        if self._target is not None:
            work = partial(self._ask_on, *self._target)
            thread = threading.Thread(target=work, name="bedrock-kill", daemon=True)
            thread.start()
            self._thread = thread  # not before: a signal may come in between, whose handler waits for it

    def _ask_on(self, job: str, stop: Callable[[], str]) -> None:
        deadline = time.monotonic() + _SECONDS
        while not self._settle(job, stop) and time.monotonic() < deadline:
            time.sleep(_ASK_AGAIN_SECONDS)

    def _settle(self, job: str, stop: Callable[[], str]) -> bool:
        """Stop or leave the job; return False where that is to be tried again."""
        try:
            if task_state.state_of(self._ti) in TERMINAL_STATES:
                log.info("This task was ended for good. %s", stop())
            else:
                log.info("Job %s was left running: this task goes on, and another try of it takes the job up", job)
        except Exception:
            log.warning(
                "Could not read the state of this task, or stop its job; job %s runs on meanwhile", job, exc_info=True
            )
            return False
        return True


# Airflow gives on_kill this long; what is begun before that is finished all the same.
_SECONDS = conf.getint("triggerer", "on_kill_timeout", fallback=30) - 1

_running: set[asyncio.Task[Any]] = set()  # the event loop itself does not keep a task alive


async def stop_unless_wanted(
    make_service: Callable[[], Service], job_identifier: str, ti: Any, *, own_run_only: bool = False
) -> None:
    """Stop the job if its task instance has come to an end for good, and log what was done, and why.

    Never raises; a job whose task's state cannot be read is left alone.

    :param ti: the task instance: its dag_id, run_id, task_id and map_index are used.
    :param own_run_only: stop it only if the task's DAG run asked for it.
    """
    await to_its_end(_stop_in_time(make_service, job_identifier, ti, own_run_only))


async def _stop_in_time(make_service: Callable[[], Service], job_identifier: str, ti: Any, own_run_only: bool) -> None:
    """Go on for as long as it takes until what is being made can be deleted; the triggerer's end ends this too."""
    work = sync_to_async(_stop_unless_wanted, thread_sensitive=False)
    began = time.monotonic()
    while True:
        if await work(make_service, job_identifier, ti, own_run_only, began):
            return
        await asyncio.sleep(_TRY_AGAIN_SECONDS)


async def to_its_end(work: Awaitable[T]) -> None:
    """Await the work although Airflow cancels the waiting again each second, for as long as on_kill may take."""
    task = asyncio.ensure_future(work)
    _running.add(task)
    task.add_done_callback(_running.discard)
    deadline = time.monotonic() + _SECONDS
    while not task.done() and (left := deadline - time.monotonic()) > 0:
        try:
            await asyncio.wait({task}, timeout=left)  # which, unlike `await task`, leaves the task alone when cancelled
        except asyncio.CancelledError:
            continue


def _stop_unless_wanted(
    make_service: Callable[[], Service], job_identifier: str, ti: Any, own_run_only: bool, began: float
) -> bool:
    """Stop the job if no task waits for it; return False where that is to be tried again."""
    try:
        state = _state_at_last(ti)
        if state in TERMINAL_STATES:
            said = stop_for(make_service(), job_identifier, ti, own_run_only=own_run_only)
            log.info("The task is %s. %s", state, said)
        else:
            log.info("Job %s is left running: the task is %s, so that it goes on", job_identifier, state)
    except NotYetError as error:
        over = time.monotonic() - began >= error.seconds
        said = error.at_last if over else f"{error} Trying again for as long as this triggerer runs."
        log.warning("The task is %s. %s", state, said)
        return over
    except Exception:
        log.exception(
            "Could not read whether a task still waits for job %s, so it was NOT stopped and may run and be billed on. "
            "Stop it in the AWS console if it is not needed",
            job_identifier,
        )
    return True


def stop_for(service: Service, job_identifier: str, ti: Any, *, own_run_only: bool = False) -> str:
    """Stop the job for a task that has ended for good, unless others may wait for it; return what became of it.

    :raises NotYetError: it cannot be stopped yet.
    """
    me = Waiter(
        until="task",
        dag_id=ti.dag_id,
        task_id=ti.task_id,
        map_index=-1 if ti.map_index is None else ti.map_index,
        run_id=ti.run_id,
    )
    return stop_unless_others_wait(service, job_identifier, me, own_run_only=own_run_only, patient=False)


def _state_at_last(ti: Any) -> str | None:
    """Ask for the task's state until there is a response, for as long as on_kill may take."""
    deadline = time.monotonic() + _SECONDS - _ASK_AGAIN_SECONDS
    while True:
        try:
            return task_state.state_of(ti)
        except Exception:
            if time.monotonic() >= deadline:
                raise
            time.sleep(_ASK_AGAIN_SECONDS)

"""Decide what happens to a job when Airflow ends the task that waits for it, in a worker and in the triggerer.

Airflow 3.3 also calls a trigger's on_kill if the task continues elsewhere: for every trigger of a triggerer that had
stalled, and after a Clear, possibly when the next try has already adopted the job. A worker's on_kill is called when
its pod is evicted. So the state of the task instance decides.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from asgiref.sync import sync_to_async

from airflow_bedrock.compat import conf
from airflow_bedrock.customization.waiters import Waiter
from airflow_bedrock.exceptions import BedrockError
from airflow_bedrock.hooks.bedrock import BedrockHook
from airflow_bedrock.jobs import stopping, task_state
from airflow_bedrock.jobs.connection import Connection
from airflow_bedrock.jobs.service import Service
from airflow_bedrock.jobs.stopping import NotStoppedError, stop_unless_others_wait
from airflow_bedrock.jobs.task_state import TERMINAL_STATES

T = TypeVar("T")
log = logging.getLogger(__name__)

_ASK_AGAIN_SECONDS = 1.0
_HANDLER_SECONDS = 1.0  # Airflow kills a process 5 seconds after it has asked it to end
# How long Airflow waits for on_kill; a call in flight at that time is completed.
_SECONDS = conf.getint("triggerer", "on_kill_timeout", fallback=30) - 1

_TRIGGERER_SECONDS = 3600.0  # for which a triggerer retries while AWS throttles or does not respond: that takes no slot

# Not the event loop's own threads: Airflow logs in those before it calls on_kill, and would wait for our calls.
_threads = ThreadPoolExecutor(max_workers=8, thread_name_prefix="bedrock-stop")
_hooks: dict[Connection, BedrockHook] = {}  # while stops are in progress
_running: set[asyncio.Future[Any]] = set()  # the event loop has only weak references to tasks


class KillSwitch:
    """Stops the job when Airflow ends the task of a worker, if the task has ended for good.

    Airflow calls ``on_kill`` from a signal handler, at any line, even after the service has accepted a job and before
    its response arrives. Such an early kill is remembered, and takes effect when the job is known. The handler may have
    interrupted a call to the supervisor, which would block a request for the task's state, and Airflow kills the
    process 5 s later: so a thread reads the state and stops the job, and the handler returns within a second.

    :param ti: the task instance.
    """

    def __init__(self, ti: Any) -> None:
        self._ti = ti
        self._target: tuple[str, Callable[[], str]] | None = None
        self._pulled = False
        self._thread: threading.Thread | None = None

    def aim(self, job: str, stop: Callable[[], str]) -> None:
        """Set the job of the task; stop it immediately if the task was already killed.

        :param stop: stops it, unless others wait, and returns a sentence on the result.
        """
        self._target = (job, stop)
        if self._pulled:
            self._begin()
            self.wait()

    def before_paying(self) -> None:
        """Check, right before Create, that the task was not killed.

        :raises BedrockError: it was killed.
        """
        if self._pulled:
            raise BedrockError("The task ended before it requested a job: no job was made and nothing was spent.")

    def last_check(self) -> None:
        """Read the task's state once more before the worker hands its job over.

        Airflow notifies a worker that its task was ended only at the next heartbeat, seconds later. By then the worker
        may have handed the task over, and no process would be left to stop the job.
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
        """Wait for a stop that has started: the thread ends with the task's process."""
        if (thread := self._thread) is not None:
            thread.join(_SECONDS if seconds is None else seconds)

    def _begin(self) -> None:
        if self._target is not None:
            work = partial(self._keep_trying, *self._target)
            thread = threading.Thread(target=work, name="bedrock-kill", daemon=True)
            thread.start()
            self._thread = thread  # not earlier: the handler of a signal waits for this thread

    def _keep_trying(self, job: str, stop: Callable[[], str]) -> None:
        # Airflow may kill this process before the service, which may throttle, has responded.
        log.info(
            "Job %s will be stopped if no task waits for it. If the outcome is not logged below, the job may still run "
            "and be billed; stop it with airflow-bedrock jobs --orphans --stop",
            job,
        )
        began = time.monotonic()
        pause: float | None = 0.0
        while pause is not None:
            time.sleep(pause)
            pause = _try_to_stop(self._ti, job, stop, began, _SECONDS)


def _final_state(ti: Any) -> str | None:
    """Return the state of the task instance; ``removed`` if it was deleted, alone or with its run: no try follows.

    Airflow lets people delete a task instance that runs, a DAG while its tasks are deferred, and a run that was just
    marked failed. It makes a task instance again only if the DAG is changed, or the run is cleared.
    """
    try:
        return task_state.state_of(ti)
    except LookupError:
        return "removed"


def hook_of(connection: Connection) -> BedrockHook:
    """Return the hook for a connection: one for all stops in progress, since a client is slow to create."""
    hook = _hooks.get(connection)
    if hook is None:
        hook = _hooks[connection] = connection.bedrock()
    return hook


async def stop_unless_wanted(
    make_service: Callable[[], Service], job_identifier: str, ti: Any, *, own_run_only: bool
) -> None:
    """Stop the job if its task instance has ended for good, and log what was done and why.

    It retries until it has read the state and stopped the job, or the triggerer ends. Never raises; a job whose task's
    state cannot be read is left alone.

    :param ti: the task instance: its dag_id, run_id, task_id and map_index are used.
    :param own_run_only: stop it only if the task's DAG run requested it.
    """
    # Airflow cancels the task each second, and closes its log after the second cancel.
    log.info(
        "Job %s will be stopped if no task waits for it. If the outcome is not logged below, see the "
        "triggerer's own log",
        job_identifier,
    )
    began = time.monotonic()
    work = sync_to_async(_try_to_stop, thread_sensitive=False, executor=_threads)

    def stop() -> str:
        return stop_for(make_service(), job_identifier, ti, own_run_only=own_run_only)

    pause: float | None = 0.0
    while pause is not None:
        await asyncio.sleep(pause)
        pause = await work(ti, job_identifier, stop, began, _TRIGGERER_SECONDS)


def begin(work: Awaitable[T]) -> asyncio.Future[T]:
    """Start the work in the background, for as long as the triggerer runs."""
    task = asyncio.ensure_future(work)
    _running.add(task)
    task.add_done_callback(_ended)
    return task


def _ended(work: asyncio.Future[Any]) -> None:
    _running.discard(work)
    if not _running:
        _hooks.clear()


async def to_its_end(work: asyncio.Future[Any]) -> None:
    """Await the work for as long as on_kill may take, although Airflow cancels the wait every second."""
    deadline = time.monotonic() + _SECONDS
    while not work.done() and (remaining := deadline - time.monotonic()) > 0:
        with suppress(asyncio.CancelledError):
            await asyncio.wait({work}, timeout=remaining)  # unlike `await work`, this does not cancel the work


def _try_to_stop(ti: Any, job: str, stop: Callable[[], str], began: float, seconds: float) -> float | None:
    """Stop the job if its task has ended for good; return the seconds until another try, or None.

    :param stop: stops it, unless others wait, and returns a sentence on the result.
    :param began: the time of the first try.
    :param seconds: how long to retry while AWS throttles or does not respond.
    """
    try:
        state = _final_state(ti)
        if state in TERMINAL_STATES:
            log.info("The task is %s. %s", state, stop())
        else:
            log.info("Job %s is left running: the task is %s and will continue", job, state or "without a state")
    except NotStoppedError as error:
        _hooks.clear()  # the connection may be edited before the next try
        so_far = time.monotonic() - began
        over = so_far >= (seconds if error.transient else error.seconds)
        outcome = error.final if over else f"{error} Retrying for as long as this process runs."
        log.warning("The task is %s. %s", state, outcome)
        return None if over else max(stopping.TRY_AGAIN_SECONDS, so_far / 10)
    except Exception:
        _hooks.clear()
        if time.monotonic() - began < _SECONDS - _ASK_AGAIN_SECONDS:
            return _ASK_AGAIN_SECONDS
        log.exception(
            "Could not read whether a task still waits for job %s, so it was NOT stopped and may run and be billed on. "
            "Stop it in the AWS console if it is not needed",
            job,
        )
    return None


def stop_for(service: Service, job_identifier: str, ti: Any, *, own_run_only: bool) -> str:
    """Stop the job for a task that has ended for good, unless others may wait for it; return what happened to it.

    :raises NotStoppedError: it cannot be stopped yet.
    """
    waiter = Waiter(
        until="task",
        dag_id=ti.dag_id,
        task_id=ti.task_id,
        map_index=-1 if ti.map_index is None else ti.map_index,
        run_id=ti.run_id,
    )
    return stop_unless_others_wait(service, job_identifier, waiter, own_run_only=own_run_only)

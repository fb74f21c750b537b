"""The base of the operators that create a paid resource once and wait for it, in a worker or the triggerer.

If the task ends for good or times out at any moment, they stop what they made. A subclass declares its kind
(:mod:`airflow_bedrock.jobs.resources`), its request, its cost and its result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, get_args

from airflow.sdk import Context

from airflow_bedrock import configuration, customization, jobs, spend
from airflow_bedrock.compat import AirflowTaskTimeout, TaskDeferralTimeout, conf
from airflow_bedrock.customization.request import Reuse, Superseded
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.operators.arguments import DELAY, SECONDS, Rule, one_of, optional, switch, whole
from airflow_bedrock.operators.job_request import task_key_of
from airflow_bedrock.operators.spending import SpendingOperator, explained

if TYPE_CHECKING:
    from airflow_bedrock.customization.identity import Identity, TaskKey
    from airflow_bedrock.customization.job import Seen
    from airflow_bedrock.hooks import BedrockHook
    from airflow_bedrock.jobs.on_kill import KillSwitch

REUSE = one_of(*get_args(Reuse))
_FOR_EVER = 10 * 365 * 24 * 60 * 60.0  # seconds; Airflow adds them to the date, which ends with the year 9999


class PaidOperator(SpendingOperator):
    """An operator that makes a job or a resource once, waits for it, and stops it once no task waits for it.

    :param deferrable: wait in the triggerer instead of in a worker slot. (default: ``[operators] default_deferrable``)
    :param waiter_delay: seconds between two polls, more than 0. (default: ``[bedrock] poll_interval``)
    :param waiter_max_attempts: maximum number of polls, at least 1; after these the task fails, and may be retried.
        (default: no limit)
    :param no_response_timeout: seconds without a response from the service after which a wait ends; 0 for never.
        (default: ``[bedrock] no_response_timeout``)
    :param stop_on_kill: stop what this task waits for when a person ends the task, if it can be stopped.
    :param stop_on_timeout: stop it when ``execution_timeout`` has run out, if it can be stopped.
    """

    hook: BedrockHook
    kind: ClassVar[str]
    """The declaration of the resource (:mod:`airflow_bedrock.jobs.resources`): ``module:name``."""
    arn_key: ClassVar[str | None] = "arn"
    """The key of the XCom with its ARN; None if the jobs are found by their tags."""
    rules: ClassVar[Mapping[str, Rule]] = {
        "waiter_delay": optional(DELAY),
        "waiter_max_attempts": optional(whole(1)),
        "no_response_timeout": optional(SECONDS),
        **dict.fromkeys(("deferrable", "wait_for_completion", "stop_on_kill", "stop_on_timeout"), switch),
    }

    superseded: Superseded = "stop"
    wait_for_completion = True
    # The state of one try, in a worker.
    _kill: KillSwitch | None = None
    _killed = False
    _submission: jobs.submission.Submission | None = None
    _arn: str | None = None
    _is_ours = True  # otherwise it existed before, and is left unchanged
    _spent: spend.settling.Spent | None = None

    def __init__(
        self,
        *,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        waiter_delay: float | None = None,
        waiter_max_attempts: int | None = None,
        no_response_timeout: float | None = None,
        stop_on_kill: bool = True,
        stop_on_timeout: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.deferrable = deferrable
        self.waiter_delay = waiter_delay
        self.waiter_max_attempts = waiter_max_attempts
        self.no_response_timeout = no_response_timeout
        self.stop_on_kill = stop_on_kill
        self.stop_on_timeout = stop_on_timeout
        if self.arn_key:  # then it returns text: True, as in default_args for TaskFlow, would fail the task at its end
            self.multiple_outputs = False

    def _request(self, arguments: Mapping[str, Any], task_key: TaskKey) -> dict[str, Any]:
        """Return the Create request.

        :param arguments: the checked arguments, by name.
        """
        raise NotImplementedError

    def _identity(self, task_key: TaskKey, request: Mapping[str, Any] | None = None) -> Identity:
        """Return its identity, from the present arguments.

        :param request: the Create request; without it, the content of the data may be unknown.
        """
        raise NotImplementedError

    def _cost(self, arguments: Mapping[str, Any]) -> spend.ledger.Cost:
        """Return its maximum cost."""
        raise NotImplementedError

    def _result(self, found: Seen, context: Context) -> Any:
        """Return the result of the task when the job or resource is done."""
        raise NotImplementedError

    def execute(self, context: Context) -> Any:
        """Find or create it, wait for it if configured, and return the result.

        :raises BedrockFatalError: it failed, the service rejected it, or ``execution_timeout`` ran out and it was
            stopped.
        :raises BedrockError: something failed that a retry may fix.
        """
        with self._stopping(context) as kill:
            arguments = self._checked()
            with explained():  # the configuration too, before anything is paid for
                _ = self._delay, self._no_response_timeout
            return self._request_and_wait(context, arguments, kill)

    def _request_and_wait(self, context: Context, arguments: Mapping[str, Any], kill: KillSwitch) -> Any:
        submission = self._ask(context, arguments, before_paying=kill.before_paying)
        submission.budget = budget = self._reserving(context, arguments, submission.request)
        self._submission = submission
        try:
            with self._within(budget, context):
                found = self._find_or_create(submission, context)
        except jobs.submission.NoTagError as error:
            self._wait_for_end(error)
        self._note(found, kill, context)
        if found.outcome is not customization.job.Outcome.SUCCEEDED and not self._waits:
            kill.last_check()
            return found.arn
        return self._finish(self._ended(found, kill), context)

    def _ask(self, context: Context, arguments: Mapping[str, Any], **how: Any) -> jobs.submission.Submission:
        """Return the submission of this try; if the request is unknown, one that only finds what an earlier try made.

        :param how: further arguments of the submission.
        """
        task_key = task_key_of(context)
        ask = partial(jobs.submission.Submission, service=self._service, waiter=self._waiter(task_key), **how)

        def of_earlier_try(unknown: BedrockError) -> jobs.submission.Submission:
            try:
                return ask(request={}, identity=self._identity(task_key), unknown=unknown)
            except ValueError:  # not even its name is known
                raise unknown from None

        try:
            request = self._request(arguments, task_key)
        except BedrockError as error:
            return of_earlier_try(error)
        # Outside a try block: if the connection now leads elsewhere, it does not find what an earlier try made.
        note = jobs.request_note.note_of(context, task_key, self._service, request.get("roleArn"))
        try:
            return ask(request=request, identity=self._identity(task_key, request), note=note)
        except BedrockError as error:
            return of_earlier_try(error)

    def _reserving(
        self, context: Context, arguments: Mapping[str, Any], request: Mapping[str, Any]
    ) -> spend.budget.Budget | None:
        return self._budget(
            context,
            self._resource.kind,
            self.hook,
            partial(self._cost, arguments),
            model=request.get("baseModelIdentifier") or request.get("modelId") or "",
            role_arn=request.get("roleArn"),
        )

    def _find_or_create(self, submission: jobs.submission.Submission, context: Context) -> Seen:
        try:
            return submission.find_or_create()
        except jobs.submission.NoSlotError as error:
            if jobs.quota.is_zero(str(error)):
                raise BedrockFatalError(f"{error} Request a higher quota in Service Quotas.") from error
            raise BedrockError(
                f"{error} Delete one that is not needed, or request a higher quota; a retry then makes it."
            ) from error

    def _finish(self, found: Seen, context: Context) -> Any:
        """Return the result of a job or resource that is done; any other status, known or not, is an error."""
        self._settle(found, context)
        if self._requests_anew(found, task_key_of(context)):
            return self.execute(context)
        if found.outcome is customization.job.Outcome.SUCCEEDED:
            return self._result(found, context)
        resource, message = self._resource, self._resource.failure_message(found)
        helps = customization.remedy.remedy_for_failure(found.failure_message)
        fixable = found.outcome is customization.job.Outcome.FAILED and helps is customization.remedy.Remedy.RETRY
        if fixable and not resource.lasts and not self._identity(task_key_of(context)).exact:
            raise BedrockError(f"{message} A retry of this task makes a new {resource.noun}.")
        raise BedrockFatalError(message)

    def _settle(self, found: Seen, context: Context) -> None:
        """Settle what it has cost, where a budget is set; what serves costs until it is deleted."""
        self._spent = spend.settling.settled(self._service, found, self._s3)

    @contextmanager
    def _stopping(self, context: Context) -> Iterator[KillSwitch]:
        """Stop the job of the task if the task is killed for good, times out, or is interrupted by Ctrl-C."""
        self._arn, self._submission, self._is_ours = None, None, True
        try:
            with self._killable(context) as kill:
                yield kill
        except AirflowTaskTimeout as error:  # wherever it is raised: before, inside and after Create, and in a kill
            raise self._timed_out(task_key_of(context)) from error
        except KeyboardInterrupt:  # Ctrl-C in a terminal that runs the DAG by itself: nothing else waits for the job
            if self.stop_on_kill:
                self.log.warning("Interrupted. %s", self._stop_own_jobs(task_key_of(context)))
            raise

    @contextmanager
    def _killable(self, context: Context) -> Iterator[KillSwitch]:
        try:
            self._kill = kill = jobs.on_kill.KillSwitch(context["ti"])
            self._aim("of an earlier try, if any,", kill, context)
            if self._killed:  # while the modules were loaded
                kill.pull()
            yield kill
        except (BedrockError, OSError, *jobs.aws_errors.CALL_ERRORS) as error:  # OSError: of a full disk
            if self._killed:  # while the job was unknown: Create may have made it nevertheless
                self.on_kill()
            elif (self._submission is None or self._submission.unknown) and (
                running_on := self._running_on(task_key_of(context))
            ):
                kind = type(error) if isinstance(error, BedrockError) else BedrockError
                raise kind(" ".join([str(error), *running_on])) from error
            raise
        finally:
            if self._kill is not None:
                self._kill.wait()

    def _aim(self, job: str, kill: KillSwitch, context: Context) -> None:
        if self.stop_on_kill:
            kill.aim(job, partial(self._stop_own_jobs, task_key_of(context)))

    def _note(self, found: Seen, kill: KillSwitch, context: Context) -> None:
        """Note the job that the task has made or found, for the kill switch and for the time without a worker."""
        self._arn = found.arn
        self._aim(found.arn, kill, context)
        if not self.arn_key:
            return
        try:
            context["ti"].xcom_push(key=self.arn_key, value=found.arn)
        except Exception as error:  # the API server of Airflow or its database does not respond
            resource, said = self._resource, f"Airflow did not store the ARN of {self._resource.noun} {found.arn}"
            # Without it, a task that runs out of execution_timeout in the triggerer would not know its job.
            if self.deferrable and found.outcome is customization.job.Outcome.RUNNING:
                raise BedrockError(
                    f"{said}: {error}. The {resource.noun} was not stopped and {resource.billed}; a retry or a Clear "
                    "of this task adopts it."
                ) from error
            self.log.warning("%s: %s", said, error)

    def _ended(self, found: Seen, kill: KillSwitch, **so_far: Any) -> Seen:
        """Return the job when it has ended; if deferrable, defer to the triggerer instead.

        :param so_far: the state for ``execute_complete``.
        """
        if found.outcome is not customization.job.Outcome.RUNNING:
            return found
        if self.deferrable:
            kill.last_check()
            self._defer(found, so_far)
        return self._end_of(found)

    def _end_of(self, found: Seen) -> Seen:
        """Wait in the worker until the job has ended."""
        return jobs.waiting.wait_for(
            self._service,
            found.arn,
            delay=self._delay,
            max_polls=self.waiter_max_attempts,
            no_response_timeout=self._no_response_timeout,
        )

    def _wait_for_end(self, error: jobs.submission.NoTagError) -> NoReturn:
        """Wait for a job that cannot be adopted, even with ``deferrable=False``; then request it again.

        :raises NoTagError: it is of a kind that does not end.
        """
        if self._resource.lasts:
            raise error
        self.log.warning("%s Waiting in the triggerer until that %s has ended.", error, self._resource.noun)
        trigger = self._trigger_for(error.found, stop_on_kill=False)
        self.defer(trigger=trigger, method_name=self.execute_again.__name__)

    def _trigger_for(self, found: Seen, *, stop_on_kill: bool) -> Any:
        return self._trigger(
            job_identifier=found.arn,
            poll_interval=self._delay,
            no_response_timeout=self._no_response_timeout,
            # If the creation time is unknown: a time before it.
            created=found.created or datetime.now(UTC) - jobs.earlier_jobs.CLOCK_SKEW,
            stop_on_kill=stop_on_kill,
            **self._connection_of(found.arn),
        )

    def _defer(self, found: Seen, so_far: Mapping[str, Any]) -> None:
        self.log.info("Waiting in the triggerer for %s %s", self._resource.noun, found.arn)
        self.defer(
            trigger=self._trigger_for(found, stop_on_kill=self.stop_on_kill and self._is_ours),
            method_name=self.execute_complete.__name__,
            kwargs=dict(so_far),
            # Airflow does not enforce execution_timeout while a task is deferred.
            timeout=self._deferral_timeout,
        )

    def _requests_anew(self, ended: Seen, task_key: TaskKey) -> bool:
        """Whether the adopted job was stopped: then the task requests its own."""
        if anew := customization.decision.is_stopped_under(ended, task_key):
            noun = self._resource.noun.capitalize()
            self.log.warning("%s %s, which another ask had made, was stopped: making another one", noun, ended.arn)
        return anew

    @property
    def _trigger(self) -> Callable[..., Any]:
        from airflow_bedrock.triggers.resource import BedrockResourceTrigger

        return partial(BedrockResourceTrigger, declaration=self.kind)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """Resume with the trigger's event."""
        self._arn = event.get("job_identifier") if event else None
        self._recall(context)
        try:
            return self._finish(jobs.waiting.job_of_event(self._service, event, self._no_response_timeout), context)
        except AirflowTaskTimeout as error:
            raise self._timed_out(task_key_of(context)) from error

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Resume a deferred task; stop its job if it was deferred for too long."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralTimeout as error:
            self._recall(context)
            if self._deferral_timeout == self.execution_timeout:
                raise self._timed_out(task_key_of(context)) from error
            raise jobs.waiting.given_up(self._resource, str(self._arn), f"after {self._deferral_timeout}") from error

    def _recall(self, context: Context) -> None:
        """Restore the job that the task waited for when it was deferred."""
        if self._arn is None and self.arn_key:
            self._arn = jobs.shown.pushed(context["ti"], self.arn_key)

    def on_kill(self) -> None:
        """Stop the job if the task has ended for good; Airflow calls this in the worker whenever it ends the task."""
        self._killed = True
        if self._kill is not None:
            self._kill.pull()

    def _own_jobs(self, task_key: TaskKey) -> list[str]:
        """Return the jobs of this task; if this try knows none, those of earlier tries.

        :raises BedrockError: Bedrock does not show the requested job.
        """
        if self._arn is not None:
            return [self._arn]
        if self._submission is None or (name := self._submission.in_flight) is None:
            return self._made_by_earlier_tries(task_key)
        if (arn := jobs.own_jobs.job_named(self._service, name)) is None:
            noun = self._resource.noun
            raise BedrockError(
                f"Bedrock does not show {noun} {name}, which this task requested and Bedrock may have made"
            )
        return [arn]

    def _made_by_earlier_tries(self, task_key: TaskKey) -> list[str]:
        if task_key.try_number == 1:
            return []
        # A job of an earlier ask that was kept must not be stopped.
        this_ask = self.superseded == "keep"
        return jobs.own_jobs.running_jobs_of(self._service, self._identity(task_key), this_ask=this_ask)

    def _running_on(self, task_key: TaskKey) -> list[str]:
        """Return a sentence on each running job of earlier tries, or if they cannot be read, that there may be one."""
        noun, billed = self._resource.noun.capitalize(), self._resource.billed
        try:
            running = self._made_by_earlier_tries(task_key)
        except (*jobs.aws_errors.CALL_ERRORS, BedrockError, ValueError, TypeError):  # of arguments that are invalid
            # Otherwise the error is that of a search for them, and says so.
            return [f"What an earlier try made may still run, and {billed}."] if self._submission is None else []
        return [f"{noun} {arn} of an earlier try still runs and {billed}." for arn in running]

    def _stop_own_jobs(self, task_key: TaskKey) -> str:
        """Stop the jobs of this task, and return what happened to them."""
        return " ".join(self._stop(arn, task_key) for arn in self._own_jobs(task_key)) or self._nothing_spent(task_key)

    def _stop(self, arn: str, task_key: TaskKey) -> str:
        stopping = jobs.stopping
        return stopping.patiently(stopping.stop_unless_others_wait, self._service, arn, self._waiter(task_key))

    def _timed_out(self, task_key: TaskKey) -> BedrockError:
        """Return the error of a task that ran out of ``execution_timeout``; stop its job if configured."""
        noun, billed = self._resource.noun, self._resource.billed
        after = f"The task took longer than execution_timeout, {self.execution_timeout}."
        kind = BedrockFatalError if self.stop_on_timeout else BedrockError
        try:
            made = jobs.own_jobs.with_retries(self._service, partial(self._own_jobs, task_key))
        except (*jobs.aws_errors.CALL_ERRORS, BedrockError, ValueError) as error:
            outcome = f"A {noun} of this task may still run and be billed. Stop it in the AWS console if not needed"
            return kind(f"{after} {outcome}: {error}.")
        if not made:
            return kind(f"{after} {self._nothing_spent(task_key)}")
        if self.stop_on_timeout:  # fatal, since a retry would take as long
            outcome = " ".join(self._stop(arn, task_key) for arn in made)
            return BedrockFatalError(f"{after} {outcome} {self._to_go_on(made)}")
        outcome = f"{noun.capitalize()} {', '.join(made)} was left running, as configured, and {billed}"
        return BedrockError(f"{after} {outcome}; a retry adopts it.")

    def _to_go_on(self, made: list[str]) -> str:
        what = "make it anyway" if self._resource.stop_operation else "wait for it again"
        return f"To {what}, raise execution_timeout and clear this task."

    def _nothing_spent(self, task_key: TaskKey) -> str:
        resource, text = self._resource, f"This try made no {self._resource.noun} and spent nothing."
        if not resource.lasts or task_key.try_number == 1:
            return text
        return f"{text} If an earlier try made one that is now in service, it is left unchanged, and {resource.billed}."

    @property
    def _waits(self) -> bool:
        return self.wait_for_completion

    def _waiter(self, task_key: TaskKey) -> customization.waiters.Waiter:
        return customization.waiters.Waiter.of(task_key, waits=self._waits)

    @property
    def _delay(self) -> float:
        return configuration.poll_interval() if self.waiter_delay is None else self.waiter_delay

    @property
    def _no_response_timeout(self) -> float:
        return configuration.no_response_timeout() if self.no_response_timeout is None else self.no_response_timeout

    @property
    def _deferral_timeout(self) -> timedelta | None:
        limits = []
        if self.waiter_max_attempts is not None:
            limits.append(min(self._delay * self.waiter_max_attempts, _FOR_EVER))
        if self.execution_timeout:
            limits.append(self.execution_timeout.total_seconds())
        # Always a plain timedelta: Airflow cannot defer a task with a pendulum.Duration, a subclass of it.
        return timedelta(seconds=min(limits)) if limits else None

    @property
    def _resource(self) -> jobs.resources.Resource:
        resource: jobs.resources.Resource = resolve_name(self.kind)
        return resource

    @property
    def _service(self) -> jobs.service.Service:
        return jobs.service.Service(self._resource, self.hook)

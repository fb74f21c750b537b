"""What the operators of paid resources have in common: one is asked for once, waited for, and stopped where it can be.

An operator says what kind it is (:mod:`airflow_bedrock.jobs.resources`), what it asks for, and what it returns.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, ClassVar, get_args

from airflow_bedrock import __version__, configuration, jobs
from airflow_bedrock.compat import AirflowTaskTimeout, TaskDeferralTimeout, conf
from airflow_bedrock.customization.identity import Asker, Identity, Reuse, Token, adds_digest, identify, reuse_choice
from airflow_bedrock.customization.job import Outcome, Seen
from airflow_bedrock.customization.remedy import Remedy
from airflow_bedrock.customization.tags import automatic_tags, with_tags
from airflow_bedrock.customization.waiters import Waiter
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.operators.arguments import Rule, one_of, optional, real, whole
from airflow_bedrock.operators.job_request import asker_of
from airflow_bedrock.operators.spending import SpendingOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_bedrock.hooks import BedrockHook  # noqa: F401 - for the class's type
    from airflow_bedrock.jobs.resources import Resource
    from airflow_bedrock.spend.budget import Budget

_CLOCK_SKEW = timedelta(minutes=15)  # between this machine and the service; signatures allow no more

WAITING: Mapping[str, Rule] = {
    "waiter_delay": optional(real(0, between=True)),
    "waiter_max_attempts": optional(whole(1)),
    "no_response_timeout": optional(real(0)),
}
"""The rules of the arguments that all of them have."""

REUSE = one_of(*get_args(Reuse))
CONTENT = one_of("identify", "ignore")


class PaidOperator(SpendingOperator["BedrockHook"]):
    """Ask for one paid resource, once; wait for it; stop it where nobody is left to wait.

    :param tags: tags of what is made: key → value. (templated)
    :param wait_for_completion: wait until it is done; with False, return as soon as it was asked for, and do not defer
        either, whatever ``deferrable`` says.
    :param deferrable: wait in the triggerer instead of in a worker slot. (default: ``[operators] default_deferrable``)
    :param waiter_delay: seconds between two polls, more than 0. (default: ``[bedrock] poll_interval``)
    :param waiter_max_attempts: maximum number of polls, at least 1; then the task fails, and may be tried again.
        (default: no limit)
    :param no_response_timeout: seconds without a response from the service after which a wait ends; 0 for never.
        (default: ``[bedrock] no_response_timeout``)
    :param stop_on_kill: stop what this task waits for when a person ends the task, where it can be stopped.
    :param stop_on_timeout: stop it when ``execution_timeout`` has run out, where it can be stopped.
    """

    aws_hook_class = "airflow_bedrock.hooks:BedrockHook"
    template_fields: Sequence[str] = (*SpendingOperator.template_fields, "tags")

    kind: ClassVar[str]
    """Where it is declared: ``module:name``."""
    rules: ClassVar[Mapping[str, Rule]]
    """Of all arguments that have one."""

    def __init__(
        self,
        *,
        tags: Mapping[str, str] | None = None,
        wait_for_completion: bool = True,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        waiter_delay: float | None = None,
        waiter_max_attempts: int | None = None,
        no_response_timeout: float | None = None,
        stop_on_kill: bool = True,
        stop_on_timeout: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.tags = tags
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.waiter_delay = waiter_delay
        self.waiter_max_attempts = waiter_max_attempts
        self.no_response_timeout = no_response_timeout
        self.stop_on_kill = stop_on_kill
        self.stop_on_timeout = stop_on_timeout
        self._kill: jobs.stopping.KillSwitch | None = None
        self._killed = False
        self._submission: jobs.submission.Submission | None = None
        self._arn: str | None = None
        self._is_ours = True

    @abstractmethod
    def _identity(self, asker: Asker) -> Identity:
        """Return what it is known by, from the arguments as they are; the content of data need not be known."""

    @abstractmethod
    def _ask(self, arguments: Mapping[str, Any], asker: Asker, **how: Any) -> jobs.submission.Submission:
        """Return one try to get it.

        :param arguments: checked, by name.
        :param how: further arguments of the submission.
        """

    @abstractmethod
    def _result(self, found: Seen, context: Context) -> Any:
        """Return what the task returns of one that is done."""

    def execute(self, context: Context) -> Any:
        """Find or create it, wait for it if asked to, and return what the operator says that it returns.

        :raises BedrockFatalError: it failed, the service refused it for good, or ``execution_timeout`` ran out and it
            was stopped.
        :raises BedrockError: something failed that another try may fix.
        """
        asker = asker_of(context)
        try:
            return self._execute(context, asker)
        except AirflowTaskTimeout as error:  # wherever it strikes: before, inside and after Create
            raise self._timed_out(asker) from error
        except BedrockError:
            if self._killed:  # while nothing was known: Create may have made one all the same
                self.on_kill()
            raise
        finally:
            if self._kill is not None:
                self._kill.wait()

    def _execute(self, context: Context, asker: Asker) -> Any:
        self._kill = kill = jobs.stopping.KillSwitch()
        kill.arm(context["ti"])
        if self.stop_on_kill:
            kill.aim("of an earlier try, if any,", partial(self._stop_unknown, asker))
        if self._killed:  # while the modules were loaded
            kill.pull()
        arguments = self._arguments({**self.rules, **WAITING}).checked()
        budget = self._reserving(asker, arguments)
        self._submission = self._ask(
            arguments,
            asker,
            before_paying=kill.before_paying,
            waiter=self._waiter(asker),
            budget=budget or jobs.submission.NO_BUDGET,
            witness=jobs.second_witness.witness_of(context, asker, self._service, arguments.get("role_arn")),
        )
        with self._within(budget):
            found = self._found(self._submission)
        self._arn = found.arn
        # What serves is left to those who use it, once it does; and so is what somebody else has made.
        by_us = self._submission.identity.is_of_task(Token.read(found.token))
        self._is_ours = not self._resource.lasts or (by_us and self._resource.is_unused(found))
        if self.stop_on_kill:
            kill.aim(found.arn, partial(self._stop, found.arn, asker))
        context["ti"].xcom_push(key="arn", value=found.arn)
        context["ti"].xcom_push(key="is_ours", value=self._is_ours)
        if found.outcome is Outcome.SUCCEEDED:
            return self._finish(found, context)
        if not self.wait_for_completion:
            kill.last_check()
            return self._begun(found)
        if self.deferrable:
            kill.last_check()
            self._defer(found)
        wait = {"delay": self._delay, "no_response_timeout": self._no_response_timeout}
        return self._finish(
            jobs.waiting.wait_for(self._service, found.arn, max_polls=self.waiter_max_attempts, **wait), context
        )

    def _reserving(self, asker: Asker, arguments: Mapping[str, Any]) -> Budget | None:
        """Return the budget for what is billed as soon as it is made; None for what is not, or where none is set."""
        return None

    def _found(self, submission: jobs.submission.Submission) -> Seen:
        from airflow_bedrock.jobs.quota import is_zero

        try:
            return submission.find_or_create()
        except jobs.submission.NoSlotError as error:
            if is_zero(str(error)):
                raise BedrockFatalError(f"{error} Ask for a higher quota in Service Quotas.") from error
            raise BedrockError(
                f"{error} Delete one that is not needed, or ask for a higher quota; a retry then makes it."
            ) from error

    def _begun(self, found: Seen) -> Any:
        """Return what the task returns of one that it does not wait for."""
        return found.arn

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """Take up the trigger's event."""
        self._arn = event.get("job_identifier") if event else None
        try:
            return self._finish(jobs.waiting.job_of_event(self._service, event, self._no_response_timeout), context)
        except AirflowTaskTimeout as error:
            self._is_ours = bool(_pushed(context["ti"], "is_ours"))
            raise self._timed_out(asker_of(context)) from error

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """Take up a deferred task; stop what it waited for if it was deferred for too long."""
        try:
            return super().resume_execution(next_method, next_kwargs, context)
        except TaskDeferralTimeout as error:
            self._arn, self._is_ours = _pushed(context["ti"], "arn"), bool(_pushed(context["ti"], "is_ours"))
            if self._deferral_timeout == self.execution_timeout:
                raise self._timed_out(asker_of(context)) from error
            raise jobs.waiting.given_up(self._resource, str(self._arn), f"after {self._deferral_timeout}") from error

    def on_kill(self) -> None:
        """Stop it if the task has ended for good; Airflow calls this in the worker on any end of it."""
        self._killed = True
        if self._kill is not None:
            self._kill.pull()

    def _stop(self, arn: str, asker: Asker) -> str:
        if not self._is_ours:
            one = f"{self._resource.word.capitalize()} {arn}"
            return f"{one} was there before this task asked for it. It was left as it is, and {self._resource.billed}."
        return jobs.stopping.stop_unless_others_wait(self._service, arn, self._waiter(asker))

    def _stop_unknown(self, asker: Asker) -> str:
        """Stop what this task has made, while that is not known: before or inside Create."""
        in_flight = self._submission.in_flight if self._submission else None
        if in_flight:
            arn = jobs.submission.job_made_under(self._service, in_flight)
            if arn is None:
                word = self._resource.word
                raise BedrockError(
                    f"Bedrock does not show {word} {in_flight}, which it was asked for and may have made"
                )
        else:
            arn = jobs.submission.running_job_of(self._service, self._identity(asker))
        return self._stop(arn, asker) if arn else "It had made nothing yet."

    def _timed_out(self, asker: Asker) -> BedrockError:
        """Return the error of a task that ran out of ``execution_timeout``; stop what it made if that was asked for."""
        resource, after = self._resource, f"The task took longer than execution_timeout, {self.execution_timeout}."
        kind = BedrockFatalError if self.stop_on_timeout else BedrockError
        in_flight = self._submission.in_flight if self._submission else None
        arn = self._arn or (in_flight and jobs.submission.job_made_under(self._service, in_flight))
        if not arn and not in_flight and asker.try_number > 1:  # while it reads what earlier tries have made
            try:
                arn = jobs.submission.running_job_of(self._service, self._identity(asker))
            except (*jobs.aws_errors.CALL_ERRORS, ValueError) as error:
                after += f" A {resource.word} of an earlier try may exist and be billed, Bedrock did not tell: {error}."
        if arn and not self.stop_on_timeout:
            return BedrockError(
                f"{after} {resource.word.capitalize()} {arn} was left as it is, as asked for, and {resource.billed}; a "
                "retry adopts it."
            )
        if arn:  # and no retry, which would take as long
            return BedrockFatalError(f"{after} {self._stop(arn, asker)} To ask for it all the same, clear this task.")
        if in_flight:
            return kind(
                f"{after} Bedrock does not show {resource.word} {in_flight}, which it may have made. Look for it in "
                f"the AWS console; it {resource.billed}."
            )
        return kind(f"{after} This try made no {resource.word} and spent nothing.")

    def _defer(self, found: Seen) -> None:
        from airflow_bedrock.triggers.resource import BedrockResourceTrigger

        self.log.info("Waiting in the triggerer for %s %s", self._resource.word, found.arn)
        self.defer(
            trigger=BedrockResourceTrigger(
                declaration=self.kind,
                job_identifier=found.arn,
                poll_interval=self._delay,
                no_response_timeout=self._no_response_timeout,
                # Of what was just made, not later than that.
                created=found.created or datetime.now(UTC) - _CLOCK_SKEW,
                stop_on_kill=self.stop_on_kill and self._is_ours,
                **jobs.connection.Connection.of(**self._hook_parameters).arguments(),
            ),
            method_name=self.execute_complete.__name__,
            # Airflow does not enforce execution_timeout while a task is deferred.
            timeout=self._deferral_timeout,
        )

    def _finish(self, found: Seen, context: Context) -> Any:
        """Return the result of what is done; anything else, known or not, is an error."""
        resource = self._resource
        if found.outcome is Outcome.SUCCEEDED:
            return self._result(found, context)
        said = resource.failure_message(found)
        fixable = found.outcome is Outcome.FAILED and resource.failure_remedy(found.failure_message) is Remedy.RETRY
        if fixable and not resource.lasts and not self._identity(asker_of(context)).exact:
            raise BedrockError(f"{said} A retry of this task makes a new one by itself.")
        raise BedrockFatalError(said)

    def _tagged(self, given: Sequence[Mapping[str, str]] | None, asker: Asker) -> list[Mapping[str, str]]:
        """Return the user's tags, and those that say who asks.

        :raises BedrockFatalError: the user's leave no room for the others.
        """
        try:
            return with_tags(given or (), automatic_tags(asker, __version__))
        except ValueError as error:
            raise BedrockFatalError(f"{error}. Nothing was made and nothing was spent.") from error

    def _waiter(self, asker: Asker) -> Waiter:
        return Waiter.of(asker, waits=self.wait_for_completion)

    @property
    def _delay(self) -> float:
        return configuration.poll_interval() if self.waiter_delay is None else self.waiter_delay

    @property
    def _no_response_timeout(self) -> float:
        return configuration.no_response_timeout() if self.no_response_timeout is None else self.no_response_timeout

    @property
    def _deferral_timeout(self) -> timedelta | None:
        if self.waiter_max_attempts is None:
            return self.execution_timeout
        polls = timedelta(seconds=self._delay * self.waiter_max_attempts)
        return min(polls, self.execution_timeout) if self.execution_timeout else polls

    @property
    def _resource(self) -> Resource:
        resource: Resource = resolve_name(self.kind)
        return resource

    @property
    def _service(self) -> jobs.service.Service:
        return jobs.service.Service(self._resource, self.hook)


class PaidJobOperator(PaidOperator):
    """Ask for what is done once, under names of its own: the same for each try, another for each run.

    :param reuse: which earlier ones count, as for
        :class:`~airflow_bedrock.operators.BedrockModelCustomizationOperator`: ``run``, ``dag`` or ``never``.
        (templated)
    :param ensure_unique_name: add a digest to the names, which says who asks for what. With False they are used as they
        are: one that is used up fails the task.
    """

    template_fields: Sequence[str] = (*PaidOperator.template_fields, "reuse")

    def __init__(self, *, reuse: Reuse = "run", ensure_unique_name: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reuse = reuse
        self.ensure_unique_name = ensure_unique_name

    @abstractmethod
    def _request(self) -> dict[str, Any]:
        """Return the request of Create without tags, from the arguments as they are."""

    def _data(self) -> list[dict[str, Any]]:
        """Return what is known of the content of what is read."""
        return []

    def _identity(self, asker: Asker, data: Sequence[Mapping[str, Any]] = ()) -> Identity:
        resource = self._resource
        return identify(
            self._request(),
            data,
            asker,
            reuse_choice(self.reuse),
            exact=not adds_digest(self.ensure_unique_name),
            name=resource.name,
            model_name=resource.model_name,
        )

    def _ask(self, arguments: Mapping[str, Any], asker: Asker, **how: Any) -> jobs.submission.Submission:
        resource, tags = self._resource, self._tagged(arguments["tags"], asker)
        request = {**self._request(), str(resource.tags): tags}
        if resource.model_tags:
            request[resource.model_tags] = tags
        identity = self._identity(asker, self._data())
        return jobs.submission.Submission(service=self._service, request=request, identity=identity, **how)


def content_of(folder: str, hook: dict[str, Any], *, known_by: str) -> list[dict[str, Any]]:
    """Return what tells the content of a folder on S3 apart from another content.

    :param hook: the arguments of a hook for S3.
    :param known_by: ``identify``: by what is in it; ``ignore``: by its URI alone, so that nothing is read.
    :raises BedrockFatalError: there is nothing.
    :raises BedrockError: it could not be read.
    """
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    if known_by == "ignore":
        return []
    try:
        with jobs.submission.nothing_spent(f"Reading {folder}"):
            return jobs.s3.describe_data(S3Hook(**hook), [folder], folders=[folder])
    except jobs.s3.LocationError as error:
        raise BedrockFatalError(f"{error}. This try made nothing, and nothing was spent for it.") from error


def _pushed(ti: Any, key: str) -> Any:
    """Return what this very task instance has pushed; without its map index, a mapped one is given everybody's."""
    return ti.xcom_pull(task_ids=ti.task_id, key=key, map_indexes=ti.map_index, default=None)

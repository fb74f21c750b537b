"""The base of the operators of paid resources: create one once, wait for it, and stop it if it can be stopped.

A subclass declares its kind (:mod:`airflow_bedrock.jobs.resources`), its request, and its result.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow_bedrock import __version__, customization, jobs
from airflow_bedrock.customization.identity import Asker, Token
from airflow_bedrock.customization.job import Outcome, Seen
from airflow_bedrock.customization.tags import automatic_tags, with_tags
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.operators.arguments import Rule, flag, optional, real, whole
from airflow_bedrock.operators.job_request import asker_of
from airflow_bedrock.operators.waiting import WaitingOperator
from airflow_bedrock.shown import pushed

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_bedrock.jobs.on_kill import KillSwitch
    from airflow_bedrock.spend.budget import Budget
    from airflow_bedrock.spend.ledger import Cost

WAITING: Mapping[str, Rule] = {
    "waiter_delay": optional(real(0, between=True)),
    "waiter_max_attempts": optional(whole(1)),
    "no_response_timeout": optional(real(0)),
    "is_dry_run": flag,
}
"""The rules of the common arguments."""


class PaidOperator(WaitingOperator):
    """Make one paid resource, once; wait for it; stop it when no task waits for it any more.

    :param tags: tags of the resource: key → value. (templated)
    :param wait_for_completion: wait until it is done; with False, return as soon as it was requested, without
        deferring, even with ``deferrable=True``.
    :param waiter_max_attempts: maximum number of polls, at least 1; then the task fails, and may be tried again.
        (default: no limit)
    :param no_response_timeout: seconds without a response from the service after which a wait ends; 0 for never.
        (default: ``[bedrock] no_response_timeout``)
    :param prices: a file with prices for this task. (default: ``[bedrock] prices``)
    """

    template_fields: Sequence[str] = (*WaitingOperator.template_fields, "tags")

    rules: ClassVar[Mapping[str, Rule]]
    """The rules of all arguments: ``WAITING``, and its own."""

    _is_adopted = False  # else the task itself has made it

    def __init__(
        self,
        *,
        tags: Mapping[str, str] | None = None,
        wait_for_completion: bool = True,
        waiter_max_attempts: int | None = None,
        no_response_timeout: float | None = None,
        prices: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.tags = tags
        self.wait_for_completion = wait_for_completion
        self.waiter_max_attempts = waiter_max_attempts
        self.no_response_timeout = no_response_timeout
        self.prices = prices

    @abstractmethod
    def _ask(self, arguments: Mapping[str, Any], asker: Asker, **how: Any) -> jobs.submission.Submission:
        """Return the submission of this try.

        :param arguments: the checked arguments, by name.
        :param how: further arguments of the submission.
        """

    @abstractmethod
    def _cost(self, arguments: Mapping[str, Any]) -> Cost:
        """Return its maximum cost."""

    @abstractmethod
    def _result(self, found: Seen, context: Context) -> Any:
        """Return the result of the task when the resource is done."""

    def execute(self, context: Context) -> Any:
        """Find or create it, wait for it if configured, and return the result.

        :raises BedrockFatalError: it failed, the service rejected it, or ``execution_timeout`` ran out and it was
            stopped.
        :raises BedrockError: something failed that another try may fix.
        :raises AirflowSkipException: it was a dry run, and no check failed.
        """
        arguments = self._arguments(self.rules).checked()
        if arguments["is_dry_run"]:
            self._dry_run(context, arguments)
        with self._stopping(context) as kill:
            return self._execute(context, kill, arguments)

    def _dry_run(self, context: Context, arguments: Mapping[str, Any]) -> NoReturn:
        from airflow_bedrock.operators.dry_run import finish, of_paid  # what only it needs

        asker = asker_of(context)
        ask = partial(self._ask, arguments, asker, before_paying=bool, waiter=self._waiter(asker), dry_run=True)
        lines = of_paid(self._resource, ask, partial(self._cost, arguments), partial(self._reserving, asker, arguments))
        finish(lines, partial(context["ti"].xcom_push, "dry_run"), self._resource.word)

    def _execute(self, context: Context, kill: KillSwitch, arguments: Mapping[str, Any]) -> Any:
        asker = asker_of(context)
        budget = self._reserving(asker, arguments)
        self._submission = self._ask(
            arguments,
            asker,
            before_paying=kill.before_paying,
            waiter=self._waiter(asker),
            budget=budget,
            witness=jobs.second_witness.witness_of(context, asker, self._service, arguments.get("role_arn")),
        )
        with self._within(budget, context):
            found = self._found(self._submission)
        # What serves is left to those who use it, once it does; and so is what somebody else has made.
        identity, token = self._submission.identity, Token.read(found.token)
        self._is_ours = not self._resource.lasts or (identity.is_of_task(token) and self._resource.is_unused(found))
        self._is_adopted = not identity.is_of_who(token)
        self._take(found, kill, context)
        context["ti"].xcom_push(key="is_ours", value=self._is_ours)
        context["ti"].xcom_push(key="is_adopted", value=self._is_adopted)
        if found.outcome is not Outcome.SUCCEEDED and not self._waits:
            kill.last_check()
            return found.arn
        return self._finish(self._ended(found, kill), context)

    def _ended(self, found: Seen, kill: KillSwitch, **so_far: Any) -> Seen:
        with self._may_be_gone():
            return super()._ended(found, kill, **so_far)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """Resume with the trigger's event."""
        self._recall(context)
        with self._may_be_gone():
            return super().execute_complete(context, event)

    @contextmanager
    def _may_be_gone(self) -> Iterator[None]:
        """Let a retry make another one if the adopted one was deleted meanwhile."""
        try:
            yield
        except jobs.waiting.MissingError as error:
            if not self._is_adopted:
                raise
            raise BedrockError(f"{error} Another task had made it: a retry of this one makes another.") from error

    def _reserving(self, asker: Asker, arguments: Mapping[str, Any]) -> Budget | None:
        cost = partial(self._cost, arguments)
        return self._budget(asker, self._resource.noun, self.hook, arguments.get("model_id", ""), cost)

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

    def _stop(self, arn: str, asker: Asker) -> str:
        if not self._is_ours:
            one = f"{self._resource.word.capitalize()} {arn}"
            return f"{one} existed before this try requested it. It was left as it is, and {self._resource.billed}."
        return super()._stop(arn, asker)

    def _recall(self, context: Context) -> None:
        super()._recall(context)
        self._is_ours, self._is_adopted = (bool(pushed(context["ti"], key)) for key in ("is_ours", "is_adopted"))

    def _finish(self, found: Seen, context: Context) -> Any:
        """Return the result of a resource that is done; any other status, known or not, is an error."""
        resource = self._resource
        if found.outcome is Outcome.SUCCEEDED:
            return self._result(found, context)
        said = resource.failure_message(found)
        helps = customization.remedy.remedy_for_failure(found.failure_message)
        fixable = found.outcome is Outcome.FAILED and helps is customization.remedy.Remedy.RETRY
        if fixable and not resource.lasts and not self._identity(asker_of(context)).exact:
            raise BedrockError(f"{said} A retry of this task makes a new one.")
        raise BedrockFatalError(said)

    def _tagged(self, given: Sequence[Mapping[str, str]] | None, asker: Asker) -> list[Mapping[str, str]]:
        """Return the user's tags, and those of the task."""
        return with_tags(given or (), automatic_tags(asker, __version__))

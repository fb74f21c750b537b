"""The base of the operators that spend money: it checks the cost of a task against the budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar

from airflow.sdk import Context

from airflow_bedrock import configuration, hooks, jobs, spend
from airflow_bedrock.configuration import dollars
from airflow_bedrock.exceptions import BedrockFatalError
from airflow_bedrock.operators.arguments import Rule, one_of, optional
from airflow_bedrock.operators.base import AwsOperator, Notifiers, listed
from airflow_bedrock.operators.job_request import task_key_of


class SpendingOperator(AwsOperator):
    """An operator that makes paid resources.

    :param over_budget: what to do if the budget is used up: ``fail``, or ``wait`` for the next month without a
        worker slot. (default: ``[bedrock] over_budget``, ``fail``) (templated)
    :param expected_cost: expected cost in US dollars, for the budget, instead of the estimate, e.g. if no price is
        known. (templated)
    :param notifiers: Airflow notifiers that are called when the task begins to wait for the budget, with ``exception``
        in their context, like those of ``on_failure_callback`` if it fails.
    """

    rules: ClassVar[Mapping[str, Rule]] = {
        "over_budget": optional(one_of("fail", "wait")),
        "expected_cost": dollars,
    }
    template_fields: Sequence[str] = (*AwsOperator.template_fields, *rules)
    _has_waited = False  # for the budget; the notifiers were called

    def __init__(
        self,
        *,
        over_budget: str | None = None,
        expected_cost: float | str | None = None,
        notifiers: Notifiers = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.notifiers = listed(notifiers)
        self.over_budget = over_budget
        self.expected_cost = expected_cost

    def _budget(
        self,
        context: Context,
        kind: str,
        hook: hooks.BedrockHook,
        cost: Callable[[], spend.ledger.Cost],
        *,
        model: str = "",
        role_arn: str | None = None,
    ) -> spend.budget.Budget | None:
        """Return the budget for the task's resource; None if none is set.

        :param kind: the kind of the resource.
        :param hook: the hook for the account and region of the resource.
        :param cost: returns its maximum cost; called right before it is created, and not if ``expected_cost`` is given.
        :param model: the base model's id.
        :param role_arn: a role in the AWS account of the resource; without it, AWS STS names the account.
        :raises BedrockFatalError: the configuration of the budget is wrong.
        """
        task_key = task_key_of(context)
        if (limits := _limits(task_key.dag_id)) is None:
            return None
        with explained():
            configuration.over_budget()
        backfill = str(getattr(context["dag_run"], "run_type", "")).rpartition(".")[2].lower() == "backfill"
        if (expected := dollars(self.expected_cost)) is not None:
            cost = partial(spend.ledger.Cost, usd=expected, model=model)
        return spend.budget.Budget(
            books=spend.settling.books_of(self._s3),
            limits=limits,
            task_key=task_key,
            kind=kind,
            hook=hook,
            s3=self._s3,
            cost=cost,
            backfill=partial(jobs.task_state.backfill_to_go, task_key.dag_id, task_key.task_id) if backfill else None,
            account=jobs.uris.Arn.of(role_arn or "").account,
        )

    @contextmanager
    def _within(
        self, budget: spend.budget.Budget | None, context: Context, so_far: Mapping[str, Any] | None = None
    ) -> Iterator[None]:
        """Call a function that may reserve money; if the budget is used up, fail or wait, as configured.

        :param so_far: the state for ``execute_again`` after a wait.
        """
        if budget is None:
            yield
            return
        try:
            yield
        except spend.budget.BudgetError as error:
            if (self.over_budget or configuration.over_budget()) == "fail" or budget.retry_at is None:
                raise type(error)(
                    f"{error} Raise the budget, request less, or set over_budget='wait', and clear this task."
                ) from error
            waits = type(error)(f"{error} Waiting in the triggerer until {budget.retry_at:%Y-%m-%d %H:%M} UTC.")
            self.log.warning("%s", waits)
            self._notify(waits, context)
            from airflow.providers.standard.triggers.temporal import DateTimeTrigger

            self.defer(
                trigger=DateTimeTrigger(moment=budget.retry_at),
                method_name=self.execute_again.__name__,
                kwargs=dict(so_far or {}),
            )
        self._has_waited = False

    def _notify(self, waits: BedrockFatalError, context: Context) -> None:
        """Call the notifiers once per wait, even if it is resumed several times; if one fails, the task still waits."""
        for notifier in () if self._has_waited else self.notifiers:
            more: Any = {**context, "exception": waits}
            try:
                notifier(more)
            except Exception:
                self.log.exception("A notifier failed to report that the task waits for the budget")

    def execute_again(self, context: Context, event: Any = None) -> Any:
        """Request the resource again, after a wait."""
        self._has_waited = not isinstance(event, Mapping)  # for the budget: the others end with a mapping
        return self.execute(context)


@contextmanager
def explained() -> Iterator[None]:
    """Turn an error of the configuration into one that says that nothing was spent."""
    try:
        yield
    except ValueError as error:
        raise BedrockFatalError(f"{error}. Nothing was created and nothing was spent.") from error


def _limits(dag_id: str) -> spend.ledger.Limits | None:
    with explained():
        limits = (configuration.monthly_budget(), configuration.dag_budgets().get(dag_id))
    if limits == (None, None):
        return None
    return spend.ledger.Limits(*limits)

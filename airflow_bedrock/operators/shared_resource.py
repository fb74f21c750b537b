"""The bases of the operators of resources that others may share or delete: they record who made each.

The model that a :class:`StoredModelOperator` makes is billed for its storage as soon as it exists.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import Context

from airflow_bedrock import __version__, customization, jobs, spend
from airflow_bedrock.base_models import model_id
from airflow_bedrock.customization.request import Reuse
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.operators.arguments import Rule, flag
from airflow_bedrock.operators.job_request import task_key_of
from airflow_bedrock.operators.paid import REUSE, PaidOperator

if TYPE_CHECKING:
    from airflow_bedrock.customization.identity import Identity, TaskKey
    from airflow_bedrock.customization.job import Seen
    from airflow_bedrock.prices import Figure


class SharedResourceOperator(PaidOperator):
    """Make one paid resource, once; wait for it; stop it once no task waits for it.

    :param tags: tags of the resource: key → value. (templated)
    :param wait_for_completion: wait until it is done; with False, return as soon as it is requested, without deferring,
        even with ``deferrable=True``.
    """

    template_fields: Sequence[str] = (*PaidOperator.template_fields, "tags")

    _is_adopted = False  # otherwise the task itself has made it

    def __init__(
        self, *, tags: Mapping[str, str] | None = None, wait_for_completion: bool = True, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.tags = tags
        self.wait_for_completion = wait_for_completion

    def _note(self, found: Seen, kill: jobs.on_kill.KillSwitch, context: Context) -> None:
        # A resource in service is left to its users, and so is one that another task has made.
        identity, token = self._identity(task_key_of(context)), customization.identity.Token.read(found.token)
        self._is_ours = not self._resource.lasts or (identity.is_of_task(token) and self._resource.is_unused(found))
        self._is_adopted = not identity.is_of_who(token)
        super()._note(found, kill, context)
        context["ti"].xcom_push(key="is_ours", value=self._is_ours)
        context["ti"].xcom_push(key="is_adopted", value=self._is_adopted)

    def _ended(self, found: Seen, kill: jobs.on_kill.KillSwitch, **so_far: Any) -> Seen:
        with self._may_be_gone():
            return super()._ended(found, kill, **so_far)

    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> Any:
        """Resume with the trigger's event."""
        with self._may_be_gone():
            return super().execute_complete(context, event)

    @contextmanager
    def _may_be_gone(self) -> Iterator[None]:
        """Let a retry make another one if the adopted one was deleted."""
        try:
            yield
        except jobs.waiting.MissingError as error:
            if not self._is_adopted:
                raise
            raise BedrockError(f"{error} Another task had made it: a retry of this one makes another.") from error

    def _stop(self, arn: str, task_key: TaskKey) -> str:
        if not self._is_ours:
            name = f"{self._resource.noun.capitalize()} {arn}"
            return f"{name} existed before this try requested it. It was left unchanged, and {self._resource.billed}."
        return super()._stop(arn, task_key)

    def _recall(self, context: Context) -> None:
        super()._recall(context)
        self._is_ours, self._is_adopted = (
            bool(jobs.shown.pushed(context["ti"], key)) for key in ("is_ours", "is_adopted")
        )

    def _tagged(self, given: Sequence[Mapping[str, str]] | None, task_key: TaskKey) -> list[Mapping[str, str]]:
        """Return the user's tags, and those of the task."""
        return customization.tags.with_tags(given or (), customization.tags.automatic_tags(task_key, __version__))


class StoredModelOperator(SharedResourceOperator):
    """Make a model with derived names: the same for each try, another for each run.

    If a budget is set, a month of the model's storage is reserved before Create, and settled afterwards.

    :param reuse: which earlier ones count, as for
        :class:`~airflow_bedrock.operators.BedrockModelCustomizationOperator`: ``run``, ``dag`` or ``never``.
        (templated)
    :param ensure_unique_name: add a digest of the task and its request to the names. With False they are used
        unchanged, and a name that is used up fails the task.
    """

    rules: ClassVar[Mapping[str, Rule]] = {"reuse": REUSE, "ensure_unique_name": flag}
    template_fields: Sequence[str] = (*SharedResourceOperator.template_fields, *rules)

    def __init__(self, *, reuse: Reuse = "run", ensure_unique_name: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.reuse = reuse
        self.ensure_unique_name = ensure_unique_name

    @abstractmethod
    def _members(self) -> dict[str, Any]:
        """Return the Create request without tags, from the present arguments."""

    @abstractmethod
    def _storage(self, arguments: Mapping[str, Any]) -> tuple[str, Figure, int]:
        """Return what decides the price of a month's storage: the base model, the figure, and the number of units.

        :raises LookupError: it is unknown before Create; the message says which argument to give.
        """

    def _data(self) -> list[dict[str, Any]]:
        """Return what identifies the content of the files."""
        return []

    def _identity(self, task_key: TaskKey, request: Mapping[str, Any] | None = None) -> Identity:
        resource = self._resource
        return customization.identity.identify(
            self._members(),
            self._data() if request else [],
            task_key,
            self.reuse,
            exact=not flag(self.ensure_unique_name),
            name=resource.name,
            model_name=resource.model_name,
        )

    def _request(self, arguments: Mapping[str, Any], task_key: TaskKey) -> dict[str, Any]:
        resource, tags = self._resource, self._tagged(arguments["tags"], task_key)
        return {**self._members(), **{name: tags for name in (resource.tags, resource.model_tags) if name}}

    def _cost(self, arguments: Mapping[str, Any]) -> spend.ledger.Cost:
        try:
            model, figure, units = self._storage(arguments)
            price = spend.pricing.known_prices().price(model, figure, self.hook.conn_region_name)
        except (LookupError, BedrockFatalError) as error:
            return spend.ledger.Cost(usd=None, unknown=str(error))
        return spend.ledger.Cost(usd=price.cost(units), model=model_id(model), rates={"month": price.cost(1)})

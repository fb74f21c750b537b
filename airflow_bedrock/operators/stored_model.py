"""The base of the operators whose model is billed for storage as soon as it exists."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_bedrock import configuration, customization
from airflow_bedrock.base_models import model_id
from airflow_bedrock.customization.request import Reuse
from airflow_bedrock.operators.arguments import Rule, flag
from airflow_bedrock.operators.paid import REUSE
from airflow_bedrock.operators.shared_resource import SharedResourceOperator

if TYPE_CHECKING:
    from airflow_bedrock.customization.identity import Identity, TaskKey
    from airflow_bedrock.prices import Figure
    from airflow_bedrock.spend.ledger import Cost


class StoredModelOperator(SharedResourceOperator):
    """Make a model with derived names: the same for each try, another for each run.

    If a budget is set, a month of the model's storage is reserved before Create, and settled afterwards.

    :param reuse: which earlier ones count, as for
        :class:`~airflow_bedrock.operators.BedrockModelCustomizationOperator`: ``run``, ``dag`` or ``never``.
        (templated)
    :param ensure_unique_name: add a digest of the task and its request to the names. With False they are used as they
        are, and a name that is used up fails the task.
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

    def _cost(self, arguments: Mapping[str, Any]) -> Cost:
        from airflow_bedrock import prices as priced
        from airflow_bedrock.spend.ledger import Cost

        try:
            model, figure, units = self._storage(arguments)
            known = priced.prices(configuration.prices())
            price = known.price(model, figure, self.hook.conn_region_name)
        except (LookupError, priced.PriceFileError) as error:
            return Cost(usd=None, unknown=str(error))
        basis = f"a month of its storage, at {price}"
        return Cost(usd=price.cost(units), model=model_id(model), rates={"month": price.cost(1)}, basis=basis)

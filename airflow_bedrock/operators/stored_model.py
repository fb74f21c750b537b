"""The base of the operators whose model is billed for its storage from the moment at which it is there."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_bedrock import configuration
from airflow_bedrock.base_models import model_id
from airflow_bedrock.operators.paid import PaidJobOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_bedrock.customization.job import Seen
    from airflow_bedrock.prices import Figure
    from airflow_bedrock.spend.ledger import Cost


class StoredModelOperator(PaidJobOperator):
    """Make a model; where a budget is set, a month of its storage is reserved before Create, and settled afterwards."""

    @abstractmethod
    def _storage(self, arguments: Mapping[str, Any]) -> tuple[str, Figure, int]:
        """Return what a month's storage is the price of: the base model, the figure, and how many units.

        :raises LookupError: that is not known before Create; the message says what to give.
        """

    def _cost(self, arguments: Mapping[str, Any]) -> Cost:
        from airflow_bedrock import prices as priced
        from airflow_bedrock.spend.ledger import Cost

        region = str(self.hook.conn.meta.region_name)
        try:
            model, figure, units = self._storage(arguments)
            price = priced.prices(self.prices or configuration.prices()).price(model, figure, region)
        except (LookupError, priced.PriceFileError) as error:
            return Cost(usd=None, unknown=str(error))
        basis = f"a month of its storage, at {price}"
        return Cost(usd=price.cost(units), model=model_id(model), rates={"month": price.cost(1)}, basis=basis)

    def _finish(self, found: Seen, context: Context) -> Any:
        self._settle(self._service, found)
        return super()._finish(found, context)

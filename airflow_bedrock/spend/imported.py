"""The running cost of an imported model: its storage each month, and each five minutes in which a copy of it is active.

https://docs.aws.amazon.com/bedrock/latest/userguide/import-model-calculate-cost.html
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

from airflow_bedrock.prices import Price, Prices

_MODEL = "imported-model"  # in the price files: all imported models have the same prices
_WINDOW = 5  # minutes


class Rates(NamedTuple):
    """The rates of one imported model; None for an unknown rate.

    :param units: custom model units of one copy.
    :param storage: the price of a month of storage of a unit.
    :param minute: the price of a minute in which a copy answers, per unit.
    """

    units: int | None
    storage: Price | None
    minute: Price | None

    @property
    def usd_a_month(self) -> Decimal | None:
        """US dollars per month for its storage."""
        return self.storage.cost(self.units) if self.storage and self.units is not None else None

    @property
    def answering(self) -> str:
        """What its answers cost, in a sentence."""
        if self.minute is None or self.units is None:
            return "no price is known for the minutes in which it answers"
        usd = self.minute.cost(_WINDOW * self.units)
        return f"each {_WINDOW} minutes in which a copy of it answers cost {usd:f} USD at {self.minute}"


def rates_of(units: int | None, prices: Prices, region: str) -> Rates:
    """Return the rates of the model.

    :param units: custom model units, by :func:`units_of`.
    """
    return Rates(units, prices.find(_MODEL, "imported_storage", region), prices.find(_MODEL, "imported_minute", region))


def units_of(client: Any, model_arn: str) -> int | None:
    """Return the custom model units of one copy of an imported model; None if Bedrock does not report them.

    :raises botocore.exceptions.ClientError: the service did not respond.
    """
    units = client.get_imported_model(modelIdentifier=model_arn).get("customModelUnits", {})
    found: int | None = units.get("customModelUnitsPerModelCopy")
    return found

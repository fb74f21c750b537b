"""The prices of Amazon Bedrock, each with its date and source.

The figures are in ``prices.toml``; the user's own file replaces or adds some. A missing price is reported as unknown,
never counted as zero. Pure: no network, no Airflow.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from airflow_bedrock.base_models import model_id
from airflow_bedrock.decoding import decoder

Figure = Literal[
    "training",
    "training_image",
    "training_hour",
    "storage",
    "imported_storage",
    "imported_minute",
    "input",
    "output",
    "batch_input",
    "batch_output",
    "custom_input",
    "custom_output",
    "custom_batch_input",
    "custom_batch_output",
    "model_unit",
    "model_unit_1_month",
    "model_unit_6_months",
]
"""What is paid for; ``prices.toml`` explains each."""

HOW_TO_GIVE_ONE = (
    "Add the price to your own TOML file, as docs/cost.md shows, and set [bedrock] prices in Airflow's configuration, "
    "or --prices of the command, to its path."
)


class Unit(NamedTuple):
    """The unit of a figure: the price is for ``per`` pieces.

    :param what: what is paid for, such as ``training``.
    """

    words: str
    per: int
    what: str


UNITS: dict[Figure, Unit] = {
    "training": Unit("1,000 tokens", 1000, "training"),
    "training_image": Unit("image", 1, "training"),
    "training_hour": Unit("hour", 1, "reinforcement fine-tuning"),
    "storage": Unit("model and month", 1, "storage of a custom model"),
    "imported_storage": Unit("custom model unit and month", 1, "storage of an imported model"),
    "imported_minute": Unit("custom model unit and minute", 1, "answers of an imported model"),
    "input": Unit("1,000 tokens", 1000, "input on demand"),
    "output": Unit("1,000 tokens", 1000, "output on demand"),
    "batch_input": Unit("1,000 tokens", 1000, "input of batch inference"),
    "batch_output": Unit("1,000 tokens", 1000, "output of batch inference"),
    "custom_input": Unit("1,000 tokens", 1000, "input of a custom model on demand"),
    "custom_output": Unit("1,000 tokens", 1000, "output of a custom model on demand"),
    "custom_batch_input": Unit("1,000 tokens", 1000, "input of a custom model in batch inference"),
    "custom_batch_output": Unit("1,000 tokens", 1000, "output of a custom model in batch inference"),
    "model_unit": Unit("model unit and hour", 1, "provisioned throughput"),
    "model_unit_1_month": Unit("model unit and hour", 1, "provisioned throughput committed for a month"),
    "model_unit_6_months": Unit("model unit and hour", 1, "provisioned throughput committed for six months"),
}


MODEL_UNITS: dict[str | None, Figure] = {
    None: "model_unit",
    "OneMonth": "model_unit_1_month",
    "SixMonths": "model_unit_6_months",
}
"""The figure for the price of a model unit of provisioned throughput, by its commitmentDuration."""

_HIGHEST = 1_000_000_000  # US dollars: a typing error such as 1e308 would exceed the digits of a sum

HOURS_A_MONTH = 730
"""As in AWS's price calculator."""


class NoPriceError(LookupError):
    """The price is unknown; the message says how to add it."""


class PriceFileError(ValueError):
    """A file with prices cannot be read, or is invalid."""


class Price(msgspec.Struct, frozen=True):
    """One figure.

    :param model: the base model's id, without geography and context length.
    :param usd: US dollars for one unit.
    :param region: the region; None for every region.
    :param date: the date of the source.
    :param source: the source's name.
    :param url: the address of the source, if it is on the web.
    """

    model: str
    figure: Figure
    usd: Decimal
    region: str | None
    date: date
    source: str
    url: str = ""

    @property
    def unit(self) -> str:
        """The unit, such as ``1,000 tokens``."""
        return UNITS[self.figure].words

    def cost(self, quantity: int | Decimal) -> Decimal:
        """Return the exact cost of this many tokens, images, hours or months, in US dollars."""
        return self.usd * quantity / UNITS[self.figure].per

    def __str__(self) -> str:
        return f"{self.usd:f} USD per {self.unit} ({self.date}, {self.source})"


class _Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    date: date
    name: str
    url: str = ""


class _Group(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    source: str
    models: dict[str, dict[Figure, Decimal]]
    regions: tuple[str, ...] | None = None


class _Document(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sources: dict[str, _Source]
    prices: tuple[_Group, ...]
    only: bool = False


_DOCUMENT = decoder(_Document)
_Key = tuple[str, Figure, str | None]


class Prices:
    """The prices of one or several files; for the same model, figure and region, the earlier file takes precedence.

    :param layers: the prices of each file.
    """

    def __init__(self, *layers: dict[_Key, Price]) -> None:
        self._layers = layers

    def __iter__(self) -> Iterator[Price]:
        return iter({key: price for layer in reversed(self._layers) for key, price in layer.items()}.values())

    def find(self, model: str, figure: Figure, region: str) -> Price | None:
        """Return a price; None if it is unknown.

        :param model: id or ARN of a base model or of an inference profile, or the ARN of a custom model; custom models
            have the prices of their base models.
        :param region: the region of the call.
        """
        base = model_id(model)
        for layer in self._layers:
            if price := layer.get((base, figure, region)) or layer.get((base, figure, None)):
                return price
        return None

    def price(self, model: str, figure: Figure, region: str) -> Price:
        """Return a price, as :meth:`find` does.

        :raises NoPriceError: it is unknown.
        """
        if price := self.find(model, figure, region):
            return price
        base = model_id(model)
        elsewhere = sorted(one.region for one in self if (one.model, one.figure) == (base, figure) and one.region)
        known = f", only in {', '.join(elsewhere)}" if elsewhere else ""
        what = f"{UNITS[figure].what} of {base} in {region}{known}"
        raise NoPriceError(f"No price is known for {what}. {HOW_TO_GIVE_ONE}")


def dollars(usd: Decimal | float) -> str:
    """Format an amount: with thousands separators, in cents, with more digits if it is less than a dollar."""
    cents = f"{usd:,.2f}"
    exact = cents if not -1 < usd < 1 else f"{usd:.8f}".rstrip("0")
    return max(cents, exact, key=len)  # 0.10 for 0.1


def prices(path: str | Path | None = None) -> Prices:
    """Return the prices in force.

    :param path: the user's own file, which overrides the packaged prices; with ``only = true`` in it, it replaces them.
        None or empty for the packaged prices.
    :raises PriceFileError: the file cannot be read, or is invalid.
    """
    if not path:
        return Prices(_packaged())
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PriceFileError(f"The prices in {path} cannot be read: {error}") from error
    layer, only = _read(text, str(path))
    return Prices(layer) if only else Prices(layer, _packaged())


@cache
def _packaged() -> dict[_Key, Price]:
    text = files("airflow_bedrock").joinpath("prices.toml").read_text(encoding="utf-8")
    return _read(text, "prices.toml")[0]


def _read(text: str, name: str) -> tuple[dict[_Key, Price], bool]:
    import tomllib  # here, since importing an operator does not need it

    try:
        document = msgspec.convert(tomllib.loads(text, parse_float=Decimal), _DOCUMENT.type)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, RecursionError) as error:
        raise PriceFileError(f"The prices in {name} are not in the form that docs/cost.md shows: {error}") from error
    layer: dict[_Key, Price] = {}
    for one in _prices(document, name):
        key = (one.model, one.figure, one.region)
        if key in layer:
            raise PriceFileError(f"{name} gives {one.figure} of {one.model} in {one.region or 'every region'} twice")
        layer[key] = one
    return layer, document.only


def _prices(document: _Document, name: str) -> Iterator[Price]:
    for group in document.prices:
        source = document.sources.get(group.source)
        if source is None:
            raise PriceFileError(f"{name} names the source {group.source!r}, which it does not define")
        for model, figures in group.models.items():
            for figure, usd in figures.items():
                if not (usd.is_finite() and 0 < usd < _HIGHEST):
                    raise PriceFileError(
                        f"{name} gives {figure} of {model} as {usd}: a price must be above 0 and below {_HIGHEST:,}"
                    )
                for region in group.regions or (None,):
                    yield Price(model_id(model), figure, usd, region, source.date, source.name, source.url)

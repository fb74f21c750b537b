"""Estimate the cost of a customization job before it is created: tokens times epochs times price, as a range.

Tokens are estimated by script (:mod:`checking`); prices have dates and sources (:mod:`airflow_bedrock.prices`). What is
unknown is reported as unknown, and never counted as zero.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, NamedTuple

import msgspec

from airflow_bedrock.base_models import FINE_TUNING, BaseModel, Method
from airflow_bedrock.datasets.checking import CheckReport
from airflow_bedrock.datasets.errors import DatasetError
from airflow_bedrock.datasets.rules import method_of
from airflow_bedrock.prices import Figure, NoPriceError, Price, Prices

Range = tuple[int, int]
"""The lower and the upper end of an estimate."""

DEFAULT_RESPONSE_TOKENS = 1000
"""Maximum tokens of a teacher's response: the console's default for ``maxResponseLengthForInference``."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a request that decide its price.

    :param model: id or ARN of the base model.
    :param method: the customizationType.
    :param region: where the job runs.
    :param hyperparameters: as in the request; missing ones have the service's defaults.
    :param teacher: for distillation, id or ARN of the teacher.
    :param response_tokens: for distillation, the maximum tokens of a teacher's response.
    :param hours: for reinforcement fine-tuning, its expected hours, if known.
    """

    model: str
    region: str
    method: str = FINE_TUNING
    hyperparameters: Mapping[str, str] = {}
    teacher: str | None = None
    response_tokens: int = DEFAULT_RESPONSE_TOKENS
    hours: int | None = None

    @classmethod
    def of(cls, request: Mapping[str, Any], region: str) -> Plan:
        """Return the parts of a CreateModelCustomizationJob request that decide its price."""
        teacher = request.get("customizationConfig", {}).get("distillationConfig", {}).get("teacherModelConfig", {})
        return cls(
            model=request["baseModelIdentifier"],
            region=region,
            method=request.get("customizationType", FINE_TUNING),
            hyperparameters=request.get("hyperParameters", {}),
            teacher=teacher.get("teacherModelIdentifier"),
            response_tokens=teacher.get("maxResponseLengthForInference", DEFAULT_RESPONSE_TOKENS),
        )


class Evaluation(NamedTuple):
    """An evaluation that asks the custom model and its base model.

    :param records: the number of test records, which are assumed to be as long as the training records.
    :param output_tokens: the maximum tokens of an answer.
    """

    records: int
    output_tokens: int


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is paid for.

    :param quantity: the number of tokens, images, hours or months; None if it is not known in advance.
    :param price: its price; None if unknown.
    :param unknown: why the quantity or the price is not known.
    """

    what: str
    quantity: Range | None
    price: Price | None = None
    unknown: str = ""

    @property
    def cost(self) -> tuple[Decimal, Decimal] | None:
        """US dollars, from and to; None if they are unknown."""
        if self.price is None or self.quantity is None:
            return None
        low, high = self.quantity
        return self.price.cost(low), self.price.cost(high)


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """What a job and its model will cost.

    :param model: the base model's id.
    :param records: of the training data.
    :param tokens: of the training data.
    :param epochs: minimum and maximum, which differ if the service chooses; None for a method without epochs.
    :param job: what the job is billed for, once.
    :param storage: what its model is billed for, each month until it is deleted.
    :param evaluation: what one evaluation is billed for.
    :param notes: what the figures leave out.
    """

    model: str
    method: str
    region: str
    records: int
    tokens: Range
    epochs: Range | None
    job: list[Item]
    storage: Item
    evaluation: list[Item]
    notes: list[str]

    @property
    def cost(self) -> tuple[Decimal, Decimal] | None:
        """US dollars for the job, from and to; None if a part is unknown."""
        return total(self.job)

    @property
    def unknown(self) -> str:
        """Why the cost of the job is unknown; empty if it is known."""
        return " ".join(dict.fromkeys(item.unknown for item in self.job if item.cost is None))


def total(items: list[Item]) -> tuple[Decimal, Decimal] | None:
    """Return the sum of costs, from and to; None if one is unknown."""
    costs = [item.cost for item in items]
    known = [cost for cost in costs if cost is not None]
    if len(known) < len(costs):
        return None
    return sum((low for low, _ in known), Decimal()), sum((high for _, high in known), Decimal())


def estimate(report: CheckReport, plan: Plan, prices: Prices, evaluation: Evaluation | None = None) -> Estimate:
    """Return the cost of a job on checked data.

    :raises DatasetError: the base model or the customization type is unknown, the number of epochs is out of range, or
        no record of the data can be read.
    """
    if not report.lengths:
        empty = f"{report.files['training'].name} has none"
        first = next((f"{one.file}:{one.line} {one.where}: {one.message}" for one in report.findings), empty)
        raise DatasetError(
            f"No record of the training data can be read: {first}. airflow-bedrock check lists every problem; "
            "airflow-bedrock prepare makes training data from tables, arrays and other shapes"
        )
    return _Estimating(report, plan, prices, *method_of(plan.model, plan.method)).all(evaluation)


class _Estimating:
    def __init__(self, report: CheckReport, plan: Plan, prices: Prices, model: BaseModel, method: Method) -> None:
        self._report = report
        self._plan = plan
        self._prices = prices
        self._model = model
        self._method = method
        self._records = report.files["training"].records

    def all(self, evaluation: Evaluation | None) -> Estimate:
        plan, report = self._plan, self._report
        epochs = self._range("epochCount")
        return Estimate(
            model=self._model.id,
            method=plan.method,
            region=plan.region,
            records=self._records,
            tokens=report.tokens,
            epochs=epochs,
            job=list(self._job(epochs or (1, 1))),
            storage=self._item("Storage of the custom model, a month", "storage", (1, 1)),
            evaluation=list(self._evaluation(evaluation)) if evaluation else [],
            notes=list(self._notes()),
        )

    def _job(self, epochs: Range) -> Iterator[Item]:
        low, high = self._report.tokens
        if self._method.format == "reinforcement":
            yield self._reinforcement()
        elif self._method.format == "image":
            steps, batch = self._range("stepCount") or (1, 1), self._range("batchSize") or (1, 1)
            yield self._item("Training: images", "training_image", (steps[0] * batch[0], steps[1] * batch[1]))
        elif self._plan.teacher:
            yield from self._distillation(self._plan.teacher, epochs)
        elif self._report.media:
            media = " and ".join(f"{kind}s" for kind in self._report.media)
            why = f"The training data has {media}, whose tokens cannot be counted in advance."
            yield Item(what="Training", quantity=None, unknown=why)
        else:
            yield self._item("Training", "training", (low * epochs[0], high * epochs[1]))

    def _reinforcement(self) -> Item:
        hours = self._plan.hours
        item = self._item("Reinforcement fine-tuning", "training_hour", (hours, hours) if hours else None)
        if hours is None and item.price is not None:
            why = "Reinforcement fine-tuning is billed by the hour, and its hours are not known in advance."
            return msgspec.structs.replace(item, unknown=why)
        return item

    def _distillation(self, teacher: str, epochs: Range) -> Iterator[Item]:
        """The teacher answers each prompt; Bedrock may add its own prompts, up to the maximum of a job."""
        low, high = self._report.tokens
        records = max(self._records, 1)
        most = max(self._method.max_records or records, records)
        prompts = (low, -(-high * most // records))
        responses = (self._records, most * self._plan.response_tokens)
        yield self._item("Teacher: prompts", "input", prompts, teacher)
        yield self._item("Teacher: responses", "output", responses, teacher)
        tokens = (prompts[0] + responses[0], prompts[1] + responses[1])
        yield self._item("Training", "training", (tokens[0] * epochs[0], tokens[1] * epochs[1]))

    def _evaluation(self, evaluation: Evaluation) -> Iterator[Item]:
        low, high = self._report.tokens
        records, count = max(self._records, 1), evaluation.records
        read = (low * count // records, -(-high * count // records))
        written = (count, count * evaluation.output_tokens)
        if self._model.on_demand:
            yield self._item("Evaluation: the custom model reads", "custom_input", read)
            yield self._item("Evaluation: the custom model writes", "custom_output", written)
        else:
            yield self._item("Evaluation: provisioned throughput, each hour", "model_unit", (1, 1))
        yield self._item("Evaluation: the base model reads", "input", read)
        yield self._item("Evaluation: the base model writes", "output", written)

    def _item(self, what: str, figure: Figure, quantity: Range | None, model: str | None = None) -> Item:
        try:
            price = self._prices.price(model or self._plan.model, figure, self._plan.region)
        except NoPriceError as error:
            return Item(what=what, quantity=quantity, unknown=str(error))
        return Item(what=what, quantity=quantity, price=price)

    def _range(self, name: str) -> Range | None:
        """Return a whole-number hyperparameter: the given value, its default, or the range that the service allows."""
        known, given = self._method.hyperparameters.get(name), self._plan.hyperparameters.get(name)
        if known is None:
            return None
        if given is not None and (problem := known.problem(given)):
            raise DatasetError(f"{name} of {self._model.name} {problem}")
        number = given or known.default
        return (int(number), int(number)) if number else (int(known.min), int(known.max))

    def _notes(self) -> Iterator[str]:
        yield "Tokens are estimated from the characters of the texts, by script; the chat template is not counted."
        if self._report.problems:
            yield "The data has problems that would fail the job: run airflow-bedrock check."
        if self._plan.teacher:
            yield "The upper end assumes that Bedrock adds prompts up to its maximum."
        if self._method.format == "reinforcement":
            yield "The calls of the reward function are billed by AWS Lambda."


def as_dict(made: Estimate) -> dict[str, Any]:
    """Return an estimate as JSON types: costs in US dollars as text, each price with its date and source."""
    found = {
        **msgspec.structs.asdict(made),
        "cost_usd": _usd(made.cost),
        "unknown": made.unknown,
        "job": [_item_dict(item) for item in made.job],
        "storage": _item_dict(made.storage),
        "evaluation": [_item_dict(item) for item in made.evaluation],
        "evaluation_cost_usd": _usd(total(made.evaluation)) if made.evaluation else None,
    }
    shown: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(found))
    return shown


def _item_dict(item: Item) -> dict[str, Any]:
    price = item.price and {**msgspec.structs.asdict(item.price), "usd": f"{item.price.usd:f}", "per": item.price.unit}
    return {**msgspec.structs.asdict(item), "price": price, "cost_usd": _usd(item.cost)}


def _usd(cost: tuple[Decimal, Decimal] | None) -> list[str] | None:
    """Return a cost as texts without an exponent, which a Decimal of a small cost has."""
    return [f"{one:f}" for one in cost] if cost else None


COLUMNS = ("what", "quantity", "USD per unit", "USD", "as of", "source")


def table(made: Estimate) -> tuple[list[tuple[str, ...]], list[str]]:
    """Return the estimate as rows of :data:`COLUMNS`, and its numbered sources."""
    sources: dict[str, int] = {}
    lines: list[tuple[str, ...]] = []
    for item in (*made.job, made.storage, *made.evaluation):
        quantity = _between(*(f"{one:,}" for one in item.quantity)) if item.quantity else "not known"
        price, known = ("no price", "", ""), item.price
        if known is not None:
            number = sources.setdefault(f"{known.source}: {known.url}" if known.url else known.source, len(sources) + 1)
            price = (f"{known.usd:f} per {known.unit}", known.date.isoformat(), f"[{number}]")
        lines.append((item.what, quantity, price[0], dollars(item.cost), *price[1:]))
    return lines, [f"[{number}] {source}" for source, number in sources.items()]


def verdict(made: Estimate) -> str:
    """Return what the job costs in a sentence."""
    if made.cost is None:
        return f"The cost of the job is unknown. {made.unknown}"
    low, high = made.tokens
    epochs = f"; epochs: {_between(*map(str, made.epochs))}" if made.epochs else ""
    tokens = f": {made.records:,} records, {_between(f'{low:,}', f'{high:,}')} tokens{epochs}"
    return f"The job costs {dollars(made.cost)} USD{tokens}."


def dollars(cost: tuple[Decimal, Decimal] | None) -> str:
    """Format a cost: the lower end rounded down, the upper end rounded up."""
    if cost is None:
        return "not known"
    low, high = cost
    step = Decimal("0.01") if high >= 1 else Decimal("0.0001")
    return _between(f"{low.quantize(step, 'ROUND_FLOOR'):,}", f"{high.quantize(step, 'ROUND_CEILING'):,}")


def _between(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"

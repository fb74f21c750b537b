"""Estimate the cost of a customization request, and apply the task's limit to it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from airflow_bedrock import configuration
from airflow_bedrock import prices as priced
from airflow_bedrock.base_models import FINE_TUNING
from airflow_bedrock.customization.request import data_uris, log_uris
from airflow_bedrock.datasets.checking import CheckReport, check_uris
from airflow_bedrock.datasets.errors import DatasetError
from airflow_bedrock.datasets.estimate import Estimate, Plan, estimate, verdict
from airflow_bedrock.exceptions import BedrockFatalError
from airflow_bedrock.spend.ledger import Cost

if TYPE_CHECKING:
    from airflow_bedrock.storage import Storage

log = logging.getLogger(__name__)

_KEPT = "No job was made and nothing was spent."


def known_prices() -> priced.Prices:
    """Return the prices in force: the packaged ones, and those in the user's file.

    :raises BedrockFatalError: the user's file cannot be read, or is invalid.
    """
    try:
        return priced.prices(configuration.prices())
    except priced.PriceFileError as error:
        raise BedrockFatalError(f"{error}. Correct the file that [bedrock] prices names.") from error


def check_data(request: Mapping[str, Any], storage: Storage) -> CheckReport:
    """Check the data of a request against the rules of its base model.

    :raises BedrockFatalError: the data cannot be read, or its rules are unknown.
    """
    uris = data_uris(request)
    if log_uris(request) or not uris:
        raise BedrockFatalError(f"Invocation logs are not read before the job runs. {_KEPT}")
    names = {"training": uris[0], **({"validation": uris[1]} if len(uris) == 2 else {})}  # several do not count
    method = request.get("customizationType", FINE_TUNING)
    try:
        return check_uris(names, request["baseModelIdentifier"], method, fetch=storage.fetch)
    except DatasetError as error:
        raise BedrockFatalError(f"The data was not checked: {error}. {_KEPT}") from error


def estimated(request: Mapping[str, Any], report: CheckReport, region: str) -> Estimate:
    """Return the estimated cost of the job.

    :raises BedrockFatalError: the prices cannot be read, or the base model is unknown.
    """
    try:
        return estimate(report, Plan.of(request, region), priced.prices(configuration.prices()))
    except (priced.PriceFileError, DatasetError) as error:
        raise BedrockFatalError(f"{error}. {_KEPT}") from error


def refusal(made: Estimate, most: Decimal | None) -> str | None:
    """Return why the cost of the job is too high; None if it is not."""
    if most is None:
        return None
    if made.cost is None:
        return f"max_cost is {most:f} USD, but the cost of the job is unknown. {made.unknown}"
    if made.cost[1] <= most:
        return None
    prices = "; ".join(dict.fromkeys(str(item.price) for item in made.job))
    return (
        f"{verdict(made)} That may be more than max_cost, {most:f} USD. The price is {prices}. Train on less data or "
        "in fewer epochs, or raise max_cost."
    )


def check_cost(made: Estimate, most: Decimal) -> None:
    """Check the cost of a job against the limit.

    :raises BedrockFatalError: the upper end of the estimate is above the limit, or unknown.
    """
    if why := refusal(made, most):
        raise BedrockFatalError(f"{why} {_KEPT}")
    log.info("%s That is within max_cost, %s USD.", verdict(made), most)


def cost_of(estimate_job: Callable[[], Estimate], model: str) -> Cost:
    """Return the maximum cost of a job, and the rates for its bill when it has ended.

    :param estimate_job: reads the data and estimates the job.
    """
    try:
        made = estimate_job()
    except BedrockFatalError as error:
        return Cost(usd=None, model=model, unknown=str(error).removesuffix(_KEPT).strip())
    if made.cost is None:
        return Cost(usd=None, model=made.model, unknown=made.unknown)
    rates: dict[str, Decimal] = {}
    for item in made.job:
        if item.price is None or item.cost is None:
            continue
        if item.price.figure == "training" and made.epochs:
            rates["epoch"] = item.cost[1] / made.epochs[1]
        elif item.price.figure == "training_hour":
            rates["hour"] = item.price.usd
        elif item.price.figure in ("input", "output"):
            rates["once"] = rates.get("once", Decimal()) + item.cost[1]
    return Cost(usd=made.cost[1], model=made.model, rates=rates)

"""Check a request against ``base_models.toml``: hyperparameters, methods and regions, which the service model lacks.

A hyperparameter out of its range is a problem. A model, method or region that the file does not list is a warning,
since the service may be newer than the file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from typing import Any

from airflow_bedrock.base_models import FINE_TUNING, Method, base_model
from airflow_bedrock.shapes import Problem

_SOURCE = (
    "airflow_bedrock/base_models.toml, from https://docs.aws.amazon.com/bedrock/latest/userguide/custom-models-hp.html"
)


def hyperparameter_problems(request: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield each hyperparameter that the base model does not have, or whose value is out of its range."""
    method, given = _method(request), request.get("hyperParameters", {})
    if method is None or not isinstance(given, Mapping):
        return
    for name, value in given.items():
        path = f"hyperParameters.{name}"
        if name not in method.hyperparameters:
            known = ", ".join(method.hyperparameters) or "none"
            yield Problem(path, value, f"unknown hyperparameter of this base model; allowed: {known} ({_SOURCE})")
        elif isinstance(value, str) and (wrong := method.hyperparameters[name].problem(value)):
            yield Problem(path, value, f"{wrong} ({_SOURCE})")


def warnings(request: Mapping[str, Any], region: str | None, today: date | None = None) -> list[str]:
    """Return warnings: an unknown model, method or region, and a model near its end of life.

    :param today: the date in UTC; by default the computer's.
    """
    identifier, method_name = request["baseModelIdentifier"], _method_name(request)
    model, method = base_model(identifier), _method(request)
    if model is None:
        return [f"base_models.toml has no entry for {identifier}: its hyperparameters and records were not checked"]
    if method is None:
        known = ", ".join(model.methods) or "no way"
        return [f"base_models.toml has {known} for {identifier}, but not {method_name}: Bedrock may refuse the job"]
    legacy = life_warning(identifier, today)
    found = [legacy] if legacy else []
    if region is not None and region not in method.regions:
        found.append(f"base_models.toml has {method_name} of {model.name} in {', '.join(method.regions)}, not {region}")
    return found


def life_warning(identifier: str, today: date | None = None) -> str | None:
    """Return a warning about a model whose base model is Legacy or has reached its end of life; None for others.

    :param identifier: a base model's id or ARN, or the ARN of a custom model, which can be used as long as its base
        model.
    :param today: the date in UTC; by default the computer's.
    """
    model, today = base_model(identifier), today or datetime.now(UTC).date()
    if model is None or model.ends is None or not model.is_legacy(today):
        return None
    if model.has_ended(today):
        warning = f"{model.name} and its custom models reached their end of life on {model.ends}: Bedrock refuses them"
    else:
        days = (model.ends - today).days
        warning = f"{model.name} and its custom models reach their end of life on {model.ends} (days left: {days})"
    return f"{warning}. Move to another base model (https://docs.aws.amazon.com/bedrock/latest/userguide/model-lifecycle.html)"


def _method_name(request: Mapping[str, Any]) -> str:
    return str(request.get("customizationType", FINE_TUNING))


def _method(request: Mapping[str, Any]) -> Method | None:
    identifier = request.get("baseModelIdentifier")
    model = base_model(identifier) if isinstance(identifier, str) else None
    return model.methods.get(_method_name(request)) if model else None

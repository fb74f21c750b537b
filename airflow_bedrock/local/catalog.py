"""Base models as Local Bedrock uses them: their ARNs, which can be asked, and how fast each trains."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_bedrock.base_models import BaseModel, Method, base_model, document, foundation_model_id
from airflow_bedrock.local.learning.training import Schedule

_RATES = ("learningRate", "learningRateMultiplier")
_DEFAULT_EPOCHS = 2
_MOST_EPOCHS = 100


def foundation_model_arn(region: str, model_id: str) -> str:
    """Return the ARN of a foundation model."""
    return f"arn:aws:bedrock:{region}::foundation-model/{model_id}"


def can_be_asked(identifier: str) -> bool:
    """Whether an identifier names a foundation model that can be asked: any of a known provider."""
    model_id = foundation_model_id(identifier)
    provider, _, name = model_id.partition(".")
    known = base_model(model_id)
    return bool(name) and provider in document().providers and (known is None or "TEXT" in known.output)


def known(identifier: str) -> BaseModel:
    """Return the base model of a job that was accepted.

    :raises KeyError: it is none.
    """
    model = base_model(identifier)
    if model is None:
        raise KeyError(identifier)
    return model


def schedule(method: Method, hyperparameters: Mapping[str, str], records: int) -> Schedule:
    """Return how to train with these hyperparameters; the method's default learning rate counts as 1.

    :param records: training records, on which the number of epochs depends where steps are given (images).
    """
    batch_size = int(hyperparameters["batchSize"]) if "batchSize" in hyperparameters else None
    epochs = int(hyperparameters.get("epochCount", _DEFAULT_EPOCHS))
    if "stepCount" in hyperparameters:
        steps_an_epoch = -(-records // (batch_size or 1))
        epochs = max(1, min(_MOST_EPOCHS, round(int(hyperparameters["stepCount"]) / steps_an_epoch)))
    return Schedule(
        epochs=epochs,
        learning_rate=_relative_rate(method, hyperparameters),
        warmup_steps=int(hyperparameters.get("learningRateWarmupSteps", 0)),
        batch_size=batch_size,
    )


def _relative_rate(method: Method, hyperparameters: Mapping[str, str]) -> float:
    for name in _RATES:
        rule = method.hyperparameters.get(name)
        if rule and rule.default and name in hyperparameters:
            return float(hyperparameters[name]) / float(rule.default)
    return 1.0

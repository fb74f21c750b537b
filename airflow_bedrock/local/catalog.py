"""The base models in Local Bedrock: their ARNs, which of them can be called, and how fast each trains."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from airflow_bedrock.base_models import BaseModel, Method, base_model, document, foundation_model_id
from airflow_bedrock.local.errors import invalid, not_found
from airflow_bedrock.local.learning.training import Schedule

_RATES = ("learningRate", "learningRateMultiplier")
_DEFAULT_EPOCHS = 2
_MOST_EPOCHS = 100


def foundation_model_arn(region: str, model_id: str) -> str:
    """Return the ARN of a foundation model."""
    return f"arn:aws:bedrock:{region}::foundation-model/{model_id}"


def foundation(region: str, identifier: str) -> str:
    """Return the id of the foundation model that an identifier names, known or not.

    :raises ServiceError: ValidationException for an ARN of another region.
    """
    if identifier.startswith("arn:") and identifier.split(":")[3] != region:
        raise invalid("The provided model identifier is invalid.")
    return foundation_model_id(identifier)


def invocable(region: str, identifier: str, provisioned: bool = False) -> str:
    """Return the id of the foundation model that an identifier names, if it can be called: any model of a known
    provider.

    :param provisioned: whether it has provisioned throughput; otherwise it is called on demand.
    :raises ServiceError: ValidationException for a model that cannot be called, or not in this way.
    """
    model_id = foundation(region, identifier)
    provider, _, name = model_id.partition(".")
    model = base_model(model_id)
    if not name or provider not in document().providers or (model and "TEXT" not in model.output):
        raise invalid("The provided model identifier is invalid.")
    if model and model.id != model_id and not provisioned:  # the id with a context length is not available on demand
        # Recorded from Converse for this kind of id: https://github.com/mlcommons/modelbench/issues/1654
        raise invalid("The provided model doesn't support on-demand throughput.")
    return model_id


def check_profile(identifier: str) -> None:
    """Check that a base model which is called by inference profiles only is not called by its own id or ARN.

    :raises ServiceError: ValidationException.
    """
    model = base_model(identifier)
    if model and model.profile_only and identifier.rpartition("/")[2] == model.id:
        # Recorded from Converse: https://github.com/langchain-ai/langchain-aws/issues/1019 and 258
        raise invalid(
            f"Invocation of model ID {model.id} with on-demand throughput isn\u2019t supported. Retry your request "
            "with the ID or ARN of an inference profile that contains this model."
        )


def check_alive(identifier: str, today: date) -> None:
    """Check that a base model has not reached its end of life: after it, neither the model nor its custom models work.

    :raises ServiceError: ResourceNotFoundException.
    """
    model = base_model(identifier)
    if model and model.has_ended(today):
        # Recorded from InvokeModel, Converse and ConverseStream, for ids of models and of inference profiles:
        # https://github.com/awsdocs/aws-doc-sdk-examples/issues/6403
        # https://github.com/aws-solutions-library-samples/accelerated-intelligent-document-processing-on-aws/issues/708
        # https://github.com/griptape-ai/griptape-nodes-engine/issues/4498
        raise not_found(
            "This model version has reached the end of its life. "
            "Please refer to the AWS documentation for more details."
        )


def known(identifier: str) -> BaseModel:
    """Return the base model of a job that was accepted.

    :raises KeyError: the model does not exist.
    """
    model = base_model(identifier)
    if model is None:
        raise KeyError(identifier)
    return model


def schedule(method: Method, hyperparameters: Mapping[str, str], records: int) -> Schedule:
    """Return the training schedule for these hyperparameters; the method's default learning rate counts as 1.

    :param records: number of training records; if the hyperparameters give steps (images), the epochs depend on it.
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

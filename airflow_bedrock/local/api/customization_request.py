"""The meaning of a CreateModelCustomizationJob request, and its validation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_bedrock.base_models import FINE_TUNING, BaseModel, Method, base_model
from airflow_bedrock.local.catalog import check_alive, foundation, foundation_model_arn
from airflow_bedrock.local.errors import invalid, not_found
from airflow_bedrock.local.state.bedrock import Bedrock

_CONFIGS = {"DISTILLATION": "distillationConfig", "REINFORCEMENT_FINE_TUNING": "rftConfig"}
"""The member of customizationConfig that a customization type requires; other types allow none."""


@dataclass(frozen=True)
class Base:
    """The model to customize.

    :param id: the id of the foundation model, as in the job's ARN.
    :param arn: the ARN of the foundation model, or of the custom model to tune further.
    """

    id: str
    arn: str
    model: BaseModel
    method: Method


def base_of(bedrock: Bedrock, request: Mapping[str, Any]) -> Base:
    """Return the base model of a request. Hold the world's lock.

    :raises ServiceError: ValidationException or ResourceNotFoundException, if it cannot be customized in this way or
        region.
    """
    identifier, kind = request["baseModelIdentifier"], request.get("customizationType", FINE_TUNING)
    tuned = ":custom-model/" in identifier
    if tuned and identifier not in bedrock.models:
        raise not_found(f"The provided custom model {identifier} was not found.")
    model = base_model(foundation(bedrock.region, identifier))
    if model is None or not model.methods:
        raise invalid(f"The provided model identifier is invalid: {identifier} cannot be customized.")
    check_alive(model.id, bedrock.today)
    model_id, method = model.customizable_id, model.methods.get(kind)
    if method is None:
        raise invalid(f"The model {model_id} does not support customization of type {kind}.")
    if bedrock.region not in method.regions:
        raise invalid(
            f"The provided model identifier is invalid: {model_id} cannot be customized in {bedrock.region}, "
            f"but in {', '.join(method.regions)}."
        )
    return Base(model_id, identifier if tuned else foundation_model_arn(bedrock.region, model_id), model, method)


def hyperparameters_of(base: Base, request: Mapping[str, Any]) -> dict[str, str]:
    """Return the hyperparameters, including the defaults.

    :raises ServiceError: ValidationException for one that is unknown or out of range.
    """
    given: Mapping[str, str] = request.get("hyperParameters", {})
    # Those of reinforcement fine-tuning are in customizationConfig, where the service model checks them.
    rules = {} if "rftConfig" in request.get("customizationConfig", {}) else base.method.hyperparameters
    if unknown := sorted(set(given) - set(rules)):
        raise invalid(f"Unknown hyperparameters for {base.model.family}: {', '.join(unknown)}.")
    for name, value in given.items():
        if problem := rules[name].problem(value):
            raise invalid(f"The hyperparameter {name} {problem}.")
    values = {name: given.get(name, rule.default) for name, rule in rules.items()}
    return {name: value for name, value in values.items() if value is not None}


def check_config(bedrock: Bedrock, base: Base, request: Mapping[str, Any]) -> None:
    """Check that customizationConfig fits the customization type.

    :raises ServiceError: ValidationException.
    """
    kind, config = request.get("customizationType", FINE_TUNING), request.get("customizationConfig", {})
    wanted = {_CONFIGS[kind]} if kind in _CONFIGS else set()
    if set(config) != wanted:
        raise invalid(
            f"A customization of type {kind} needs {', '.join(wanted) or 'nothing'} in customizationConfig, "
            f"not {', '.join(config) or 'nothing'}."
        )
    if kind == "DISTILLATION":
        teacher = config["distillationConfig"]["teacherModelConfig"]["teacherModelIdentifier"]
        known = base_model(foundation(bedrock.region, teacher))
        if known is None or known.id not in base.method.teachers:
            raise invalid(
                f"The provided teacher model {teacher} does not teach {base.model.id}; "
                f"these do: {', '.join(base.method.teachers)}."
            )
    if kind == "REINFORCEMENT_FINE_TUNING" and "lambdaGrader" not in config["rftConfig"].get("graderConfig", {}):
        raise invalid("A customization of type REINFORCEMENT_FINE_TUNING needs a lambdaGrader in its graderConfig.")


def check_data(request: Mapping[str, Any]) -> None:
    """Check that the request names the training data once, and that it fits the customization type.

    :raises ServiceError: ValidationException.
    """
    training, kind = request["trainingDataConfig"], request.get("customizationType", FINE_TUNING)
    if ("s3Uri" in training) == ("invocationLogsConfig" in training):
        raise invalid("The trainingDataConfig must have an s3Uri or an invocationLogsConfig, and not both.")
    if "s3Uri" in training or kind in ("DISTILLATION", "REINFORCEMENT_FINE_TUNING"):
        return
    if kind != FINE_TUNING or not training["invocationLogsConfig"].get("usePromptResponse"):
        raise invalid(
            "Invocation logs can be used only for distillation and reinforcement fine-tuning, or for fine-tuning with "
            "usePromptResponse."
        )

"""Print a CreateModelCustomizationJob request to fill in, in the form of the AWS CLI's --cli-input-json or -yaml.

The operator takes it unchanged: BedrockModelCustomizationOperator(request="job.yaml").
"""

from __future__ import annotations

import argparse
import json
from typing import Any

from airflow_bedrock.base_models import FINE_TUNING, base_model, base_models
from airflow_bedrock.cli import results
from airflow_bedrock.customization.request import request_shape

# Placeholders for the user's values; the service would accept each of them.
_EXAMPLES: dict[str, Any] = {
    "jobName": "my-job",
    "customModelName": "my-model",
    "roleArn": "arn:aws:iam::123456789012:role/bedrock-customization",
    "teacherModelIdentifier": "amazon.nova-pro-v1:0",
    "lambdaArn": "arn:aws:lambda:us-east-1:123456789012:function:my-grader",
}
_PLACES = {
    "trainingDataConfig": "s3://my-bucket/train.jsonl",
    "validationDataConfig": "s3://my-bucket/validation.jsonl",
    "outputDataConfig": "s3://my-bucket/output",
}
_CONFIGS = {"DISTILLATION": "distillationConfig", "REINFORCEMENT_FINE_TUNING": "rftConfig"}
_NUMBERS = ("integer", "long", "float", "double")


def customization_types() -> list[str]:
    """The customization types that botocore knows."""
    return list(request_shape().members["customizationType"].enum)


def skeleton(customization_type: str = FINE_TUNING, base_model_id: str | None = None) -> Any:
    """Return a request of this type that the service model accepts.

    Optional numbers are left out, since the service has defaults for them.

    :param base_model_id: by default, a base model that supports this type.
    """
    shape = request_shape()
    identifier = base_model_id or _model_for(customization_type)
    request: dict[str, Any] = {name: _example(shape.members[name], name) for name in shape.required_members}
    request |= {
        "baseModelIdentifier": identifier,
        "customizationType": customization_type,
        "validationDataConfig": {"validators": [{"s3Uri": _PLACES["validationDataConfig"]}]},
    }
    model = base_model(identifier)
    method = model.methods.get(customization_type) if model else None
    if branch := _CONFIGS.get(customization_type):  # the hyperparameters, if any, are in it
        config = _structure(shape.members["customizationConfig"].members[branch])
        if method and method.teachers:
            config["teacherModelConfig"]["teacherModelIdentifier"] = method.teachers[0]
        request["customizationConfig"] = {branch: config}
    elif method:
        request["hyperParameters"] = {
            name: one.default for name, one in method.hyperparameters.items() if one.default is not None
        }
    return {name: request[name] for name in shape.members if name in request}


def _model_for(customization_type: str) -> str:
    models = [model for model in base_models() if customization_type in model.methods]
    return models[0].customizable_id if models else "amazon.nova-micro-v1:0:128k"


def _structure(shape: Any) -> dict[str, Any]:
    names = shape.required_members or [name for name, one in shape.members.items() if one.type_name not in _NUMBERS]
    if getattr(shape, "is_tagged_union", False):
        names = names[:1]
    return {name: _example(shape.members[name], name) for name in names}


def _example(shape: Any, name: str) -> Any:
    if name in _EXAMPLES:
        return _EXAMPLES[name]
    if name in _PLACES and "s3Uri" in shape.members:
        return {"s3Uri": _PLACES[name]}
    match shape.type_name:
        case "structure":
            return _structure(shape)
        case "list":
            return [_example(shape.member, name)]
        case "map":
            return {}
        case "boolean":
            return False
        case "string":
            return shape.enum[0] if shape.enum else f"my-{name}"
    return shape.metadata.get("min", 1)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    types = customization_types()
    parser.add_argument("--type", choices=types, default=FINE_TUNING, help="customization type (default: %(default)s)")
    parser.add_argument("--base-model", metavar="ID", help="base model; its hyperparameters are filled in")
    parser.add_argument("--format", choices=["yaml", "json"], default="yaml", help="(default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Print the skeleton, and return the exit code."""
    request = skeleton(arguments.type, arguments.base_model)
    if arguments.format == "json":
        results().write(json.dumps(request, indent=2) + "\n")
        return 0
    import yaml

    results().write(yaml.safe_dump(request, sort_keys=False))
    return 0

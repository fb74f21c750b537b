"""Print a CreateModelCustomizationJob request to fill in, in the form of the AWS CLI's --cli-input-json or -yaml.

The operator takes it as it is: BedrockModelCustomizationOperator(request="job.yaml").
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
    "customModelKmsKeyId": "alias/my-key",
    "clientRequestToken": "my-token",
    "teacherModelIdentifier": "amazon.nova-pro-v1:0",
    "lambdaArn": "arn:aws:lambda:us-east-1:123456789012:function:my-grader",
    "subnetIds": ["subnet-0123456789abcdef0"],
    "securityGroupIds": ["sg-0123456789abcdef0"],
}
_PLACES = {
    "trainingDataConfig": "s3://my-bucket/train.jsonl",
    "validationDataConfig": "s3://my-bucket/validation.jsonl",
    "outputDataConfig": "s3://my-bucket/output",
    "invocationLogSource": "s3://my-bucket/invocation-logs/",
}
_CONFIGS = {"DISTILLATION": "distillationConfig", "REINFORCEMENT_FINE_TUNING": "rftConfig"}
_NUMBERS = ("integer", "long", "float", "double")
_BY_HAND = ("trainingDataConfig", "hyperParameters", "customizationConfig", "clientRequestToken")


def customization_types() -> list[str]:
    """The customization types that botocore knows."""
    return list(request_shape().members["customizationType"].enum)


def skeleton(customization_type: str = FINE_TUNING, base_model_id: str | None = None, *, full: bool = False) -> Any:
    """Return a request of this type that the service model accepts.

    :param base_model_id: by default, a base model that supports this type.
    :param full: include every member of the request, not only the required ones. Optional numbers are left out, since
        the service has defaults for them.
    """
    shape = request_shape()
    identifier = base_model_id or _model_for(customization_type)
    request: dict[str, Any] = {
        name: _example(shape.members[name], name) for name in shape.required_members if name not in _BY_HAND
    }
    request |= {
        "baseModelIdentifier": identifier,
        "customizationType": customization_type,
        "trainingDataConfig": {"s3Uri": _PLACES["trainingDataConfig"]},
        "validationDataConfig": {"validators": [{"s3Uri": _PLACES["validationDataConfig"]}]},
    }
    if parameters := _hyperparameters(identifier, customization_type):
        request["hyperParameters"] = parameters
    if branch := _CONFIGS.get(customization_type):
        config = shape.members["customizationConfig"].members[branch]
        request["customizationConfig"] = {branch: _structure(config, full=full)}
    if full:
        rest = [name for name in shape.members if name not in request and name not in _BY_HAND]
        request |= {name: _example(shape.members[name], name, full=True) for name in rest}
    return {name: request[name] for name in shape.members if name in request}


def _model_for(customization_type: str) -> str:
    models = [model for model in base_models() if customization_type in model.methods]
    return models[0].customizable_id if models else "amazon.nova-micro-v1:0:128k"


def _hyperparameters(identifier: str, customization_type: str) -> dict[str, str]:
    model = base_model(identifier)
    method = model.methods.get(customization_type) if model else None
    if method is None or customization_type in _CONFIGS:  # whose hyperparameters, if any, are in their own config
        return {}
    return {name: one.default for name, one in method.hyperparameters.items() if one.default is not None}


def _structure(shape: Any, *, full: bool) -> dict[str, Any]:
    if getattr(shape, "is_tagged_union", False):
        name = next(iter(shape.members))
        return {name: _example(shape.members[name], name, full=full)}
    names = list(shape.members) if full else shape.required_members or list(shape.members)
    # Numbers are left out, so that the service uses its defaults.
    given = [name for name in names if name in shape.required_members or shape.members[name].type_name not in _NUMBERS]
    return {name: _example(shape.members[name], name, full=full) for name in given}


def _example(shape: Any, name: str, *, full: bool = False) -> Any:
    if name in _EXAMPLES:
        return _EXAMPLES[name]
    if name in _PLACES and "s3Uri" in shape.members:
        return {"s3Uri": _PLACES[name]}
    match shape.type_name:
        case "structure":
            return _structure(shape, full=full)
        case "list":
            return [_example(shape.member, name, full=full)]
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
    parser.add_argument(
        "--full", action="store_true", help="include every member of the request, except numbers with a default"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the skeleton, and return the exit code."""
    request = skeleton(arguments.type, arguments.base_model, full=arguments.full)
    if arguments.format == "json":
        results().write(json.dumps(request, indent=2) + "\n")
        return 0
    import yaml

    results().write(yaml.safe_dump(request, sort_keys=False))
    return 0

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


def customization_types() -> list[str]:
    """The customization types that botocore knows."""
    return list(request_shape().members["customizationType"].enum)


def skeleton(customization_type: str = FINE_TUNING, base_model_id: str | None = None) -> dict[str, Any]:
    """Return a request of this type that the service model accepts, with placeholders for the user's values.

    Optional numbers are left out, since the service has defaults for them.

    :param base_model_id: by default, a base model that supports this type.
    """
    suitable = (model.customizable_id for model in base_models() if customization_type in model.methods)
    identifier = base_model_id or next(suitable, "amazon.nova-micro-v1:0:128k")
    model = base_model(identifier)
    method = model.methods.get(customization_type) if model else None
    request: dict[str, Any] = {
        "jobName": "my-job",
        "customModelName": "my-model",
        "roleArn": "arn:aws:iam::123456789012:role/bedrock-customization",
        "baseModelIdentifier": identifier,
        "customizationType": customization_type,
        "trainingDataConfig": {"s3Uri": "s3://my-bucket/train.jsonl"},
        "validationDataConfig": {"validators": [{"s3Uri": "s3://my-bucket/validation.jsonl"}]},
        "outputDataConfig": {"s3Uri": "s3://my-bucket/output"},
    }
    if customization_type == "DISTILLATION":
        teacher = {"teacherModelIdentifier": method.teachers[0] if method else "amazon.nova-pro-v1:0"}
        request["customizationConfig"] = {"distillationConfig": {"teacherModelConfig": teacher}}
    elif customization_type == "REINFORCEMENT_FINE_TUNING":
        grader = {"lambdaArn": "arn:aws:lambda:us-east-1:123456789012:function:my-grader"}
        request["customizationConfig"] = {"rftConfig": {"graderConfig": {"lambdaGrader": grader}}}
    elif method:
        request["hyperParameters"] = {
            name: one.default for name, one in method.hyperparameters.items() if one.default is not None
        }
    return request


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    types = customization_types()
    parser.add_argument("--type", choices=types, default=FINE_TUNING, help="customization type (default: %(default)s)")
    parser.add_argument("--base-model", metavar="ID", help="base model; its hyperparameters are filled in")
    parser.add_argument("--format", choices=["yaml", "json"], default="yaml", help="(default: %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Print the skeleton, and return the exit code."""
    import yaml

    request = skeleton(arguments.type, arguments.base_model)
    as_json = arguments.format == "json"
    results().write(f"{json.dumps(request, indent=2)}\n" if as_json else yaml.safe_dump(request, sort_keys=False))
    return 0

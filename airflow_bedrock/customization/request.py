"""The CreateModelCustomizationJob request: made from an operator's arguments, checked by the service's own model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from botocore.model import Shape


class RequestError(ValueError):
    """A request that the service would refuse; it was not sent, and nothing was spent."""


def build_request(
    *,
    job_name: str,
    custom_model_name: str,
    role_arn: str,
    base_model_id: str,
    training_data_uri: str,
    output_data_uri: str,
    validation_data_uri: str | Sequence[str] | None = None,
    hyperparameters: Mapping[str, object] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the request in the API's own names.

    :param validation_data_uri: one S3 URI or several; each becomes a validator.
    :param hyperparameters: the service takes strings; numbers are turned into such.
    :param extra: further members by their API names, e.g. ``{"vpcConfig": …}``; they win over the arguments.
    """
    request: dict[str, Any] = {
        "jobName": job_name,
        "customModelName": custom_model_name,
        "roleArn": role_arn,
        "baseModelIdentifier": base_model_id,
        "trainingDataConfig": {"s3Uri": training_data_uri},
        "outputDataConfig": {"s3Uri": output_data_uri},
    }
    if validation_data_uri:
        uris = [validation_data_uri] if isinstance(validation_data_uri, str) else validation_data_uri
        request["validationDataConfig"] = {"validators": [{"s3Uri": uri} for uri in uris]}
    if hyperparameters:
        request["hyperParameters"] = {name: str(value) for name, value in hyperparameters.items()}
    return request | dict(extra or {})


def data_uris(request: Mapping[str, Any]) -> list[str]:
    """Return the S3 objects that the job will read: the training data first, then the validators."""
    training = request.get("trainingDataConfig", {}).get("s3Uri")
    validators = request.get("validationDataConfig", {}).get("validators", [])
    return ([training] if training else []) + [validator["s3Uri"] for validator in validators]


def check_request(request: Mapping[str, Any]) -> None:
    """Check the request against botocore's shape of CreateModelCustomizationJob, all of it at once.

    :raises RequestError: names each member that the service would refuse, with its value and the rule.
    """
    from airflow_bedrock.shapes import problems

    found = problems(_request_shape(), request)
    if found:
        lines = "\n".join(f"  - {problem}" for problem in found)
        raise RequestError(
            f"CreateModelCustomizationJob would be refused; nothing was sent or spent. Mend these:\n{lines}"
        )


@cache
def _request_shape() -> Shape:
    from botocore.loaders import create_loader
    from botocore.model import ServiceModel

    model = ServiceModel(create_loader().load_service_model("bedrock", "service-2"), "bedrock")
    shape = model.operation_model("CreateModelCustomizationJob").input_shape
    if shape is None:
        raise LookupError("botocore's service model has no input for CreateModelCustomizationJob")
    return shape

"""Foundation models: get, list, availability.

They are those of ``base_models.toml``; other models can be called, but are not listed.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from typing import Any

from airflow_bedrock.base_models import BaseModel, base_model, base_models, foundation_model_id
from airflow_bedrock.local.api.inference_profiles import profiles
from airflow_bedrock.local.catalog import foundation, foundation_model_arn
from airflow_bedrock.local.errors import not_found
from airflow_bedrock.local.state.bedrock import Bedrock

_LISTED_TYPES = ("FINE_TUNING", "CONTINUED_PRE_TRAINING", "DISTILLATION")
"""The customization types for which this operation of the service model has a name."""


def get_foundation_model(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Describe a foundation model."""
    identifier = request["modelIdentifier"]
    wanted = foundation(bedrock.region, identifier)
    for model in _all(bedrock):
        if model["modelId"] == wanted:
            return {"modelDetails": model}
    raise not_found(f"Could not resolve the foundation model from the provided model identifier {identifier}.")


def get_foundation_model_availability(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Return whether a foundation model can be used: all agreements are accepted here, but not all models are in each
    region.
    """
    model = base_model(request["modelId"])
    if model is None:
        raise not_found(f"The provided model {request['modelId']} was not found.")
    here = bedrock.region in model.regions or any(
        foundation_model_id(profile.id) == model.id and bedrock.region in profile.regions
        for profile in profiles(bedrock)
    )
    return {
        "modelId": request["modelId"],
        "agreementAvailability": {"status": "AVAILABLE"},
        "authorizationStatus": "AUTHORIZED",
        "entitlementAvailability": "AVAILABLE",
        "regionAvailability": "AVAILABLE" if here else "NOT_AVAILABLE",
    }


def list_foundation_models(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """List foundation models."""
    filters = {
        "customizationsSupported": request.get("byCustomizationType"),
        "outputModalities": request.get("byOutputModality"),
        "inferenceTypesSupported": request.get("byInferenceType"),
    }
    provider = request.get("byProvider", "").lower()
    return {
        "modelSummaries": [
            model
            for model in _all(bedrock)
            if provider in ("", model["providerName"].lower())
            and all(value is None or value in model[member] for member, value in filters.items())
        ]
    }


def _all(bedrock: Bedrock) -> Iterator[dict[str, Any]]:
    for model in base_models():
        if model.has_ended(bedrock.today):  # then only the documentation lists it
            continue
        customizations = [
            kind for kind in _LISTED_TYPES if kind in model.methods and bedrock.region in model.methods[kind].regions
        ]
        if model.context:
            # As in the service: one id to call, and one to customize and provision.
            yield _model(bedrock, model, model.id, [], ["INFERENCE_PROFILE" if model.profile_only else "ON_DEMAND"])
            yield _model(bedrock, model, model.customizable_id, customizations, ["PROVISIONED"])
        else:
            yield _model(bedrock, model, model.id, customizations, ["ON_DEMAND", "PROVISIONED"])


def _model(
    bedrock: Bedrock, model: BaseModel, model_id: str, customizations: list[str], inference: list[str]
) -> dict[str, Any]:
    return {
        "modelArn": foundation_model_arn(bedrock.region, model_id),
        "modelId": model_id,
        "modelName": model.name[:20],  # the maximum length of the service model
        "providerName": model.provider,
        "inputModalities": [kind for kind in model.input if kind != "VIDEO"],  # the service model has no VIDEO
        "outputModalities": list(model.output),
        "responseStreamingSupported": "TEXT" in model.output,
        "customizationsSupported": customizations,
        "inferenceTypesSupported": inference,
        "modelLifecycle": _lifecycle(model, bedrock.today),
    }


def _lifecycle(model: BaseModel, today: date) -> dict[str, Any]:
    if not model.is_legacy(today):
        return {"status": "ACTIVE"}
    days = {"legacyTime": model.legacy, "endOfLifeTime": model.ends}
    times = {name: datetime.combine(day, time(), UTC) for name, day in days.items() if day}
    return {"status": "LEGACY", **times}

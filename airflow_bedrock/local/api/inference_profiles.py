"""Inference profiles: get, list. Only those that Amazon Bedrock defines; ``inference_profiles.toml`` has them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from airflow_bedrock.base_models import foundation_model_id
from airflow_bedrock.local.api.paging import page
from airflow_bedrock.local.catalog import foundation_model_arn
from airflow_bedrock.local.errors import not_found
from airflow_bedrock.local.state.bedrock import Bedrock


@dataclass(frozen=True)
class InferenceProfile:
    """An inference profile, as its region shows it.

    :param regions: the regions that answer.
    """

    arn: str
    id: str
    name: str
    regions: tuple[str, ...]

    @property
    def described(self) -> dict[str, Any]:
        """Return the members that Get and List have in common: all."""
        model_id = foundation_model_id(self.id)
        name = self.name.replace(".", "-")  # the service model does not allow the dot
        model_name = name.partition(" ")[2]
        *others, last = self.regions
        where = f"in {' '.join(others)} and {last}" if others else "globally across all supported AWS Regions"
        return {
            "inferenceProfileName": name,
            "description": f"Routes requests to {model_name} {where}.",
            "inferenceProfileArn": self.arn,
            "inferenceProfileId": self.id,
            "models": [{"modelArn": foundation_model_arn(region, model_id)} for region in self.regions],
            "status": "ACTIVE",
            "type": "SYSTEM_DEFINED",
        }


def get_inference_profile(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """Describe an inference profile that can be called in this region."""
    identifier = request["inferenceProfileIdentifier"]
    for profile in profiles(bedrock):
        if identifier in (profile.id, profile.arn):
            return profile.described
    raise not_found(f"The provided inference profile {identifier} was not found.")


def list_inference_profiles(bedrock: Bedrock, request: dict[str, Any]) -> dict[str, Any]:
    """List the inference profiles that can be called in this region."""
    found = [] if request.get("typeEquals") == "APPLICATION" else list(profiles(bedrock))
    shown, more = page(found, request)
    return {"inferenceProfileSummaries": [profile.described for profile in shown], **more}


def profiles(bedrock: Bedrock) -> Iterator[InferenceProfile]:
    """Return the profiles that can be called in this region."""
    for alike in _document():
        if bedrock.region in alike["sources"]:
            regions = tuple(sorted({*alike["destinations"], bedrock.region}))
            for id_, name in alike["names"].items():
                arn = f"arn:aws:bedrock:{bedrock.region}:{bedrock.account}:inference-profile/{id_}"
                yield InferenceProfile(arn, id_, name, regions)


@cache
def _document() -> list[dict[str, Any]]:
    text = files("airflow_bedrock.local").joinpath("inference_profiles.toml").read_text(encoding="utf-8")
    groups: list[dict[str, Any]] = tomllib.loads(text)["profiles"]
    return groups

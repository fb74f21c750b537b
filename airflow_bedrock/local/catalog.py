"""Base models: which can be customized, in what format, with which hyperparameters and how many records.

The facts are in ``base_models.json``, with their source and date.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from pathlib import Path

import msgspec

from airflow_bedrock.local.learning.training import Schedule

_PROFILE = re.compile(r"(?:us|us-gov|eu|apac|au|jp|ca|sa|global)\.(?=[a-z0-9-]+\.)")
_CONTEXT = re.compile(r":(?:\d+k|mm)$")
_FOUNDATION_ARN = re.compile(r"arn:aws[a-z-]*:bedrock:[a-z0-9-]+::foundation-model/(.+)")
_PROFILE_ARN = re.compile(r"arn:aws[a-z-]*:bedrock:[a-z0-9-]+:[0-9]{12}:inference-profile/(.+)")


class Hyperparameter(msgspec.Struct, frozen=True):
    """The range and default of one hyperparameter; a whole one takes no fraction."""

    min: float
    max: float
    default: str
    whole: bool = True


class Family(msgspec.Struct, frozen=True):
    """Base models that are customized in the same way.

    :param records: the least and the greatest number of records, training and validation together.
    """

    name: str
    models: tuple[str, ...]
    types: tuple[str, ...]
    format: str
    records: tuple[int, int]
    hyperparameters: dict[str, Hyperparameter]
    pretraining_records: tuple[int, int] | None = None

    def records_for(self, customization_type: str) -> tuple[int, int]:
        """Return the least and the greatest number of records of a job of this type."""
        if customization_type == "CONTINUED_PRE_TRAINING" and self.pretraining_records:
            return self.pretraining_records
        return self.records

    def schedule(self, hyperparameters: Mapping[str, str]) -> Schedule:
        """Return how to train with these hyperparameters; this family's default learning rate counts as 1."""
        rate = 1.0
        for name in ("learningRate", "learningRateMultiplier"):
            if name in self.hyperparameters:
                rate = float(hyperparameters[name]) / float(self.hyperparameters[name].default)
        return Schedule(
            epochs=int(hyperparameters["epochCount"]),
            learning_rate=rate,
            warmup_steps=int(hyperparameters.get("learningRateWarmupSteps", 0)),
            batch_size=int(hyperparameters["batchSize"]) if "batchSize" in hyperparameters else None,
        )


class Catalog(msgspec.Struct, frozen=True):
    """All that is known about base models."""

    source: str
    date: str
    providers: tuple[str, ...]
    families: tuple[Family, ...]

    def family(self, model_id: str) -> Family | None:
        """Return the family of a base model that can be customized."""
        base = _CONTEXT.sub("", model_id)
        return next((family for family in self.families if base in family.models), None)

    def knows(self, model_id: str) -> bool:
        """Whether a model of that id can be asked."""
        return model_id.partition(".")[0] in self.providers


@functools.cache
def catalog() -> Catalog:
    """Return the catalog."""
    return msgspec.json.decode((Path(__file__).parent / "base_models.json").read_bytes(), type=Catalog)


def foundation_model_id(identifier: str) -> str:
    """Return the id of a foundation model that is named by its id, its ARN, or an inference profile."""
    for pattern in (_FOUNDATION_ARN, _PROFILE_ARN):
        if matched := pattern.fullmatch(identifier):
            identifier = matched[1]
    return _PROFILE.sub("", identifier)


def foundation_model_arn(region: str, model_id: str) -> str:
    """Return the ARN of a foundation model."""
    return f"arn:aws:bedrock:{region}::foundation-model/{model_id}"

"""The catalog of base models: what their identifiers mean, and what it takes to customize them."""

from __future__ import annotations

import pytest

from airflow_bedrock.local.catalog import catalog, foundation_model_id
from airflow_bedrock.local.work.records import _READERS


@pytest.mark.parametrize(
    ("identifier", "model"),
    [
        ("amazon.nova-micro-v1:0:128k", "amazon.nova-micro-v1:0:128k"),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0:300k", "amazon.nova-lite-v1:0:300k"),
        ("us.amazon.nova-micro-v1:0", "amazon.nova-micro-v1:0"),
        ("global.anthropic.claude-sonnet-4-v1:0", "anthropic.claude-sonnet-4-v1:0"),
        (
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/eu.amazon.nova-pro-v1:0",
            "amazon.nova-pro-v1:0",
        ),
    ],
)
def test_identifier_names_a_foundation_model(identifier: str, model: str) -> None:
    """An id, an ARN and an inference profile all name the foundation model."""
    assert foundation_model_id(identifier) == model


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("amazon.nova-micro-v1:0:128k", "Amazon Nova text"),
        ("amazon.nova-micro-v1:0", "Amazon Nova text"),
        ("anthropic.claude-3-haiku-20240307-v1:0:200k", "Anthropic Claude 3 Haiku"),
        ("meta.llama3-1-8b-instruct-v1:0:128k", "Meta Llama 3.1"),
        ("amazon.titan-text-lite-v1:0:4k", "Amazon Titan Text Lite and Express"),
    ],
)
def test_family_is_found_with_and_without_context_length(model: str, name: str) -> None:
    """The suffix for the context length does not matter for what family a model belongs to."""
    family = catalog().family(model)
    assert family is not None
    assert family.name == name


def test_model_that_cannot_be_customized_has_no_family() -> None:
    """A model that can only be asked has no family."""
    assert catalog().family("anthropic.claude-sonnet-4-v1:0") is None
    assert catalog().knows("anthropic.claude-sonnet-4-v1:0")
    assert not catalog().knows("nobody.nothing-v1:0")


def test_defaults_are_within_their_ranges() -> None:
    """The catalog's data is sound: defaults within ranges, known formats, a schedule that can be made."""
    for family in catalog().families:
        assert family.format in _READERS
        defaults = {name: rule.default for name, rule in family.hyperparameters.items()}
        for name, rule in family.hyperparameters.items():
            assert rule.min <= float(rule.default) <= rule.max, (family.name, name)
        schedule = family.schedule(defaults)
        assert (schedule.learning_rate, schedule.epochs) == (1.0, int(defaults["epochCount"]))


def test_learning_rate_counts_relative_to_the_default() -> None:
    """Ten times the default learning rate is ten times as fast here, too."""
    nova = catalog().family("amazon.nova-micro-v1:0")
    assert nova is not None
    schedule = nova.schedule({"epochCount": "3", "learningRate": "1e-4", "learningRateWarmupSteps": "7"})
    assert (schedule.epochs, schedule.warmup_steps, schedule.batch_size) == (3, 7, None)
    assert schedule.learning_rate == pytest.approx(10)

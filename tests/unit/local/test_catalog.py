"""Base models as Local Bedrock uses them: which can be asked, and how fast each trains."""

from __future__ import annotations

import pytest

from airflow_bedrock.base_models import base_model, base_models
from airflow_bedrock.datasets.rules.forms import FORMS
from airflow_bedrock.local.catalog import invocable, schedule
from airflow_bedrock.local.errors import ServiceError


@pytest.mark.parametrize(
    ("identifier", "model_id"),
    [
        ("anthropic.claude-sonnet-4-v1:0", "anthropic.claude-sonnet-4-v1:0"),
        ("global.anthropic.claude-sonnet-4-v1:0", "anthropic.claude-sonnet-4-v1:0"),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0", "amazon.nova-lite-v1:0"),
    ],
)
def test_models_of_known_providers_can_be_asked(identifier: str, model_id: str) -> None:
    """Any text model of a known provider can be asked."""
    assert invocable("us-east-1", identifier) == model_id


@pytest.mark.parametrize(
    "identifier",
    [
        "amazon.nova-canvas-v1:0",
        "nobody.nothing-v1:0",
        "amazon",
        "arn:aws:bedrock:us-west-2::foundation-model/amazon.nova-lite-v1:0",
    ],
)
def test_other_models_cannot_be_asked(identifier: str) -> None:
    """One that makes images cannot, nor one of another region."""
    with pytest.raises(ServiceError, match="The provided model identifier is invalid"):
        invocable("us-east-1", identifier)


def test_a_context_length_needs_provisioned_throughput() -> None:
    """The id with a context length is for customization and provisioned throughput."""
    with pytest.raises(ServiceError, match="The provided model doesn't support on-demand throughput"):
        invocable("us-east-1", "amazon.nova-2-lite-v1:0:256k")
    assert invocable("us-east-1", "amazon.nova-2-lite-v1:0:256k", provisioned=True) == "amazon.nova-2-lite-v1:0:256k"


def test_every_method_can_be_read_and_trained() -> None:
    """Each way of customizing each model has a format that is read, and a schedule that can be made."""
    for model in base_models():
        for method in model.methods.values():
            assert (method.form or method.format) in FORMS
            defaults = {name: rule.default for name, rule in method.hyperparameters.items() if rule.default}
            made = schedule(method, defaults, records=1_000)
            assert made.learning_rate == 1.0
            assert 1 <= made.steps(1_000) <= 100_000, model.id


def test_learning_rate_counts_relative_to_the_default() -> None:
    """Ten times the default learning rate is ten times as fast here, too."""
    nova = base_model("amazon.nova-micro-v1:0")
    assert nova is not None
    given = {"epochCount": "3", "learningRate": "1e-4", "learningRateWarmupSteps": "7"}
    made = schedule(nova.methods["FINE_TUNING"], given, records=100)
    assert (made.epochs, made.warmup_steps, made.batch_size) == (3, 7, None)
    assert made.learning_rate == pytest.approx(10)


def test_steps_of_image_models_become_epochs() -> None:
    """Where steps are given instead of epochs, as many epochs are made as hold them."""
    canvas = base_model("amazon.nova-canvas-v1:0")
    assert canvas is not None
    made = schedule(canvas.methods["FINE_TUNING"], {"batchSize": "8", "stepCount": "50"}, records=80)
    assert made.epochs == 5
    assert made.steps(80) == 50

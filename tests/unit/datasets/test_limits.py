"""Limits: which base model takes what, and what the checks say."""

from __future__ import annotations

import pytest

from airflow_bedrock.datasets import DatasetError, Example, Limits, RecordFormat, format_for, limits_for


def limits(base_model_id: str) -> Limits:
    found = limits_for(base_model_id)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("base_model_id", "record_format"),
    [
        ("amazon.nova-micro-v1:0:128k", RecordFormat.CONVERSE),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-2-lite-v1:0:256k", RecordFormat.CONVERSE),
        (
            "arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.nova-lite-v1:0:300k/abcdefghijkl",
            RecordFormat.CONVERSE,
        ),
        ("meta.llama3-1-8b-instruct-v1:0:128k", RecordFormat.PROMPT_COMPLETION),
        ("meta.llama3-3-70b-instruct-v1:0:128k", RecordFormat.CONVERSE),
        ("anthropic.claude-3-haiku-20240307-v1:0:200k", RecordFormat.CLAUDE),
        ("cohere.command-light-text-v14:7:4k", RecordFormat.PROMPT_COMPLETION),
    ],
)
def test_format_for(base_model_id: str, record_format: RecordFormat) -> None:
    """The base model's id, or an ARN that holds it, says the record format."""
    assert format_for(base_model_id) is record_format


@pytest.mark.parametrize("base_model_id", ["amazon.nova-canvas-v1:0", "nobody.knows-v1:0", ""])
def test_unknown_base_model(base_model_id: str) -> None:
    """A model without a text format that is known is not guessed at."""
    assert limits_for(base_model_id) is None
    with pytest.raises(DatasetError, match="record_format"):
        format_for(base_model_id)


def test_the_narrower_family_comes_first() -> None:
    """Llama 3.2 90B has a lower token limit than its family."""
    assert limits("meta.llama3-2-90b-instruct-v1:0:128k").method.max_tokens == 10_000
    assert limits("meta.llama3-2-1b-instruct-v1:0:128k").method.max_tokens == 16_000


@pytest.mark.parametrize("field", ["prompt", "system"])
def test_reserved_words(field: str) -> None:
    """A reserved word where the model is asked is named; the text around it is not. The answer may have it."""
    texts = {"prompt": "p", "completion": "user: c", field: "secret uSer: secret"}
    micro = limits("amazon.nova-micro-v1:0")
    assert micro.problem(Example(**texts)) == "holds User:, a reserved word of Amazon Nova"
    assert micro.problem(Example("p", "user: c")) is None


def test_length() -> None:
    """A record may have as many tokens as the model takes, at Claude's three characters each, and no more."""
    claude = limits("anthropic.claude-3-haiku-20240307-v1:0:200k")
    assert claude.problem(Example("x" * 95_999, "y")) is None
    assert "longer than 32000 tokens" in str(claude.problem(Example("x" * 96_000, "y")))
    assert limits("amazon.nova-micro-v1:0").problem(Example("字" * 32_000, "y")) is not None


@pytest.mark.parametrize(
    ("train", "validation", "problem"),
    [
        (31, 0, "between 32 and"),
        (31, 1, None),
        (9_000, 1_000, None),
        (9_001, 1_000, "and 10000"),
        (8_000, 1_001, "validation data is 1001"),
    ],
)
def test_volume(train: int, validation: int, problem: str | None) -> None:
    """The number of records has its limits, both together and for validation alone."""
    found = limits("anthropic.claude-3-haiku-20240307-v1:0:200k").volume_problem(train, validation)
    assert found is None if problem is None else problem in str(found)

"""Limits of records: each model's own, each broken by one more than is allowed."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from airflow_bedrock.base_models import Method, base_model
from airflow_bedrock.datasets.rules.limits import limit_problems
from airflow_bedrock.datasets.rules.record import Media, Problem, Record, Text
from airflow_bedrock.local.work.data import MediaCheck

NOVA = "amazon.nova-lite-v1:0"


class Sizes:
    """Objects of S3 that have a size and nothing else."""

    def __init__(self, **sizes: int) -> None:
        self._sizes = sizes

    def head_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:
        if Key not in self._sizes:
            raise ClientError({"Error": {"Code": "404"}}, "HeadObject")
        return {"ContentLength": self._sizes[Key]}


def method(model_id: str, kind: str = "FINE_TUNING") -> Method:
    model = base_model(model_id)
    assert model is not None
    return model.methods[kind]


def check(model_id: str, record: Record, kind: str = "FINE_TUNING", size: int = 0, **sizes: int) -> str | None:
    model = base_model(model_id)
    assert model is not None
    problems: list[Problem | None] = [*limit_problems(model.methods[kind], model.input, record, size, "b")]
    media = MediaCheck(model.methods[kind], Sizes(**sizes), lambda uri: "secret" not in uri)
    problem = next(iter(problems), None) or media(record)
    return problem and problem.message


@pytest.mark.parametrize(
    ("model_id", "most", "ratio"),
    [
        (NOVA, 32_000, 6),
        ("meta.llama3-2-90b-instruct-v1:0", 10_000, 6),
        ("meta.llama3-2-1b-instruct-v1:0", 16_000, 6),
        ("anthropic.claude-3-haiku-20240307-v1:0", 32_000, 3),
        ("amazon.titan-text-lite-v1", 4_096, 6),
    ],
)
def test_tokens_of_a_record(model_id: str, most: int, ratio: int) -> None:
    """A record of as many tokens as the model takes passes; one more fails with the service's message."""
    assert check(model_id, Record("x" * (most * ratio - 1), "y")) is None
    found = check(model_id, Record("x" * most * ratio, "y"))
    assert found == f"Maximum input token count {most + 1} exceeds limit of {most}."


def test_prompt_and_completion_apart() -> None:
    """Cohere's prompt and completion have limits of their own."""
    assert check("cohere.command-text-v14", Record("x" * 4096 * 6, "y" * 2048 * 6)) is None
    found = check("cohere.command-text-v14", Record("x", "y" * (2048 * 6 + 1)))
    assert found == "Maximum output token count 2049 exceeds limit of 2048."


@pytest.mark.parametrize("word", method(NOVA).reserved_words)
def test_reserved_words(word: str) -> None:
    """The words that Nova reserves are found in any case where the model is asked, and not in its answers."""
    for said in (word, word.upper(), word.lower()):
        asked = Record("", "no", texts=(Text("user", f"say {said} please"),))
        assert "reserved word" in str(check(NOVA, asked))
        assert check(NOVA, Record("", "", texts=(Text("user", "what?"), Text("assistant", f"{said}!")))) is None
        assert check("meta.llama3-2-1b-instruct-v1:0", asked) is None


def test_line_of_a_distillation_record() -> None:
    """A distillation prompt may take 16 KB of its file."""
    assert check(NOVA, Record("x"), "DISTILLATION", 16_000) is None
    assert "Input size exceeded" in str(check(NOVA, Record("x"), "DISTILLATION", 16_001))


@pytest.mark.parametrize(("length", "fine"), [(2, False), (3, True), (1024, True), (1025, False)])
def test_captions(length: int, fine: bool) -> None:
    """A caption has a least and a greatest length."""
    record = Record("", "x" * length, (Media("image", "s3://b/i"),))
    found = check("amazon.nova-canvas-v1:0", record, i=10)
    assert found is None if fine else "the caption has" in str(found)


IMAGE, VIDEO = Media("image", "s3://b/i"), Media("video", "s3://b/v")


@pytest.mark.parametrize(
    ("model_id", "media", "reason"),
    [
        (NOVA, (IMAGE,) * 10, None),
        (NOVA, (IMAGE,) * 11, "11 images, more than 10"),
        (NOVA, (VIDEO,), None),
        (NOVA, (VIDEO,) * 2, "2 videos, more than 1"),
        (NOVA, (IMAGE, VIDEO), "images or videos, but not both"),
        (NOVA, (Media("image", "s3://other/i"),), "not in the bucket b"),
        (NOVA, (Media("image", "https://b/i"),), "not in Amazon S3"),
        (NOVA, (Media("image", "s3://b/secret"),), "Could not validate GetObject permissions"),
        (NOVA, (Media("image", "s3://b/missing"),), "Could not validate GetObject permissions"),
        (NOVA, (Media("image", "s3://b/large"),), "10000001 bytes, more than 10000000"),
        ("amazon.nova-micro-v1:0", (IMAGE,), "does not accept images"),
        ("meta.llama3-2-11b-instruct-v1:0", (VIDEO,), "does not accept videos"),
    ],
)
def test_images_and_videos(model_id: str, media: tuple[Media, ...], reason: str | None) -> None:
    """Number, kind, place and size of images and videos are checked."""
    record = Record("What is it?", "A cat", media)
    if reason is None:
        assert check(model_id, record, i=10_000_000, v=50_000_000) is None
    else:
        assert reason in str(check(model_id, record, i=1, v=1, secret=1, large=10_000_001))


def test_images_of_image_models_may_be_elsewhere() -> None:
    """Only Nova wants images and videos in the bucket of the data."""
    record = Record("", "A cat", (Media("image", "s3://other/i"),))
    assert check("amazon.titan-image-generator-v2:0", record, i=1) is None

"""Records: what can be trained on, and what the job says of what cannot."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_bedrock.base_models import Method
from airflow_bedrock.datasets.rules import Rules
from airflow_bedrock.datasets.rules.record import Media, Problem, Record
from airflow_bedrock.local.work.records import DataError, read_records

FILE = "s3://bucket/train.jsonl"
NOVA, LLAMA = "nova", "llama"


def converse(*turns: tuple[str, str], system: str | None = None, **changes: Any) -> dict[str, Any]:
    record: dict[str, Any] = {"schemaVersion": "bedrock-conversation-2024"}
    if system:
        record["system"] = [{"text": system}]
    record["messages"] = [{"role": role, "content": [{"text": text}]} for role, text in turns]
    return record | changes


TURNS = (("user", "Hello"), ("assistant", "Hi"))


def rules(kind: str) -> Rules:
    """The rules of a form alone, without a model's limits."""
    form: Any = kind
    return Rules(Method(regions=(), format=form, hyperparameters={}), ("TEXT", "IMAGE"))


def read(kind: str, *records: Any) -> list[tuple[str, str | None]]:
    lines = [record if isinstance(record, bytes) else json.dumps(record).encode() for record in records]
    return [(record.prompt, record.completion) for record in read_records(lines, FILE, rules(kind))]


@pytest.mark.parametrize(
    ("kind", "record", "example"),
    [
        (NOVA, converse(*TURNS, system="Be short."), ("Be short.\nHello", "Hi")),
        (
            NOVA,
            converse(*TURNS, ("user", "Bye"), ("assistant", "Bye!")),
            ("Hello\nHi\nBye", "Bye!"),
        ),
        (
            "claude",
            {"system": "Be short.", "messages": [{"role": role, "content": text} for role, text in TURNS]},
            ("Be short.\nHello", "Hi"),
        ),
        ("claude", {"messages": [{"role": role, "content": text} for role, text in TURNS]}, ("Hello", "Hi")),
        ("prompt-completion", {"prompt": "Hello", "completion": "Hi"}, ("Hello", "Hi")),
        ("pre-training", {"input": "Some text"}, ("", "Some text")),
        ("image", {"image-ref": "s3://b/i.png", "caption": "A cat"}, ("", "A cat")),
        ("distillation", converse(TURNS[0], system="Be short."), ("Be short.\nHello", None)),
        ("distillation", converse(*TURNS), ("Hello", "Hi")),
        ("reinforcement", {"messages": [{"role": "user", "content": "2 + 2?"}]}, ("2 + 2?", None)),
    ],
)
def test_record_becomes_prompt_and_completion(
    kind: str, record: dict[str, Any], example: tuple[str, str | None]
) -> None:
    """Each format comes to what the model is given and what it should say: the last assistant turn."""
    assert read(kind, record) == [example]


@pytest.mark.parametrize("line", [b"", b"   ", b"{", b"not json", b"\xff\xfe"])
def test_line_that_is_no_json_fails_with_the_services_message(line: bytes) -> None:
    """A blank or broken line fails the job with the service's message, and the line's number."""
    with pytest.raises(DataError) as caught:
        read("prompt-completion", {"prompt": "a", "completion": "b"}, line)
    message = f"Unable to parse Amazon S3 file: {FILE}. Data files must conform to JSONL format."
    assert str(caught.value).startswith(message)
    assert "Line 2" in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "record", "reason"),
    [
        ("prompt-completion", {"prompt": "a"}, "completion"),
        ("prompt-completion", {"prompt": "a", "completion": 5}, "completion"),
        ("prompt-completion", ["a"], "array"),
        ("pre-training", {"text": "a"}, "input"),
        (LLAMA, converse(*TURNS, schemaVersion="1"), "schemaVersion"),
        (NOVA, converse(("assistant", "Hi")), "the user's"),
        (NOVA, converse(("user", "Hello")), "the last one the assistant's"),
        (NOVA, converse(("user", "a"), ("user", "b"), ("assistant", "c")), "alternate"),
        (NOVA, converse(("user", "a"), ("robot", "b")), "role"),
        (NOVA, converse(messages=[{"role": one, "content": []} for one in ("user", "assistant")]), "content"),
        ("claude", {"messages": [{"role": "user", "content": [{"text": "a"}]}]}, "content"),
    ],
)
def test_record_of_another_form_is_reported(kind: str, record: Any, reason: str) -> None:
    """A record of another form fails the job with the service's sentence; line and reason follow it."""
    with pytest.raises(DataError) as caught:
        read(kind, record)
    message = str(caught.value)
    assert message.startswith("Input data at train.jsonl must follow '{")
    assert reason in message.partition("}' format. Line 1: ")[2]


def test_a_record_of_another_form_is_reported_as_by_the_service() -> None:
    """https://github.com/aws-samples/amazon-bedrock-workshop/issues/266"""
    with pytest.raises(DataError) as caught:
        read("prompt-completion", {"prompt": "a"})
    assert str(caught.value).startswith(
        """Input data at train.jsonl must follow '{"prompt": "<input text>", "completion": "<output text>"}' format"""
    )


def test_media_are_found_beside_the_text() -> None:
    """A turn may hold an image beside its text: the text is learnt, and the image is known."""
    record = converse(*TURNS)
    image = {"format": "png", "source": {"s3Location": {"uri": "s3://b/i", "bucketOwner": "123456789012"}}}
    record["messages"][0]["content"].append({"image": image})
    (found,) = read_records([json.dumps(record).encode()], FILE, rules(NOVA))
    assert (found.prompt, found.completion) == ("Hello", "Hi")
    assert found.media == (Media("image", "s3://b/i", "png", "$.messages[0].content[1].image"),)


@pytest.mark.parametrize(
    ("turn", "block"),
    [
        (0, {"image": {"format": "png", "source": {"bytes": "aGk="}}}),
        (1, {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://b/i"}}}}),
    ],
)
def test_media_of_another_form_are_reported(turn: int, block: dict[str, Any]) -> None:
    """An image that is not in S3, and one in an answer fail the job."""
    record = converse(*TURNS)
    record["messages"][turn]["content"].append(block)
    with pytest.raises(DataError, match="Line 1"):
        read(NOVA, record)


def test_a_grader_gets_the_record_as_it_stands() -> None:
    """All fields of a reinforcement record are kept for the grader."""
    record = {"messages": [{"role": "user", "content": "2 + 2?"}], "reference_answer": {"sum": 4}, "level": 1}
    (found,) = read_records([json.dumps(record).encode()], FILE, rules("reinforcement"))
    assert found.fields == record


def test_broken_limit_is_reported_with_the_records_number() -> None:
    """What a check says of a record gets the file and the line."""

    def refuse(record: Record) -> Problem | None:
        return (
            Problem("tokens", "$", "Maximum input token count 4097 exceeds limit of 4096.")
            if record.prompt == "b"
            else None
        )

    lines = [json.dumps({"prompt": one, "completion": "c"}).encode() for one in ("a", "b")]
    with pytest.raises(DataError) as caught:
        list(read_records(lines, FILE, rules("prompt-completion"), refuse))
    assert str(caught.value) == (
        f"Maximum input token count 4097 exceeds limit of 4096. Amazon S3 file: {FILE}, line 2"
    )

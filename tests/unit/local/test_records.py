"""Records: what can be trained on, and what the job says of what cannot."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_bedrock.local.learning.training import Example
from airflow_bedrock.local.work.records import DataError, Media, Record, RecordError, read_records

FILE = "s3://bucket/train.jsonl"
CONVERSE = "bedrock-conversation-2024"


def converse(*turns: tuple[str, str], system: str | None = None, **changes: Any) -> dict[str, Any]:
    record: dict[str, Any] = {"schemaVersion": "bedrock-conversation-2024"}
    if system:
        record["system"] = [{"text": system}]
    record["messages"] = [{"role": role, "content": [{"text": text}]} for role, text in turns]
    return record | changes


TURNS = (("user", "Hello"), ("assistant", "Hi"))


def read(kind: str, *records: Any) -> list[Example]:
    lines = [record if isinstance(record, bytes) else json.dumps(record).encode() for record in records]
    return [record.example for record in read_records(lines, FILE, kind)]


@pytest.mark.parametrize(
    ("kind", "record", "example"),
    [
        (CONVERSE, converse(*TURNS, system="Be short."), Example("Be short.\nHello", "Hi")),
        (
            CONVERSE,
            converse(*TURNS, ("user", "Bye"), ("assistant", "Bye!")),
            Example("Hello\nHi\nBye", "Bye!"),
        ),
        (
            "claude",
            {"system": "Be short.", "messages": [{"role": role, "content": text} for role, text in TURNS]},
            Example("Be short.\nHello", "Hi"),
        ),
        ("claude", {"messages": [{"role": role, "content": text} for role, text in TURNS]}, Example("Hello", "Hi")),
        ("prompt-completion", {"prompt": "Hello", "completion": "Hi"}, Example("Hello", "Hi")),
        ("pre-training", {"input": "Some text"}, Example("", "Some text")),
        ("image", {"image-ref": "s3://b/i.png", "caption": "A cat"}, Example("", "A cat")),
        ("prompt", converse(TURNS[0], system="Be short."), Example("Be short.\nHello", "")),
        ("prompt", converse(*TURNS), Example("Hello", "Hi")),
        ("reinforcement", {"messages": [{"role": "user", "content": "2 + 2?"}]}, Example("2 + 2?", "")),
    ],
)
def test_record_becomes_prompt_and_completion(kind: str, record: dict[str, Any], example: Example) -> None:
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
        (CONVERSE, converse(*TURNS, schemaVersion="1"), "schemaVersion"),
        (CONVERSE, converse(("assistant", "Hi")), "the user's"),
        (CONVERSE, converse(("user", "Hello")), "the last one the assistant's"),
        (CONVERSE, converse(("user", "a"), ("user", "b"), ("assistant", "c")), "alternate"),
        (CONVERSE, converse(("user", "a"), ("robot", "b")), "robot"),
        (CONVERSE, converse(messages=[{"role": one, "content": []} for one in ("user", "assistant")]), "content"),
        ("claude", {"messages": [{"role": "user", "content": [{"text": "a"}]}]}, "content"),
    ],
)
def test_record_of_another_form_is_told(kind: str, record: Any, reason: str) -> None:
    """A record of another form fails the job, and the message names file, line and reason."""
    with pytest.raises(DataError) as caught:
        read(kind, record)
    assert str(caught.value).startswith(f"Invalid record in Amazon S3 file: {FILE}, line 1: ")
    assert reason in str(caught.value)


def test_media_are_found_beside_the_text() -> None:
    """A turn may hold an image beside its text: the text is learnt, and the image is known."""
    record = converse(*TURNS)
    image = {"format": "png", "source": {"s3Location": {"uri": "s3://b/i", "bucketOwner": "123456789012"}}}
    record["messages"][0]["content"].append({"image": image})
    (found,) = read_records([json.dumps(record).encode()], FILE, CONVERSE)
    assert found == Record("Hello", "Hi", (Media("image", "s3://b/i"),))


@pytest.mark.parametrize(
    ("turn", "block"),
    [
        (0, {"image": {"format": "bmp", "source": {"s3Location": {"uri": "s3://b/i"}}}}),
        (0, {"image": {"format": "png", "source": {"bytes": "aGk="}}}),
        (1, {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://b/i"}}}}),
    ],
)
def test_media_of_another_form_are_told(turn: int, block: dict[str, Any]) -> None:
    """An image of an unknown format, one that is not in S3, and one in an answer fail the job."""
    record = converse(*TURNS)
    record["messages"][turn]["content"].append(block)
    with pytest.raises(DataError, match="line 1"):
        read(CONVERSE, record)


def test_a_grader_gets_the_record_as_it_stands() -> None:
    """All fields of a reinforcement record are kept for the grader."""
    record = {"messages": [{"role": "user", "content": "2 + 2?"}], "reference_answer": {"sum": 4}, "level": 1}
    (found,) = read_records([json.dumps(record).encode()], FILE, "reinforcement")
    assert found.fields == record


def test_broken_limit_is_told_with_the_records_number() -> None:
    """What a check says of a record gets the file and the line."""

    def refuse(record: Record, line: bytes) -> None:
        if record.prompt == "b":
            raise RecordError("Maximum input token count 4097 exceeds limit of 4096.")

    lines = [json.dumps({"prompt": one, "completion": "c"}).encode() for one in ("a", "b")]
    with pytest.raises(DataError) as caught:
        list(read_records(lines, FILE, "prompt-completion", refuse))
    assert str(caught.value) == (
        f"Maximum input token count 4097 exceeds limit of 4096. Amazon S3 file: {FILE}, line 2"
    )

"""Records: what can be trained on, and what the job says of what cannot."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_bedrock.local.learning.training import Example
from airflow_bedrock.local.work.records import RESERVED, DataError, check_count, examples

FILE = "s3://bucket/train.jsonl"


def converse(*turns: tuple[str, str], system: str | None = None, **changes: Any) -> dict[str, Any]:
    record: dict[str, Any] = {"schemaVersion": "bedrock-conversation-2024"}
    if system:
        record["system"] = [{"text": system}]
    record["messages"] = [{"role": role, "content": [{"text": text}]} for role, text in turns]
    return record | changes


def read(kind: str, *records: Any) -> list[Example]:
    lines = [record if isinstance(record, bytes) else json.dumps(record).encode() for record in records]
    return list(examples(lines, FILE, kind))


TURNS = (("user", "Hello"), ("assistant", "Hi"))


@pytest.mark.parametrize(
    ("kind", "record", "example"),
    [
        ("converse", converse(*TURNS, system="Be short."), Example("Be short.\nHello", "Hi")),
        (
            "converse",
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
        ("converse", converse(*TURNS, schemaVersion="1"), "schemaVersion"),
        ("converse", converse(("assistant", "Hi")), "the user's"),
        ("converse", converse(("user", "Hello")), "the last one the assistant's"),
        ("converse", converse(("user", "a"), ("user", "b"), ("assistant", "c")), "alternate"),
        ("converse", converse(("user", "a"), ("robot", "b")), "robot"),
        ("converse", converse(("user", "a"), messages=[{"role": "user", "content": []}]), "content"),
        ("claude", {"messages": [{"role": "user", "content": [{"text": "a"}]}]}, "content"),
    ],
)
def test_record_of_another_form_is_told(kind: str, record: Any, reason: str) -> None:
    """A record of another form fails the job, and the message names file, line and reason."""
    with pytest.raises(DataError) as caught:
        read(kind, record)
    assert str(caught.value).startswith(f"Invalid record in Amazon S3 file: {FILE}, line 1: ")
    assert reason in str(caught.value)


@pytest.mark.parametrize("word", RESERVED)
def test_reserved_words_fail_a_nova_job(word: str) -> None:
    """The words that Nova reserves are found in any turn."""
    with pytest.raises(DataError, match="reserved word"):
        read("converse", converse(("user", f"say {word} please"), ("assistant", "no")))


def test_image_blocks_are_passed_over() -> None:
    """A turn may hold an image beside its text; only the text is trained on."""
    record = converse(*TURNS)
    record["messages"][0]["content"].append({"image": {"format": "png", "source": {"s3Location": {"uri": "s3://b/i"}}}})
    assert read("converse", record) == [Example("Hello", "Hi")]


@pytest.mark.parametrize("count", [7, 20_001])
def test_too_few_and_too_many_records_fail(count: int) -> None:
    """The number of records has to be within the base model's limits."""
    check_count(8, (8, 20_000))
    check_count(20_000, (8, 20_000))
    with pytest.raises(DataError, match=f"is {count}; it must be between 8 and 20000"):
        check_count(count, (8, 20_000))

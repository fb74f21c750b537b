"""Invocation logs: which are taken, and what is learnt from them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_bedrock.datasets.rules.logs import passes
from airflow_bedrock.local.work.records import DataError, read_logs

EQUALS = {"equals": {"team": "a"}}
NOT_EQUALS = {"notEquals": {"stage": "test"}}


@pytest.mark.parametrize(
    ("filters", "metadata", "through"),
    [
        (None, {}, True),
        (EQUALS, {"team": "a"}, True),
        (EQUALS, {"team": "b"}, False),
        (EQUALS, {}, False),
        (NOT_EQUALS, {"stage": "live"}, True),
        (NOT_EQUALS, {"stage": "test"}, False),
        (NOT_EQUALS, {}, True),
        ({"andAll": [EQUALS, NOT_EQUALS]}, {"team": "a", "stage": "live"}, True),
        ({"andAll": [EQUALS, NOT_EQUALS]}, {"team": "a", "stage": "test"}, False),
        ({"orAll": [EQUALS, NOT_EQUALS]}, {"team": "a", "stage": "test"}, True),
        ({"orAll": [EQUALS, NOT_EQUALS]}, {"team": "b", "stage": "test"}, False),
    ],
)
def test_filters(filters: dict[str, Any] | None, metadata: dict[str, str], through: bool) -> None:
    """A request passes by its metadata."""
    assert passes(filters, metadata) is through


def line(messages: Any, answer: str | None = None, **more: Any) -> bytes:
    log: dict[str, Any] = {"input": {"inputBodyJson": {"messages": messages}}}
    if answer is not None:
        log["output"] = {"outputBodyJson": {"output": {"message": {"content": [{"text": answer}]}}}}
    return json.dumps(log | more).encode()


USER = [{"role": "user", "content": [{"text": "Hello"}]}]


@pytest.mark.parametrize(("with_answer", "completion"), [(True, "Hi"), (False, None)])
def test_question_and_answer(with_answer: bool, completion: str | None) -> None:
    """The conversation is the prompt; the answer is the completion only where that was asked for."""
    (found,) = read_logs([line(USER, "Hi")], "s3://b/k", {"usePromptResponse": with_answer})
    assert (found.prompt, found.completion) == ("Hello", completion)


def test_bodies_of_anthropic_are_read_too() -> None:
    """A content that is a string is a text."""
    (found,) = read_logs([line([{"role": "user", "content": "Hello"}])], "s3://b/k", {})
    assert found.prompt == "Hello"


def test_other_kinds_of_requests_are_passed_over() -> None:
    """A log without a conversation, such as that of an embedding, is no example."""
    other = json.dumps({"input": {"inputBodyJson": {"inputText": "Hello"}}}).encode()
    assert list(read_logs([other], "s3://b/k", {})) == []


@pytest.mark.parametrize(
    "messages",
    [
        [*USER, {"role": "assistant", "content": [{"text": "Hi"}]}, *USER],
        [{"role": "user", "content": [{"text": "Hello"}, {"image": {"format": "png"}}]}],
        [{"role": "user", "content": [{"text": "Hello"}, {"text": "you"}]}],
    ],
    ids=["two questions", "an image", "two texts"],
)
def test_a_distillation_leaves_out_what_is_not_one_text(messages: list[Any]) -> None:
    """AWS's validator does not count it, and the job needs a hundred others; fine-tuning takes it."""
    assert list(read_logs([line(messages, "Hi")], "s3://b/k", {}, distilled=True)) == []
    assert len(list(read_logs([line(messages, "Hi")], "s3://b/k", {"usePromptResponse": True}))) == 1
    assert len(list(read_logs([line(USER, "Hi")], "s3://b/k", {}, distilled=True))) == 1


def test_an_invalid_log_is_reported_with_its_line() -> None:
    """A line of another form fails the job."""
    with pytest.raises(DataError, match=r"s3://b/k, line 2"):
        list(read_logs([line(USER), b"{}"], "s3://b/k", {}))

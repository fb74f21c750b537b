"""Shapes: what people have comes to the conversation that it is, and what cannot be carried over is named."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest

from airflow_bedrock.datasets import DatasetError, RecordFormat
from airflow_bedrock.datasets.formats import write
from airflow_bedrock.datasets.reading import FEWER_FIELDS, MORE_FIELDS, reader

ASKED, SAID = {"role": "user", "content": "Where?"}, {"role": "assistant", "content": "Here."}
SYSTEM = {"role": "system", "content": "Be brief."}


def converse(*turns: tuple[str, str], system: str | None = "Be brief.") -> dict[str, Any]:
    record: dict[str, Any] = {"schemaVersion": "bedrock-conversation-2024"}
    if system:
        record["system"] = [{"text": system}]
    return record | {"messages": [{"role": role, "content": [{"text": text}]} for role, text in turns]}


PLAIN = converse(("user", "Where?"), ("assistant", "Here."))


def streamed(*texts: str) -> list[dict[str, Any]]:
    return [{"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": one}} for one in texts]


def through(record: dict[str, Any], form: str = "nova", *, to: str = "", **fields: str) -> Any:
    made = RecordFormat(
        to or {"nova": "bedrock-conversation-2024", "distillation": "bedrock-conversation-2024"}.get(form, form)
    )
    return json.loads(write(reader(form, **fields)(record), made))


@pytest.mark.parametrize(
    "record",
    [
        PLAIN,
        {"messages": [SYSTEM, ASKED, SAID]},
        {"messages": [{"role": "developer", "content": "Be brief."}, ASKED, {**SAID, "tool_calls": None}], "tools": []},
        {
            "system": "Be brief.",
            "messages": [ASKED, {"role": "assistant", "content": [{"type": "text", "text": "Here."}]}],
        },
        {
            "conversations": [
                {"from": "system", "value": "Be brief."},
                {"from": "human", "value": "Where?"},
                {"from": "gpt", "value": "Here."},
            ]
        },
        {
            "schemaType": "ModelInvocationLog",
            "input": {
                "inputBodyJson": {
                    "system": [{"text": "Be brief."}],
                    "messages": [{"role": "user", "content": [{"text": "Where?"}]}],
                }
            },
            "output": {
                "outputBodyJson": {"output": {"message": {"role": "assistant", "content": [{"text": "Here."}]}}}
            },
        },
        {
            "schemaType": "ModelInvocationLog",
            "input": {"inputBodyJson": {"system": "Be brief.", "messages": [ASKED]}},
            "output": {"outputBodyJson": {"content": [{"type": "text", "text": "Here."}]}},
        },
        {
            "schemaType": "ModelInvocationLog",
            "input": {
                "inputBodyJson": {
                    "system": [{"text": "Be brief."}, {"cachePoint": {"type": "default"}}],
                    "messages": [{"role": "user", "content": [{"guardContent": {"text": {"text": "Where?"}}}]}],
                }
            },
            "output": {"outputBodyJson": {"output": {"message": SAID}}},
        },
        {
            "schemaType": "ModelInvocationLog",
            "input": {"inputBodyJson": {"system": "Be brief.", "messages": [ASKED]}},
            "output": {"outputBodyJson": [{"type": "message_start"}, *streamed("He", "re."), {"type": "message_stop"}]},
        },
        {
            "schemaType": "ModelInvocationLog",
            "input": {"inputBodyJson": {"system": [{"text": "Be brief."}], "messages": [ASKED]}},
            "output": {"outputBodyJson": [{"contentBlockDelta": one} for one in streamed("He", "re.")]},
        },
        {
            "messages": [
                {"role": role, "content": [{"type": "text", "value": text}], "loss_weight": weight}
                for role, text, weight in (
                    ("system", "Be brief.", 0.0),
                    ("user", "Where?", 0),
                    ("assistant", "Here.", 1),
                )
            ]
        },
        {"messages": [{**one, "from": None, "value": None, "tool_calls": None} for one in (SYSTEM, ASKED, SAID)]},
        {"prompt": "Where?", "messages": [SYSTEM, ASKED, SAID]},
        {"messages": json.dumps([SYSTEM, ASKED, SAID])},
        {
            "systemInstruction": {"role": "system", "parts": [{"text": "Be brief."}]},
            "contents": [
                {"role": "user", "parts": [{"text": "Where?"}]},
                {"role": "model", "parts": [{"text": "Here."}]},
            ],
        },
        {
            "system_instruction": {"parts": [{"text": "Be brief."}]},
            "contents": [{"role": one["role"], "parts": [{"text": one["content"]}]} for one in (ASKED, SAID)],
        },
        {
            "recordId": "1",
            "modelInput": {"system": [{"text": "Be brief."}], "messages": [ASKED]},
            "modelOutput": {"output": {"message": SAID}},
        },
        {"prompt": [SYSTEM, ASKED], "completion": [SAID]},
        {"prompt": [SYSTEM, ASKED], "completion": "Here.", "label": "True"},
    ],
    ids=[
        "Converse",
        "OpenAI",
        "OpenAI with a developer",
        "Anthropic",
        "ShareGPT",
        "a log of Converse",
        "a log of InvokeModel",
        "a log of a call with a cache and a guardrail",
        "a log of a stream of Claude",
        "a log of a stream of Nova",
        "LLaMA-Factory",
        "a table's rows",
        "UltraChat",
        "messages as text",
        "Gemini",
        "Gemini in Python's style",
        "an output of batch inference",
        "TRL",
        "TRL with an answer that is text",
    ],
)
def test_chats(record: dict[str, Any]) -> None:
    """The same chat in every form that is in use is the same record."""
    assert through(record) == PLAIN


@pytest.mark.parametrize("model", ["assistant", "gpt", "model", "bot", "chatgpt", "Chatbot"])
def test_a_chat_may_call_the_model_by_any_usual_name(model: str) -> None:
    """And the one who asks a human; Cohere writes them with a capital letter."""
    turns = [{"from": "human", "value": "Where?"}, {"from": model, "value": "Here."}]
    assert through({"system": "Be brief.", "conversations": turns}) == PLAIN


def test_several_system_prompts_are_lines_of_one() -> None:
    """A format has one place for them."""
    record = {"system": "Be brief.", "messages": [{**SYSTEM, "content": "Be kind."}, ASKED, SAID]}
    assert through(record)["system"] == [{"text": "Be brief.\nBe kind."}]


def test_several_turns_stay() -> None:
    """As they are, with their images."""
    image = {
        "image": {"format": "png", "source": {"s3Location": {"uri": "s3://b/i.png", "bucketOwner": "123456789012"}}}
    }
    record = converse(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"), system=None)
    record["messages"][0]["content"].insert(0, image)
    assert through(record) == record


def test_fields_and_templates() -> None:
    """Any names, and several fields in one text; braces in the data are only text."""
    fields = {"prompt_field": "Context: {context}\nQuestion: {question}", "completion_field": "label"}
    record = {"context": "a {b}", "question": 5, "label": 1, "more": None}
    expected = {"prompt": "Context: a {b}\nQuestion: 5", "completion": "1"}
    assert through(record, "prompt-completion", **fields) == expected
    with pytest.raises(DatasetError, match="question: missing"):
        through({"context": "a", "label": 1}, "prompt-completion", **fields)
    assert through({"context": "", "question": "b", "label": 1}, "prompt-completion", **fields)["prompt"] == (
        "Context: \nQuestion: b"
    )
    assert through({"context": None, "question": "b", "label": 1}, "prompt-completion", **fields)["prompt"] == (
        "Context: \nQuestion: b"
    )
    with pytest.raises(DatasetError, match="context, question: empty"):
        through({"context": None, "question": " ", "label": 1}, "prompt-completion", **fields)
    assert through({"title": "a", "body": "b"}, "pre-training", prompt_field="{title}: {body}") == {"input": "a: b"}


def test_a_class_that_is_called_false_is_no_bad_answer() -> None:
    """Where the field that marks bad answers elsewhere is what the model must learn."""
    for completion in ("label", "Answer: {label}"):
        found = through({"prompt": "a", "label": "False"}, "prompt-completion", completion_field=completion)
        assert found["completion"].endswith("False")


def test_a_name_with_a_brace_that_closes_nothing_is_a_name() -> None:
    """Only a brace that opens makes it a template."""
    found = through(
        {"a}": "Where?", "label": "Here."}, "prompt-completion", prompt_field="a}", completion_field="label"
    )
    assert found == {"prompt": "Where?", "completion": "Here."}


def test_fields_within_fields() -> None:
    """By names joined by dots, as Parquet and JSON nest them; a field that has the dots in its name comes first."""
    fields = {"prompt_field": "{asked.by}: {asked.text}", "completion_field": "said.text"}
    record = {"asked": {"by": "me", "text": "Where?"}, "asked.by": "you", "said": {"text": "Here."}}
    assert through(record, "prompt-completion", **fields) == {"prompt": "you: Where?", "completion": "Here."}
    with pytest.raises(DatasetError, match=r"said\.text: missing"):
        through({**record, "said": "Here."}, "prompt-completion", **fields)


@pytest.mark.parametrize("template", ["{question", "{}", "{question!r}", "{question:>9}", "}{a}"])
def test_invalid_templates(template: str) -> None:
    """They are refused before a record is read."""
    with pytest.raises(DatasetError, match="the template"):
        reader("nova", template)


def test_reasoning() -> None:
    """It is carried over to the one format that has a place for it, from each that has one; elsewhere it is named."""
    thought = {"reasoningContent": {"reasoningText": {"text": "Hm."}}}
    expected = json.loads(json.dumps(PLAIN))
    expected["messages"][1]["content"].insert(0, thought)
    anthropic = [{"type": "thinking", "thinking": "Hm.", "signature": "s"}, {"type": "text", "text": "Here."}]
    for said in (
        expected["messages"][1],
        {"role": "assistant", "content": anthropic},
        {"role": "model", "parts": [{"text": "Hm.", "thought": True}, {"text": "Here.", "thought": None}]},
        *({**SAID, name: "Hm."} for name in ("reasoning_content", "reasoning", "thinking")),
    ):
        record = {"messages": [SYSTEM, ASKED, said]}
        assert through(record, "nova-2", to="bedrock-conversation-2024") == expected
        with pytest.raises(DatasetError, match="holds reasoning"):
            through(record)


def test_blank_reasoning_is_left_out() -> None:
    """As services return it for a model that has not thought."""
    assert through({"messages": [SYSTEM, ASKED, {**SAID, "reasoning_content": "\n"}]}) == PLAIN


WHOLE = [SYSTEM, ASKED, SAID]
REJECTED = [*WHOLE[:2], {**SAID, "content": "Nowhere."}]


@pytest.mark.parametrize(
    ("record", "prompt_field"),
    [
        ({"chosen": WHOLE, "rejected": REJECTED}, "prompt"),
        ({"prompt": "Where?", "chosen": WHOLE, "rejected": REJECTED, "messages": REJECTED}, "prompt"),
        ({"prompt": WHOLE[:2], "chosen": WHOLE, "rejected": REJECTED}, "prompt"),
        ({"system": "Be brief.", "question": "Where?", "chosen": [SAID], "rejected": "Nowhere."}, "question"),
        ({"system": "Be brief.", "question": "Where?", "chosen": [SAID], "rejected": "Nowhere."}, "{question}"),
        ({"conversations": WHOLE[:2], "chosen": {"from": "gpt", "value": "Here."}, "rejected": {}}, "conversations"),
    ],
    ids=["an implicit prompt", "UltraFeedback", "turns in both", "an answer", "a template", "LLaMA-Factory"],
)
def test_the_preferred_answer(record: dict[str, Any], prompt_field: str) -> None:
    """It may be the answer, or the whole chat."""
    assert through(record, prompt_field=prompt_field, completion_field="chosen") == PLAIN


def test_a_chat_under_any_name() -> None:
    """The field of the prompt names it; another chat in the record is not taken instead."""
    other = [ASKED, {**SAID, "content": "Nowhere."}]
    for record in ({"dialog": WHOLE}, {"dialog": WHOLE, "conversations": other, "messages": other}):
        assert through(record, prompt_field="dialog") == PLAIN
    with pytest.raises(DatasetError, match="set prompt_field to its name"):
        through({"dialog": WHOLE})


def test_a_prompt_that_is_not_in_the_preferred_chat_is_not_lost() -> None:
    """Such a record has two questions, and which one is answered is unknown."""
    with pytest.raises(DatasetError, match="among the turns"):
        through({"prompt": "When?", "chosen": WHOLE, "rejected": REJECTED}, completion_field="chosen")


def test_other_formats() -> None:
    """Distillation prompts, reinforcement records, texts, and images with captions."""
    assert through({"prompt": "Where?"}, "distillation") == converse(("user", "Where?"), system=None)
    graded = {"messages": [SYSTEM, ASKED], "reference_answer": {"place": "here"}, "level": 3}
    assert through(graded, "reinforcement") == graded
    share_gpt = {
        "system": "Be brief.",
        "conversations": [{"from": "human", "value": "Where?"}],
        "level": 3,
        "tools": [],
    }
    assert through(share_gpt, "reinforcement") == {"level": 3, "tools": [], "messages": [SYSTEM, ASKED]}
    with pytest.raises(DatasetError, match="a system prompt is among the turns"):
        through({"messages": [ASKED, SYSTEM]}, "reinforcement")
    assert through({"prompt": "Where?", "reference_answer": "Here."}, "reinforcement") == {
        "messages": [ASKED],
        "reference_answer": "Here.",
    }
    assert through({"text": "Here."}, "pre-training") == {"input": "Here."}
    image = {"image-ref": "s3://b/i.png", "caption": "A cat"}
    assert through(image, "image") == image


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"messages": [ASKED, {**SAID, "tool_calls": [{"id": "1"}]}]}, "tool call"),
        ({"messages": [ASKED, {"role": "tool", "content": "secret"}, SAID]}, "tool call"),
        ({"messages": [ASKED, SAID], "tools": [{"type": "function"}]}, "holds tools"),
        ({"messages": [ASKED, SAID], "functions": [{"name": "secret"}]}, "holds tools"),
        ({"conversations": [{"from": "human", "value": "a"}], "tools": '[{"name": "secret"}]'}, "holds tools"),
        ({"conversations": [{"from": "human", "value": "<image>"}], "image": "secret.png"}, "beside its messages"),
        ({"messages": [ASKED, SAID], "images": ["secret.png"]}, "beside its messages"),
        ({"messages": [{**ASKED, "images": ["secret.png"]}, SAID]}, "beside the content of a message"),
        ({"messages": [ASKED, {**SAID, "weight": 0}, ASKED, SAID]}, "weight 0"),
        ({"messages": [ASKED, {**SAID, "loss_weight": 0.0}, ASKED, SAID]}, "weight 0"),
        ({"messages": [ASKED, {**SAID, "loss": False}, ASKED, SAID]}, "weight 0"),
        ({"messages": [ASKED, {**SAID, "train": False}, ASKED, SAID]}, "weight 0"),
        ({"messages": [ASKED, {**SAID, "train_detail": [{"end_offset": 1, "train": False}]}]}, "weight 0"),
        ({"messages": [ASKED, {**SAID, "content": [{"text": "secret", "train": False}, {"text": "b"}]}]}, "weight 0"),
        ({MORE_FIELDS: True}, "more fields than the header"),
        ({FEWER_FIELDS: True}, "fewer fields than the header"),
        ({"messages": [], "label": False}, "marked as a bad answer"),
        ({"prompt": "secret", "completion": "b", "label": False}, "marked as a bad answer"),
        ({"prompt": "secret", "completion": "b", "kto_tag": False}, "marked as a bad answer"),
        ({"prompt": "secret", "completion": "b", "label": "False"}, "marked as a bad answer"),
        (
            {
                "schemaType": "ModelInvocationLog",
                "input": {"inputBodyJson": {"messages": [ASKED], "toolConfig": {"tools": [{"secret": {}}]}}},
                "output": {"outputBodyJson": {"output": {"message": SAID}}},
            },
            "holds tools",
        ),
        (
            {
                "schemaType": "ModelInvocationLog",
                "input": {"inputBodyJson": {"messages": [ASKED]}},
                "output": {
                    "outputBodyJson": [
                        *streamed("secret"),
                        {"type": "content_block_delta", "delta": {"type": "input_json_delta", "partial_json": "{}"}},
                    ]
                },
            },
            "tool call",
        ),
        (
            {
                "schemaType": "ModelInvocationLog",
                "input": {"inputBodyJson": None, "inputBodyS3Path": "s3://secret/data/1_input.json.gz"},
                "output": {"outputBodyJson": streamed("secret")},
            },
            "in another file",
        ),
        (
            {
                "input": {"messages": [ASKED]},
                "preferred_output": [SAID],
                "non_preferred_output": [{**SAID, "content": "secret"}],
            },
            "rejected answer: set prompt_field='input.messages' and completion_field='preferred_output' to train",
        ),
        ({"prompt": "secret", "chosen": "secret", "rejected": "b"}, "rejected answer: set completion_field='chosen'"),
        (
            {"contents": [{"role": "user", "parts": [{"text": "secret"}, {"functionCall": {"name": "secret"}}]}]},
            "tool call",
        ),
        ({"recordId": "1", "modelInput": {"prompt": "secret"}, "modelOutput": {}}, "output of batch inference without"),
        ({"data": [{"prompt": "secret", "completion": "b"}]}, "prompt: missing; it contains an array of objects"),
        (
            {"messages": [ASKED, {"role": "assistant", "content": [{"type": "tool_use", "name": "secret"}]}]},
            "tool call",
        ),
        ({"messages": [ASKED, {"role": "assistant", "content": [{"toolUse": {"name": "secret"}}]}]}, "tool call"),
        (  # as a query returns it
            {"messages": [ASKED, {**SAID, "content": [{"text": "a"}, {"image": None, "toolUse": {"name": "secret"}}]}]},
            "tool call",
        ),
        ({"conversations": [{"from": "function_call", "value": "secret"}]}, "tool call"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "secret"}}]}, SAID]},
            "neither text nor",
        ),
        ({"messages": [{"role": "user", "content": [{"image": {"source": {"bytes": "secret"}}}]}, SAID]}, "not on S3"),
        ({"messages": [ASKED, {"role": "secret", "content": "secret"}]}, "unknown role"),
        ({"messages": [ASKED, {"role": "assistant", "content": " "}]}, "a turn is empty"),
        ({"messages": [ASKED, SYSTEM, SAID]}, "among the turns"),
        ({"messages": []}, "empty"),
        ({"messages": ["secret"]}, "not an object"),
        ({"question": "secret"}, "prompt: missing"),
        ({"prompt": [ASKED], "answer": "secret"}, "completion: missing"),
        ({"prompt": [ASKED], "chosen": [SAID], "rejected": [SAID]}, "completion: missing$"),
        ({"prompt": [ASKED], "completion": [SAID], "label": False}, "bad answer"),
        ({"prompt": ["secret"], "completion": "secret"}, "prompt: not text"),
    ],
)
def test_what_cannot_be_carried_over_is_named(record: dict[str, Any], reason: str) -> None:
    """By what it is, never by its text."""
    with pytest.raises(DatasetError, match=reason) as caught:
        through(record)
    assert "secret" not in str(caught.value)


def test_turns_as_the_prompt() -> None:
    """Of a distillation the answer may be missing; what else is in a reinforcement record is the grader's."""
    record = {"id": "1", "prompt": [SYSTEM, ASKED], "answer": "Here."}
    assert through(record, "distillation")["messages"] == PLAIN["messages"][:1]
    chat = {"prompt": "Where?", "messages": [ASKED, SAID, ASKED, SAID]}
    assert through(chat, "distillation")["messages"] == PLAIN["messages"][:1]
    with pytest.raises(DatasetError, match="completion: missing"):
        through({"prompt": "Where?"})
    with pytest.raises(DatasetError, match="answer: missing"):
        through(chat, completion_field="answer")
    assert through(record, "reinforcement") == {"id": "1", "answer": "Here.", "messages": [SYSTEM, ASKED]}


@pytest.mark.parametrize(
    ("record", "form", "reason"),
    [
        (PLAIN, "prompt-completion", "system prompt"),
        (
            converse(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"), system=None),
            "prompt-completion",
            "one question",
        ),
    ],
)
def test_what_a_format_has_no_place_for(record: dict[str, Any], form: str, reason: str) -> None:
    """It is an error, and nothing is left out silently."""
    with pytest.raises(DatasetError, match=reason):
        through(record, form)


@pytest.mark.parametrize(
    "value",
    [None, 1, "x", [], [None], {}, {"content": {}}, [[]], [{"role": []}], [{"role": "user", "content": {"a": 1}}]],
)
@pytest.mark.parametrize("name", ["messages", "conversations", "input", "system"])
def test_any_value_is_read_or_refused(name: str, value: Any) -> None:
    """There is no other exception."""
    log = {"schemaType": "ModelInvocationLog", name: value}
    for record in ({name: value}, log, {"messages": [ASKED, SAID], name: value}):
        with suppress(DatasetError):
            assert through(record)["messages"]

"""The declarations of the record formats: the variants of Converse for Nova, Nova 2, Llama and distillation; others.

https://docs.aws.amazon.com/nova/latest/userguide/fine-tune-prepare-data-understanding.html,
https://docs.aws.amazon.com/bedrock/latest/userguide/nova-2-sft-data-prep.html,
https://docs.aws.amazon.com/bedrock/latest/userguide/model-customization-prepare.html and, for reinforcement
fine-tuning, https://docs.aws.amazon.com/bedrock/latest/userguide/rft-prepare-data.html; and AWS's validators for
training data (``base_models.toml`` has their URLs).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import cycle, pairwise
from typing import Annotated, Any, Literal

import msgspec

from airflow_bedrock.datasets.rules.record import Form, Media, Plain, Problem, Record, Text, conversation, joined

_ONE = msgspec.Meta(min_length=1, max_length=1)
_Role = Literal["user", "assistant"]
_TURNS = ("user", "assistant")
_MISSING: Any = None  # the default of a member that may be missing, but not null


class _Text(msgspec.Struct):
    text: str


class _Location(msgspec.Struct):
    uri: str
    bucketOwner: str | None = None


class _Source(msgspec.Struct):
    s3Location: _Location


class _Media(msgspec.Struct):
    format: str
    source: _Source


class _Reasoning(msgspec.Struct):
    reasoningText: _Text


class _Block(msgspec.Struct):
    text: str | None = None
    image: _Media | None = None
    video: _Media | None = None
    document: _Media | None = None
    reasoningContent: _Reasoning | None = None


class _LlamaBlock(_Block):
    text: str = _MISSING
    image: _Media = _MISSING
    video: _Media = _MISSING


class _Message(msgspec.Struct):
    role: _Role
    content: Annotated[list[_Block], msgspec.Meta(min_length=1)]


class _LlamaMessage(_Message):
    content: Annotated[list[_LlamaBlock], msgspec.Meta(min_length=1)]  # type: ignore[assignment]  # it is only read


class _Nova(msgspec.Struct):
    messages: list[_Message]
    schemaVersion: str | None = None
    system: list[_Text] | None = None


class _Llama(msgspec.Struct):
    messages: list[_LlamaMessage]
    schemaVersion: Literal["bedrock-conversation-2024"] = "bedrock-conversation-2024"
    system: Annotated[list[_Text], _ONE] = []


class _BareText(msgspec.Struct, forbid_unknown_fields=True):
    text: str


class _BareBlock(_BareText, forbid_unknown_fields=True):
    type: str = "text"


class _BareMessage(msgspec.Struct, forbid_unknown_fields=True):
    role: _Role
    content: Annotated[list[_BareBlock], _ONE]


class _Distillation(msgspec.Struct, forbid_unknown_fields=True):
    messages: Annotated[list[_BareMessage], msgspec.Meta(min_length=1)]
    schemaVersion: Literal["bedrock-conversation-2024"]
    system: Annotated[list[_BareText], _ONE] = []


class _PlainBlock(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    text: Annotated[str, msgspec.Meta(min_length=1)]


class _PlainTurn(msgspec.Struct, gc=False):
    role: _Role
    content: tuple[_PlainBlock]


class _Plain(msgspec.Struct, gc=False):
    messages: list[_PlainTurn]
    schemaVersion: Literal["bedrock-conversation-2024"]
    system: tuple[_PlainBlock] | msgspec.UnsetType = msgspec.UNSET


def _flat(record: _Plain) -> Plain | None:
    turns, system = record.messages, record.system
    if len(turns) == 2:
        question, reply = turns
        if question.role != "user" or reply.role != "assistant":
            return None
        prompt = question.content[0].text
        return f"{system[0].text}\n{prompt}" if system else prompt, reply.content[0].text
    if not turns or len(turns) % 2 or any(turn.role != role for turn, role in zip(turns, cycle(_TURNS), strict=False)):
        return None
    texts = [system[0].text] if system else []
    texts += [turn.content[0].text for turn in turns]
    answer = texts.pop()
    return "\n".join(texts), answer


def _read(record: Any) -> Record:  # of Nova, Llama or a distillation
    texts = [Text("system", one.text, f"$.system[{number}].text") for number, one in enumerate(record.system or ())]
    media: list[Media] = []
    reasoning: list[str] = []
    answered = 0
    for number, message in enumerate(record.messages):
        blocks = [(f"$.messages[{number}].content[{n}]", block) for n, block in enumerate(message.content)]
        added = [Text(message.role, block.text, f"{where}.text") for where, block in blocks if block.text is not None]
        media += (one for where, block in blocks for one in _media(where, block))
        texts += added
        reasoning += (
            one.reasoningText.text for _, block in blocks if (one := getattr(block, "reasoningContent", None))
        )
        answered = len(added) if message.role == "assistant" else 0
    return conversation(texts, media, answered=answered, reasoning=reasoning)


def _media(where: str, block: Any) -> Iterator[Media]:
    for kind in ("image", "video", "document"):
        if one := getattr(block, kind, None):
            yield Media(kind, one.source.s3Location.uri, one.format, f"{where}.{kind}")


def _nova_problems(record: _Nova, kinds: Sequence[str]) -> Iterator[Problem]:
    for number, message in enumerate(record.messages):
        where = f"$.messages[{number}].content"
        for n, block in enumerate(message.content):
            if all(getattr(block, kind) is None for kind in kinds):
                yield Problem("block", f"{where}[{n}]", f"a block of content must have one of {', '.join(kinds)}")
            if block.reasoningContent and message.role == "user":
                yield Problem("block", f"{where}[{n}]", "the user's turn must not hold reasoningContent")
            if block.reasoningContent and not block.reasoningContent.reasoningText.text:
                yield Problem("empty-text", f"{where}[{n}].reasoningContent", "the reasoning must have text")
        if not any(block.text for block in message.content) and not _has_media(message):
            yield Problem("empty-text", where, f"the {message.role}'s turn must have text")
    yield from _llama_problems(record)


def _llama_problems(record: _Nova | _Llama) -> Iterator[Problem]:
    yield from roles(record.messages)
    for number, message in enumerate(record.messages):
        if message.role == "assistant" and _has_media(message):
            yield Problem("block", f"$.messages[{number}].content", "the assistant's turn must have only text")


def _has_media(message: _Message) -> bool:
    return any(block.image or block.video or block.document for block in message.content)


def roles(messages: Sequence[_Message | _ClaudeMessage]) -> Iterator[Problem]:
    """Return the problem of a conversation that does not alternate from the user to the assistant."""
    found = [message.role for message in messages]
    if len(found) < 2 or found[0] != "user" or found[-1] != "assistant":
        yield Problem("roles", "$.messages", "the first message must be the user's and the last one the assistant's")
    yield from alternate(found)


def alternate(found: Sequence[str]) -> Iterator[Problem]:
    """Return where two consecutive messages have the same role."""
    for number, (role, following) in enumerate(pairwise(found), start=1):
        if role == following:
            yield Problem("roles", f"$.messages[{number}].role", "the roles must alternate between user and assistant")


def _distillation_problems(record: _Distillation) -> Iterator[Problem]:
    found = [message.role for message in record.messages]
    if found[0] != "user":
        yield Problem("roles", "$.messages[0].role", "the first message must be the user's")
    if len(found) > 2:
        message = "a distillation takes one question, with or without its answer, but not a longer conversation"
        yield Problem("shape", "$.messages", message)
    yield from alternate(found)


class _PromptCompletion(msgspec.Struct, gc=False):
    prompt: str
    completion: str


class _Pretraining(msgspec.Struct, gc=False):
    input: str


class _Captioned(msgspec.Struct, rename={"image_ref": "image-ref"}):
    image_ref: str
    caption: str


def _read_pair(record: _PromptCompletion) -> Record:
    texts = (Text("user", record.prompt, "$.prompt"), Text("assistant", record.completion, "$.completion"))
    return Record(record.prompt, record.completion, texts=texts)


def _read_text(record: _Pretraining) -> Record:
    return Record("", record.input, texts=(Text("assistant", record.input, "$.input"),))


def _read_caption(record: _Captioned) -> Record:
    media = (Media("image", record.image_ref, where="$.image-ref"),)
    return Record("", record.caption, media, (Text("assistant", record.caption, "$.caption"),))


class _ClaudeMessage(msgspec.Struct):
    role: Literal["user", "assistant"]
    content: str


class _Claude(msgspec.Struct):
    messages: list[_ClaudeMessage]
    system: str | None = None


def _read_claude(record: _Claude) -> Record:
    texts = [Text("system", record.system, "$.system")] if record.system else []
    texts += [
        Text(one.role, one.content, f"$.messages[{number}].content") for number, one in enumerate(record.messages)
    ]
    return conversation(texts, answered=1)


class _GradedMessage(msgspec.Struct):
    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[_Text]


class _Graded(msgspec.Struct):
    messages: list[_GradedMessage]
    reference_answer: Any = None


def _graded_problems(record: _Graded) -> Iterator[Problem]:
    if not record.messages or record.messages[-1].role != "user":
        yield Problem("roles", "$.messages", "the last message must be the user's")
    prompts = [message.role in ("system", "developer") for message in record.messages]
    if any(prompts) and not prompts[0]:
        yield Problem("roles", "$.messages", "the system prompt must be the first message")
    for number, message in enumerate(record.messages):
        if not message.content or (isinstance(message.content, str) and not message.content.strip()):
            yield Problem("empty-text", f"$.messages[{number}].content", f"the {message.role}'s message must have text")
    answer = record.reference_answer
    if answer == {} or (isinstance(answer, str) and not answer.strip()):
        yield Problem("empty-text", "$.reference_answer", "the reference answer must not be empty: leave it out")


def _read_graded(record: _Graded) -> Record:
    texts = [
        Text("assistant" if one.role == "assistant" else "user", text, f"$.messages[{number}].content")
        for number, one in enumerate(record.messages)
        for text in ([one.content] if isinstance(one.content, str) else [block.text for block in one.content])
    ]
    return Record(joined(one.text for one in texts), texts=tuple(texts))


_KINDS = ("text", "image", "video")
_KINDS_2 = (*_KINDS, "document", "reasoningContent")

FORMS: dict[str, Form] = {
    "nova": Form(_Nova, _read, partial(_nova_problems, kinds=_KINDS), plain=(_Plain, _flat)),
    "nova-2": Form(_Nova, _read, partial(_nova_problems, kinds=_KINDS_2), plain=(_Plain, _flat)),
    "llama": Form(_Llama, _read, _llama_problems, plain=(_Plain, _flat)),
    "distillation": Form(_Distillation, _read, _distillation_problems),
    "claude": Form(_Claude, _read_claude, lambda record: roles(record.messages)),
    "prompt-completion": Form(
        _PromptCompletion, _read_pair, plain=(_PromptCompletion, lambda record: (record.prompt, record.completion))
    ),
    "pre-training": Form(_Pretraining, _read_text),
    "image": Form(_Captioned, _read_caption),
    "reinforcement": Form(_Graded, _read_graded, _graded_problems),
}
"""By a ``form`` of ``base_models.toml`` or, where a method has none, by its ``format``."""

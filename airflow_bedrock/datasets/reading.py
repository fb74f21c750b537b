"""Read a record of a source, in any common shape, as a conversation.

The shape is detected from the record: prompt and completion under any names, or templates over any fields; chats of the
Converse API, OpenAI, Anthropic, Gemini and ShareGPT; model invocation logs; the output of batch inference;
reinforcement records; images with a caption; plain texts. A feature that Bedrock's records cannot express, such as tool
calls, is an error that names it: nothing is dropped silently.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from string import Formatter
from typing import Any, TypeGuard

import msgspec

from airflow_bedrock.datasets.errors import DatasetError
from airflow_bedrock.datasets.records import text_field, text_or_empty, value_of
from airflow_bedrock.datasets.rules.logs import answer_in

_ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
    "chatbot": "assistant",
}
_THINKING = ("nova-2", "bedrock-conversation-2024")
"""The forms that support reasoning; the second one is for an unknown model."""

MORE_FIELDS = "has more fields than the header: quote texts with a delimiter or a line end"
FEWER_FIELDS = "has fewer fields than the header: quote texts with a line end"
_BROKEN_ROWS = (MORE_FIELDS, FEWER_FIELDS)
"""The only member of the record of a CSV row that cannot be split into its columns."""

_WITHIN = (
    "; it contains an array of objects: if these are the records, save only that array; if they are the messages of a "
    "chat, set prompt_field to its name"
)

_BAD_ANSWER_MARKS = ("label", "kto_tag")
"""Fields that are false if the completion is a bad answer: KTO data of TRL, and of LLaMA-Factory."""

_NOT_TRAINED_MARKS = ("weight", "loss_weight", "loss", "train")
"""Members of an assistant's turn, or of a part of it, that are 0 or false if it is not to be trained on.

They are those of OpenAI, LLaMA-Factory, ms-swift and axolotl.
"""

_THOUGHTS = ("reasoning_content", "reasoning", "thinking")
"""Members of an assistant's turn with its reasoning, as inference services and chat templates name them."""

_INSTRUCTIONS = ("systemInstruction", "system_instruction")
"""Gemini's system prompt, in JSON's style and in Python's."""

_MEDIA = ("image", "images", "video", "videos", "audio", "audios")
"""Members of a record or of a turn with what Bedrock takes only as blocks of the content."""

_PROMPTS = {"pre-training": "text", "image": "image-ref"}
"""The default field of the prompt, if it is not ``prompt``."""

_NOT_TEXTS = ("image", "video", "document", "reasoningContent", "cachePoint")
"""Members of a block that are read elsewhere, or are nothing to train on."""

_PAIRS = {
    ("preferred_output", "non_preferred_output"): "prompt_field='input.messages' and completion_field=",
    ("chosen", "rejected"): "completion_field=",
}
"""The fields of preference data, OpenAI's and TRL's, and what to set to train on the preferred answer."""

_TOOL_ROLES = ("tool", "function", "function_call", "observation")
_TOOLS = (
    "tool_calls",
    "function_call",
    "toolUse",
    "toolResult",
    "tool_use",
    "tool_result",
    "functionCall",
    "functionResponse",
)


class Attachment(msgspec.Struct, frozen=True):
    """An image, a video or a document of a turn, by its S3 URI."""

    kind: str
    format: str
    uri: str
    owner: str | None = None


class Turn(msgspec.Struct, gc=False):
    """A turn of the user or the assistant: its texts, its attachments, and its reasoning."""

    role: str
    texts: list[str]
    attachments: tuple[Attachment, ...] = ()
    thoughts: tuple[str, ...] = ()


class Conversation(msgspec.Struct, gc=False):
    """A record, before it is written in a format.

    :param fields: for a reinforcement record, the fields that its grader gets besides the messages.
    """

    system: str | None
    turns: list[Turn]
    fields: dict[str, Any] = {}

    def key(self, common_system: str | None) -> tuple[str, str]:
        """Return the question and the answer, by which records are compared.

        :param common_system: the system prompt of all records, which is not part of a question.
        """
        turns, answer = self.turns, _shown(self.fields.get("reference_answer", ""))
        if self.turns[-1].role == "assistant":
            turns, answer = self.turns[:-1], "\n".join(self.turns[-1].texts)
        texts = [self.system] if self.system and self.system != common_system else []
        for turn in turns:
            texts += [*turn.texts, *(one.uri for one in turn.attachments)]
        return "\n".join(texts) or answer, answer

    @property
    def has_attachments(self) -> bool:
        """Whether a turn has attachments."""
        return any(turn.attachments for turn in self.turns)


Reader = Callable[[Mapping[str, Any]], Conversation]


def reader(form: str, prompt_field: str = "prompt", completion_field: str = "completion") -> Reader:
    r"""Return a function that reads the records of a source.

    :param form: the form of the written records, as in ``base_models.toml``.
    :param prompt_field: the field with the prompt, or with ``{}`` in it a template over fields:
        ``"{question}\n{context}"``. For continued pre-training it is the text, by default ``text``; for images the S3
        URI, by default ``image-ref``.
    :param completion_field: the same for the completion.
    :raises DatasetError: a template is invalid, or has more than a field's name in braces.
    """
    prompt_field = _PROMPTS.get(form, "prompt") if prompt_field == "prompt" else prompt_field
    prompt, completion = _getter(prompt_field), _getter(completion_field)
    # One of the completion's fields may be a class named false.
    marks = [one for one in _BAD_ANSWER_MARKS if one != completion_field and f"{{{one}}}" not in completion_field]

    def read(record: Mapping[str, Any]) -> Conversation:
        try:
            return read_alone(record)
        except DatasetError as error:
            missing = str(error).endswith(": missing") and str(error) != f"{completion_field}: missing"
            if missing and any(map(_is_table, record.values())):
                raise DatasetError(f"{error}{_WITHIN}") from None
            raise

    def read_alone(record: Mapping[str, Any]) -> Conversation:
        for broken in _BROKEN_ROWS:
            if broken in record:
                raise DatasetError(broken)
        if form == "pre-training":
            others = [one for one in ("input", completion_field) if one in record and "{" not in prompt_field]
            text = text_field(record, others[0]) if others and prompt_field not in record else prompt(record)
            return Conversation(None, [Turn("assistant", [text])])
        if form == "image":
            uri = text_field(record, prompt_field if prompt_field in record else "image-ref")
            caption = text_field(record, "caption" if completion_field not in record else completion_field)
            return Conversation(None, [Turn("user", [], (Attachment("image", "", uri),)), Turn("assistant", [caption])])
        asked = value_of(record, prompt_field) if "{" not in prompt_field else ""
        answer = value_of(record, completion_field)
        answer = [answer] if _is_turn(answer) else answer
        named = asked is not None or completion_field != "completion"
        chosen = named and _is_table(answer) and form != "reinforcement"
        if _is_table(asked) or chosen:  # turns before the answer, or as the answer, as in TRL
            record, asked = with_messages(record, asked, answer), None
        if form != "distillation" and completion_field == "completion" and record.get("completion") is None:
            asked = None  # a chat may have its first question in prompt
        if asked is None and (found := _chat(record, graded=form == "reinforcement")) is not None:
            if form not in _THINKING and any(turn.thoughts for turn in found.turns):
                raise DatasetError("holds reasoning, which the base model's format does not support")
            return found
        turns = [Turn("user", [prompt(record)])]
        if form == "reinforcement":
            return Conversation(None, turns, {name: value for name, value in record.items() if name != prompt_field})
        if form == "distillation" and record.get(completion_field) is None:
            return Conversation(None, turns)
        turns.append(Turn("assistant", [completion(record)]))
        _refuse_bad_answer(record, marks)
        return Conversation(None, turns)

    def with_messages(record: Mapping[str, Any], asked: Any, answer: Any) -> dict[str, Any]:
        others = {name: value for name, value in record.items() if name not in (prompt_field, "conversations")}
        messages = asked if _is_table(asked) else []
        if form == "reinforcement" or (answer is None and (form == "distillation" or _is_answered(messages))):
            return {**others, "messages": messages}
        if not _is_table(answer):
            answer = [{"role": "assistant", "content": completion(record)}]
        elif asked is None or (messages and answer[: len(messages)] == messages) or asked in map(_content, answer):
            messages = []  # the answer is the whole chat, as in UltraFeedback
        elif not messages:
            messages = [{"role": "user", "content": prompt(record)}]
        return {**others, "messages": [*messages, *answer]}

    return read


def _is_table(value: object) -> TypeGuard[list[Any]]:
    """Whether a value is an array of objects: messages, or the records themselves, in a file that is one object."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _is_answered(messages: Sequence[Any]) -> bool:
    last = messages[-1]
    return isinstance(last, dict) and _ROLES.get(str(last.get("from") or last.get("role")).lower()) == "assistant"


def _is_turn(value: object) -> bool:
    return isinstance(value, dict) and ("role" in value or "from" in value)


def _content(message: object) -> object:
    """Return a message's content; ShareGPT calls it its value, Gemini its parts."""
    if not isinstance(message, dict):
        return None
    value = message.get("value")
    return message.get("content", message.get("parts")) if value is None else value


def _getter(name: str) -> Callable[[Mapping[str, Any]], str]:
    if "{" not in name:
        return lambda record: text_field(record, name)
    parts = _parsed(name)
    names = [field for _, field in parts if field is not None]

    def fill(record: Mapping[str, Any]) -> str:
        # Some fields may be empty or null, such as the input of many instructions, but not all.
        texts = {one: "" if record.get(one, "") is None else text_or_empty(record, one) for one in names}
        if not any(map(str.strip, texts.values())):
            raise DatasetError(f"{', '.join(names)}: empty")
        return "".join(literal + (texts[field] if field is not None else "") for literal, field in parts)

    return fill


def _parsed(name: str) -> list[tuple[str, str | None]]:
    """Return the parts of a template: the text before a field, and the field, which is None after the last one."""
    try:
        parts = list(Formatter().parse(name))
    except ValueError as error:
        raise DatasetError(f"the template {name!r} is invalid: {error}") from None
    if any(field == "" or spec or conversion for _, field, spec, conversion in parts):
        raise DatasetError(
            f"the template {name!r} must have the name of a field in each pair of braces, and nothing else"
        )
    return [(literal, field) for literal, field, _, _ in parts]


def _chat(record: Mapping[str, Any], *, graded: bool) -> Conversation | None:
    """Return a chat; None if the record is something else.

    :param graded: whether what stands beside the messages and the system prompt is for a grader.
    """
    if record.get("schemaType") == "ModelInvocationLog":
        return _log(record, "input.inputBodyJson", "output.outputBodyJson")
    if isinstance(record.get("modelInput"), dict):  # of batch inference
        return _log(record, "modelInput", "modelOutput")
    for name in ("conversations", "messages", "contents"):
        messages = record.get(name)
        if isinstance(messages, str):  # as tables hold them
            with suppress(msgspec.DecodeError):
                messages = msgspec.json.decode(messages)
        if isinstance(messages, list):
            if not graded:
                _refuse_beside(record)
            parts = (value_of(record, f"{one}.parts") for one in _INSTRUCTIONS)
            system = record.get("system") or next(filter(None, parts), None)
            found = _conversation(system, [_message(one) for one in messages])
            if graded:
                others = record.keys() - {name, "system", *_INSTRUCTIONS}
                found.fields = {other: value for other, value in record.items() if other in others}
            return found
    for (preferred, rejected), names in _PAIRS.items():
        if preferred in record and rejected in record:
            raise DatasetError(
                f"holds a preferred and a rejected answer: set {names}{preferred!r} to train on the preferred one"
            )
    return None


def _refuse_beside(record: Mapping[str, Any]) -> None:
    """Raise if a chat has content besides its messages that no fine-tuning format supports."""
    if any(record.get(name) not in (None, [], {}, "", "[]") for name in ("tools", "functions", "toolConfig")):
        raise DatasetError("holds tools, which no fine-tuning format accepts")
    _refuse_media(record, "its messages")
    _refuse_bad_answer(record)


def _refuse_media(holder: Mapping[str, Any], beside: str) -> None:
    if any(holder.get(name) for name in _MEDIA):
        raise DatasetError(f"holds images, videos or sounds beside {beside}: name them in the turns, by their S3 URIs")


def _refuse_bad_answer(record: Mapping[str, Any], marks: Sequence[str] = _BAD_ANSWER_MARKS) -> None:
    """Raise if preference data (KTO) marks the answer as bad."""
    for mark in marks:
        if str(record.get(mark)).lower() == "false":  # CSV has no booleans
            raise DatasetError(f"is marked as a bad answer ({mark}: false), which no fine-tuning format supports")


def _conversation(system: object, turns: list[Turn]) -> Conversation:
    systems = _texts(system, "system")
    while turns and turns[0].role == "system":
        systems += turns.pop(0).texts
    if any(turn.role == "system" for turn in turns):
        raise DatasetError("messages: a system prompt is among the turns")
    if not turns:
        raise DatasetError("messages: empty")
    return Conversation("\n".join(systems) or None, turns)


def _message(message: object) -> Turn:
    if not isinstance(message, dict):
        raise DatasetError("messages: not an object")
    role, content = message.get("from") or message.get("role"), _content(message)
    role = role.lower() if isinstance(role, str) else None  # Cohere writes User
    if role in _TOOL_ROLES or any(message.get(one) for one in _TOOLS):
        raise DatasetError("holds a tool call, which no fine-tuning format accepts")
    _refuse_media(message, "the content of a message")
    turn = _turn(role, content, [text for name in _THOUGHTS for text in _texts(message.get(name), name)])
    parts = [message, *(part for of in (content, message.get("train_detail")) if isinstance(of, list) for part in of)]
    if turn.role == "assistant" and any(map(_is_not_trained, parts)):
        raise DatasetError("holds a turn of weight 0, which no fine-tuning format can leave out of the training")
    return turn


def _is_not_trained(part: object) -> bool:
    return isinstance(part, dict) and any(part.get(mark) in (0, False) for mark in _NOT_TRAINED_MARKS)


def _turn(role: object, content: object, thoughts: Sequence[str] = ()) -> Turn:
    if not isinstance(role, str) or role not in _ROLES:
        raise DatasetError("messages: unknown role")
    blocks = content if isinstance(content, list) else []
    attachments, texts = tuple(_attachments(blocks)), _texts(content, "content")
    if not attachments and not any(one.strip() for one in texts):
        raise DatasetError("messages: a turn is empty")
    thoughts = tuple(one for one in (*thoughts, *_thoughts(blocks)) if one.strip())
    return Turn(_ROLES[role], texts, attachments, thoughts)


def _thoughts(blocks: list[Any]) -> Iterator[str]:
    """Yield the texts of a turn's reasoning, as in Converse and in Anthropic's and Gemini's formats."""
    for block in (one for one in blocks if isinstance(one, dict)):
        name = "thinking" if block.get("type") == "thinking" else "reasoningContent.reasoningText.text"
        text = value_of(block, "text" if block.get("thought") is True else name)
        if isinstance(text, str):
            yield text


def _texts(content: object, name: str) -> list[str]:
    if content is None:
        return []
    if isinstance(content, str):
        return [content]
    if not isinstance(content, list):
        raise DatasetError(f"{name}: neither text nor blocks")
    return [text for block in content for text in _block(block)]


def _block(block: object) -> list[str]:
    if isinstance(block, str):
        return [block]
    if not isinstance(block, dict):
        raise DatasetError("content: a block that is not an object")
    if block.get("thought") is True:  # Gemini's reasoning
        return []
    text = block.get("value" if block.get("type") == "text" and "text" not in block else "text")  # LLaMA-Factory
    text = value_of(block, "guardContent.text.text") if text is None else text  # of a call with a guardrail
    if isinstance(text, str):
        return [text]
    if any(block.get(one) is not None for one in _NOT_TEXTS) or block.get("type") == "thinking":
        return []
    if any(block.get(one) is not None or block.get("type") == one for one in _TOOLS):
        raise DatasetError("holds a tool call, which no fine-tuning format accepts")
    raise DatasetError("content: a block that is neither text nor an image, video or document on S3")


def _attachments(content: list[Any]) -> list[Attachment]:
    found = []
    for block in content:
        for kind in ("image", "video", "document") if isinstance(block, dict) else ():
            if (one := block.get(kind)) is not None:
                try:
                    location = one["source"]["s3Location"]
                    found.append(
                        Attachment(kind, str(one["format"]), str(location["uri"]), location.get("bucketOwner"))
                    )
                except (KeyError, TypeError, AttributeError):
                    raise DatasetError(f"content: {kind} that is not on S3") from None
    return found


def _log(record: Mapping[str, Any], request: str, response: str) -> Conversation:
    if value_of(record, f"{request}.toolConfig") or value_of(record, f"{request}.tools"):
        raise DatasetError("holds tools, which no fine-tuning format accepts")
    messages = value_of(record, f"{request}.messages")
    if value_of(record, "input.inputBodyS3Path"):
        raise DatasetError("an invocation log whose request is too large, and therefore in another file")
    if not isinstance(messages, list):
        raise DatasetError("an invocation log or output of batch inference without a conversation")
    turns = [_message(one) for one in messages]
    if answer := answer_in(value_of(record, response)):
        turns.append(_turn("assistant", answer))
    return _conversation(value_of(record, f"{request}.system"), turns)


def _shown(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()

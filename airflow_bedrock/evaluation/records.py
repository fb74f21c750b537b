"""Read held-out records: what to ask a model, and the expected answer.

A record is one that a model could be trained on: Converse (with several turns, system prompt, tools, images), Claude's
format, prompt and completion, reinforcement (``reference_answer``); or a prompt of Bedrock's evaluation jobs
(``prompt``, ``referenceResponse``). The last assistant turn is the expected answer; the model gets everything before
it.
"""

from __future__ import annotations

import base64
import heapq
import random
import sys
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import msgspec

from airflow_bedrock.datasets.records import normalised, not_json, value_of
from airflow_bedrock.evaluation.inference import Question

_PARTS = 16  # of a file, read one after the other: skipping a line costs next to nothing


class RecordError(ValueError):
    """A line is not a valid record. The message has no text of the record."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record.

    :param number: its line in the file, from 1.
    :param request: members of a Converse request: ``messages``, and optionally ``system`` and ``toolConfig``.
    :param reference: the expected answer; None if the record has none.
    :param fields: the unchanged record.
    """

    number: int
    request: Mapping[str, Any]
    reference: str | None
    fields: Mapping[str, Any] = field(repr=False)

    @property
    def prompt(self) -> str:
        """The conversation's texts, for a reader or a judge; for a single turn, just its text."""
        turns = self.request["messages"]
        if len(turns) == 1:
            return text_of(turns[0]["content"])
        return "\n\n".join(f"{turn['role']}: {text_of(turn['content'])}" for turn in turns)

    def value(self, path: str) -> str | None:
        """Return a field as text, by its path with dots; None if it does not exist."""
        found = value_of(self.fields, path)
        return None if found is None else found if isinstance(found, str) else _json(found)


class HeldOutRecords:
    """The records of a file to ask. The file is read several times, so that memory does not grow with it.

    :param parameters: members of the Converse request that are the same for all questions, e.g. ``inferenceConfig``.
    :param max_records: maximum number of records, chosen by their hash; None for all.
    """

    def __init__(self, path: Path, parameters: Mapping[str, Any], max_records: int | None = None) -> None:
        self.parameters = parameters
        self.count = 0
        self._path = path
        self._max_records = max_records
        self._chosen: frozenset[int] | None = None

    def lines(self) -> Iterator[bytes]:
        """Yield the lines of the file."""
        with self._path.open("rb") as file:
            yield from file

    def check(self, visit: Callable[[Record], object] = lambda record: None) -> None:
        """Read the whole file, and choose the records to ask.

        :param visit: called with each record, chosen or not.
        :raises ValueError: a line is not a record, or the file has no records.
        """

        def visited() -> Iterator[Record]:
            for record in read(self.lines()):
                visit(record)
                self.count += 1
                yield record

        if self._max_records is None:
            for _ in visited():
                pass
        else:
            # By their hash, since the first records of a file may all be of one kind.
            digests = ((blake2b(normalised(one.prompt), digest_size=16).digest(), one.number) for one in visited())
            chosen = heapq.nsmallest(self._max_records, digests)
            self._chosen, self.count = frozenset(number for _, number in chosen), len(chosen)
        if not self.count:
            raise ValueError("it has no records: there is nothing to evaluate")

    def records(self, numbers: Container[int] | None = None) -> Iterator[Record]:
        """Yield the records to ask, in the order of the file.

        :param numbers: of the lines to read; None for all.
        """
        found = read(self.lines(), numbers)
        return (record for record in found if self._chosen is None or record.number in self._chosen)

    def shuffled(self) -> Iterator[Record]:
        """Yield the records part by part, with the parts in random order.

        So two concurrent workers ask different questions, and each later finds the answers of the other.
        """
        for part in random.sample(range(_PARTS), _PARTS):
            yield from self.records(range(part, sys.maxsize, _PARTS))

    def question(self, record: Record) -> Question:
        """Return the question of a record."""
        return Question(record.number, {**record.request, **self.parameters})

    def questions(self) -> Iterator[Question]:
        """Yield the questions in the order of the file."""
        return map(self.question, self.records())


def text_of(content: Any) -> str:
    """Return the content of a turn's blocks: texts, and tool calls as JSON."""
    if isinstance(content, str):
        return content
    texts = [block["text"] for block in content if isinstance(block.get("text"), str)]
    calls = [
        {one: value_of(block, f"toolUse.{one}") for one in ("name", "input")}
        for block in content
        if block.get("toolUse")
    ]
    # An answer that is cut off may end with half of a surrogate pair.
    text = "".join(texts).encode(errors="replace").decode()
    return text or "\n".join(map(_json, calls))


def read(lines: Iterator[bytes], numbers: Container[int] | None = None) -> Iterator[Record]:
    """Read JSONL; blank lines are skipped.

    :param numbers: of the lines to read; None for all.
    :raises RecordError: a line is not a record; the message begins with its number.
    """
    for number, line in enumerate(lines, start=1):
        if (numbers is not None and number not in numbers) or line.isspace():
            continue
        try:
            yield record_of(number, msgspec.json.decode(line))
        except RecordError as error:
            raise RecordError(f"Record {number}: not a training record: {error}") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise RecordError(f"Record {number}: not a training record: {not_json(line)}") from None


def record_of(number: int, fields: Any) -> Record:
    """Return the record in a line's JSON.

    :raises RecordError: says what is wrong with it.
    """
    if not isinstance(fields, dict):
        raise RecordError("not a JSON object")
    if "messages" not in fields:
        return _flat(number, fields)
    turns = _turns(fields["messages"])
    if turns[0]["role"] == "system":
        fields = {**fields, "system": turns.pop(0)["content"]}
    if not turns:
        raise RecordError("messages: there is no user turn")
    reference = None
    if turns[-1]["role"] == "assistant":
        reference = text_of(turns.pop()["content"])
    given = fields.get("reference_answer")
    if given or given == 0:  # the number, or false: an empty text is no reference
        reference = given if isinstance(given, str) else _json(given)
    if fields.get("tools") and isinstance(fields["tools"], list):
        raise RecordError("tools: must be in toolConfig, as in the Converse API")
    roles = [turn["role"] for turn in turns]
    if not turns or roles[0] != "user" or roles[-1] != "user" or any(map(str.__eq__, roles, roles[1:])):
        raise RecordError(
            "messages: the turns must alternate, beginning with the user's; the last user turn is the question"
        )
    return Record(number, _request(turns, fields), reference, fields)


def _flat(number: int, fields: dict[str, Any]) -> Record:
    prompt = fields.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise RecordError("neither messages nor prompt")
    reference = fields.get("completion", fields.get("referenceResponse"))
    if reference is not None and not isinstance(reference, str):
        raise RecordError("the completion is not text")
    return Record(number, _request([{"role": "user", "content": [{"text": prompt}]}], fields), reference, fields)


def _turns(messages: Any) -> list[dict[str, Any]]:
    if not isinstance(messages, list) or not messages:
        raise RecordError("messages: must be a list of turns")
    return [_turn(message) for message in messages]


def _turn(message: Any) -> dict[str, Any]:
    if not isinstance(message, dict) or message.get("role") not in ("system", "developer", "user", "assistant"):
        raise RecordError("messages: a turn must have the role system, user or assistant")
    role = "system" if message["role"] == "developer" else message["role"]  # as OpenAI's newer models have it
    content = message.get("content")
    if isinstance(content, str):
        content = [{"text": content}]
    if not isinstance(content, list) or not content or not all(isinstance(block, dict) for block in content):
        raise RecordError("messages: a turn's content must be text, or a list of blocks")
    return {"role": role, "content": [_block(block) for block in content]}


def _block(block: dict[str, Any]) -> dict[str, Any]:
    """Return a block as Converse takes it: its one member, with an image, video or document in bytes, not Base64."""
    block = {name: value for name, value in block.items() if value is not None and (name, value) != ("type", "text")}
    if len(block) != 1:
        raise RecordError("messages: a block must have one member, such as text or image, as in the Converse API")
    for kind in ("image", "video", "document"):
        source = block[kind].get("source") if isinstance(block.get(kind), dict) else None
        if isinstance(source, dict) and isinstance(source.get("bytes"), str):
            try:
                content = base64.b64decode(source["bytes"], validate=True)
            except ValueError:
                raise RecordError(f"messages: the bytes of a block's {kind} are not Base64") from None
            return {kind: {**block[kind], "source": {"bytes": content}}}
    return block


def _request(turns: list[dict[str, Any]], fields: Mapping[str, Any]) -> dict[str, Any]:
    request: dict[str, Any] = {"messages": turns}
    if system := fields.get("system"):
        blocks = [{"text": system}] if isinstance(system, str) else system
        if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
            raise RecordError("system: must be text, or a list of blocks")
        request["system"] = blocks
    if tools := fields.get("toolConfig"):
        request["toolConfig"] = tools
    return request


def _json(value: Any) -> str:
    return msgspec.json.encode(value, order="sorted").decode()

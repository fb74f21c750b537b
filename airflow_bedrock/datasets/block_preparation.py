"""Prepare one block of a source: read each record, write it in the base model's format, check it, and store it."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from airflow_bedrock.datasets.blocks import Block, lines_of, without_bom
from airflow_bedrock.datasets.errors import DatasetError
from airflow_bedrock.datasets.formats import RecordFormat, write
from airflow_bedrock.datasets.near import Signatures
from airflow_bedrock.datasets.reading import Conversation, Fields, Reader, Turn, reader
from airflow_bedrock.datasets.records import normalised, not_json, text_field, value_of
from airflow_bedrock.datasets.repeats import BlockEntries, Place
from airflow_bedrock.datasets.rules import Rules
from airflow_bedrock.datasets.selection import Caps, OnConflict, sample_key
from airflow_bedrock.datasets.split import Split, Splitter
from airflow_bedrock.decoding import decoder

MAX_DROPPED_LISTED = 100  # all are counted; the list shows where to find the errors
SPLITS = tuple(Split)

_MILLISECONDS = 1e12  # in seconds, after the year 9999; in milliseconds, the year 2001
_DECODE = decoder(dict[str, Any]).decode
_NUMBERS = {split: number for number, split in enumerate(SPLITS, start=1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to prepare the source records.

    :param record_format: the format to write.
    :param rules: the rules of the base model; None checks nothing.
    :param splitter: how records are assigned to splits.
    :param fields: the fields that hold a record's parts.
    :param system_prompt: the system prompt for records without one; None for none.
    :param group_field: records with the same value in this field stay in one split; None for the prompt itself.
    :param time_field: with ``test_after``: the field with a record's time, ISO 8601 or seconds since 1970.
    :param test_after: records of this time or later are for testing, earlier ones are not.
    :param on_conflict: which record is kept of those with the same question and different answers.
    :param caps: the maximum numbers of records.
    :param near_duplicates: the similarity, 0 to 1, from which only the first of two questions is kept; None keeps both.
    :param min_characters, max_characters: of prompt and completion together.
    :param redact: a function that receives each text and returns the text to write. If other processes can import it,
        it runs in one process per CPU.
    :param part: whether this is a part of a dataset that is combined later: then a split may be empty, and the number
        of records is not checked.
    :raises DatasetError: ``test_after`` is not a time.
    """

    record_format: RecordFormat
    rules: Rules | None = None
    splitter: Splitter = field(default_factory=Splitter)
    fields: Fields = field(default_factory=Fields)
    system_prompt: str | None = None
    group_field: str | None = None
    time_field: str | None = None
    test_after: str | None = None
    on_conflict: OnConflict = OnConflict.FIRST
    caps: Caps = field(default_factory=Caps)
    near_duplicates: float | None = None
    min_characters: int = 0
    max_characters: int | None = None
    redact: Callable[[str], str] | None = None
    part: bool = False

    def __post_init__(self) -> None:
        if self.test_after is not None:
            moment(self.test_after, "test_after")

    @property
    def form(self) -> str:
        """The form of the records, as in ``base_models.toml``."""
        return (self.rules and self.rules.method.form) or self.record_format.value


class Part(NamedTuple):
    """The result of one block.

    :param splits: a byte for each line: the number of its split, from 1, or 0 if it is dropped.
    """

    read: int
    dropped: dict[str, int]
    listed: list[tuple[int, str]]
    splits: bytes
    entries: dict[int, bytes]
    keys: dict[int, bytes]
    bands: dict[int, bytes]

    def moved(self, split: Split) -> Part:
        """Return it with all kept records in one split."""
        return self._replace(splits=self.splits.translate(bytes([0, *[_NUMBERS[split]] * 255])))


class _Prepared(NamedTuple):
    """A record as it is written, its normalised question and answer, its group, and its split."""

    line: bytes
    prompt: bytes
    completion: bytes
    group: bytes
    split: Split


def prepare_block(settings: Settings, spool: str, block: Block) -> Part:
    """Read, write and check every record of a block, and store the valid ones."""
    content, folder = block.read(), Path(spool)
    source = lines_of(without_bom(content) if block.begin == 0 else content)
    read = reader(settings.fields, settings.form)
    splits, written, blank = bytearray(len(source)), list[bytes](), 0
    dropped, listed = Counter[str](), list[tuple[int, str]]()
    entries, keys = BlockEntries(block.number), defaultdict[int, bytes](bytes)
    signatures = None if settings.near_duplicates is None else Signatures(block.number, len(source))
    for number, line in enumerate(source):
        if not line or line.isspace():
            blank += 1
            continue
        try:
            prepared = _prepared(settings, read, line)
        except DatasetError as error:
            dropped[str(error)] += 1
            if len(listed) < MAX_DROPPED_LISTED:
                listed.append((number, str(error)))
            continue
        splits[number] = _NUMBERS[prepared.split]
        written.append(prepared.line)
        entries.add(number, prepared.prompt, prepared.completion)
        if settings.caps.wanted:
            place = Place(block.number, number)
            drawn = sample_key(prepared.prompt, prepared.completion, prepared.group, place, settings.splitter.seed)
            keys[drawn[0]] += drawn
        if signatures is not None:
            signatures.add(number, prepared.prompt)
    spooled(folder, block.number, "jsonl").write_bytes(b"\n".join([*written, b""]))
    bands = signatures.put(spooled(folder, block.number, "near")) if signatures else {}
    return Part(len(source) - blank, dict(dropped), listed, bytes(splits), entries.parts(), dict(keys), bands)


def _prepared(settings: Settings, read: Reader, line: bytes) -> _Prepared:
    try:
        record = _DECODE(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise DatasetError(not_json(line)) from None
    conversation = read(record)
    if settings.redact is not None:
        conversation = _redacted(conversation, settings.redact)
    if conversation.system is None:
        conversation.system = settings.system_prompt
    key, answer = conversation.key(settings.system_prompt)
    characters = len(key) + len(answer)
    if characters < settings.min_characters:
        raise DatasetError(f"shorter than {settings.min_characters} characters")
    if settings.max_characters is not None and characters > settings.max_characters:
        raise DatasetError(f"longer than {settings.max_characters} characters")
    written = write(conversation, settings.record_format)
    if problem := _problem(settings.rules, written):
        raise DatasetError(problem)
    prompt, completion = normalised(key), normalised(answer)
    group = prompt if settings.group_field is None else normalised(text_field(record, settings.group_field))
    split = Split.TEST if _is_late(settings, record) else settings.splitter.split_normalised(group)
    return _Prepared(written, prompt, completion, group, split)


def _problem(rules: Rules | None, line: bytes) -> str | None:
    """Return the rule of the base model that a line would break."""
    if rules is None or rules.plain(line) is not None:
        return None
    _, problems = rules.check(line)
    return problems[0].of_any.removeprefix("Invalid record: ").rstrip(".") if problems else None


def _is_late(settings: Settings, record: Mapping[str, Any]) -> bool:
    """Whether a record is held out because of its time."""
    name, after = settings.time_field, settings.test_after
    if name is None or after is None:
        return False
    return moment(value_of(record, name), name) >= moment(after, "test_after")


def _redacted(one: Conversation, redact: Callable[[str], str]) -> Conversation:
    def hidden(value: Any) -> Any:
        """Return the value with each text in it replaced."""
        if isinstance(value, dict):
            return {name: hidden(inner) for name, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(map(hidden, value))
        if not isinstance(value, str):
            return value
        try:
            text = redact(value)
        except Exception as error:
            # Without the message and the cause, which may contain the text.
            raise DatasetError(f"redact failed: {type(error).__name__}") from None
        if not isinstance(text, str):
            raise DatasetError("redact returned no text")
        return text

    turns = [Turn(turn.role, hidden(turn.texts), turn.attachments, hidden(turn.thoughts)) for turn in one.turns]
    return Conversation(hidden(one.system), turns, hidden(one.fields))


def moment(value: object, name: str) -> float:
    """Return a time, ISO 8601 or seconds since 1970, in seconds since 1970; a time without a zone is UTC.

    :param name: of the field or the parameter, for the error.
    :raises DatasetError: it is not a time.
    """
    try:
        if isinstance(value, str):
            found = _from_text(value)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found = float(value)
        else:
            found = math.nan
    except (ValueError, OverflowError):
        found = math.nan
    if not abs(found) < _MILLISECONDS:
        raise DatasetError(f"{name}: not a time (ISO 8601, or seconds since 1970)")
    return found


def _from_text(text: str) -> float:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return float(text)  # in tables, all values are texts
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def spooled(spool: Path, number: int, kind: str) -> Path:
    """Return the temporary file of a block: its lines, or its signatures."""
    return spool / f"{number}.{kind}"

"""Prepare data: read any shape, check, drop unusable records, remove duplicates, select, split and write.

The source, converted to JSON Lines (:mod:`sources`), is cut into blocks. For each record of a block, a process writes
the line in the base model's format, checks that line against the base model's rules, and stores it on disk with the
digests of its question and answer. Then duplicates, selection and split are decided, in one byte per record. Finally
the lines are copied to their splits in the order of the source. Memory has one block for each process, and these bytes.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from heapq import nsmallest
from itertools import compress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

from airflow_bedrock.datasets.blocks import Block, lines_of, mapped, without_bom
from airflow_bedrock.datasets.choices import OnConflict, RecordFormat, Split, check_fractions
from airflow_bedrock.datasets.errors import DatasetError
from airflow_bedrock.datasets.formats import check_system_prompt, write
from airflow_bedrock.datasets.near import Signatures, near
from airflow_bedrock.datasets.reading import Conversation, Reader, Turn, reader
from airflow_bedrock.datasets.records import normalised, not_json, text_field, value_of
from airflow_bedrock.datasets.repeats import BlockEntries, Parts, Place, groups
from airflow_bedrock.datasets.rules import Rules
from airflow_bedrock.datasets.selection import chosen, left_out, sample_key, split_of
from airflow_bedrock.decoding import decoder

CONFLICT = "another answer to the same question"

_LEFT_OUT = 0  # otherwise a record's byte is the number of its split, from 1
MAX_DROPPED_LISTED = 100  # all are counted; the list shows where to find the errors
SPLITS = tuple(Split)

_MILLISECONDS = 1e12  # in seconds, after the year 9999; in milliseconds, the year 2001
_DECODE = decoder(dict[str, Any]).decode
_NUMBERS = {split: number for number, split in enumerate(SPLITS, start=1)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How to prepare the source records.

    The other fields are the parameters of :class:`~airflow_bedrock.operators.BedrockDatasetPreparationOperator`, which
    describes them.

    :param record_format: the format to write.
    :param rules: the rules of the base model; None checks nothing.
    :param redact: a function that receives each text and returns the text to write. If other processes can import it,
        it runs in one process per CPU.
    :raises DatasetError: a template or a fraction is invalid, or ``test_after`` is not a time.
    """

    record_format: RecordFormat
    rules: Rules | None = None
    prompt_field: str = "prompt"
    completion_field: str = "completion"
    system_prompt: str | None = None
    group_field: str | None = None
    validation_fraction: float = 0.1
    test_fraction: float = 0.1
    seed: str = ""
    time_field: str | None = None
    test_after: str | None = None
    on_conflict: OnConflict = OnConflict.FIRST
    max_records: int | None = None
    max_records_per_class: int | None = None
    max_records_per_group: int | None = None
    balance_classes: bool = False
    near_duplicate_threshold: float | None = None
    min_characters: int = 0
    max_characters: int | None = None
    redact: Callable[[str], str] | None = None
    part: bool = False

    def __post_init__(self) -> None:
        self.reader()
        check_fractions(self.validation_fraction, self.test_fraction)
        if self.test_after is not None:
            moment(self.test_after, "test_after")

    @property
    def form(self) -> str:
        """The form of the records, as in ``base_models.toml``."""
        return (self.rules and self.rules.method.form) or self.record_format.value

    @property
    def has_maximum(self) -> bool:
        """Whether any maximum number of records is set."""
        most = (self.max_records, self.max_records_per_class, self.max_records_per_group)
        return self.balance_classes or most != (None, None, None)

    def reader(self) -> Reader:
        """Return the function that reads the records of the source."""
        return reader(self.form, self.prompt_field, self.completion_field)


class Source(NamedTuple):
    """A file of the source, JSON Lines.

    :param name: its name in reports.
    :param split: the split of all its records, from an earlier preparation; None if the splitter decides.
    """

    name: str
    path: Path
    split: Split | None = None


class SplitReport(msgspec.Struct, kw_only=True):
    """What was written to one split: number of records, size in bytes, SHA-256 of the content."""

    records: int
    bytes: int
    sha256: str


class Dropped(msgspec.Struct):
    """A dropped record: its place, and the rule that it breaks. Never its text."""

    record: str
    rule: str


class PreparationReport(msgspec.Struct, kw_only=True):
    """The result of a preparation.

    :param read: number of source records; each is in a split, a duplicate, a conflict, dropped, or not chosen.
    :param splits: what was written, by split.
    :param duplicates: records with the same question and answer as another one.
    :param conflicts: records with the same question as another one, and a different answer.
    :param near_duplicates: records with nearly the same question as an earlier one.
    :param dropped: records that break a rule, by rule.
    :param not_chosen: usable records beyond the caps.
    :param dropped_records: the first hundred dropped records and conflicts.
    :param digest: SHA-256 of the content of all splits: the same digest means the same data.
    """

    read: int = 0
    splits: dict[str, SplitReport] = {}
    duplicates: int = 0
    conflicts: int = 0
    near_duplicates: int = 0
    dropped: dict[str, int] = {}
    not_chosen: int = 0
    dropped_records: list[Dropped] = []
    digest: str = ""

    def records(self, split: Split) -> int:
        """Return the number of records in a split."""
        return self.splits[split.value].records

    def problems(self, settings: Settings, max_dropped_fraction: float) -> list[str]:
        """Return the reasons why this data is not fit for training; empty if it is fit.

        :param max_dropped_fraction: the fraction of the source that may break rules or lose a conflict, 0 to 1.
        """
        found = []
        lost = self.dropped | ({CONFLICT: self.conflicts} if self.conflicts else {})
        dropped = sum(lost.values())
        too_many, all_ = dropped > max_dropped_fraction * self.read, dropped == self.read > 0 and not settings.part
        if too_many or all_:
            reasons = "; ".join(f"{count}: {rule}" for rule, count in lost.items())
            if any(": missing" in rule for rule in lost):
                reasons += "; set prompt_field and completion_field to the names of the fields"
            first = ", ".join(record.record for record in self.dropped_records[:5])
            limit = f", more than the fraction of {max_dropped_fraction} that is allowed" if too_many else ""
            found.append(f"{dropped} of {self.read} records cannot be used{limit} ({reasons}; the first: {first})")
        if self.conflicts and settings.on_conflict is OnConflict.FAIL:
            found.append(f"{self.conflicts} records answer the same question differently from an earlier record")
        train, validation = self.records(Split.TRAIN), self.records(Split.VALIDATION)
        if (
            settings.rules is not None
            and not settings.part
            and (volume := settings.rules.method.count_problem(train, validation))
        ):
            more = train + validation > (settings.rules.method.max_records or train + validation)
            found.append(
                f"{volume} ({settings.rules.name}){'; set max_records to take a sample of them' if more else ''}"
            )
        if settings.part or dropped == self.read > 0:
            return found
        fractions = {
            Split.TRAIN: 1.0,
            Split.VALIDATION: settings.validation_fraction,
            Split.TEST: settings.test_fraction if settings.test_after is None else 1.0,
        }
        found += [
            f"the {split.value} split has no records: use more records, another fraction, or another seed"
            for split, fraction in fractions.items()
            if fraction > 0 and not self.records(split)
        ]
        return found


def prepare(sources: Sequence[Source], writers: Mapping[Split, BinaryIO], settings: Settings) -> PreparationReport:
    """Write the usable records to the splits' files, in the order of the source, and report.

    :param sources: the files of the source.
    :param writers: a binary file for each split.
    :param settings: how to prepare the records.
    :raises DatasetError: the record format does not support the system prompt.
    """
    if settings.system_prompt is not None:
        check_system_prompt(settings.record_format)
    with tempfile.TemporaryDirectory(prefix="airflow-bedrock-") as folder:
        return _Preparation(settings, Path(folder)).run(sources, writers)


class _Preparation:
    """One run over the source."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._repeats, self._keys, self._bands = (Parts(folder / name) for name in ("repeats", "keys", "bands"))
        self._report = PreparationReport()
        self._dropped: Counter[str] = Counter()
        self._begins: list[tuple[str, int]] = []  # of each block: its file's name, and the number of its first line
        self._splits: list[bytearray] = []

    def run(self, sources: Sequence[Source], writers: Mapping[Split, BinaryIO]) -> PreparationReport:
        work = partial(prepare_block, self._settings, str(self._folder))
        alone = self._settings.redact is not None and not _is_found_by_name(self._settings.redact)
        line, last = 1, ""
        for source, part in mapped(work, [(source, source.path) for source in sources], alone=alone):
            line = line if source.name == last else 1
            self._add(source.name, line, part if source.split is None else part.moved(source.split))
            line, last = line + len(part.splits), source.name
        conflicts = nsmallest(MAX_DROPPED_LISTED, self._resolve())
        for block, place in conflicts[: MAX_DROPPED_LISTED - len(self._report.dropped_records)]:
            name, first = self._begins[block]
            self._report.dropped_records.append(Dropped(f"{name}:{first + place}", CONFLICT))
        if self._settings.near_duplicate_threshold is not None:
            self._thin_out(self._settings.near_duplicate_threshold)
        if self._settings.has_maximum:
            self._choose()
        splits = self._report.splits = self._write(writers)
        content = "\0".join(f"{name}:{split.sha256}" for name, split in splits.items())
        self._report.digest = hashlib.sha256(content.encode()).hexdigest()
        self._report.dropped = dict(self._dropped.most_common())
        return self._report

    def _add(self, name: str, line: int, part: Part) -> None:
        self._begins.append((name, line))
        self._report.read += part.read
        self._dropped.update(part.dropped)
        for number, rule in part.listed[: MAX_DROPPED_LISTED - len(self._report.dropped_records)]:
            self._report.dropped_records.append(Dropped(f"{name}:{line + number}", rule))
        self._splits.append(bytearray(part.splits))
        self._repeats.add(part.entries)
        self._keys.add(part.keys)
        self._bands.add(part.bands)

    def _resolve(self) -> Iterator[Place]:
        """Keep one of the records with the same question, and yield the places of conflicts."""
        for group in groups(self._repeats):
            kept = chosen(group, self._settings.on_conflict)
            for one in group:
                if one is kept:
                    continue
                self._splits[one.block][one.line] = _LEFT_OUT
                if kept is not None and one.completion == kept.completion:
                    self._report.duplicates += 1
                else:
                    self._report.conflicts += 1
                    yield one.place

    def _thin_out(self, threshold: float) -> None:
        """Drop near duplicates of earlier records, across all splits."""
        for one, earlier in near(self._bands, self._folder, threshold):
            if self._splits[one.block][one.line] and self._splits[earlier.block][earlier.line]:
                self._splits[one.block][one.line] = _LEFT_OUT
                self._report.near_duplicates += 1

    def _choose(self) -> None:
        settings = self._settings
        for block, line in left_out(
            self._keys,
            lambda block, line: self._splits[block][line],
            most=settings.max_records,
            per_class=settings.max_records_per_class,
            per_group=settings.max_records_per_group,
            balance=settings.balance_classes,
        ):
            self._splits[block][line] = _LEFT_OUT
            self._report.not_chosen += 1

    def _write(self, writers: Mapping[Split, BinaryIO]) -> dict[str, SplitReport]:
        written = {split: SplitReport(records=0, bytes=0, sha256="") for split in SPLITS}
        digests = {split: hashlib.sha256() for split in SPLITS}
        for number, splits in enumerate(self._splits):
            file = _spooled(self._folder, number)
            lines = file.read_bytes().splitlines(keepends=True)
            file.unlink()
            for which, split in enumerate(SPLITS, start=1):
                mask = splits.translate(bytes(int(one == which) for one in range(256)))
                content = b"".join(compress(lines, mask))
                written[split].records += sum(mask)
                written[split].bytes += len(content)
                digests[split].update(content)
                writers[split].write(content)
        for split, report in written.items():
            report.sha256 = digests[split].hexdigest()
        return {split.value: report for split, report in written.items()}


def _is_found_by_name(function: Callable[[str], str]) -> bool:
    """Whether another process can import the function; it cannot import one of a DAG file."""
    module = getattr(function, "__module__", None) or "__main__"
    return (
        module != "__main__"
        and not module.startswith("unusual_prefix_")
        and getattr(function, "__qualname__", "<").isidentifier()
    )


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
    """A record as written, its normalised question and answer, its group, and its split."""

    line: bytes
    prompt: bytes
    completion: bytes
    group: bytes
    split: Split


def prepare_block(settings: Settings, spool: str, block: Block) -> Part:
    """Read, write and check every record of a block, and store the valid ones."""
    content, folder = block.read(), Path(spool)
    source = lines_of(without_bom(content) if block.begin == 0 else content)
    read, has_maximum = settings.reader(), settings.has_maximum
    splits, written, blank = bytearray(len(source)), [b""] * len(source), 0
    dropped, listed = Counter[str](), list[tuple[int, str]]()
    entries, keys = BlockEntries(block.number), defaultdict[int, bytes](bytes)
    signatures = None if settings.near_duplicate_threshold is None else Signatures(block.number, len(source), folder)
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
        written[number] = prepared.line
        entries.add(number, prepared.prompt, prepared.completion)
        if has_maximum:
            place = Place(block.number, number)
            drawn = sample_key(prepared.prompt, prepared.completion, prepared.group, place, settings.seed)
            keys[drawn[0]] += drawn
        if signatures is not None:
            signatures.add(number, prepared.prompt)
    _spooled(folder, block.number).write_bytes(b"\n".join([*written, b""]))
    bands = signatures.put() if signatures else {}
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
    split = Split.TEST
    if not _is_late(settings, record):
        split = split_of(group, settings.validation_fraction, settings.test_fraction, settings.seed)
    return _Prepared(written, prompt, completion, group, split)


def _problem(rules: Rules | None, line: bytes) -> str | None:
    """Return the rule of the base model that a line would break."""
    if rules is None or rules.plain(line) is not None:
        return None
    _, problems = rules.check(line)
    return problems[0].of_any.rstrip(".") if problems else None


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

    :param name: the name of the field or the parameter, for the error.
    :raises DatasetError: it is not a time.
    """
    with suppress(TypeError, ValueError, OverflowError):
        if not isinstance(value, bool) and abs(found := _seconds(value)) < _MILLISECONDS:
            return found
    raise DatasetError(f"{name}: not a time (ISO 8601, or seconds since 1970)")


def _seconds(value: Any) -> float:
    try:
        found = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return float(value)  # in tables, all values are texts
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()


def _spooled(spool: Path, number: int) -> Path:
    """Return the temporary file of a block: for each line of the source the record as written, or an empty line."""
    return spool / f"{number}.jsonl"

"""Data preparation: read any shape, check, drop what cannot be used, deduplicate, choose, split, write.

The source, JSON Lines by now (:mod:`sources`), is cut into blocks. A process reads a block's records, writes each in
the base model's format, holds that very line against the base model's rules, so that what is prepared passes the check,
and puts it aside on disk with the digests of what it asks and answers. Then it is known which records ask the same,
which are chosen and which split each is in: one byte a record. At last the lines are copied to their splits, in the
order of the source. Memory holds a block a process, and that byte.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, compress
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

from airflow_bedrock.datasets.blocks import Block, blocks, lines_of, mapped, processes, without_bom
from airflow_bedrock.datasets.checking import Short
from airflow_bedrock.datasets.errors import DatasetError
from airflow_bedrock.datasets.formats import RecordFormat, encode, template, write
from airflow_bedrock.datasets.near import Signatures, near
from airflow_bedrock.datasets.reading import Conversation, Fields, Turn, reader
from airflow_bedrock.datasets.records import Example, normalised, normalised_pair, text_field
from airflow_bedrock.datasets.repeats import Leavings, Place, Repeats
from airflow_bedrock.datasets.rules import Rules
from airflow_bedrock.datasets.selection import KEY, Caps, OnConflict, Sample, chosen, sample_key
from airflow_bedrock.datasets.split import Split, Splitter

MAX_DROPPED_LISTED = 100  # the counts go on; the list is for finding the fault
MAX_LABELS = 100  # more than this many different completions are texts, not labels
MAX_LABEL_LENGTH = 100  # characters

CONFLICT = "another answer to the same question"

_SPLITS = tuple(Split)
_NUMBERS = {split: number for number, split in enumerate(_SPLITS, start=1)}
_TEXT_FORMATS = (RecordFormat.CONVERSE.value, RecordFormat.CLAUDE.value, RecordFormat.PROMPT_COMPLETION.value)
_LEFT_OUT = 0  # else a record's byte is the number of its split, from 1


class Source(NamedTuple):
    """A file of the source, JSON Lines.

    :param name: what to call it.
    """

    name: str
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What to make of the source records.

    :param record_format: the format to write.
    :param rules: what the base model takes; None checks nothing.
    :param splitter: how records are assigned to splits.
    :param fields: where a record's parts stand.
    :param system_prompt: the system prompt of every record that has none of its own; None for none.
    :param group_field: records that agree in this field stay in one split; None for the prompt itself.
    :param time_field: with ``test_after``: the field with a record's time, ISO 8601 or seconds since 1970.
    :param test_after: records of this time or later are for testing, earlier ones are not.
    :param on_conflict: which of the records that ask the same and answer differently is kept.
    :param caps: how many records are wanted.
    :param near_duplicates: how alike two questions are, 0 to 1, of which only the first is kept; None keeps both.
    :param min_characters, max_characters: of prompt and completion together.
    :param redact: is given each text, and returns what to write; one that another process finds by its name is run
        in as many processes as there are CPUs.
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

    @property
    def form(self) -> str:
        """Whose records are written, as in ``base_models.toml``."""
        return (self.rules and self.rules.method.form) or self.record_format.value


class SplitReport(msgspec.Struct, kw_only=True):
    """What was written to one split: number of records, size in bytes, SHA-256 of the content, records a label."""

    records: int
    bytes: int
    sha256: str
    labels: dict[str, int] | None


class Dropped(msgspec.Struct):
    """A record that was left out: where it stands, and the rule that it breaks. Never its text."""

    record: str
    rule: str


class PreparationReport(msgspec.Struct, kw_only=True):
    """What became of the source records.

    :param read: source records read; each is in a split, a duplicate, a conflict, dropped, or not chosen.
    :param splits: what was written, by split.
    :param duplicates: left out: same question and answer as another record.
    :param conflicts: left out: same question as another record, another answer.
    :param near_duplicates: left out: much the same question as an earlier record.
    :param dropped: left out: number of records by the rule that they break.
    :param not_chosen: left out: usable, and more than were wanted.
    :param dropped_records: the first hundred of the dropped ones and of the conflicts.
    :param digest: SHA-256 over the content of all splits: the same digest is the same data.
    """

    read: int
    splits: dict[str, SplitReport]
    duplicates: int
    conflicts: int
    near_duplicates: int
    dropped: dict[str, int]
    not_chosen: int
    dropped_records: list[Dropped]
    digest: str

    def records(self, split: Split) -> int:
        """Return the number of records in a split."""
        return self.splits[split.value].records

    def problems(self, settings: Settings, max_dropped_fraction: float) -> list[str]:
        """Return why this data must not be trained on; an empty list if nothing speaks against it.

        :param max_dropped_fraction: how much of the source may be lost to rules and conflicts, 0 to 1.
        """
        found = []
        lost = self.dropped | ({CONFLICT: self.conflicts} if self.conflicts else {})
        dropped = sum(lost.values())
        if dropped > max_dropped_fraction * self.read:
            reasons = "; ".join(f"{count}: {rule}" for rule, count in lost.items())
            first = ", ".join(record.record for record in self.dropped_records[:5])
            found.append(
                f"{dropped} of {self.read} records cannot be used, more than the fraction of {max_dropped_fraction} "
                f"that is allowed ({reasons}; the first: {first})"
            )
        if self.conflicts and settings.on_conflict is OnConflict.FAIL:
            found.append(f"{self.conflicts} records answer a question in another way than an earlier record")
        train, validation = self.records(Split.TRAIN), self.records(Split.VALIDATION)
        if settings.rules is not None and (volume := settings.rules.method.count_problem(train, validation)):
            more = train + validation > (settings.rules.method.max_records or train + validation)
            found.append(
                f"{volume} ({settings.rules.name}){'; set max_records to take a sample of them' if more else ''}"
            )
        fractions = {
            Split.TRAIN: 1.0,
            Split.VALIDATION: settings.splitter.validation,
            Split.TEST: settings.splitter.test if settings.test_after is None else 1.0,
        }
        found += [
            f"no record fell into the {split.value} split: give more records, another fraction, or another seed"
            for split, fraction in fractions.items()
            if fraction > 0 and not self.records(split)
        ]
        return found


def prepare(
    sources: Sequence[Source], writers: Mapping[Split, BinaryIO], settings: Settings, *, workers: int | None = None
) -> PreparationReport:
    """Write the usable records to the splits' files, in the order of the source, and report.

    :param sources: the files of the source.
    :param writers: a binary file for each split.
    :param settings: what to make of the records.
    :param workers: processes; None takes as many as there are CPUs, for data of a size that is worth it.
    :raises DatasetError: the record format has no place for the system prompt.
    """
    if settings.system_prompt is not None:
        encode(Example("", "", settings.system_prompt), settings.record_format)
    if workers is None:
        size = sum(source.path.stat().st_size for source in sources)
        workers = processes(size) if settings.redact is None or _is_found_by_name(settings.redact) else 1
    with tempfile.TemporaryDirectory(prefix="airflow-bedrock-") as folder:
        return _Preparation(settings, Path(folder)).run(sources, writers, workers)


class _Part(NamedTuple):
    """What one block comes to.

    :param splits: a byte for each line: the number of its split, from 1, or 0 for one that is left out.
    :param labels: the completions of the lines that are not, and which each has; None where they are texts.
    """

    read: int
    dropped: dict[str, int]
    listed: list[tuple[int, str]]
    splits: bytes
    labels: tuple[list[str], bytes] | None
    leavings: dict[int, bytes]
    bands: dict[int, bytes]


class _Preparation:
    """One run over the source."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._spool, self._sample, repeats, bands = (folder / one for one in ("spool", "sample", "repeats", "bands"))
        for one in (self._spool, self._sample, repeats, bands):
            one.mkdir()
        self._repeats, self._bands = Repeats(repeats), Repeats(bands)
        self._read = self._duplicates = self._conflicts = self._near_duplicates = self._not_chosen = 0
        self._dropped: Counter[str] = Counter()
        self._listed: list[Dropped] = []
        self._begins: list[tuple[str, int]] = []  # of each block: its file's name, and the number of its first line
        self._before: list[bytes] = []
        self._splits: list[bytearray] = []
        self._labels: list[tuple[list[str], bytes] | None] = []

    def run(self, sources: Sequence[Source], writers: Mapping[Split, BinaryIO], workers: int) -> PreparationReport:
        todo = list(chain.from_iterable(((one.name, block) for block in blocks(one.path)) for one in sources))
        numbered = [(name, block._replace(number=number)) for number, (name, block) in enumerate(todo)]
        work = partial(prepare_block, self._settings, str(self._spool))
        line, last = 1, ""
        for (name, _), part in zip(numbered, mapped(work, (block for _, block in numbered), workers), strict=True):
            line = line if name == last else 1
            self._add(name, line, part)
            line, last = line + len(part.splits), name
        self._resolve()
        if self._settings.near_duplicates is not None:
            self._thin_out(self._settings.near_duplicates)
        if self._settings.caps.wanted:
            self._choose()
        return self._report(self._write(writers))

    def _add(self, name: str, line: int, part: _Part) -> None:
        self._begins.append((name, line))
        self._read += part.read
        self._dropped.update(part.dropped)
        for number, rule in part.listed[: MAX_DROPPED_LISTED - len(self._listed)]:
            self._listed.append(Dropped(f"{name}:{line + number}", rule))
        self._before.append(part.splits)
        self._splits.append(bytearray(part.splits))
        self._labels.append(part.labels)
        self._repeats.add(part.leavings)
        self._bands.add(part.bands)

    def _resolve(self) -> None:
        """Leave out all records but one of those that ask the same."""
        places: list[Place] = []  # of conflicts
        for group in self._repeats.groups():
            kept = chosen(group, self._settings.on_conflict)
            for one in group:
                if one is kept:
                    continue
                self._splits[one.block][one.line] = _LEFT_OUT
                if kept is not None and one.completion == kept.completion:
                    self._duplicates += 1
                else:
                    self._conflicts += 1
                    places.append(one.place)
            if len(places) > 10 * MAX_DROPPED_LISTED:
                places = sorted(places)[:MAX_DROPPED_LISTED]
        for block, line in sorted(places)[: MAX_DROPPED_LISTED - len(self._listed)]:
            name, first = self._begins[block]
            self._listed.append(Dropped(f"{name}:{first + line}", CONFLICT))

    def _thin_out(self, threshold: float) -> None:
        """Leave out what is much the same as an earlier record, so that none lies in another split either."""
        for one, earlier in near(self._bands, self._spool, threshold):
            if self._splits[one.block][one.line] and self._splits[earlier.block][earlier.line]:
                self._splits[one.block][one.line] = _LEFT_OUT
                self._near_duplicates += 1

    def _choose(self) -> None:
        sample = Sample(self._settings.caps, self._sample)
        for number, splits in enumerate(self._splits):
            keys = _spooled(self._spool, number, "keys").read_bytes()
            found = (keys[begin : begin + KEY.size] for begin in range(0, len(keys), KEY.size))
            sample.add(compress(found, compress(splits, self._before[number])))
        for block, line in sample.left_out():
            self._splits[block][line] = _LEFT_OUT
            self._not_chosen += 1

    def _write(self, writers: Mapping[Split, BinaryIO]) -> dict[str, SplitReport]:
        tallies = {split: _SplitTally() for split in _SPLITS}
        for number, splits in enumerate(self._splits):
            file = _spooled(self._spool, number, "jsonl")
            lines = file.read_bytes().splitlines(keepends=True)
            file.unlink()
            of_lines = bytes(compress(splits, self._before[number]))
            labels = self._labels[number]
            for which, split in enumerate(_SPLITS, start=1):
                mask = of_lines.translate(bytes(int(one == which) for one in range(256)))
                content = b"".join(compress(lines, mask))
                tallies[split].add(content, sum(mask), labels and (labels[0], compress(labels[1], mask)))
                writers[split].write(content)
        return {split.value: tally.report() for split, tally in tallies.items()}

    def _report(self, splits: dict[str, SplitReport]) -> PreparationReport:
        content = "\0".join(f"{name}:{split.sha256}" for name, split in splits.items())
        return PreparationReport(
            read=self._read,
            splits=splits,
            duplicates=self._duplicates,
            conflicts=self._conflicts,
            near_duplicates=self._near_duplicates,
            dropped=dict(self._dropped.most_common()),
            not_chosen=self._not_chosen,
            dropped_records=self._listed,
            digest=hashlib.sha256(content.encode()).hexdigest(),
        )


def prepare_block(settings: Settings, spool: str, block: Block) -> _Part:
    """Read, write and check every record of a block, and put the good ones aside."""
    return _Work(settings, block).done(Path(spool))


class _Work:
    """One block at work."""

    def __init__(self, settings: Settings, block: Block) -> None:
        self._settings = settings
        self._block = block
        self._read = reader(settings.fields, settings.form)
        self._decode = msgspec.json.Decoder(dict[str, Any]).decode
        self._short = Short(settings.rules) if settings.rules else None
        self._pairs = _Pairs(settings, self._short) if _Pairs.may_be(settings) else None
        self._lines: list[bytes] = []
        self._keys: list[bytes] = []
        self._labels = _Labels()

    def done(self, spool: Path) -> _Part:
        leavings = Leavings(self._block.number)
        dropped: Counter[str] = Counter()
        listed: list[tuple[int, str]] = []
        content = self._block.read()
        source = lines_of(without_bom(content) if self._block.begin == 0 else content)
        splits = bytearray(len(source))
        blank = 0
        near_duplicates = self._settings.near_duplicates is not None
        signatures = Signatures(self._block.number, len(source)) if near_duplicates else None
        for number, line in enumerate(source):
            if not line or line.isspace():
                blank += 1
                continue
            try:
                key, answer, splits[number] = self._take(number, line)
            except DatasetError as error:
                dropped[str(error)] += 1
                if len(listed) < MAX_DROPPED_LISTED:
                    listed.append((number, str(error)))
            else:
                leavings.add(number, key, answer)
                if signatures is not None:
                    signatures.add(number, key)
        _spooled(spool, self._block.number, "jsonl").write_bytes(b"\n".join([*self._lines, b""]))
        if self._settings.caps.wanted:
            _spooled(spool, self._block.number, "keys").write_bytes(b"".join(self._keys))
        read = len(source) - blank
        bands = signatures.put(_spooled(spool, self._block.number, "near")) if signatures else {}
        return _Part(read, dict(dropped), listed, bytes(splits), self._labels.found(), leavings.parts(), bands)

    def _take(self, number: int, line: bytes) -> tuple[bytes, bytes, int]:
        """Put a record aside, and return what it asks and what it answers, both normalised, and its split."""
        settings = self._settings
        if self._pairs is not None and (pair := self._pairs.take(line)) is not None:
            written, prompt, completion = pair
            asked, said = normalised_pair(prompt, completion)
            return self._aside(number, written, completion, asked, said, asked)
        record = self._object(line)
        conversation = self._read(record)
        if settings.redact is not None:
            conversation = _redacted(conversation, settings.redact)
        key, answer = conversation.key
        self._check_length(len(key) + len(answer))
        if settings.system_prompt is not None and conversation.system is None:
            conversation = msgspec.structs.replace(conversation, system=settings.system_prompt)
        written = write(conversation, settings.record_format)
        if problem := self._problem(written):
            raise DatasetError(problem)
        asked, said = normalised_pair(key, answer)
        group = asked if settings.group_field is None else normalised(text_field(record, settings.group_field))
        return self._aside(number, written, answer, asked, said, group, self._is_late(record))

    def _aside(
        self, number: int, written: bytes, answer: str, asked: bytes, said: bytes, group: bytes, late: bool = False
    ) -> tuple[bytes, bytes, int]:
        splitter = self._settings.splitter
        self._lines.append(written)
        self._labels.add(answer)
        if self._settings.caps.wanted:
            self._keys.append(sample_key(asked, said, group, Place(self._block.number, number), splitter.seed))
        return asked, said, _NUMBERS[Split.TEST if late else splitter.split_normalised(group)]

    def _object(self, line: bytes) -> dict[str, Any]:
        try:
            return self._decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise DatasetError("not a JSON object") from None

    def _check_length(self, characters: int) -> None:
        settings = self._settings
        if characters < settings.min_characters:
            raise DatasetError(f"shorter than {settings.min_characters} characters")
        if settings.max_characters is not None and characters > settings.max_characters:
            raise DatasetError(f"longer than {settings.max_characters} characters")

    def _problem(self, line: bytes) -> str | None:
        """Say what the base model would find wrong with a line that is to be written."""
        if self._short is None or self._short.take(line) is not None:
            return None
        assert self._settings.rules is not None  # noqa: S101  # else there were no short way
        _, problems = self._settings.rules.check(line)
        return problems[0].message.removeprefix("Invalid record: ").rstrip(".") if problems else None

    def _is_late(self, record: Mapping[str, Any]) -> bool:
        """Whether a record came after the time from which all is held out."""
        name, after = self._settings.time_field, self._settings.test_after
        return name is not None and after is not None and _time(record.get(name), name) >= _time(after, "test_after")


class _Pairs:
    """The short way for what most sources hold, a prompt and a completion in two fields: no detour over a conversation.

    It takes a record only if the long way would write the same line.
    """

    def __init__(self, settings: Settings, short: Short | None) -> None:
        fields = settings.fields
        struct = msgspec.defstruct(
            "Pair",
            [("prompt", str), ("completion", str)],
            rename={"prompt": fields.prompt, "completion": fields.completion},
            gc=False,
        )
        self._decode = msgspec.json.Decoder(struct).decode
        self._write = template(settings.record_format, settings.system_prompt)
        self._fits = short.fits if short else lambda prompt, completion: True
        self._before = f"{settings.system_prompt}\n" if settings.system_prompt else ""
        self._min, self._max = settings.min_characters, settings.max_characters or 1 << 62

    @staticmethod
    def may_be(settings: Settings) -> bool:
        """Whether there is a short way."""
        fields = settings.fields
        return (
            settings.form in ("nova", "nova-2", "llama", *_TEXT_FORMATS)
            and "{" not in fields.prompt + fields.completion
            and fields.prompt != fields.completion
            and (settings.redact, settings.group_field, settings.time_field) == (None, None, None)
            and not (settings.rules and settings.rules.method.max_line_bytes)
        )

    def take(self, line: bytes) -> tuple[bytes, str, str] | None:
        """Return the line to write, the prompt and the completion; None for a record that goes the long way."""
        try:
            pair: Any = self._decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None
        prompt, completion = pair.prompt, pair.completion
        if not prompt or prompt.isspace() or not completion or completion.isspace():
            return None
        if not self._min <= len(prompt) + len(completion) <= self._max:
            return None
        if not self._fits(self._before + prompt, completion):
            return None
        return self._write(prompt, completion), prompt, completion


class _Labels:
    """The completions of a block, as long as they may be labels."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] | None = {}
        self._of_lines = bytearray()

    def add(self, completion: str) -> None:
        if self._numbers is None:
            return
        if len(completion) > MAX_LABEL_LENGTH or (completion not in self._numbers and len(self._numbers) == MAX_LABELS):
            self._numbers = None  # these are texts, not labels: counting them would keep them all
            return
        self._of_lines.append(self._numbers.setdefault(completion, len(self._numbers)))

    def found(self) -> tuple[list[str], bytes] | None:
        return None if self._numbers is None else (list(self._numbers), bytes(self._of_lines))


class _SplitTally:
    """What is known of one split so far."""

    def __init__(self) -> None:
        self._records = 0
        self._bytes = 0
        self._sha256 = hashlib.sha256()
        self._labels: Counter[str] | None = Counter()

    def add(self, content: bytes, records: int, labels: tuple[list[str], Iterable[int]] | None) -> None:
        self._records += records
        self._bytes += len(content)
        self._sha256.update(content)
        if self._labels is None or not records:
            return
        if labels is not None:
            names, numbers = labels
            self._labels.update({names[number]: count for number, count in Counter(numbers).items()})
        if labels is None or len(self._labels) > MAX_LABELS:
            self._labels = None

    def report(self) -> SplitReport:
        labels = None if self._labels is None else dict(sorted(self._labels.items()))
        return SplitReport(records=self._records, bytes=self._bytes, sha256=self._sha256.hexdigest(), labels=labels)


def _redacted(one: Conversation, redact: Callable[[str], str]) -> Conversation:
    turns = [Turn(turn.role, [redact(text) for text in turn.texts], turn.attachments) for turn in one.turns]
    fields = {name: redact(value) if isinstance(value, str) else value for name, value in one.fields.items()}
    return Conversation(one.system and redact(one.system), turns, fields)


def _time(value: object, name: str) -> float:
    """Return seconds since 1970; a time without a zone is UTC."""
    from datetime import UTC, datetime

    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None:
        raise DatasetError(f"{name}: no time (ISO 8601, or seconds since 1970)")
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _spooled(spool: Path, number: int, kind: str) -> Path:
    return spool / f"{number}.{kind}"


def _is_found_by_name(function: Callable[[str], str]) -> bool:
    """Whether another process can be handed the function; one of a DAG file cannot."""
    module = getattr(function, "__module__", None) or "__main__"
    return (
        module != "__main__"
        and not module.startswith("unusual_prefix_")
        and getattr(function, "__qualname__", "<").isidentifier()
    )

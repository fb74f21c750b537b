"""Data preparation: check each record, drop what cannot be used, deduplicate, split, write. One pass over a stream."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from airflow_bedrock.datasets.deduplication import Deduplicator, Seen
from airflow_bedrock.datasets.errors import DatasetError
from airflow_bedrock.datasets.formats import RecordFormat, encode
from airflow_bedrock.datasets.limits import Limits
from airflow_bedrock.datasets.records import Example, text_field
from airflow_bedrock.datasets.split import Split, Splitter

MAX_DROPPED_LISTED = 100  # the counts go on; the list is for finding the fault
MAX_LABELS = 100  # more than this many different completions are texts, not labels
MAX_LABEL_LENGTH = 100  # characters

SourceRecord = tuple[str, Mapping[str, object] | None]
"""Where a record stands, e.g. ``part-1.jsonl:17``, and the record; None where the line is not a JSON object."""


class Writer(Protocol):
    """What a split is written to: a binary file."""

    def write(self, data: bytes, /) -> object:
        """Append the bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What to make of the source records.

    :param record_format: the format to write.
    :param limits: what the base model takes; None checks no limits.
    :param splitter: how records are assigned to splits.
    :param prompt_field: the source's field with the prompt.
    :param completion_field: the source's field with the completion.
    :param system_prompt: the system prompt of every record; None for none.
    :param group_field: records that agree in this field stay in one split; None for the prompt itself.
    """

    record_format: RecordFormat
    limits: Limits | None = None
    splitter: Splitter = field(default_factory=Splitter)
    prompt_field: str = "prompt"
    completion_field: str = "completion"
    system_prompt: str | None = None
    group_field: str | None = None


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

    :param read: source records read; each is in a split, a duplicate, a conflict, or dropped.
    :param splits: what was written, by split.
    :param duplicates: left out: same prompt and completion as an earlier record.
    :param conflicts: left out: same prompt as an earlier record, another completion.
    :param dropped: left out: number of records by the rule that they break.
    :param dropped_records: the first hundred of them.
    :param digest: SHA-256 over the content of all splits: the same digest is the same data.
    """

    read: int
    splits: dict[str, SplitReport]
    duplicates: int
    conflicts: int
    dropped: dict[str, int]
    dropped_records: list[Dropped]
    digest: str

    def records(self, split: Split) -> int:
        """Return the number of records in a split."""
        return self.splits[split.value].records

    def problems(self, settings: Settings, max_dropped_fraction: float) -> list[str]:
        """Return why this data must not be trained on; an empty list if nothing speaks against it.

        :param max_dropped_fraction: how much of the source may be unusable, 0 to 1.
        """
        found = []
        dropped = sum(self.dropped.values())
        if dropped > max_dropped_fraction * self.read:
            reasons = "; ".join(f"{count}: {rule}" for rule, count in self.dropped.items())
            first = ", ".join(record.record for record in self.dropped_records[:5])
            found.append(
                f"{dropped} of {self.read} records cannot be used, more than the fraction of {max_dropped_fraction} "
                f"that is allowed ({reasons}; the first: {first})"
            )
        train, validation = self.records(Split.TRAIN), self.records(Split.VALIDATION)
        if settings.limits is not None and (volume := settings.limits.volume_problem(train, validation)):
            found.append(volume)
        fractions = {
            Split.TRAIN: 1.0,
            Split.VALIDATION: settings.splitter.validation,
            Split.TEST: settings.splitter.test,
        }
        found += [
            f"no record fell into the {split.value} split: give more records, another fraction, or another seed"
            for split, fraction in fractions.items()
            if fraction > 0 and not self.records(split)
        ]
        return found


def prepare(records: Iterable[SourceRecord], writers: Mapping[Split, Writer], settings: Settings) -> PreparationReport:
    """Write the usable records to the splits' files, in the order of the source, and report.

    Memory is constant but for the deduplication's digests, see :class:`Deduplicator`.

    :param records: the source, a stream.
    :param writers: a binary file for each split.
    :param settings: what to make of the records.
    :raises DatasetError: the record format has no place for the system prompt.
    """
    if settings.system_prompt is not None:
        encode(Example("", "", settings.system_prompt), settings.record_format)
    work = _Preparation(settings)
    for place, record in records:
        for split, line in work.take(place, record):
            writers[split].write(line)
    return work.report()


class _Preparation:
    """The running state of :func:`prepare`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._deduplicator = Deduplicator()
        self._read = 0
        self._seen: Counter[Seen] = Counter()
        self._dropped: Counter[str] = Counter()
        self._dropped_records: list[Dropped] = []
        self._splits = {split: _SplitTally() for split in Split}

    def take(self, place: str, record: Mapping[str, object] | None) -> Iterator[tuple[Split, bytes]]:
        """Account for one source record; yield the line to write and its split, if it is to be written."""
        self._read += 1
        try:
            example, key = self._check(record)
        except DatasetError as error:
            self._drop(place, str(error))
            return
        seen = self._deduplicator.look(example)
        self._seen[seen] += 1
        if seen is Seen.NEW:
            split = self._settings.splitter.split(key)
            line = encode(example, self._settings.record_format) + b"\n"
            self._splits[split].add(example, line)
            yield split, line

    def _check(self, record: Mapping[str, object] | None) -> tuple[Example, str]:
        """Return the example that a source record holds and its key for splitting, or raise what is wrong with it."""
        settings = self._settings
        if record is None:
            raise DatasetError("not a JSON object")
        prompt = text_field(record, settings.prompt_field)
        example = Example(prompt, text_field(record, settings.completion_field), settings.system_prompt)
        if settings.limits is not None and (problem := settings.limits.problem(example)):
            raise DatasetError(problem)
        return example, prompt if settings.group_field is None else text_field(record, settings.group_field)

    def _drop(self, place: str, rule: str) -> None:
        self._dropped[rule] += 1
        if len(self._dropped_records) < MAX_DROPPED_LISTED:
            self._dropped_records.append(Dropped(place, rule))

    def report(self) -> PreparationReport:
        splits = {split.value: tally.report() for split, tally in self._splits.items()}
        content = "\0".join(f"{name}:{split.sha256}" for name, split in splits.items())
        return PreparationReport(
            read=self._read,
            splits=splits,
            duplicates=self._seen[Seen.DUPLICATE],
            conflicts=self._seen[Seen.CONFLICT],
            dropped=dict(self._dropped.most_common()),
            dropped_records=self._dropped_records,
            digest=hashlib.sha256(content.encode()).hexdigest(),
        )


class _SplitTally:
    """What is known of one split so far."""

    def __init__(self) -> None:
        self._records = 0
        self._bytes = 0
        self._sha256 = hashlib.sha256()
        self._labels: Counter[str] | None = Counter()

    def add(self, example: Example, line: bytes) -> None:
        self._records += 1
        self._bytes += len(line)
        self._sha256.update(line)
        if self._labels is not None:
            self._labels[example.completion] += 1
            if len(self._labels) > MAX_LABELS or len(example.completion) > MAX_LABEL_LENGTH:
                self._labels = None  # these are texts, not labels: counting them would keep them all

    def report(self) -> SplitReport:
        labels = None if self._labels is None else dict(sorted(self._labels.items()))
        return SplitReport(records=self._records, bytes=self._bytes, sha256=self._sha256.hexdigest(), labels=labels)

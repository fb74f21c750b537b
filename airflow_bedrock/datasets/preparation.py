"""Prepare data: read any shape, check, drop unusable records, remove duplicates, select, split and write.

The source, by now JSON Lines (:mod:`sources`), is cut into blocks. For each record of a block, a process writes the
line in the base model's format, checks that line against the base model's rules, and stores it on disk with the digests
of its question and answer. Then duplicates, selection and split are decided, one byte a record. Finally the lines are
copied to their splits in the order of the source. Memory holds one block for each process, and that byte.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import compress
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec

from airflow_bedrock.datasets.block_preparation import (
    MAX_DROPPED_LISTED,
    SPLITS,
    Part,
    Settings,
    prepare_block,
    spooled,
)
from airflow_bedrock.datasets.blocks import blocks, mapped, processes
from airflow_bedrock.datasets.formats import check_system_prompt
from airflow_bedrock.datasets.near import near
from airflow_bedrock.datasets.repeats import Parts, Place, groups
from airflow_bedrock.datasets.selection import OnConflict, chosen, left_out
from airflow_bedrock.datasets.split import Split

CONFLICT = "another answer to the same question"

_LEFT_OUT = 0  # otherwise a record's byte is the number of its split, from 1


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
        if dropped > max_dropped_fraction * self.read:
            reasons = "; ".join(f"{count}: {rule}" for rule, count in lost.items())
            if any(": missing" in rule for rule in lost):
                reasons += "; give the names of the fields as prompt_field and completion_field"
            first = ", ".join(record.record for record in self.dropped_records[:5])
            found.append(
                f"{dropped} of {self.read} records cannot be used, more than the fraction of {max_dropped_fraction} "
                f"that is allowed ({reasons}; the first: {first})"
            )
        if self.conflicts and settings.on_conflict is OnConflict.FAIL:
            found.append(f"{self.conflicts} records answer the same question differently than an earlier record")
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
            Split.VALIDATION: settings.splitter.validation,
            Split.TEST: settings.splitter.test if settings.test_after is None else 1.0,
        }
        found += [
            f"the {split.value} split has no records: give more records, another fraction, or another seed"
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
    :param settings: how to prepare the records.
    :param workers: number of processes; None for one per CPU if the data is large enough.
    :raises DatasetError: the record format does not support the system prompt.
    """
    if settings.system_prompt is not None:
        check_system_prompt(settings.record_format)
    if workers is None:
        size = sum(source.path.stat().st_size for source in sources)
        workers = processes(size) if settings.redact is None or _is_found_by_name(settings.redact) else 1
    with tempfile.TemporaryDirectory(prefix="airflow-bedrock-") as folder:
        return _Preparation(settings, Path(folder)).run(sources, writers, workers)


class _Preparation:
    """One run over the source."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._repeats, self._keys, self._bands = (Parts(folder / name) for name in ("repeats", "keys", "bands"))
        self._report = PreparationReport()
        self._dropped: Counter[str] = Counter()
        self._begins: list[tuple[str, int]] = []  # of each block: its file's name, and the number of its first line
        self._before: list[bytes] = []
        self._splits: list[bytearray] = []

    def run(self, sources: Sequence[Source], writers: Mapping[Split, BinaryIO], workers: int) -> PreparationReport:
        todo = list(blocks((source, source.path) for source in sources))
        work = partial(prepare_block, self._settings, str(self._folder))
        line, last = 1, ""
        for (source, _), part in zip(todo, mapped(work, (block for _, block in todo), workers), strict=True):
            line = line if source.name == last else 1
            self._add(source.name, line, part if source.split is None else part.moved(source.split))
            line, last = line + len(part.splits), source.name
        self._resolve()
        if self._settings.near_duplicates is not None:
            self._thin_out(self._settings.near_duplicates)
        if self._settings.caps.wanted:
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
        self._before.append(part.splits)
        self._splits.append(bytearray(part.splits))
        self._repeats.add(part.entries)
        self._keys.add(part.keys)
        self._bands.add(part.bands)

    def _resolve(self) -> None:
        """Keep one of the records with the same question."""
        places: list[Place] = []  # of conflicts
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
                    places.append(one.place)
            if len(places) > 10 * MAX_DROPPED_LISTED:
                places = sorted(places)[:MAX_DROPPED_LISTED]
        for block, line in sorted(places)[: MAX_DROPPED_LISTED - len(self._report.dropped_records)]:
            name, first = self._begins[block]
            self._report.dropped_records.append(Dropped(f"{name}:{first + line}", CONFLICT))

    def _thin_out(self, threshold: float) -> None:
        """Drop near duplicates of earlier records, across all splits."""
        for one, earlier in near(self._bands, self._folder, threshold):
            if self._splits[one.block][one.line] and self._splits[earlier.block][earlier.line]:
                self._splits[one.block][one.line] = _LEFT_OUT
                self._report.near_duplicates += 1

    def _choose(self) -> None:
        for block, line in left_out(self._keys, self._settings.caps, lambda block, line: self._splits[block][line]):
            self._splits[block][line] = _LEFT_OUT
            self._report.not_chosen += 1

    def _write(self, writers: Mapping[Split, BinaryIO]) -> dict[str, SplitReport]:
        written = {split: SplitReport(records=0, bytes=0, sha256="") for split in SPLITS}
        digests = {split: hashlib.sha256() for split in SPLITS}
        for number, splits in enumerate(self._splits):
            file = spooled(self._folder, number, "jsonl")
            lines = file.read_bytes().splitlines(keepends=True)
            file.unlink()
            of_lines = bytes(compress(splits, self._before[number]))
            for which, split in enumerate(SPLITS, start=1):
                mask = of_lines.translate(bytes(int(one == which) for one in range(256)))
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

"""Check a dataset: every problem of every record, and a summary, in one pass and in constant memory.

A file is cut into blocks of lines (:mod:`blocks`). Each block is decoded by type and checked against the rules of the
base model (:mod:`rules`), in as many processes as there are CPUs; the results are added up.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache, partial
from operator import floordiv, neg
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from airflow_bedrock.base_models import by_script, document
from airflow_bedrock.datasets.blocks import Block, lines_of, mapped, packing_of, without_bom
from airflow_bedrock.datasets.errors import DatasetError
from airflow_bedrock.datasets.near import Signatures, near
from airflow_bedrock.datasets.records import normalised
from airflow_bedrock.datasets.repeats import BlockEntries, Entry, Parts, Place, groups
from airflow_bedrock.datasets.rules import LogRules, Rules, rules_for
from airflow_bedrock.datasets.rules.limits import kinds_problem, object_problem
from airflow_bedrock.datasets.rules.logs import is_log
from airflow_bedrock.datasets.rules.record import Media, Problem, Record
from airflow_bedrock.uris import bucket_of, is_s3

LISTED = 100
EXCERPT = 200  # characters of a record, if its text is shown
EXAMPLES = 20  # number of duplicates, conflicts and overlaps that are listed
_AT_ONCE = 8  # number of parallel requests to S3
_BOM = Problem("bom", "$", "it begins with a byte order mark: save the file as UTF-8 without one")


class Finding(msgspec.Struct, frozen=True):
    """A problem and its place.

    :param text: the beginning of the line, only if requested.
    """

    file: str
    line: int
    where: str
    rule: str
    message: str
    text: str | None = None


class Script(msgspec.Struct, frozen=True):
    """The characters of one script, and their estimated tokens, from ``low`` to ``high``."""

    name: str
    characters: int
    low: int
    high: int


class Bucket(msgspec.Struct, frozen=True):
    """How many records have up to ``up_to`` tokens, counted as for the limits."""

    up_to: int
    records: int


class Repeat(msgspec.Struct, frozen=True):
    """A record with the question of an earlier record; both as ``file:line``."""

    record: str
    earlier: str


class Repeated(msgspec.Struct, frozen=True):
    """The number of records that repeat an earlier one, and some of them."""

    count: int
    examples: list[Repeat]


class FileSummary(msgspec.Struct):
    """One file: its records, those with a problem, its size in bytes, and the skipped logs."""

    name: str
    records: int = 0
    bad: int = 0
    bytes: int = 0
    passed_over: int = 0


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """The result of the check of a dataset.

    :param model: the family of base models whose rules were applied.
    :param format: the record format.
    :param files: by their part: ``training``, ``validation``, ``test``.
    :param dataset_problems: what is wrong with the data as a whole, such as the number of records.
    :param problems: the number of problems, by rule.
    :param findings: the first of them.
    :param scripts: characters and estimated tokens of the training file, by script.
    :param tokens: the estimated tokens of the training file: the lower and the upper end.
    :param media: the media in the records, such as ``image``; the estimate does not include their tokens.
    :param lengths: records of the training file by their tokens.
    :param duplicates: the same question and answer came before in the file.
    :param conflicts: the same question came before in the file, with another answer; answers are compared unchanged.
    :param overlaps: records of validation and test data whose question is in the training data.
    :param near_overlaps: those whose question is similar to a training question; None if they were not counted.
    """

    model: str
    format: str
    files: dict[str, FileSummary]
    dataset_problems: list[str]
    problems: dict[str, int]
    findings: list[Finding]
    scripts: list[Script]
    tokens: tuple[int, int]
    media: list[str]
    lengths: list[Bucket]
    duplicates: Repeated
    conflicts: Repeated
    overlaps: Repeated
    near_overlaps: Repeated | None = None

    @property
    def ok(self) -> bool:
        """Whether the data passes all known rules of the base model."""
        return not self.problems and not self.dataset_problems


class _Options(NamedTuple):
    rules: Rules
    listed: int
    show_text: bool
    folder: Path
    sizes: bool = False
    signatures: bool = False


@dataclass(slots=True)
class _BlockResult:
    """The result of one block; lines are counted from 0.

    :param bad: the lines with a problem.
    :param listed: the first problems, with their lines, and the texts of these only if requested.
    :param media: the images, videos and documents on S3, with their lines, if their sizes are to be checked.
    """

    lines: int
    characters: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    passed_over: int = 0
    bad: set[int] = field(default_factory=set)
    problems: Counter[str] = field(default_factory=Counter)
    listed: list[tuple[int, Problem, str | None]] = field(default_factory=list)
    kinds: set[str] = field(default_factory=set)
    media: list[tuple[int, Media]] = field(default_factory=list)
    entries: dict[int, bytes] = field(default_factory=dict)
    bands: dict[int, bytes] = field(default_factory=dict)

    def note(self, line: int, problems: Sequence[Problem], listed: int, text: str | None = None) -> None:
        """Add the problems of a line.

        :param listed: maximum number of listed problems.
        """
        self.bad.add(line)
        self.problems.update(problem.rule for problem in problems)
        self.listed += [(line, problem, text) for problem in problems[: listed - len(self.listed)]]


def check(
    files: Mapping[str, Path | Mapping[str, Path]],
    rules: Rules,
    *,
    names: Mapping[str, str] | None = None,
    listed: int = LISTED,
    show_text: bool = False,
    s3: Any = None,
    near_overlaps: float | None = None,
) -> CheckReport:
    """Check the files of a dataset.

    :param files: by their part: ``training`` and, optionally, ``validation`` and ``test``; or several by their names.
    :param names: the names of the parts in the report; by default the paths.
    :param listed: maximum number of listed problems; all are counted.
    :param show_text: whether the beginning of a record is listed with its problem.
    :param s3: a client, to read the size of each image, video and document; None reads none.
    :param near_overlaps: the minimum similarity, 0 to 1, of questions that nearly overlap; None does not search for
        them.
    :raises OSError: a file cannot be read.
    :raises DatasetError: a file is compressed, or near overlaps are requested and rensa is not installed.
    :raises ClientError, BotoCoreError: S3 did not return the size of an object.
    """
    parts = {part: FileSummary((names or {}).get(part) or str(given)) for part, given in files.items()}
    each = [
        ((part, name), path)
        for part, given in files.items()
        for name, path in (given if isinstance(given, Mapping) else {parts[part].name: given}).items()
    ]
    for (part, name), path in each:
        parts[part].bytes += path.stat().st_size
        if packing_of(path):  # a job does not decompress it
            raise DatasetError(
                f"{name} is compressed. A customization job needs uncompressed JSON Lines: decompress it"
            )
    with tempfile.TemporaryDirectory(prefix="airflow-bedrock-") as name:
        options = _Options(rules, listed, show_text, Path(name), s3 is not None, near_overlaps is not None)
        work = _Check(options, parts, s3)
        for file, found in mapped(partial(scan_block, options), each):
            work.add(file, found)
        return work.report(near_overlaps)


def check_uris(
    uris: Mapping[str, str | None],
    model: str,
    method: str,
    *,
    fetch: Callable[[str, Path], Path],
    files_in: Callable[[str], list[str]] | None = None,
    logs_config: Mapping[str, Any] | None = None,
    **options: Any,
) -> CheckReport:
    """Fetch the files of a dataset, and check them.

    :param uris: by their part, as for :func:`check`; None for a part that does not exist.
    :param model: id or ARN of the base model.
    :param method: the customizationType.
    :param fetch: returns the local file of a URI, or a copy that it writes to the given path.
    :param files_in: returns the URIs of the files in a folder, so that the training data may be a folder of invocation
        logs, ending in a slash.
    :param logs_config: for invocation logs, ``invocationLogsConfig`` as in the request.
    :param options: the other arguments of :func:`check`.
    :raises DatasetError: as :func:`check`, or the rules are unknown, or the folder has no files, or ``logs_config`` is
        given for one file.
    """
    names = {part: uri for part, uri in uris.items() if uri is not None}
    training = names["training"]
    rules = rules_for(model, method, bucket_of(training))
    with tempfile.TemporaryDirectory(prefix="airflow-bedrock-") as name:
        folder, files = Path(name), dict[str, Path | Mapping[str, Path]]()
        if files_in and training.endswith("/"):
            rules = LogRules(rules, logs_config or {})
            files["training"] = _logs(training, [*filter(is_log, files_in(training))], fetch, folder)
        elif logs_config:
            raise DatasetError(
                f"{training} is one file, and has no invocation logs to filter. Name a folder of logs, ending in a "
                "slash, or leave out the settings for invocation logs"
            )
        files |= {part: fetch(uri, folder / part) for part, uri in names.items() if part not in files}
        return check(files, rules, names=names, **options)


def _logs(folder_uri: str, uris: Sequence[str], fetch: Callable[[str, Path], Path], folder: Path) -> dict[str, Path]:
    """Fetch a folder of model invocation logs: thousands of small files, most of them compressed.

    https://docs.aws.amazon.com/bedrock/latest/userguide/model-invocation-logging.html

    :raises DatasetError: there is no file, or one cannot be decompressed.
    """
    from airflow_bedrock.datasets.sources import unpacked  # here, since each process of a check would load it

    if not uris:
        raise DatasetError(f"there is no file under {folder_uri}")

    def fetched(number: int, uri: str) -> Path:
        copy = folder / str(number)
        file = fetch(uri, copy)
        log = unpacked(uri, file, folder)
        if log != copy:
            copy.unlink(missing_ok=True)  # a local file was not copied
        return log

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return dict(zip(uris, pool.map(fetched, range(len(uris)), uris), strict=True))


class _Check:
    """The sum of the results of the blocks so far."""

    def __init__(self, options: _Options, parts: dict[str, FileSummary], s3: Any) -> None:
        self._options, self._rules = options, options.rules
        self._parts = parts
        self._of_object = lru_cache(100_000)(partial(object_problem, options.rules.method, s3=s3))
        self._lines: Counter[tuple[str, str]] = Counter()  # by part and file
        self._problems: Counter[str] = Counter()
        self._findings: list[Finding] = []
        self._characters = [0] * (len(document().scripts) + 1)
        self._lengths: Counter[int] = Counter()
        self._kinds: set[str] = set()
        self._begins: list[tuple[str, str, int]] = []  # of each block: its part, its file, the number of its first line
        self._repeats, self._bands = Parts(options.folder / "repeats"), Parts(options.folder / "bands")

    def add(self, file: tuple[str, str], found: _BlockResult) -> None:
        """Add the result of the next block.

        :param file: its part and its name.
        """
        if found.media:
            self._check_objects(found)
        part, name = file
        first = self._lines[file] + 1
        self._begins.append((part, name, first))
        self._lines[file] += found.lines
        summary = self._parts[part]
        summary.records += found.lines - found.passed_over
        summary.passed_over += found.passed_over
        summary.bad += len(found.bad)
        self._problems.update(found.problems)
        self._kinds |= found.kinds
        self._repeats.add(found.entries)
        self._bands.add(found.bands)
        for line, problem, text in found.listed[: self._options.listed - len(self._findings)]:
            self._findings.append(Finding(name, first + line, problem.where, problem.rule, problem.message, text))
        if part != "training":
            return
        self._characters = [one + more for one, more in zip(self._characters, found.characters, strict=True)]
        self._lengths.update({bits: count for bits, count in enumerate(found.lengths) if count})

    def _check_objects(self, found: _BlockResult) -> None:
        """Note the images, videos and documents on S3 that cannot be read or are too large; each is checked once."""
        objects = [msgspec.structs.replace(media, where="$") for _, media in found.media]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            different = list(dict.fromkeys(objects))
            problems = dict(zip(different, pool.map(self._of_object, different), strict=True))
        for (line, media), one in zip(found.media, objects, strict=True):
            if problem := problems[one]:
                found.note(line, [problem._replace(where=media.where)], self._options.listed)

    def report(self, near_overlaps: float | None) -> CheckReport:
        """Return the report."""
        scripts = list(self._scripts())
        same: set[Place] = set()
        duplicates, conflicts, overlaps = self._repeated(same)
        return CheckReport(
            model=self._rules.name,
            format=self._rules.method.format,
            files=self._parts,
            dataset_problems=list(self._of_the_dataset()),
            problems=dict(self._problems.most_common()),
            findings=self._findings,
            scripts=[one for one in scripts if one.characters],
            tokens=(sum(one.low for one in scripts), sum(one.high for one in scripts)),
            media=sorted(self._kinds),
            lengths=[Bucket((1 << bits) - 1, count) for bits, count in sorted(self._lengths.items())],
            duplicates=duplicates,
            conflicts=conflicts,
            overlaps=overlaps,
            near_overlaps=None if near_overlaps is None else self._near(near_overlaps, same),
        )

    def _scripts(self) -> Iterator[Script]:
        facts = document()
        own = self._rules.method.characters_per_token or facts.characters_per_token
        latin, *others = self._characters
        most, fewest = facts.characters_per_token, min(own, facts.fewest_characters_per_token)
        yield Script("Latin and others", latin, latin // most, -(-latin // fewest))
        for script, count in zip(facts.scripts, others, strict=True):
            yield Script(
                script.name, count, count // script.most_characters_per_token, -(-count // script.characters_per_token)
            )

    def _of_the_dataset(self) -> Iterator[str]:
        method, no_file = self._rules.method, FileSummary("")
        training, validation = (self._parts.get(part, no_file) for part in ("training", "validation"))
        if problem := method.count_problem(training.records, validation.records):
            yield problem
        limits = (("training", training, method.max_bytes), ("validation", validation, method.max_validation_bytes))
        for part, file, limit in limits:
            if limit is not None and file.bytes > limit:
                yield f"The {part} file has {file.bytes} bytes; at most {limit} are allowed"
        if kinds := kinds_problem(self._kinds - {"document"}):
            yield kinds.message.rstrip(".")

    def _repeated(self, overlapping: set[Place]) -> tuple[Repeated, Repeated, Repeated]:
        """Return duplicates, conflicts and overlaps, and record the places of the overlapping records."""
        counts: Counter[str] = Counter()
        examples: dict[str, list[Repeat]] = {}
        for group in groups(self._repeats):
            first: dict[str, Entry] = {}
            for entry in group:
                part = self._begins[entry.block][0]
                if part != "training" and "training" in first:
                    kind, earlier = "overlap", first["training"]
                    overlapping.add(entry.place)
                elif part in first:
                    earlier = first[part]
                    kind = "duplicate" if earlier.completion == entry.completion else "conflict"
                else:
                    first[part] = entry
                    continue
                counts[kind] += 1
                found = examples.setdefault(kind, [])
                if len(found) < EXAMPLES:
                    found.append(Repeat(self._of_block(entry.place), self._of_block(earlier.place)))
        duplicates, conflicts, overlaps = (
            Repeated(counts[kind], examples.get(kind, [])) for kind in ("duplicate", "conflict", "overlap")
        )
        return duplicates, conflicts, overlaps

    def _near(self, threshold: float, same: set[Place]) -> Repeated:
        """Return the validation and test records whose question is similar to a training question."""
        found: dict[Place, Place] = {}
        for one, earlier in near(self._bands, self._options.folder, threshold):
            parts = [self._begins[place.block][0] for place in (one, earlier)]
            if parts[0] != "training" and parts[1] == "training" and one not in same:
                found.setdefault(one, earlier)
        examples = [(self._of_block(one), self._of_block(found[one])) for one in sorted(found)[:EXAMPLES]]
        return Repeated(len(found), [Repeat(*example) for example in examples])

    def _of_block(self, place: Place) -> str:
        _, name, first = self._begins[place.block]
        return f"{name}:{first + place.line}"


def scan_block(options: _Options, block: Block) -> _BlockResult:
    """Check every line of a block against the rules."""
    rules, facts = options.rules, document()
    lines = lines_of(block.read())
    found = _BlockResult(len(lines))
    entries = BlockEntries(block.number)
    latin = rules.method.characters_per_token or facts.characters_per_token
    per_token = [latin, *(min(script.characters_per_token, latin) for script in facts.scripts)]
    read_plain, add_entry = rules.plain, entries.add
    scripts: list[list[int]] = []
    lengths = [0] * 40
    ascii_only = 0
    signatures = Signatures(block.number, len(lines), options.folder) if options.signatures else None
    for number, line in enumerate(lines):
        plain = read_plain(line)
        if plain is None:
            record = _check_line(options, number, line, found)
            if record is None:
                continue
            key, text, answer = record.key, record.prompt + record.reasoning, record.completion or ""
        else:
            key, answer = plain
            text = key
        prompt, completion = normalised(key), answer.encode()
        add_entry(number, prompt, completion)
        if signatures is not None:
            signatures.add(number, prompt)
        if text.isascii() and answer.isascii():
            length = len(text) + len(answer)
            ascii_only += length
            tokens = -(-length // latin)
        else:
            scripts.append(counts := by_script(text.encode() + completion, len(text) + len(answer)))
            tokens = -sum(map(floordiv, map(neg, counts), per_token))
        lengths[tokens.bit_length()] += 1
    found.lengths = lengths
    of_ascii = [ascii_only, *[0] * len(facts.scripts)]
    found.characters = list(map(sum, zip(of_ascii, *scripts, strict=True)))
    found.entries = entries.parts()
    if signatures is not None:
        found.bands = signatures.put()
    return found


def _check_line(options: _Options, number: int, line: bytes, found: _BlockResult) -> Record | None:
    """Check a line against all rules."""
    record, problems = options.rules.check(text := without_bom(line))
    if text != line:
        problems.insert(0, _BOM)
    if problems:
        excerpt = text.decode("utf-8", "replace")[:EXCERPT] if options.show_text else None
        found.note(number, problems, options.listed, excerpt)
    if record is not None:
        found.kinds.update(one.kind for one in record.media)
        if options.sizes:
            found.media += [(number, one) for one in record.media if is_s3(one.uri)]
    elif not problems:
        found.passed_over += 1
    return record

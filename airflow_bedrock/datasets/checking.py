"""The check of a dataset: every problem of every record, and a summary, in one pass and in constant memory.

A file is cut into blocks of lines (:mod:`blocks`); a block is decoded by type and held against the rules of the base
model (:mod:`rules`), in as many processes as there are CPUs; what the blocks come to is added up. Records of texts
alone, most of all records, take a short way: a narrower type, and looks that are sure to find what the rules would.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from airflow_bedrock.base_models import by_script, document
from airflow_bedrock.datasets.blocks import Block, blocks, lines_of, mapped, processes, without_bom
from airflow_bedrock.datasets.records import normalised_pair
from airflow_bedrock.datasets.repeats import Entry, Leavings, Repeats
from airflow_bedrock.datasets.rules import Problem, Record, Rules, kinds_problem
from airflow_bedrock.datasets.rules.form import Plain

LISTED = 100
EXCERPT = 200  # characters of a record, where its text was asked for
EXAMPLES = 20  # of duplicates, conflicts and overlaps

_UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


class Finding(msgspec.Struct, frozen=True):
    """A problem and where it stands.

    :param text: the beginning of the line, only where it was asked for.
    """

    file: str
    line: int
    where: str
    rule: str
    message: str
    text: str | None = None


class Script(msgspec.Struct, frozen=True):
    """The characters of one script, and how many tokens they are about: from ``low`` to ``high``."""

    name: str
    characters: int
    low: int
    high: int


class Bucket(msgspec.Struct, frozen=True):
    """Records that have up to so many tokens, by the rule that limits are checked with."""

    up_to: int
    records: int


class Repeat(msgspec.Struct, frozen=True):
    """A record whose question an earlier one had; both as ``file:line``."""

    record: str
    earlier: str


class Repeated(msgspec.Struct, frozen=True):
    """How many records repeat an earlier one, and the first of them."""

    count: int
    examples: list[Repeat]


class FileSummary(msgspec.Struct, frozen=True):
    """One file: its records, those with a problem, and its size in bytes."""

    name: str
    records: int
    bad: int
    bytes: int


class CheckReport(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a dataset.

    :param model: the family of base models whose rules were applied.
    :param format: the record format.
    :param files: by their part: ``training``, ``validation``, ``test``.
    :param dataset_problems: what is wrong with the data as a whole, such as the number of records.
    :param problems: how many there are, by rule.
    :param findings: the first of them.
    :param scripts: characters and estimated tokens of the training file, by script.
    :param tokens: the estimated tokens of the training file: the lower and the upper end.
    :param media: what the records hold beside texts, such as ``image``; its tokens are not among the estimated.
    :param lengths: records of the training file by their tokens.
    :param longest: the most tokens of a record, and its place.
    :param duplicates: the same question and answer came before in the file.
    :param conflicts: the same question came before in the file, with another answer.
    :param overlaps: records of validation and test data whose question is in the training data.
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
    longest: tuple[int, str]
    duplicates: Repeated
    conflicts: Repeated
    overlaps: Repeated

    @property
    def ok(self) -> bool:
        """Whether a job on this data passes the base model's rules, as far as is known."""
        return not self.problems and not self.dataset_problems


class _Options(NamedTuple):
    rules: Rules
    listed: int
    show_text: bool


class _Found(NamedTuple):
    """What one block comes to."""

    lines: int
    bad: int
    problems: dict[str, int]
    listed: list[tuple[int, Problem, str | None]]
    characters: list[int]
    lengths: list[int]
    longest: tuple[int, int]
    kinds: set[str]
    leavings: dict[int, bytes]


def check(
    files: Mapping[str, Path],
    rules: Rules,
    *,
    names: Mapping[str, str] | None = None,
    listed: int = LISTED,
    show_text: bool = False,
    workers: int | None = None,
) -> CheckReport:
    """Check the files of a dataset.

    :param files: by their part: ``training`` and, where they are, ``validation`` and ``test``.
    :param names: what to call the files, by part; by default their paths.
    :param listed: how many problems are listed; all are counted.
    :param show_text: whether the beginning of a record is listed with its problem.
    :param workers: processes; None takes as many as there are CPUs, for data of a size that is worth it.
    :raises OSError: a file cannot be read.
    """
    if workers is None:
        workers = processes(sum(path.stat().st_size for path in files.values()))
    with tempfile.TemporaryDirectory(prefix="airflow-bedrock-") as folder:
        work = _Check(rules, {part: (names or {}).get(part) or str(path) for part, path in files.items()}, Path(folder))
        todo = [(part, block) for part, path in files.items() for block in blocks(path)]
        todo = [(part, block._replace(number=number)) for number, (part, block) in enumerate(todo)]
        scan = partial(scan_block, _Options(rules, listed, show_text))
        for (part, _), found in zip(todo, mapped(scan, (block for _, block in todo), workers), strict=True):
            work.add(part, found, listed)
        return work.report({part: path.stat().st_size for part, path in files.items()})


class _Check:
    """The sum over the blocks so far."""

    def __init__(self, rules: Rules, names: Mapping[str, str], folder: Path) -> None:
        self._rules = rules
        self._names = names
        self._records: Counter[str] = Counter()
        self._bad: Counter[str] = Counter()
        self._problems: Counter[str] = Counter()
        self._findings: list[Finding] = []
        self._characters = [0] * (len(document().scripts) + 1)
        self._lengths: Counter[int] = Counter()
        self._longest = (0, "")
        self._kinds: set[str] = set()
        self._begins: list[tuple[str, int]] = []  # of each block: its part, and the number of its first line
        self._repeats = Repeats(folder)

    def add(self, part: str, found: _Found, listed: int) -> None:
        """Add what the next block came to."""
        first = self._records[part] + 1
        self._begins.append((part, first))
        self._records[part] += found.lines
        self._bad[part] += found.bad
        self._problems.update(found.problems)
        self._kinds |= found.kinds
        self._repeats.add(found.leavings)
        for line, problem, text in found.listed[: listed - len(self._findings)]:
            message = problem.message.removeprefix("Invalid record: ")
            place = (self._names[part], first + line, problem.where)
            self._findings.append(Finding(*place, problem.rule, message, text))
        if part != "training":
            return
        self._characters = [one + more for one, more in zip(self._characters, found.characters, strict=True)]
        self._lengths.update({bits: count for bits, count in enumerate(found.lengths) if count})
        if found.longest[0] > self._longest[0]:
            self._longest = (found.longest[0], f"{self._names[part]}:{first + found.longest[1]}")

    def report(self, sizes: Mapping[str, int]) -> CheckReport:
        """Return what it all comes to."""
        scripts = list(self._scripts())
        duplicates, conflicts, overlaps = self._repeated()
        return CheckReport(
            model=self._rules.name,
            format=self._rules.method.format,
            files={
                part: FileSummary(name, self._records[part], self._bad[part], sizes[part])
                for part, name in self._names.items()
            },
            dataset_problems=list(self._of_the_dataset(sizes)),
            problems=dict(self._problems.most_common()),
            findings=self._findings,
            scripts=[one for one in scripts if one.characters],
            tokens=(sum(one.low for one in scripts), sum(one.high for one in scripts)),
            media=sorted(self._kinds),
            lengths=[Bucket((1 << bits) - 1, count) for bits, count in sorted(self._lengths.items())],
            longest=self._longest,
            duplicates=duplicates,
            conflicts=conflicts,
            overlaps=overlaps,
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

    def _of_the_dataset(self, sizes: Mapping[str, int]) -> Iterator[str]:
        method = self._rules.method
        if problem := method.count_problem(self._records["training"], self._records["validation"]):
            yield problem
        limits = {"training": method.max_bytes, "validation": method.max_validation_bytes}
        for part, limit in limits.items():
            if limit is not None and sizes.get(part, 0) > limit:
                yield f"The {part} file has {sizes[part]} bytes; at most {limit} are allowed"
        if kinds := kinds_problem(self._kinds - {"document"}):
            yield kinds.message.removeprefix("Invalid record: ").rstrip(".")

    def _repeated(self) -> tuple[Repeated, Repeated, Repeated]:
        counts: Counter[str] = Counter()
        examples: dict[str, list[Repeat]] = {}
        for group in self._repeats.groups():
            first: dict[str, Entry] = {}
            for entry in group:
                part = self._begins[entry.block][0]
                if part != "training" and "training" in first:
                    kind, earlier = "overlap", first["training"]
                elif part in first:
                    earlier = first[part]
                    kind = "duplicate" if earlier.completion == entry.completion else "conflict"
                else:
                    first[part] = entry
                    continue
                counts[kind] += 1
                found = examples.setdefault(kind, [])
                if len(found) < EXAMPLES:
                    found.append(Repeat(self._place(entry), self._place(earlier)))
        duplicates, conflicts, overlaps = (
            Repeated(counts[kind], examples.get(kind, [])) for kind in ("duplicate", "conflict", "overlap")
        )
        return duplicates, conflicts, overlaps

    def _place(self, entry: Entry) -> str:
        part, first = self._begins[entry.block]
        return f"{self._names[part]}:{first + entry.line}"


def scan_block(options: _Options, block: Block) -> _Found:
    """Hold every line of a block against the rules."""
    return _Scan(options, block).found()


class _Scan:
    """One block at work."""

    def __init__(self, options: _Options, block: Block) -> None:
        self._options = options
        self._rules = options.rules
        self._short = Short(options.rules)
        self._leavings = Leavings(block.number)
        content = block.read()
        self._bom = block.begin == 0 and content != without_bom(content)
        self._lines = lines_of(without_bom(content) if self._bom else content)
        self._bad, self._last_bad = 0, -1
        self._problems: Counter[str] = Counter()
        self._listed: list[tuple[int, Problem, str | None]] = []
        self._kinds: set[str] = set()

    def found(self) -> _Found:
        """Go through the lines."""
        facts, method = document(), self._rules.method
        latin = method.characters_per_token or facts.characters_per_token
        per_token = [latin, *(min(one.characters_per_token, latin) for one in facts.scripts)]
        take, leave = self._short.take, self._leavings.add
        scripts: list[list[int]] = [[0] * len(per_token)]
        lengths = [0] * 40
        longest = (0, 0)
        if self._bom:
            message = "the file begins with a byte order mark: save it as UTF-8 without one"
            self._note(0, [Problem("bom", "$", message)], self._lines[0] if self._lines else b"")
        for number, line in enumerate(self._lines):
            plain = take(line)
            if plain is None:
                record = self._look(number, line)
                if record is None:
                    continue
                key, prompt, answer = record.key, record.prompt, record.completion or ""
            else:
                prompt, answer = plain
                key = prompt
            leave(number, *normalised_pair(key, answer))
            if prompt.isascii() and answer.isascii():
                length = len(prompt) + len(answer)
                scripts[0][0] += length
                tokens = -(-length // latin)
            else:
                counts = by_script(prompt + answer)
                scripts.append(counts)
                tokens = 0
                for count, ratio in zip(counts, per_token, strict=True):
                    tokens -= -count // ratio
            lengths[tokens.bit_length()] += 1
            if tokens > longest[0]:
                longest = (tokens, number)
        return _Found(
            len(self._lines),
            self._bad,
            dict(self._problems),
            self._listed,
            [sum(counts) for counts in zip(*scripts, strict=True)],
            lengths,
            longest,
            self._kinds,
            self._leavings.parts(),
        )

    def _look(self, number: int, line: bytes) -> Record | None:
        """Hold a line against all rules."""
        record, problems = self._rules.check(line)
        if problems:
            self._note(number, problems, line)
        if record is not None:
            self._kinds.update(one.kind for one in record.media)
        return record

    def _note(self, number: int, problems: list[Problem], line: bytes) -> None:
        if self._lines and number != self._last_bad:
            self._bad, self._last_bad = self._bad + 1, number
        self._problems.update(problem.rule for problem in problems)
        text = line.decode("utf-8", "replace")[:EXCERPT] if self._options.show_text else None
        room = self._options.listed - len(self._listed)
        self._listed += [(number, problem, text) for problem in problems[:room]]


class Short:
    """The short way for records of texts alone: it takes a record only if the rules would find nothing."""

    def __init__(self, rules: Rules) -> None:
        method, form = rules.method, rules.form
        self._decoder = form.plain_decoder
        self._flat = form.plain[1] if form.plain else None
        limits = [method.max_tokens, method.max_input_tokens, method.max_output_tokens]
        # No character is more than one token.
        self._most = min((one for one in limits if one is not None), default=1 << 62)
        self._most_bytes = method.max_line_bytes or 1 << 62
        self._sequences = method.reserved_sequences
        self._words = [word.lower() for word in method.reserved_words]
        self._rare = sorted({_rarest(word) for word in method.reserved_words})

    def take(self, line: bytes) -> tuple[str, str] | None:
        """Return what is asked and what is answered; None for a record that has to be looked at by all rules."""
        if self._decoder is None or self._flat is None or len(line) > self._most_bytes:
            return None
        try:
            plain: Plain | None = self._flat(self._decoder.decode(line))
        except _UNREADABLE:
            return None
        if plain is None:
            return None
        return plain if self.fits(*plain) else None

    def fits(self, prompt: str, answer: str) -> bool:
        """Whether a prompt, with the system prompt before it, and an answer break no limit for sure."""
        if len(prompt) + len(answer) > self._most:
            return False
        for one in self._rare:
            if one in prompt:
                lower = prompt.lower()
                if any(word in lower for word in self._words):
                    return False
                break
        return not self._sequences or not any(one in prompt or one in answer for one in self._sequences)


def _rarest(word: str) -> str:
    """Return a character of the word that texts seldom have, and that has no other case; all of it if there is none."""
    return next((one for one in word if not one.isalnum()), "")

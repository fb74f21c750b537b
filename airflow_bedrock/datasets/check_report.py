"""The report of a check, for a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from airflow_bedrock.cli import table
from airflow_bedrock.datasets.checking import CheckReport, FileSummary, Repeated

_BAR = 30  # length of the longest bar, in characters


def markdown(report: CheckReport) -> str:
    """Return the report as Markdown; it has no text of a record unless that was requested."""
    return "\n\n".join(_sections(report)) + "\n"


def text(report: CheckReport) -> str:
    """Return the report as tables and a histogram, for a terminal."""
    return "\n".join(filter(None, _blocks(report)))


def verdict(report: CheckReport) -> str:
    """Return the result in a sentence."""
    if report.ok:
        return "No problem found."
    bad = sum(one.bad for one in report.files.values())
    of_records = f"{_counted(sum(report.problems.values()), 'problem')} in {_counted(bad, 'record')}"
    of_the_dataset = f"{_counted(len(report.dataset_problems), 'problem')} of the dataset as a whole"
    found = [of_records] * bool(report.problems) + [of_the_dataset] * bool(report.dataset_problems)
    return f"{', and '.join(found)}."


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


_FILES = ("part", "file", "records", "with a problem", "bytes")
_RULES = ("rule", "problems")
_FINDINGS = ("line", "where", "rule", "problem", "text")
_TOKENS = ("script", "characters", "tokens from", "to")
_LENGTHS = ("up to", "records", "")
_REPEATS = ("", "records", "the first")


def _blocks(report: CheckReport) -> Iterator[str]:
    yield _titled(f"{report.model}, {report.format}", _FILES, _files(report))
    yield _titled("Problems by rule", _RULES, [(rule, f"{count:,}") for rule, count in report.problems.items()])
    yield "".join(map(_listed, _findings(report)))
    yield _titled("Estimated tokens of the training data", _TOKENS, _tokens(report))
    yield _titled("Records by tokens", _LENGTHS, _lengths(report))
    yield _titled("Repeated questions", _REPEATS, _repeats(report))
    yield "".join(f"{_printable(line)}\n" for line in (*report.dataset_problems, verdict(report)))


def _titled(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    cells = [[_printable(cell) for cell in row] for row in rows]
    return f"{title}\n{table([name.upper() for name in columns], cells)}" if rows else ""


def _listed(finding: Sequence[object]) -> str:
    *said, of_record = map(_printable, finding)
    return "  ".join(said).rstrip() + (f"\n    {of_record}\n" if of_record else "\n")


def _sections(report: CheckReport) -> Iterator[str]:
    yield f"## {verdict(report)}"
    yield _table(_FILES, _files(report))
    if report.dataset_problems:
        yield "\n".join(f"- {_escaped_markdown(one)}" for one in report.dataset_problems)
    if report.problems:
        yield _table(_RULES, list(report.problems.items()))
        yield _table(_FINDINGS, _findings(report))
    yield "### Estimated tokens of the training data"
    yield _table(_TOKENS, _tokens(report))
    yield _table(_LENGTHS, _lengths(report))
    if rows := _repeats(report):
        yield "### Repeated questions"
        yield _table(_REPEATS, rows)


def _files(report: CheckReport) -> list[Sequence[object]]:
    return [
        (part, _file(one), f"{one.records:,}", f"{one.bad:,}", f"{one.bytes:,}") for part, one in report.files.items()
    ]


def _file(one: FileSummary) -> str:
    """Return the file's name, and how many of its logs are skipped."""
    return f"{one.name} ({one.passed_over:,} other logs)" if one.passed_over else one.name


def _findings(report: CheckReport) -> list[Sequence[object]]:
    rows: list[Sequence[object]] = [
        (f"{one.file}:{one.line}", one.where, one.rule, one.message, one.text or "") for one in report.findings
    ]
    more = sum(report.problems.values()) - len(rows)
    return [*rows, (f"and {more:,} more", "", "", "", "")] if more else rows


def _tokens(report: CheckReport) -> list[Sequence[object]]:
    rows: list[Sequence[object]] = [
        (one.name, f"{one.characters:,}", f"{one.low:,}", f"{one.high:,}") for one in report.scripts
    ]
    low, high = report.tokens
    characters = sum(one.characters for one in report.scripts)
    return [*rows, ("in all", f"{characters:,}", f"{low:,}", f"{high:,}")] if rows else []


def _lengths(report: CheckReport) -> list[Sequence[object]]:
    most = max((one.records for one in report.lengths), default=0)
    return [
        (f"{one.up_to:,}", f"{one.records:,}", "█" * max(1, round(_BAR * one.records / most))) for one in report.lengths
    ]


def _repeats(report: CheckReport) -> list[Sequence[object]]:
    named: list[tuple[str, Repeated]] = [
        ("duplicates: the same answer", report.duplicates),
        ("conflicts: another answer", report.conflicts),
        ("overlap with the training data", report.overlaps),
        ("nearly overlap with the training data", report.near_overlaps or Repeated(0, [])),
    ]
    return [
        (name, f"{one.count:,}", ", ".join(f"{found.record} = {found.earlier}" for found in one.examples[:3]))
        for name, one in named
        if one.count
    ]


def _table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(map(_escaped_markdown, line)) + " |" for line in lines)


def _printable(value: object) -> str:
    return "".join(one if one.isprintable() else " " for one in str(value))


def _escaped_markdown(value: object) -> str:
    return _printable(value).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")

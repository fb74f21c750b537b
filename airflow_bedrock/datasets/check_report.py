"""The report of a check, for a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from airflow_bedrock.datasets.checking import CheckReport, FileSummary, Repeated

if TYPE_CHECKING:
    from rich.console import Console

_BAR = 30  # length of the longest bar, in characters


def markdown(report: CheckReport) -> str:
    """Return the report as Markdown; it has no text of a record unless that was requested."""
    return "\n\n".join(_sections(report)) + "\n"


def show(report: CheckReport, console: Console) -> None:
    """Print the report as tables and a histogram."""
    from rich.table import Table  # here, since only the command line needs it

    def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        shown = Table(*columns, title=title, title_justify="left")
        for row in rows:
            shown.add_row(*map(_escaped, row))
        if rows:
            console.print(shown)

    table(f"{report.model}, {report.format}", _FILES, _files(report))
    table("Problems by rule", ("rule", "problems"), [(rule, f"{count:,}") for rule, count in report.problems.items()])
    for place, *said, text in _findings(report):
        console.print(f"{place}  {'  '.join(map(str, said))}".rstrip(), markup=False, highlight=False, soft_wrap=True)
        if text:
            console.print(f"    {_printable(text)}", markup=False, highlight=False, soft_wrap=True)
    table("Estimated tokens of the training data", _TOKENS, _tokens(report))
    table("Records by tokens", ("up to", "records", ""), _lengths(report))
    table("Repeated questions", _REPEATS, _repeats(report))
    for problem in report.dataset_problems:
        console.print(f"[red]✗[/red] {_escaped(problem)}", highlight=False)
    console.print(verdict(report), style="bold green" if report.ok else "bold red", highlight=False)


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
_FINDINGS = ("line", "where", "rule", "problem", "text")
_TOKENS = ("script", "characters", "tokens from", "to")
_REPEATS = ("", "records", "the first")


def _sections(report: CheckReport) -> Iterator[str]:
    yield f"## {verdict(report)}"
    yield _table(_FILES, _files(report))
    if report.dataset_problems:
        yield "\n".join(f"- {_escaped_markdown(one)}" for one in report.dataset_problems)
    if report.problems:
        yield _table(("rule", "problems"), list(report.problems.items()))
        yield _table(_FINDINGS, _findings(report))
    yield "### Estimated tokens of the training data"
    yield _table(_TOKENS, _tokens(report))
    yield _table(("up to", "records", ""), _lengths(report))
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


def _escaped(value: object) -> str:
    return _printable(value).replace("[", "\\[")


def _escaped_markdown(value: object) -> str:
    return _printable(value).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")

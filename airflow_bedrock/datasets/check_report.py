"""The report of a check, for a terminal and as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from airflow_bedrock.cli import table
from airflow_bedrock.datasets.checking import CheckReport, FileSummary, Repeated

_BAR = 30  # length of the longest bar, in characters


def markdown(report: CheckReport) -> str:
    """Return the report as Markdown; it has no text of a record unless requested."""
    problems = "\n".join(f"- {_escaped_markdown(one)}" for one in report.dataset_problems)
    tables = [f"### {title}\n\n{_table(columns, rows)}" for title, columns, rows in _tables(report)]
    return "\n\n".join(filter(None, [f"## {verdict(report)}", *_advice(report), problems, *tables])) + "\n"


def text(report: CheckReport) -> str:
    """Return the report as tables and a histogram, for a terminal."""
    tables = [f"{title}\n{_aligned(columns, rows)}" for title, columns, rows in _tables(report)]
    lines = (*report.dataset_problems, verdict(report), *_advice(report))
    return "\n".join([*tables, "".join(f"{_printable(line)}\n" for line in lines)])


def verdict(report: CheckReport) -> str:
    """Return the result in a sentence."""
    if report.ok:
        return "No problem found."
    bad = sum(one.bad for one in report.files.values())
    of_records = f"{_counted(sum(report.problems.values()), 'problem')} in {_counted(bad, 'record')}"
    of_the_dataset = f"{_counted(len(report.dataset_problems), 'problem')} of the dataset as a whole"
    found = [of_records] * bool(report.problems) + [of_the_dataset] * bool(report.dataset_problems)
    return f"{', and '.join(found)}."


def _advice(report: CheckReport) -> list[str]:
    """Return what to do if the training data is in another format altogether."""
    training = report.files["training"]
    has_good = training.bad < training.records
    if has_good or not training.records or report.problems.keys() - {"json", "shape"}:
        return []
    return [
        f"No training record has the format {report.format}. airflow-bedrock prepare, or "
        "BedrockDatasetPreparationOperator, writes it from CSV, JSON arrays, prompts with completions, and other chats."
    ]


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


Rows = Sequence[Sequence[object]]


def _tables(report: CheckReport) -> Iterator[tuple[str, Sequence[str], Rows]]:
    """Yield the title, the columns and the rows of each table that has rows."""
    by_rule = [(rule, f"{count:,}") for rule, count in report.problems.items()]
    tables: list[tuple[str, Sequence[str], Rows]] = [
        (f"{report.model}, {report.format}", ("part", "file", "records", "with a problem", "bytes"), _files(report)),
        ("Problems by rule", ("rule", "problems"), by_rule),
        ("Problems", ("line", "where", "rule", "problem", "text"), _findings(report)),
        ("Estimated tokens of the training data", ("script", "characters", "tokens from", "to"), _tokens(report)),
        ("Records by tokens", ("up to", "records", ""), _lengths(report)),
        ("Repeated questions", ("", "records", "examples"), _repeats(report)),
    ]
    yield from (table for table in tables if table[2])


def _aligned(columns: Sequence[str], rows: Rows) -> str:
    return table([name.upper() for name in columns], [[_printable(cell) for cell in row] for row in rows])


def _files(report: CheckReport) -> Rows:
    return [
        (part, _file(one), f"{one.records:,}", f"{one.bad:,}", f"{one.bytes:,}") for part, one in report.files.items()
    ]


def _file(file: FileSummary) -> str:
    """Return the file's name, and how many of its logs are skipped."""
    return f"{file.name} ({file.passed_over:,} other logs)" if file.passed_over else file.name


def _findings(report: CheckReport) -> Rows:
    rows: list[Sequence[object]] = [
        (f"{one.file}:{one.line}", one.where, one.rule, one.message, one.text or "") for one in report.findings
    ]
    more = sum(report.problems.values()) - len(rows)
    return [*rows, (f"and {more:,} more", "", "", "", "")] if more else rows


def _tokens(report: CheckReport) -> Rows:
    rows: list[Sequence[object]] = [
        (one.name, f"{one.characters:,}", f"{one.low:,}", f"{one.high:,}") for one in report.scripts
    ]
    low, high = report.tokens
    characters = sum(one.characters for one in report.scripts)
    return [*rows, ("in all", f"{characters:,}", f"{low:,}", f"{high:,}")] if rows else []


def _lengths(report: CheckReport) -> Rows:
    most = max((one.records for one in report.lengths), default=0)
    return [
        (f"{one.up_to:,}", f"{one.records:,}", "█" * max(1, round(_BAR * one.records / most))) for one in report.lengths
    ]


def _repeats(report: CheckReport) -> Rows:
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


def _table(columns: Sequence[str], rows: Rows) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(map(_escaped_markdown, line)) + " |" for line in lines)


def _printable(value: object) -> str:
    return "".join(one if one.isprintable() else " " for one in str(value))


def _escaped_markdown(value: object) -> str:
    return _printable(value).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;")

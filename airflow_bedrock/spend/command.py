"""Show by month what Bedrock has cost and what is reserved, from the ledger of the budget.

The exit code is 1 if the ledger cannot be read.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from airflow_bedrock import configuration
from airflow_bedrock.cli import add_connection, add_format, results, table
from airflow_bedrock.hooks.bedrock import BedrockHook
from airflow_bedrock.prices import dollars
from airflow_bedrock.spend.books import Books
from airflow_bedrock.spend.budget import account_of
from airflow_bedrock.spend.ledger import Entry, month_of, totals
from airflow_bedrock.spend.settling import settle_open

_BY: dict[str, Callable[[Entry], str]] = {
    "dag": lambda entry: entry.dag_id,
    "model": lambda entry: entry.model or "(unknown)",
    "run": lambda entry: f"{entry.dag_id} {entry.run_id}",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--month", type=month, help="month in UTC, e.g. 2026-11 (default: the current month)")
    parser.add_argument("--by", choices=_BY, default="dag", help="group by (default: %(default)s)")
    add_format(parser)
    parser.add_argument(
        "--settle",
        action="store_true",
        help="first read the status of reserved jobs from Bedrock, and settle those that have ended",
    )
    parser.add_argument("--ledger", metavar="S3_URI", help="the ledger's S3 prefix (default: [bedrock] ledger_uri)")
    add_connection(parser, "what is settled")


def month(text: str) -> str:
    """Return a month in the form of the ledger; argparse reports any other text as an invalid month value."""
    return month_of(datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC))


def run(arguments: argparse.Namespace) -> int:
    """Print the table, and return the exit code."""
    of = arguments.month or month_of(datetime.now(UTC))
    entries = _books(arguments).month(of).entries.values()
    found = described(of, arguments.by, entries, configuration.monthly_budget())
    results().write(f"{json.dumps(found, indent=2)}\n" if arguments.format == "json" else _text(found))
    return 0


def _books(arguments: argparse.Namespace) -> Books:
    where = {"aws_conn_id": arguments.aws_conn_id, "region_name": arguments.region}
    s3 = S3Hook(**where)
    uri = arguments.ledger or configuration.ledger_uri()
    books = Books(uri, lambda: s3.conn, configuration.ledger_kms_key_id())
    if arguments.settle:
        hook = BedrockHook(**where)
        for line in settle_open(books, hook, account_of(hook), s3, datetime.now(UTC)):
            sys.stderr.write(f"{line}\n")
    return books


def described(month: str, by: str, entries: Iterable[Entry], budget: Decimal | None) -> dict[str, Any]:
    """Return what a month has cost as JSON types; US dollars are exact, as text."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(_BY[by](entry), []).append(entry)
    every = [entry for group in groups.values() for entry in group]
    return {
        "month": month,
        "by": by,
        **_sums(every),
        "budget_usd": None if budget is None else f"{budget:f}",
        "lines": [{by: name, **_sums(group)} for name, group in sorted(groups.items())],
    }


def _sums(entries: list[Entry]) -> dict[str, Any]:
    settled, open_ = totals(entries)
    return {"things": len(entries), "settled_usd": f"{settled:f}", "reserved_usd": f"{open_:f}"}


def _text(found: dict[str, Any]) -> str:
    by: str = found["by"]
    rows = [_row(line[by], line) for line in found["lines"]]
    remaining = ""
    if found["budget_usd"] is not None:
        budget = Decimal(found["budget_usd"])
        free = budget - Decimal(found["settled_usd"]) - Decimal(found["reserved_usd"])
        remaining = f"{dollars(free)} of {dollars(budget)} USD are left in {found['month']}.\n"
    return table((by.upper(), "THINGS", "SETTLED USD", "RESERVED USD"), [*rows, _row("all", found)]) + remaining


def _row(name: str, sums: dict[str, Any]) -> tuple[str, ...]:
    usd = (dollars(Decimal(sums[one])) for one in ("settled_usd", "reserved_usd"))
    return (name, str(sums["things"]), *usd)

"""The ledger: what is reserved for paid resources before they are made, and what they cost when they ended. Pure.

An entry is one paid resource, found by its identity, so that a retry, an adoption and two runs that share a job use the
same entry. It counts in the month (UTC) in which it was reserved. A ledger is a value: each function returns the next
one, which is written only if the stored ledger is unchanged since it was read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, NamedTuple

import msgspec

from airflow_bedrock.prices import dollars

KEPT = timedelta(days=62)
"""Time for which settled entries stay in the ledger, by whole months; older ones move to an archive."""

EVALUATION = "evaluation"
"""The kind of the reservation of an evaluation, which is not a resource of Bedrock."""


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """The estimated cost of a resource, before it is created.

    :param usd: maximum US dollars; None if unknown.
    :param model: the base model's id.
    :param rates: US dollars per counted unit: ``epoch``, ``hour``, ``month`` (of storage), ``input`` and ``output``
        (tokens), and ``once``, which is paid in any case.
    :param unknown: why it is unknown.
    """

    usd: Decimal | None
    model: str = ""
    rates: Mapping[str, Decimal] = {}
    unknown: str = ""


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One paid resource.

    :param key: its identity: region, account, kind and name.
    :param kind: such as ``model customization job``.
    :param at: when it was reserved, or taken up by another try.
    :param reserved: maximum US dollars.
    :param settled: US dollars that it has cost; None while unknown.
    :param basis: the basis of ``settled``.
    :param holders: digests of the task instances that may be about to create it.
    :param arn: its ARN, once it exists.
    """

    key: str
    kind: str
    name: str
    region: str
    account: str
    model: str = ""
    dag_id: str
    task_id: str
    run_id: str
    map_index: int = -1
    at: Annotated[datetime, msgspec.Meta(tz=True)]
    reserved: Decimal
    rates: dict[str, Decimal] = {}
    settled: Decimal | None = None
    basis: str = ""
    holders: tuple[str, ...] = ()
    arn: str | None = None

    def __post_init__(self) -> None:
        """Reject entries that no task writes and that would free money in the budget."""
        if not all(usd.is_finite() and usd >= 0 for usd in (self.reserved, self.counts, *self.rates.values())):
            raise ValueError("an amount must be a number of US dollars, 0 or more")

    @property
    def month(self) -> str:
        """The month in which it counts, e.g. ``2026-11``."""
        return month_of(self.at)

    @property
    def counts(self) -> Decimal:
        """US dollars that count against a budget."""
        return self.reserved if self.settled is None else self.settled


class Ledger(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All entries of the current month and the few before it, by key."""

    entries: dict[str, Entry] = {}


class Limits(NamedTuple):
    """US dollars a month; None for no limit.

    :param all: for everything.
    :param dag: for the DAG of the task.
    """

    all: Decimal | None = None
    dag: Decimal | None = None


class OverBudgetError(Exception):
    """The budget does not cover it. The message says by how much.

    :param short: missing US dollars.
    :param open: US dollars reserved for resources that may have ended, or may not exist.
    """

    def __init__(self, message: str, short: Decimal, open: Decimal) -> None:  # noqa: A002  # the field's word
        super().__init__(message)
        self.short = short
        self.open = open


def key_of(region: str, account: str, kind: str, name: str) -> str:
    """Return the key of an entry."""
    return "/".join((region, account, kind, name))


def month_of(moment: datetime) -> str:
    """Return the month of a time in UTC, e.g. ``2026-11``."""
    return f"{moment.astimezone(UTC):%Y-%m}"


def next_month(moment: datetime) -> datetime:
    """Return when the next month begins in UTC."""
    first = moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return (first + timedelta(days=32)).replace(day=1)


def committed(ledger: Ledger, month: str, dag_id: str | None = None) -> Decimal:
    """Return the US dollars of a month that are settled or reserved, in total or for one DAG."""
    return sum(totals(of_month(ledger, month, dag_id)), Decimal())


def totals(entries: Iterable[Entry]) -> tuple[Decimal, Decimal]:
    """Return the US dollars that are settled, and those that are reserved."""
    known = list(entries)
    settled = sum((one.settled for one in known if one.settled is not None), Decimal())
    return settled, sum((one.reserved for one in known if one.settled is None), Decimal())


def of_month(ledger: Ledger, month: str, dag_id: str | None = None) -> list[Entry]:
    """Return the entries that count in a month, all or those of one DAG."""
    return [one for one in ledger.entries.values() if one.month == month and dag_id in (None, one.dag_id)]


def reserved(ledger: Ledger, entry: Entry, limits: Limits) -> Ledger:
    """Reserve money for a resource that is about to be created, or take over its reservation.

    A reservation whose resource does not exist yet is checked against the current limits: one of an earlier month moves
    to the current month, and one that is now too low, because the data or the request has changed, is raised. A
    resource that was deleted and settled, and is created again under its name, gets a new entry, and so does the next
    try of an evaluation that has failed.

    :raises OverBudgetError: settled, reserved and this would exceed a limit.
    """
    known = ledger.entries.get(entry.key)
    is_paid_again = known is not None and (known.kind == EVALUATION or {"hour", "month"} & known.rates.keys())
    if known is not None and known.settled is not None and is_paid_again:
        former = msgspec.structs.replace(known, key=f"{known.key}/{known.at.isoformat()}")
        return reserved(_with(_without(ledger, {known.key}), former), entry, limits)
    if known is not None and (known.settled is not None or known.arn is not None or known.month == entry.month):
        exists = known.settled is not None or known.arn is not None
        more = known if exists or known.reserved >= entry.reserved else entry
        holders = tuple(dict.fromkeys((*known.holders, *entry.holders)))
        at = entry.at if known.month == entry.month else known.at
        entry = msgspec.structs.replace(more, holders=holders, at=at)
        if exists:
            return _with(ledger, entry)
    for limit, dag_id in ((limits.all, None), (limits.dag, entry.dag_id)):
        _check(ledger, entry, limit, dag_id)
    return _with(ledger, entry)


def _check(ledger: Ledger, entry: Entry, limit: Decimal | None, dag_id: str | None) -> None:
    if limit is None:
        return
    settled, open_ = totals(of_month(_without(ledger, {entry.key}), entry.month, dag_id))
    if (short := settled + open_ + entry.reserved - limit) > 0:
        whose = f"of DAG {dag_id} " if dag_id else ""
        raise OverBudgetError(
            f"The budget {whose}for {entry.month} is {dollars(limit)} USD: {dollars(settled)} are spent, "
            f"{dollars(open_)} reserved, and {entry.kind} {entry.name} may cost {dollars(entry.reserved)}, "
            f"{dollars(short)} more than is left.",
            short,
            open_,
        )


def reach(ledger: Ledger, entry: Entry, limits: Limits) -> int | None:
    """Return how many such resources the budget covers; None if it has no limit."""
    usd = remaining(ledger, entry.month, entry.dag_id, limits)
    return max(0, int(usd // entry.reserved)) if usd is not None and entry.reserved else None


def remaining(ledger: Ledger, month: str, dag_id: str, limits: Limits) -> Decimal | None:
    """Return the US dollars of a month that a DAG may still reserve; None for no limit."""
    both = ((limits.all, None), (limits.dag, dag_id))
    return min((limit - committed(ledger, month, of) for limit, of in both if limit is not None), default=None)


def made(ledger: Ledger, entry: Entry, arn: str) -> Ledger:
    """Note that the resource exists. A released reservation counts again, whatever the limit: it is paid for."""
    known = ledger.entries.get(entry.key, entry)
    return _with(ledger, msgspec.structs.replace(known, arn=arn))


def settled(ledger: Ledger, key: str, usd: Decimal, basis: str) -> Ledger:
    """Replace a reservation by the cost of the resource; the first settlement counts."""
    known = ledger.entries.get(key)
    if known is None or known.settled is not None:
        return ledger
    return _with(ledger, msgspec.structs.replace(known, settled=usd, basis=basis, holders=()))


def released(ledger: Ledger, key: str, holder: str) -> Ledger:
    """Release a reservation whose resource was not created, unless another task instance is about to create it."""
    known = ledger.entries.get(key)
    if known is None or known.arn is not None or known.settled is not None or holder not in known.holders:
        return ledger
    holders = tuple(one for one in known.holders if one != holder)
    return _with(ledger, msgspec.structs.replace(known, holders=holders)) if holders else _without(ledger, {key})


def dropped(ledger: Ledger, entries: Iterable[Entry]) -> Ledger:
    """Return the ledger without these entries; one that has changed since, as by a try that took it over, stays."""
    return _without(ledger, {one.key for one in entries if ledger.entries.get(one.key) == one})


def closed(ledger: Ledger, now: datetime) -> list[Entry]:
    """Return the settled entries of months that ended long ago."""
    oldest = month_of(now - KEPT)
    return [one for one in ledger.entries.values() if one.settled is not None and one.month < oldest]


def _with(ledger: Ledger, entry: Entry) -> Ledger:
    return Ledger({**ledger.entries, entry.key: entry})


def _without(ledger: Ledger, keys: set[str]) -> Ledger:
    return Ledger({key: one for key, one in ledger.entries.items() if key not in keys}) if keys else ledger

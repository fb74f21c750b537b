"""Settle what has ended: for the task that waited for it, for its earlier tries, and for all open reservations.

It also reports the state of the month's budget.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, NamedTuple

from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from airflow_bedrock import configuration
from airflow_bedrock.aws_errors import CALL_ERRORS
from airflow_bedrock.customization.identity import TaskKey
from airflow_bedrock.customization.job import Outcome, Seen
from airflow_bedrock.exceptions import BedrockError
from airflow_bedrock.hooks.bedrock import BedrockHook
from airflow_bedrock.jobs.resources import declared
from airflow_bedrock.jobs.service import Service
from airflow_bedrock.prices import dollars
from airflow_bedrock.spend import ledger as ledgers
from airflow_bedrock.spend.bill import Bill, bill_of, by_the_hour
from airflow_bedrock.spend.books import Books
from airflow_bedrock.spend.ledger import EVALUATION, Entry, Ledger, key_of, month_of, of_month, totals
from airflow_bedrock.uris import Arn

log = logging.getLogger(__name__)

DEAD_AFTER = timedelta(minutes=30)
"""Time after which a reservation without a resource is dead: Create follows in minutes, List shows it in two more."""

_FRESH = timedelta(minutes=1)
"""Age up to which no reservation has ended, so that a hundred tasks over the budget do not all read Bedrock."""

_LONGEST = timedelta(days=1)
"""How long an evaluation may go on after its month has ended."""

_TO_SETTLE = " Run airflow-bedrock spend --settle."


class Spent(NamedTuple):
    """The cost of a resource, and the budget of the month for the views in Airflow's UI; None if unknown."""

    bill: Bill | None = None
    standing: dict[str, Any] | None = None


def settled(service: Service, seen: Seen, s3: S3Hook, known: Bill | None = None) -> Spent:
    """Settle the cost of a resource, if a budget is set; the ledger is read once.

    No error here fails the task, whose resource is paid for.

    :param known: its cost, if the caller knows it.
    """
    with _logged(f"The cost of {seen.arn} was not settled", _TO_SETTLE):
        if configuration.has_budget():
            return _settled(books_of(s3), service, seen, s3, known)
    return Spent()


def _settled(books: Books, service: Service, seen: Seen, s3: S3Hook, known: Bill | None) -> Spent:
    arn = Arn.of(seen.arn)
    key = key_of(arn.region, arn.account, service.resource.kind, seen.name)
    bill: Bill | None = None

    def change(ledger: Ledger) -> Ledger:
        nonlocal bill
        entry = ledger.entries.get(key)
        if entry is None or entry.settled is not None:
            bill = Bill(entry.settled, entry.basis) if entry and entry.settled is not None else None
            return ledger
        bill = bill or known or bill_of(entry, seen, service, s3)
        return ledgers.settled(ledger, key, *bill) if bill else ledger

    ledger = books.change(change)
    if bill is not None:
        log.info("Settled at %s USD, by %s: %s", dollars(bill.usd), bill.basis, key)
    return Spent(bill, _standing(ledger))


def settled_of(task_key: TaskKey, service: Service, s3: S3Hook) -> None:
    """Settle the reservations of a task's earlier tries whose resources have ended, if a budget is set.

    No error here fails the task, whose resources are paid for.
    """
    with _logged("The cost of earlier tries of this task was not settled", _TO_SETTLE):
        if task_key.try_number == 1 or not configuration.has_budget():
            return
        task = (task_key.dag_id, task_key.task_id, task_key.run_id, task_key.map_index)
        for entry in books_of(s3).read().entries.values():
            its = (entry.dag_id, entry.task_id, entry.run_id, entry.map_index)
            open_ = entry.settled is None and (entry.kind, its) == (service.resource.kind, task)
            if open_ and (seen := service.find(entry.arn or entry.name)) is not None:
                settled(service, seen, s3)


def settle_open(
    books: Books, hook: BedrockHook, account: str, s3: S3Hook, now: datetime, *, besides: str = ""
) -> list[str]:
    """Check the reservations in this account and region: settle those that have ended, drop those that are dead.

    :param besides: the key of the resource that the caller is about to create.
    :return: sentences about what was done.
    """
    region = hook.conn_region_name
    services = {resource.kind: Service(resource, hook) for resource in declared()}
    lines, elsewhere = [], set[str]()
    for entry in books.read().entries.values():
        ours = (entry.region, entry.account) == (region, account) and entry.kind in services
        if entry.settled is None and entry.kind in services and not ours:
            elsewhere.add(f"{entry.region} of account {entry.account}")
        young = now - entry.at < (_FRESH if entry.arn else DEAD_AFTER)
        is_lost = entry.kind == EVALUATION and entry.month < month_of(now - _LONGEST)
        if entry.settled is not None or entry.key == besides or not (is_lost or (ours and not young)):
            continue
        try:
            change, what = _lost(entry) if is_lost else _fate(entry, services[entry.kind], s3, now)
        except CALL_ERRORS as error:
            log.warning("Could not read the outcome of %s %s: %s", entry.kind, entry.name, error)
            continue
        if change is not None:
            books.change(change)
            lines.append(f"{entry.kind} {entry.name}: {what}")
            log.info("%s", lines[-1])
    lines += [
        f"Not checked: reservations in {place}, which this connection does not reach" for place in sorted(elsewhere)
    ]
    return lines


def _lost(entry: Entry) -> tuple[Callable[[Ledger], Ledger], str]:
    """Settle an evaluation that was killed in an earlier month: nobody knows how much of it was spent."""
    usd = entry.reserved
    change = partial(ledgers.settled, key=entry.key, usd=usd, basis="its reservation, since its task was killed")
    return change, f"{dollars(usd)} USD, as reserved, since its task was killed"


def _fate(entry: Entry, service: Service, s3: S3Hook, now: datetime) -> tuple[Callable[[Ledger], Ledger] | None, str]:
    seen = service.find(entry.arn or entry.name)
    if seen is not None:
        bill = bill_of(entry, seen, service, s3)
        if bill is not None:
            text = f"{dollars(bill.usd)} USD, by {bill.basis}"
            return partial(ledgers.settled, key=entry.key, usd=bill.usd, basis=bill.basis), text
        if entry.arn is None and seen.outcome is not Outcome.UNKNOWN:
            return partial(ledgers.made, entry=entry, arn=seen.arn), "it exists"
    elif entry.arn is not None and "hour" in entry.rates:
        usd = min(by_the_hour(entry, None, now).usd, entry.reserved)  # its deletion time is unknown
        return partial(ledgers.settled, key=entry.key, usd=usd, basis="its hours"), f"deleted; {dollars(usd)} USD"
    elif entry.arn is not None and "month" in entry.rates:
        usd = entry.reserved
        return partial(ledgers.settled, key=entry.key, usd=usd, basis="its storage"), f"deleted; {dollars(usd)} USD"
    elif entry.arn is None:
        return partial(ledgers.dropped, entries=[entry]), "released, since it was never made"
    return None, ""


def standing(s3: S3Hook) -> dict[str, Any] | None:
    """Return the budget of the month for the views in Airflow's UI, in US dollars; None if unknown."""
    with _logged("Could not read the state of the budget"):
        if configuration.has_budget():
            return _standing(books_of(s3).read())
    return None


@contextmanager
def _logged(what: str, remedy: str = "") -> Iterator[None]:
    """Log an error instead of raising it.

    :param what: what failed, as the beginning of a sentence.
    """
    try:
        yield
    except (BedrockError, *CALL_ERRORS, ValueError) as error:
        log.warning("%s: %s.%s", what, str(error).removesuffix("."), remedy)


def _standing(ledger: Ledger) -> dict[str, Any]:
    month, limit = month_of(datetime.now(UTC)), configuration.monthly_budget()
    settled, reserved = totals(of_month(ledger, month))
    limited = None if limit is None else float(limit)
    return {"month": month, "settled": float(settled), "reserved": float(reserved), "limit": limited}


def books_of(s3: S3Hook) -> Books:
    """Return the configured ledger.

    :raises BedrockFatalError: no URI is configured for it.
    """
    return Books(configuration.ledger_uri(), lambda: s3.conn, configuration.ledger_kms_key_id())

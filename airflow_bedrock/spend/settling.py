"""Settle the bill of a resource that has ended, for any task that waited for it, and report how the month stands."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from airflow.providers.amazon.aws.hooks.s3 import S3Hook

from airflow_bedrock import configuration
from airflow_bedrock.aws_errors import CALL_ERRORS
from airflow_bedrock.customization.identity import TaskKey
from airflow_bedrock.customization.job import Seen
from airflow_bedrock.exceptions import BedrockError
from airflow_bedrock.jobs.service import Service
from airflow_bedrock.spend.bill import Bill
from airflow_bedrock.spend.books import Books
from airflow_bedrock.spend.budget import settle
from airflow_bedrock.spend.ledger import Ledger, month_of, of_month, totals

log = logging.getLogger(__name__)


class Spent(NamedTuple):
    """The cost of a resource, and the budget of the month for the views in Airflow's UI; None if unknown."""

    bill: Bill | None = None
    standing: dict[str, Any] | None = None


def settled(service: Service, seen: Seen, s3: S3Hook, known: tuple[Decimal, str] | None = None) -> Spent:
    """Settle the cost of a resource, if a budget is set; the ledger is read once.

    No error here fails the task, whose resource is paid for.

    :param known: US dollars and their basis, if the caller knows them.
    """
    with _logged(f"The cost of {seen.arn} was not settled"):
        if configuration.has_budget():
            bill, ledger = settle(books_of(s3), service, seen, s3, known)
            return Spent(bill, _standing(ledger) if ledger else None)
    return Spent()


def settled_of(task_key: TaskKey, service: Service, s3: S3Hook) -> None:
    """Settle the reservations of a task's earlier tries whose resources have ended, if a budget is set.

    No error here fails the task, whose resources are paid for.
    """
    with _logged("The cost of earlier tries of this task was not settled"):
        if task_key.try_number == 1 or not configuration.has_budget():
            return
        books, task = books_of(s3), (task_key.dag_id, task_key.task_id, task_key.run_id, task_key.map_index)
        for entry in books.read().entries.values():
            its = (entry.dag_id, entry.task_id, entry.run_id, entry.map_index)
            open_ = entry.settled is None and (entry.kind, its) == (service.resource.kind, task)
            if open_ and (seen := service.find(entry.arn or entry.name)) is not None:
                settle(books, service, seen, s3)


def standing(s3: S3Hook) -> dict[str, Any] | None:
    """Return the budget of the month for the views in Airflow's UI, in US dollars; None if unknown."""
    with _logged("Could not read the state of the budget"):
        if configuration.has_budget():
            return _standing(books_of(s3).read())
    return None


@contextmanager
def _logged(what: str) -> Iterator[None]:
    """Log an error instead of raising it.

    :param what: what failed, as the beginning of a sentence.
    """
    try:
        yield
    except (BedrockError, *CALL_ERRORS, ValueError) as error:
        log.warning("%s: %s", what, error)


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

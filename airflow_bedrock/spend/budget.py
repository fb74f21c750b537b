"""Reserve the cost of a paid resource before it is made."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING

from airflow_bedrock.customization.identity import TaskKey
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError, explained
from airflow_bedrock.jobs.account import caller_arn
from airflow_bedrock.prices import HOW_TO_GIVE_ONE, dollars
from airflow_bedrock.spend.books import Books
from airflow_bedrock.spend.ledger import (
    Cost,
    Entry,
    Ledger,
    Limits,
    OverBudgetError,
    key_of,
    made,
    month_of,
    next_month,
    reach,
    released,
    remaining,
    reserved,
    settled,
)
from airflow_bedrock.spend.settling import settle_open
from airflow_bedrock.uris import Arn

if TYPE_CHECKING:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    from airflow_bedrock.hooks.bedrock import BedrockHook

log = logging.getLogger(__name__)

RECHECK = timedelta(hours=1)
"""Time after which a task tries again if a settled reservation might free enough."""

_KEPT = "Nothing was created and nothing was spent."


class BudgetError(BedrockFatalError):
    """A resource may cost more than the budget has left; it was not created."""


@dataclass(kw_only=True)
class Budget:
    """The budget, for the resources of one kind that one task requests.

    :param kind: the kind of the resource.
    :param hook: the hook for the account and region of the resource.
    :param s3: the task's connection to S3, which can read the output of a job.
    :param cost: returns the maximum cost; called right before the resource is created.
    :param backfill: returns the runs of the backfill that have not ended; None if the run is not part of one.
    :param account: the AWS account; by default read from AWS STS.
    :param now: the clock.
    """

    books: Books
    limits: Limits
    task_key: TaskKey
    kind: str
    hook: BedrockHook
    s3: S3Hook
    cost: Callable[[], Cost]
    backfill: Callable[[], list[str]] | None = None
    account: str = ""
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    retry_at: datetime | None = field(default=None, init=False)
    """When a task that is over the budget may try again."""
    _entries: dict[str, Entry] = field(default_factory=dict, init=False)

    def reserve(self, name: str) -> None:
        """Reserve the maximum cost of the resource, or take over its reservation.

        :raises BudgetError: the budget does not cover it.
        :raises BedrockFatalError: the cost is unknown.
        :raises BedrockError: the ledger could not be read or written.
        """
        entry = self._entries[name] = self._entry(name)
        if self.backfill is not None:
            log.info("%s", self._about_backfill(entry, self.backfill))
        change = partial(reserved, entry=entry, limits=self.limits)
        try:
            ledger = self.books.change(change)
        except OverBudgetError:
            settle_open(self.books, self.hook, self._account, self.s3, self.now(), besides=entry.key)
            try:
                ledger = self.books.change(change)
            except OverBudgetError as error:
                self.retry_at = next_month(entry.at)
                if error.open >= error.short:
                    self.retry_at = min(self.retry_at, self.now() + RECHECK)
                raise BudgetError(f"{error} {_KEPT}") from error
        log.info("Reserved %s USD for %s %s", dollars(ledger.entries[entry.key].counts), entry.kind, name)
        try:
            self.books.archive(ledger)
        except BedrockError as error:
            log.warning("Could not archive the ledger's old months: %s", error)

    def remaining(self) -> Decimal | None:
        """Return the US dollars that are left this month, without a reservation.

        :raises BedrockError: the ledger could not be read.
        """
        return remaining(self.books.read(), month_of(self.now()), self.task_key.dag_id, self.limits)

    def made(self, name: str, arn: str) -> None:
        """Note that the resource exists. If that cannot be written, its reservation remains."""
        self._note(partial(made, entry=self._entries[name], arn=arn))

    def release(self, name: str) -> None:
        """Release the reservation of a resource that was not created. If that cannot be written, it expires later."""
        self._note(partial(released, key=self._entries[name].key, holder=self.task_key.instance))

    def settle_rest(self, name: str, usd: Decimal, basis: str) -> None:
        """Settle what this try has reserved or taken over: what it spent, and what earlier tries may have spent."""
        mine = self._entries[name]

        def change(ledger: Ledger) -> Ledger:
            known = ledger.entries.get(mine.key, mine)
            return settled(ledger, mine.key, usd + max(known.reserved - mine.reserved, Decimal()), basis)

        try:
            spent = self.books.change(change).entries.get(mine.key, mine).counts
        except BedrockError as error:
            log.warning("%s was not settled: %s", mine.key, error)
        else:
            log.info("Settled at %s USD, by %s: %s", dollars(spent), basis, mine.key)

    def _about_backfill(self, entry: Entry, runs_to_go: Callable[[], list[str]]) -> str:
        """Log what the rest of the backfill will cost, and how many runs the budget covers."""
        try:
            runs = runs_to_go()
        except Exception as error:  # an error of Airflow; the reservation of this run is what counts
            return f"What this backfill will cost is unknown, since Airflow did not list its runs: {error}"
        ledger = self.books.read()
        done = {(one.dag_id, one.task_id, one.run_id) for one in ledger.entries.values()}
        runs = [run for run in runs if (entry.dag_id, entry.task_id, run) not in done]
        whole = (
            f"This backfill has {len(runs)} runs to go. If the {entry.kind} of each costs as much as this one may, "
            f"{dollars(entry.reserved)} USD, they cost {dollars(entry.reserved * len(runs))} USD."
        )
        far = reach(ledger, entry, self.limits)
        if far is None or far >= len(runs):
            return f"{whole} The budget covers all of them."
        to = f", up to {runs[far - 1]}" if far else ""
        return f"{whole} The budget of {entry.month} covers {far} of them{to}."

    def _entry(self, name: str) -> Entry:
        cost, task_key = self.cost(), self.task_key
        if cost.usd is None:
            raise BedrockFatalError(
                f"A budget is set, but the cost of {self.kind} {name} is unknown. {cost.unknown} "
                f"{HOW_TO_GIVE_ONE if HOW_TO_GIVE_ONE not in cost.unknown else ''} Or set expected_cost, the US "
                f"dollars that it may cost. {_KEPT}".replace("  ", " ")
            )
        region = self.hook.conn_region_name
        return Entry(
            key=key_of(region, self._account, self.kind, name),
            kind=self.kind,
            name=name,
            region=region,
            account=self._account,
            model=cost.model,
            dag_id=task_key.dag_id,
            task_id=task_key.task_id,
            run_id=task_key.run_id,
            map_index=task_key.map_index,
            at=self.now(),
            reserved=cost.usd,
            rates=dict(cost.rates),
            holders=(task_key.instance,),
        )

    @property
    def _account(self) -> str:
        if not self.account:
            self.account = account_of(self.hook)
        return self.account

    def _note(self, change: Callable[[Ledger], Ledger]) -> None:
        try:
            self.books.change(change)
        except BedrockError as error:
            log.warning("%s Its reservation stays until the bill is known.", error)


def account_of(hook: BedrockHook) -> str:
    """Return the account of the connection.

    :raises BedrockError: AWS STS did not respond.
    """
    with explained("read the connection's account, which the budget needs"):
        return Arn.of(caller_arn(hook)).account

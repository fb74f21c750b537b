"""The ledger: whatever happens in whatever order, the budget holds, and nothing is counted twice."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from airflow_bedrock.spend import ledger as books
from airflow_bedrock.spend.ledger import Entry, Ledger, Limits, OverBudgetError

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
LIMITS = Limits(Decimal(70), Decimal(45))
NAMES = st.sampled_from(["a", "b", "c", "d", "e", "f", "g", "h", "i"])
WRITERS = st.sampled_from(["one", "two"])


def entry(name: str, at: datetime = NOW, holder: str = "one", reserved: int = 10, dag: str = "dag") -> Entry:
    return Entry(
        key=f"us-east-1/1/job/{name}",
        kind="job",
        name=name,
        region="us-east-1",
        account="1",
        dag_id=dag,
        task_id="task",
        run_id="run",
        at=at,
        reserved=Decimal(reserved),
        holders=(holder,),
    )


class Account(RuleBasedStateMachine):
    """A ledger on S3 and jobs at the service; two writers that read, are slow, and are killed."""

    def __init__(self) -> None:
        super().__init__()
        self.kept, self.version, self.now = Ledger(), 0, NOW
        self.read: dict[str, tuple[Ledger, int]] = {}
        self.holds: dict[str, dict[str, Entry]] = {"one": {}, "two": {}}
        self.jobs: dict[str, bool] = {}
        """By name: whether it has ended."""

    def _write(self, ledger: Ledger) -> None:
        self.kept, self.version = msgspec.json.decode(msgspec.json.encode(ledger), type=Ledger), self.version + 1

    @rule(writer=WRITERS)
    def reads(self, writer: str) -> None:
        self.read[writer] = (self.kept, self.version)

    @rule(writer=WRITERS, name=NAMES, reserved=st.sampled_from([5, 10, 20]))
    def reserves(self, writer: str, name: str, reserved: int) -> None:
        """With what it has read, maybe long ago; written only where nobody was faster."""
        ledger, version = self.read.pop(writer, (self.kept, self.version))
        asked = entry(name, self.now, writer, reserved, "dag" if name < "f" else "other")
        try:
            changed = books.reserved(ledger, asked, LIMITS)
        except OverBudgetError:
            return
        if version == self.version and name not in self.jobs:
            self._write(changed)
            self.holds[writer][name] = asked

    @rule(writer=WRITERS, name=NAMES)
    def creates(self, writer: str, name: str) -> None:
        """The service makes one job of a name, no matter who requests it."""
        if name in self.holds[writer]:
            self.jobs.setdefault(name, False)

    @rule(writer=WRITERS, name=NAMES)
    def notes_what_was_made(self, writer: str, name: str) -> None:
        if name in self.jobs and (asked := self.holds[writer].pop(name, None)):
            self._write(books.made(self.kept, asked, f"arn:{name}"))

    @rule(writer=WRITERS, name=NAMES)
    def is_refused(self, writer: str, name: str) -> None:
        if name not in self.jobs and (asked := self.holds[writer].pop(name, None)):
            self._write(books.released(self.kept, asked.key, writer))

    @rule(writer=WRITERS)
    def is_killed(self, writer: str) -> None:
        self.holds[writer].clear()
        self.read.pop(writer, None)

    @rule(name=NAMES, part=st.sampled_from([0, 50, 100]))
    def ends_and_is_settled(self, name: str, part: int) -> None:
        """By its task, or by another that reads what became of it; a second time changes nothing."""
        found = self.kept.entries.get(entry(name).key)
        if name in self.jobs and found is not None:
            self.jobs[name] = True
            self._write(books.settled(self.kept, found.key, found.reserved * part / 100, "the test"))

    @rule()
    def dead_reservations_are_found(self) -> None:
        """After more time than a writer that lives takes between the reservation and Create."""
        for found in list(self.kept.entries.values()):
            held = any(found.name in holds for holds in self.holds.values())
            if found.settled is None and found.arn is None and found.name not in self.jobs and not held:
                self._write(books.dropped(self.kept, [found]))

    @rule(days=st.sampled_from([1, 20]))
    def time_passes(self, days: int) -> None:
        self.now += timedelta(days=days)

    @rule()
    def old_months_are_closed(self) -> None:
        self._write(books.dropped(self.kept, books.closed(self.kept, self.now)))

    @invariant()
    def the_budget_holds(self) -> None:
        for month in {one.month for one in self.kept.entries.values()}:
            assert books.committed(self.kept, month) <= (LIMITS.all or 0)
            assert books.committed(self.kept, month, "dag") <= (LIMITS.dag or 0)

    @invariant()
    def what_runs_counts_once(self) -> None:
        counted = [one.name for one in self.kept.entries.values()]
        assert len(counted) == len(set(counted))
        assert {name for name, ended in self.jobs.items() if not ended} <= set(counted)


Account.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestAccount = Account.TestCase


def test_over_the_budget_it_says_by_how_much() -> None:
    """In US dollars, with what is spent and what is reserved."""
    ledger = books.settled(books.reserved(Ledger(), entry("a"), LIMITS), entry("a").key, Decimal("9.5"), "")
    ledger = books.reserved(ledger, entry("b", reserved=20), LIMITS)
    with pytest.raises(OverBudgetError, match=r"of DAG dag for 2026-11 is 45.00 USD: 9.50 are spent, 20.00") as caught:
        books.reserved(ledger, entry("c", reserved=16), LIMITS)
    assert "0.50 more than is left" in str(caught.value)
    assert (caught.value.short, caught.value.open) == (Decimal("0.5"), Decimal(20))
    assert books.reserved(ledger, entry("c", reserved=16, dag="other"), LIMITS).entries.keys() >= {entry("c").key}


def test_a_reservation_of_last_month_for_what_was_not_made_counts_in_this_one() -> None:
    """What exists stays in the month in which it was reserved."""
    ledger = books.reserved(Ledger(), entry("dead"), LIMITS)
    ledger = books.made(books.reserved(ledger, entry("runs"), LIMITS), entry("runs"), "arn")
    for name in ("dead", "runs"):
        ledger = books.reserved(ledger, entry(name, NOW + timedelta(days=15)), LIMITS)
    assert (books.committed(ledger, "2026-11"), books.committed(ledger, "2026-12")) == (Decimal(10), Decimal(10))


def test_a_retry_that_may_cost_more_reserves_more() -> None:
    """Its data was replaced since the try before was killed: the larger job is checked against the budget too."""
    ledger = books.reserved(Ledger(), entry("a", reserved=5), LIMITS)
    with pytest.raises(OverBudgetError, match=r"may cost 46\.00, 1\.00 more"):
        books.reserved(ledger, entry("a", holder="two", reserved=46), LIMITS)
    raised = books.reserved(ledger, entry("a", holder="two", reserved=40), LIMITS)
    assert books.committed(raised, "2026-11") == 40
    assert raised.entries[entry("a").key].holders == ("one", "two")
    assert books.committed(books.reserved(raised, entry("a"), LIMITS), "2026-11") == 40
    made = books.made(raised, entry("a"), "arn")
    assert books.reserved(made, entry("a", reserved=45), LIMITS) == made, "what exists is not paid for again"


def test_a_budget_that_was_lowered_holds_for_a_retry_too() -> None:
    """Nothing was made by the try before; what exists is kept, whatever the limit."""
    ledger, less = books.reserved(Ledger(), entry("a"), LIMITS), Limits(Decimal(9))
    with pytest.raises(OverBudgetError, match=r"1\.00 more than is left"):
        books.reserved(ledger, entry("a"), less)
    assert books.reserved(ledger, entry("a"), LIMITS) == ledger
    made = books.made(ledger, entry("a"), "arn")
    assert books.reserved(made, entry("a"), less) == made


def test_a_ledger_with_a_time_without_a_zone_is_refused() -> None:
    """A person has written it: the month in which it counts would be another one on each computer."""
    written = msgspec.json.encode(books.reserved(Ledger(), entry("a"), LIMITS))
    with pytest.raises(msgspec.ValidationError, match="Expected `datetime` with a timezone"):
        msgspec.json.decode(written.replace(b"12:00:00Z", b"12:00:00"), type=Ledger)


def test_a_ledger_whose_entries_have_another_name_is_refused() -> None:
    """A person has written it: it would count as empty, and the next write would lose what was spent."""
    written = msgspec.json.encode(books.reserved(Ledger(), entry("a"), LIMITS)).replace(b'"entries":', b'"entires":')
    with pytest.raises(msgspec.ValidationError, match="unknown field `entires`"):
        msgspec.json.decode(written, type=Ledger)


@pytest.mark.parametrize("usd", ["NaN", "Infinity", "-1000"])
@pytest.mark.parametrize("member", ["reserved", "settled"])
def test_a_ledger_with_an_invalid_amount_is_refused(member: str, usd: str) -> None:
    """However it came there: no task counts on, with more left than there is."""
    ledger = json.loads(msgspec.json.encode(books.reserved(Ledger(), entry("a"), LIMITS)))
    ledger["entries"][entry("a").key][member] = usd
    with pytest.raises(msgspec.ValidationError, match="must be a number of US dollars, 0 or more"):
        msgspec.json.decode(json.dumps(ledger), type=Ledger)


@pytest.mark.parametrize("rate", ["hour", "month"])
def test_what_is_made_again_under_its_name_is_paid_for_again(rate: str) -> None:
    """Provisioned throughput of the same name, a stored model: each counts, and all together."""
    asked = msgspec.structs.replace(entry("throughput"), rates={rate: Decimal(1)})
    ledger = Ledger()
    for day in range(3):
        again = msgspec.structs.replace(asked, at=NOW + timedelta(days=day))
        ledger = books.settled(books.reserved(ledger, again, LIMITS), asked.key, Decimal(3), "3 hours")
    assert books.committed(ledger, "2026-11") == 9
    ledger = books.reserved(ledger, msgspec.structs.replace(asked, at=NOW + timedelta(days=4)), LIMITS)
    assert (books.committed(ledger, "2026-11"), ledger.entries[asked.key].settled) == (Decimal(19), None)


def test_a_job_that_is_settled_is_not_paid_for_again() -> None:
    """Who asks for it once more adopts it."""
    asked = msgspec.structs.replace(entry("a"), rates={"epoch": Decimal(1)})
    ledger = books.settled(books.reserved(Ledger(), asked, LIMITS), asked.key, Decimal(3), "3 epochs")
    assert books.committed(books.reserved(ledger, asked, LIMITS), "2026-11") == 3


def test_what_is_free_is_an_amount_too() -> None:
    """A job that failed before it trained, or whose price is zero."""
    ledger = books.reserved(
        Ledger(), msgspec.structs.replace(entry("a", reserved=0), rates={"epoch": Decimal()}), LIMITS
    )
    assert books.committed(books.settled(ledger, entry("a").key, Decimal(), "no tokens"), "2026-11") == 0


def test_a_reservation_stays_while_another_task_is_about_to_make_the_same() -> None:
    """Two runs that share a job reserve once; one of them being refused takes nothing from the other."""
    ledger = books.reserved(books.reserved(Ledger(), entry("a"), LIMITS), entry("a", holder="two"), LIMITS)
    assert books.committed(ledger, "2026-11") == 10
    ledger = books.released(ledger, entry("a").key, "one")
    assert books.committed(ledger, "2026-11") == 10
    assert books.released(ledger, entry("a").key, "two") == Ledger()


def test_what_exists_counts_although_its_reservation_was_released() -> None:
    """It is paid for, whatever the limit says."""
    asked = entry("slow")
    ledger = books.dropped(books.reserved(Ledger(), asked, LIMITS), [asked])
    assert ledger == Ledger()
    assert books.committed(books.made(ledger, asked, "arn"), "2026-11") == 10


def test_a_bill_above_the_estimate_is_written_as_it_is() -> None:
    """And leaves so much less for others."""
    ledger = books.settled(books.reserved(Ledger(), entry("a"), LIMITS), entry("a").key, Decimal(40), "its tokens")
    with pytest.raises(OverBudgetError):
        books.reserved(ledger, entry("b"), LIMITS)


def test_old_months_go_to_their_archives_when_they_are_settled() -> None:
    """What is still open stays, so that it can be settled."""
    ledger = books.reserved(books.reserved(Ledger(), entry("old"), LIMITS), entry("open"), LIMITS)
    ledger = books.settled(ledger, entry("old").key, Decimal(3), "")
    assert books.closed(ledger, datetime(2027, 1, 31, tzinfo=UTC)) == []
    old = books.closed(ledger, datetime(2027, 2, 1, tzinfo=UTC))
    assert [one.key for one in old] == [entry("old").key]
    assert list(books.dropped(ledger, old).entries) == [entry("open").key]


@pytest.mark.parametrize(
    ("moment", "month"), [("2026-12-31T23:30:00-01:00", "2027-01"), ("2026-12-01T00:30:00+01:00", "2026-11")]
)
def test_a_month_is_a_month_by_utc(moment: str, month: str) -> None:
    """Wherever the worker is."""
    at = datetime.fromisoformat(moment)
    assert books.month_of(at) == month
    following = datetime(2027, 2, 1, tzinfo=UTC) if month == "2027-01" else datetime(2026, 12, 1, tzinfo=UTC)
    assert books.next_month(at) == following


def test_a_reservation_bears_the_name_of_who_reserved_most_first() -> None:
    """Two runs that share a job: the second one holds it too, and takes it over only where it reserves more."""
    first, second = (msgspec.structs.replace(entry("a", holder=run), run_id=run) for run in ("one", "two"))
    ledger = books.reserved(books.reserved(Ledger(), first, LIMITS), second, LIMITS)
    assert (ledger.entries[first.key].run_id, ledger.entries[first.key].holders) == ("one", ("one", "two"))
    ledger = books.reserved(ledger, msgspec.structs.replace(second, reserved=Decimal(11)), LIMITS)
    assert (ledger.entries[first.key].run_id, ledger.entries[first.key].reserved) == ("two", Decimal(11))

"""The tags by which a job says who may wait for it."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from airflow_bedrock.customization.identity import Asker
from airflow_bedrock.customization.waiters import Waiter, fits, has_asked, waiters

ASKER = Asker(dag_id="dag", task_id="t", run_id="run", map_index=3, environment="prod", ask=4, try_number=2, retries=3)
OLD = "task dag t 3 run"  # as the release before wrote it


def tags_of(asker: Asker) -> dict[str, str]:
    tag = Waiter.of(asker, waits=True).tag(asker)
    return {tag["key"]: tag["value"]}


def test_what_a_waiter_s_tag_says_never_changes() -> None:
    """Jobs that run have it: a later release must read it."""
    key = f"airflow-bedrock/waiter/{ASKER.instance}"
    assert tags_of(ASKER) == {key: "task dag t 3 run ask:4"}
    assert tags_of(replace(ASKER, map_index=-1)) != tags_of(ASKER)
    assert waiters({key: OLD}) == waiters(tags_of(ASKER)) == [Waiter.of(ASKER, waits=True)]


@pytest.mark.parametrize("value", ["", "task dag t 3", "soon dag t 3 run", f"{OLD} ask:x", f"{OLD} ask:4 more"])
def test_a_tag_of_a_later_version_stands_for_someone(value: str) -> None:
    """So that nobody stops the job under him."""
    assert waiters({"airflow-bedrock/waiter/x": value, "team": "a"}) == [None]


def test_only_the_same_ask_has_asked() -> None:
    """Not a Clear, nor another run or map index; a tag without an ask tells of none."""
    assert has_asked(tags_of(ASKER), replace(ASKER, try_number=3))
    for other in ({"ask": 5}, {"run_id": "next"}, {"map_index": 4}, {"environment": "dev"}):
        assert not has_asked(tags_of(ASKER), replace(ASKER, **other))
    assert not has_asked(dict.fromkeys(tags_of(ASKER), OLD), ASKER)


def test_ids_that_leave_no_room_leave_out_the_ask() -> None:
    """A tag's value has 256 characters at most; who waits matters more than for which of its asks."""
    spare = 256 - len("task dag t 3 run")
    full = replace(ASKER, run_id="run" + "x" * spare)
    [waiter] = waiters(tags_of(full))
    assert waiter == Waiter.of(full, waits=True)
    assert waiter.ask is None
    assert not fits(Waiter.of(longer := replace(full, run_id=f"{full.run_id}x"), waits=True).tag(longer))


@pytest.mark.parametrize(
    ("ask", "number", "retry"),
    [(3, 1, False), (3, 2, True), (3, 4, True), (5, 3, False), (5, 4, True), (3, 3, True)],
)
def test_the_first_try_of_an_ask_is_no_retry(ask: int, number: int, retry: bool) -> None:
    """A Clear after two tries sets max_tries to 2 and the retries, which are 3."""
    assert replace(ASKER, ask=ask, try_number=number).is_retry is retry

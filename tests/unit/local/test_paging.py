"""Pages: every item once, whatever the page size, and also when items come between two calls."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_bedrock.local.api.paging import listed, page
from airflow_bedrock.local.errors import ServiceError
from airflow_bedrock.local.state.resources import Resource, new_id

START = datetime(2026, 11, 21, tzinfo=UTC)


def thing(name: str, seconds: float) -> Resource:
    return Resource(arn=f"arn:{name}", name=name, creation_time=START + timedelta(seconds=seconds), status="Active")


def things(count: int) -> list[Resource]:
    return [thing(f"thing-{number}", number) for number in range(count)]


def wanted(items: list[Resource], **request: Any) -> list[str]:
    found: list[dict[str, str]] = listed(request, "names", items, lambda item: {"name": item.name}, "created")["names"]
    return [item["name"] for item in found]


@given(st.integers(0, 50), st.integers(1, 60))
def test_pages_hold_every_item_once(count: int, size: int) -> None:
    """Following the tokens shows every item exactly once, in order."""
    items, shown, token = things(count), list[str](), dict[str, str]()
    while True:
        part, token = page(items, {"maxResults": size, **token})
        shown += [item.name for item in part]
        if not token:
            break
        assert len(part) == size
    assert shown == [item.name for item in items]


def test_new_items_do_not_move_the_pages() -> None:
    """An item that is created between two calls is not shown twice, and hides nothing."""
    items = things(4)[::-1]
    first, token = page(items, {"maxResults": 2})
    newest = thing("new", 86400)
    second, _ = page([newest, *items], {"maxResults": 2, **token})
    assert [item.name for item in [*first, *second]] == ["thing-3", "thing-2", "thing-1", "thing-0"]


@pytest.mark.parametrize("token", ["%%%", "bm90aGluZw==", "é"])
def test_token_that_no_list_gave_is_refused(token: str) -> None:
    """A made-up token is a ValidationException, not a first page."""
    with pytest.raises(ServiceError, match="nextToken"):
        page(things(3), {"nextToken": token})


def test_newest_come_first_unless_asked() -> None:
    """The order is by creation, the newest first, and the other way round on request."""
    assert wanted(things(3)) == ["thing-2", "thing-1", "thing-0"]
    assert wanted(things(3), sortOrder="Ascending") == ["thing-0", "thing-1", "thing-2"]


def test_filters() -> None:
    """Names and times filter; the times themselves are left out."""
    assert wanted(things(12), nameContains="-1") == ["thing-11", "thing-10", "thing-1"]
    span = {"createdAfter": START + timedelta(seconds=1), "createdBefore": START + timedelta(seconds=4)}
    assert wanted(things(9), **span) == ["thing-3", "thing-2"]


def test_a_status_is_chosen_exactly() -> None:
    """All lists of things with a status know statusEquals."""
    items = things(3)
    items[1].status = "Creating"
    assert wanted(items, statusEquals="Creating") == ["thing-1"]
    assert wanted(items, statusEquals="Active") == ["thing-2", "thing-0"]


def test_a_test_that_seeds_random_gets_other_ids() -> None:
    """As pytest-randomly does before each test: a job with the ARN of another would take its place."""
    state = random.getstate()
    ids = [(random.seed(7), new_id())[1] for _ in range(2)]
    random.setstate(state)
    assert ids[0] != ids[1]

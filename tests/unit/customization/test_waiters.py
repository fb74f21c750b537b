"""The tags by which a job says who may wait for it."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace

from airflow_bedrock.customization.identity import TaskKey
from airflow_bedrock.customization.waiters import Waiter, has_asked, is_waiter, waiters, was_waited_for

TASK_KEY = TaskKey(
    dag_id="dag", task_id="t", run_id="run", map_index=3, environment="prod", ask=4, try_number=2, retries=3
)
OLD = "task dag t 3 run"  # as the release before wrote it


def tags_of(task_key: TaskKey) -> dict[str, str]:
    return {tag["key"]: tag["value"] for tag in Waiter.of(task_key, waits=True).tags(task_key)}


def test_what_a_waiter_s_tag_says_never_changes() -> None:
    """Jobs that run have it: a later release must read it."""
    key = f"airflow-bedrock/waiter/{TASK_KEY.instance}"
    assert tags_of(TASK_KEY) == {key: "task dag t 3 run ask:4"}
    assert tags_of(replace(TASK_KEY, map_index=-1)) != tags_of(TASK_KEY)
    assert waiters({key: OLD}) == waiters(tags_of(TASK_KEY)) == [Waiter.of(TASK_KEY, waits=True)]


@pytest.mark.parametrize("value", ["", "task dag t 3", "soon dag t 3 run", f"{OLD} ask:x", f"{OLD} ask:4 more"])
def test_a_tag_of_a_later_version_stands_for_someone(value: str) -> None:
    """So that nobody stops the job under him."""
    assert waiters({"airflow-bedrock/waiter/x": value, "team": "a"}) == [None]


def test_only_the_same_ask_counts_as_the_maker() -> None:
    """Not a Clear, nor another run or map index; a tag without an ask names none."""
    assert has_asked(tags_of(TASK_KEY), replace(TASK_KEY, try_number=3))
    for other in ({"ask": 5}, {"run_id": "next"}, {"map_index": 4}, {"environment": "dev"}):
        assert not has_asked(tags_of(TASK_KEY), replace(TASK_KEY, **other))
    assert not has_asked(dict.fromkeys(tags_of(TASK_KEY), OLD), TASK_KEY)


@given(st.text(max_size=250), st.text(max_size=250), st.text(max_size=250))
@example("d" * 250, "t" * 248, "r" * 250)
def test_long_ids_take_several_tags(dag: str, task: str, run: str) -> None:
    """A tag's value has 256 characters at most, and none of its own at its ends that the service might cut off."""
    task_key = replace(TASK_KEY, dag_id=dag, task_id=task, run_id=run)
    tags = tags_of(task_key)
    assert all(0 < len(value) <= 256 and value == value.strip() for value in tags.values())
    assert waiters(tags) == [Waiter.of(task_key, waits=True)]
    assert has_asked(tags, task_key)
    left = {tag["key"]: tag["value"] for tag in Waiter.of(task_key, waits=True).leaving_tags(task_key)}
    assert waiters(tags | left) == []
    if len(tags) > 1:
        assert waiters(dict([*tags.items()][1:])) == [None], "a part alone stands for someone"


@pytest.mark.parametrize(("index", "mapped"), [(-1, ""), (0, "[0]"), (3, "[3]")])
def test_a_log_names_the_map_index_of_a_mapped_task_alone(index: int, mapped: str) -> None:
    """The first one is 0."""
    assert Waiter.of(replace(TASK_KEY, map_index=index), waits=True).name == f"dag.t{mapped} in run run"


def test_a_task_that_has_left_a_job_no_longer_waits_and_others_do() -> None:
    """A release that does not know the word keeps the job: it is a tag of a later version to it."""
    other = replace(TASK_KEY, map_index=4)
    left = {tag["key"]: tag["value"] for tag in Waiter.of(TASK_KEY, waits=True).leaving_tags(TASK_KEY)}
    assert left == {f"airflow-bedrock/waiter/{TASK_KEY.instance}": "left"}
    tags = tags_of(TASK_KEY) | tags_of(other) | left
    assert waiters(tags) == [Waiter.of(other, waits=True)]
    assert not is_waiter(tags, TASK_KEY)
    assert not has_asked(tags, TASK_KEY)
    assert (was_waited_for(left), was_waited_for({"team": "a"})) == (True, False)


def test_a_waiter_is_one_for_all_its_asks() -> None:
    """Whatever it has asked for since; another index is another waiter."""
    assert is_waiter(tags_of(TASK_KEY), replace(TASK_KEY, ask=9))
    assert not is_waiter(tags_of(TASK_KEY), replace(TASK_KEY, map_index=4))


@pytest.mark.parametrize(
    ("ask", "number", "retry"),
    [(3, 1, False), (2, 1, False), (3, 2, True), (3, 4, True), (5, 3, False), (5, 4, True), (3, 3, True)],
)
def test_the_first_try_of_an_ask_is_no_retry(ask: int, number: int, retry: bool) -> None:
    """A Clear after two tries sets max_tries to 2 and the retries, which are 3 (by now: they may have been edited)."""
    assert replace(TASK_KEY, ask=ask, try_number=number).is_retry is retry

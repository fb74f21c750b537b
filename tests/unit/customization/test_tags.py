"""Automatic tags fit the service and give way to the user's."""

from __future__ import annotations

import re

import pytest
from botocore.loaders import create_loader
from botocore.model import ServiceModel
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_bedrock.customization.identity import TaskKey
from airflow_bedrock.customization.tags import (
    MAX_USER_TAGS,
    automatic_tags,
    is_of,
    is_of_dag,
    token_in,
    token_tag,
    with_tags,
)
from airflow_bedrock.customization.waiters import Waiter, waiters
from airflow_bedrock.shapes import problems

SHAPE = ServiceModel(create_loader().load_service_model("bedrock", "service-2")).shape_for("TagList")
KEYS = st.from_regex(re.compile(r"[a-z]{1,12}"), fullmatch=True)


@given(dag=st.text(), run=st.text(), task=st.text(), index=st.integers(-1))
def test_every_tag_fits_the_service(dag: str, run: str, task: str, index: int) -> None:
    """Whatever the ids hold."""
    task_key = TaskKey(dag_id=dag, run_id=run, task_id=task, map_index=index)
    assert problems(SHAPE, with_tags([], automatic_tags(task_key, "0.1.0"))) == []


IDS = st.text(max_size=15)


@given(dag=IDS, run=IDS, task=IDS, index=st.integers(-1, 5000), waits=st.booleans())
@example(dag="モデル", run="manual__2026-01-01T00:00:00+00:00", task="größe~2", index=-1, waits=True)
def test_a_waiter_is_read_from_the_tag_that_says_so(dag: str, run: str, task: str, index: int, waits: bool) -> None:
    """Airflow takes letters of any script in ids, and a tilde in a run's; a tag takes neither."""
    task_key = TaskKey(dag_id=dag, run_id=run, task_id=task, map_index=index)
    tags = Waiter.of(task_key, waits=waits).tags(task_key)
    assert waiters({tag["key"]: tag["value"] for tag in tags}) == [Waiter.of(task_key, waits=waits)]
    assert problems(SHAPE, tags) == []


@pytest.mark.parametrize("value", ["", "task d t 0", "task d t =C2=B2 r", "task d t x r", "for-ever d t 0 r"])
def test_a_waiter_s_tag_that_cannot_be_read_is_reported_as_such(value: str) -> None:
    """Whatever a person has written into it."""
    assert waiters({"airflow-bedrock/waiter/x": value}) == [None]


@given(st.dictionaries(KEYS, KEYS, max_size=MAX_USER_TAGS))
def test_the_users_tags_are_kept(given_tags: dict[str, str]) -> None:
    """All of the user's, in their order, then the automatic ones."""
    users = [{"key": key, "value": value} for key, value in given_tags.items()]
    tags = with_tags(users, automatic_tags(TaskKey(dag_id="d", run_id="r", task_id="t"), "0.1.0"))
    assert tags[: len(users)] == users
    assert len(tags) == len(users) + 6


def test_more_tags_than_the_service_takes_are_refused() -> None:
    """Instead of leaving out those by which a job is known."""
    users = [{"key": f"k{number}", "value": ""} for number in range(MAX_USER_TAGS + 1)]
    with pytest.raises(ValueError, match="41 tags are too many: set at most 40"):
        with_tags(users, {})


@pytest.mark.parametrize("other", ["dev!", "dev_", "dev?", "Dev", "dev", f"dev{'x' * 300}!", f"dev{'x' * 300}?"])
@pytest.mark.parametrize("name", ["dev!", "dev_", f"dev{'x' * 300}!"])
def test_two_environments_never_have_the_same_tag(name: str, other: str) -> None:
    """A tag takes neither every character nor every length."""
    tags = automatic_tags(TaskKey(dag_id="d", run_id="r", task_id="t", environment=name), "0.1.0")
    assert is_of(tags, other) is (name == other)
    assert problems(SHAPE, with_tags([], tags)) == []


def test_what_the_tags_say_never_changes() -> None:
    """Policies and cost reports name their keys; a later release finds by them what an earlier one has made."""
    task_key = TaskKey(dag_id="größe~2", run_id="r", task_id="t" * 300, map_index=3, environment="München")
    tags = automatic_tags(task_key, "0.1.0")
    assert tags == {
        "airflow-bedrock/environment": "M_nchen.b9c8f07aef6ce30f9867",
        "airflow/dag_id": "gr__e_2",
        "airflow/run_id": "r",
        "airflow/task_id": "t" * 256,
        "airflow/map_index": "3",
        "airflow-bedrock/version": "0.1.0",
    }
    assert token_tag("a-b") == {"key": "airflow-bedrock/token", "value": "a-b"}
    assert is_of_dag(tags, "München", "größe~2")
    for environment, dag in (("prod", "größe~2"), ("München", "other")):
        assert not is_of_dag(tags, environment, dag)


def test_the_user_wins() -> None:
    """A tag of the user's with an automatic key stays as it is."""
    users = [{"key": "airflow/dag_id", "value": "mine"}]
    tags = with_tags(users, automatic_tags(TaskKey(dag_id="d", run_id="r", task_id="t"), "0.1.0"))
    assert [tag["value"] for tag in tags if tag["key"] == "airflow/dag_id"] == ["mine"]


def test_a_token_is_read_back_from_its_tag() -> None:
    """Where nothing else shows with which token a resource was made."""
    tag = token_tag("token")
    assert problems(SHAPE, [tag]) == []
    assert token_in({tag["key"]: tag["value"]}) == "token"
    assert token_in({}) is None

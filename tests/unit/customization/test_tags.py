"""Automatic tags fit the service and give way to the user's."""

from __future__ import annotations

import re

import pytest
from botocore.loaders import create_loader
from botocore.model import ServiceModel
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_bedrock.customization.identity import Asker
from airflow_bedrock.customization.tags import MAX_TAGS, automatic_tags, with_tags
from airflow_bedrock.customization.waiters import Waiter, fits, waiters
from airflow_bedrock.shapes import problems

SHAPE = ServiceModel(create_loader().load_service_model("bedrock", "service-2")).shape_for("TagList")
KEYS = st.from_regex(re.compile(r"[a-z]{1,12}"), fullmatch=True)


@given(dag=st.text(), run=st.text(), task=st.text(), index=st.integers(-1))
def test_every_tag_fits_the_service(dag: str, run: str, task: str, index: int) -> None:
    """Whatever the ids hold."""
    asker = Asker(dag_id=dag, run_id=run, task_id=task, map_index=index)
    assert problems(SHAPE, with_tags([], automatic_tags(asker, "0.1.0"))) == []


IDS = st.text(max_size=15)


@given(dag=IDS, run=IDS, task=IDS, index=st.integers(-1, 5000), waits=st.booleans())
@example(dag="モデル", run="manual__2026-01-01T00:00:00+00:00", task="größe~2", index=-1, waits=True)
def test_a_waiter_is_read_from_the_tag_that_says_so(dag: str, run: str, task: str, index: int, waits: bool) -> None:
    """Airflow takes letters of any script in ids, and a tilde in a run's; a tag takes neither."""
    asker = Asker(dag_id=dag, run_id=run, task_id=task, map_index=index)
    tag = Waiter.of(asker, waits=waits).tag(asker)
    assert waiters({tag["key"]: tag["value"]}) == [Waiter.of(asker, waits=waits)]
    assert not fits(tag) or problems(SHAPE, [tag]) == []


@pytest.mark.parametrize("value", ["", "task d t 0", "task d t =C2=B2 r", "task d t x r", "for-ever d t 0 r"])
def test_a_waiter_s_tag_that_cannot_be_read_is_told_as_such(value: str) -> None:
    """Whatever a person has written into it."""
    assert waiters({"airflow-bedrock/waiter/x": value}) == [None]


@given(st.dictionaries(KEYS, KEYS, max_size=MAX_TAGS))
def test_the_users_tags_are_kept_and_the_limit_holds(given_tags: dict[str, str]) -> None:
    """All of the user's, in their order, then the automatic ones as far as there is room."""
    users = [{"key": key, "value": value} for key, value in given_tags.items()]
    tags = with_tags(users, automatic_tags(Asker(dag_id="d", run_id="r", task_id="t"), "0.1.0"))
    assert tags[: len(users)] == users
    assert len(tags) == min(MAX_TAGS, len(users) + 6)


def test_the_user_wins() -> None:
    """A tag of the user's with an automatic key stays as it is."""
    users = [{"key": "airflow/dag_id", "value": "mine"}]
    tags = with_tags(users, automatic_tags(Asker(dag_id="d", run_id="r", task_id="t"), "0.1.0"))
    assert [tag["value"] for tag in tags if tag["key"] == "airflow/dag_id"] == ["mine"]

"""Questions about a promotion in the store."""

from __future__ import annotations

from typing import Any

from airflow_bedrock.registry.approval import Approvals, Question
from tests.unit.registry.lines import START
from tests.unit.registry.world import World


def test_a_question_that_exists_already_stays_as_it_is() -> None:
    """Two tries of a task at once: what the person is shown is what the answer is checked against."""
    world: Any = World(in_place=True)
    approvals = Approvals("s3://bucket/registry", lambda: world)
    first = Question(id="one", body="the figures", until=START)
    assert approvals.ask(first) == approvals.ask(Question(id="one", body="later figures", until=START)) == first


def test_an_answer_that_does_not_say_approved_is_no_approval() -> None:
    """Such as one that was written by other means than the command."""
    world: Any = World(in_place=True)
    world.objects["registry/answers/one.json"] = ("etag", b'{"by": "ann", "at": "2025-01-01T00:00:00Z"}')
    answer = Approvals("s3://bucket/registry", lambda: world).answered(Question(id="one", until=START))
    assert answer is not None
    assert not answer.approved

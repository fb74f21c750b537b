"""Questions about a promotion in the store."""

from __future__ import annotations

from typing import Any

from airflow_bedrock.registry.approval import Approvals, Question
from tests.unit.registry.lines import START
from tests.unit.registry.world import World


def test_who_asks_second_gets_the_question_that_was_written_first() -> None:
    """Two tries of a task at once: what the person is shown is what the answer is checked against."""
    world: Any = World(in_place=True)
    approvals = Approvals("s3://bucket/registry", lambda: world)
    first = Question(id="one", body="the figures", until=START)
    assert approvals.ask(first) == approvals.ask(Question(id="one", body="later figures")) == first

"""Every fault, for each kind of paid thing: one is made, and none is left that nobody asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.paid import KINDS, SCENARIOS, Kind, Scenario, World, play, row

PAGE = Path(__file__).parents[2] / "docs" / "throughput-and-copies.md"


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.word)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.play.__name__)
def test_one_is_made_and_none_is_left(
    world: World, scenario: Scenario, kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be stopped goes on, and the task or its log says so, and what it costs."""
    with caplog.at_level("INFO"):
        outcome, said = play(scenario, kind, world)
    assert outcome == scenario.expected(kind)
    assert row(scenario, [str(scenario.expected(each)) for each in KINDS])[:-2] in PAGE.read_text()
    if outcome.left:
        assert "no operation that stops" in "\n".join((*said, caplog.text))

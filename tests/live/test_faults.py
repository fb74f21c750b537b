"""Every fault with worker processes that are really killed, counted on the side of Local Bedrock."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.scenarios import SCENARIOS, Scenario, play

PAGE = Path(__file__).parents[2] / "docs" / "exactly-once.md"


@pytest.mark.live
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.play.__name__)
def test_one_job_is_paid_for_and_none_is_left_running(scenario: Scenario) -> None:
    """Whatever happens, unless a person asks for another thing; and the task fails only where it has to."""
    outcome = play(scenario, "ours")
    assert (outcome.paid, outcome.running, outcome.end) == (scenario.paid, scenario.left, scenario.end)
    row = f"| {scenario.name} | {scenario.paid} | {scenario.left} | {scenario.end} |"
    assert row in PAGE.read_text()

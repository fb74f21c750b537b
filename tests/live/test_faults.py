"""Every fault with worker processes that are really killed, counted on the side of Local Bedrock."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.faults.scenarios import SCENARIOS, Scenario, play

PAGE = Path(__file__).parents[2] / "docs" / "exactly-once.md"
FAILS = ("bad_data", "marked_failed_while_waiting", "execution_timeout")


@pytest.mark.live
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.play.__name__)
def test_one_job_is_paid_for_and_none_is_left_running(scenario: Scenario) -> None:
    """Whatever happens; and the task fails only where it has to."""
    outcome = play(scenario, "ours")
    assert (outcome.paid, outcome.running) == (1, 0)
    assert outcome.end == ("failed" if scenario.play.__name__ in FAILS else "success")
    assert f"| {scenario.name} | 1 | 0 | {outcome.end} |" in PAGE.read_text()

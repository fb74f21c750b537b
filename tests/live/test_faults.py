"""Every fault with worker processes that are really killed, counted on the side of Local Bedrock."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.scenarios import SCENARIOS, Scenario, play

PAGE = Path(__file__).parents[2] / "docs" / "exactly-once.md"
PAYS_TWICE = ("cleared_with_other_data_while_the_job_runs",)  # a person asked for another thing
FAILS = ("bad_data", "marked_failed_while_waiting", "execution_timeout")


@pytest.mark.live
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.play.__name__)
def test_one_job_is_paid_for_and_none_is_left_running(scenario: Scenario) -> None:
    """Whatever happens, unless a person asks for another thing; and the task fails only where it has to."""
    outcome = play(scenario, "ours")
    paid = 2 if scenario.play.__name__ in PAYS_TWICE else 1
    assert (outcome.paid, outcome.running) == (paid, 0)
    assert outcome.end == ("failed" if scenario.play.__name__ in FAILS else "success")
    assert f"| {scenario.name} | {paid} | 0 | {outcome.end} |" in PAGE.read_text()

"""All scenarios, in the order of the table."""

from __future__ import annotations

from scripts.live import ending, identity
from scripts.live.scenario import Scenario

SCENARIOS: tuple[Scenario, ...] = (*identity.SCENARIOS, *ending.SCENARIOS)

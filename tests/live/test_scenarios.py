"""Some of the scenarios of ``make live``, so that they do not rot: on PostgreSQL, with processes and real Clears."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from airflow.triggers.base import BaseTrigger

from scripts.live.cluster import Cluster
from scripts.live.scenario import AS_IT_SHOULD, Scenario, play
from scripts.live.scenarios import SCENARIOS
from tests.live.leftovers import left_behind
from tests.live.postgres import postgres

pytestmark = [
    pytest.mark.live,
    pytest.mark.skipif(not hasattr(BaseTrigger, "on_kill"), reason="the DAGs need Airflow 3.3"),
]

PLAYED = ("cleared_with_the_same", "marked_failed_while_the_sensor_waits")
CHOSEN = [one for one in SCENARIOS if one.name in PLAYED]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    home = tmp_path_factory.mktemp("live") / "home"
    with postgres() as database:
        cluster = Cluster(home, database)
        with cluster.running([dag for one in CHOSEN for dag in one.dags]):
            yield cluster
    assert left_behind(home) == []


@pytest.mark.parametrize("scenario", CHOSEN, ids=lambda scenario: scenario.name)
def test_what_was_asked_for_is_paid_for_once_and_nothing_is_left_running(cluster: Cluster, scenario: Scenario) -> None:
    """As the table in docs/live.md says."""
    outcome = play(scenario, cluster)
    assert (outcome.verdict, outcome.accepted, outcome.left) == (AS_IT_SHOULD, scenario.asked_for, 0)

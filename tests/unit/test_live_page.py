"""docs/live.md has a row for each scenario that ``make live`` plays, and says of each what it does."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from scripts.compose import services
from scripts.live import page
from scripts.live.scenario import AS_IT_SHOULD, Outcome
from scripts.live.scenarios import SCENARIOS
from scripts.tables import END


def test_the_table_has_a_row_for_each_scenario() -> None:
    """In their order, none twice, each with what is done and nothing wrong."""
    rows = {name: line.strip("| ").split(" | ") for name, line in page.rows().items()}
    assert list(rows) == [one.name for one in SCENARIOS]
    for one in SCENARIOS:
        cells = rows[one.name]
        assert len(cells) == len(page.LIVE.columns)
        assert cells[1] == one.told
        assert cells[3] == "0"
        assert cells[4].startswith(AS_IT_SHOULD)


def test_a_scenario_has_a_dag_of_its_own() -> None:
    """Each DAG is one scenario's, and its account's bucket and connection too, by the scenario's name."""
    dags = [dag for one in SCENARIOS for dag in one.dags]
    assert len(dags) == len(set(dags))
    assert all(dag.startswith(one.name) for one in SCENARIOS for dag in one.dags)


def test_a_row_that_is_played_again_replaces_its_own(tmp_path: Path) -> None:
    """And leaves the others, and the text around the table."""
    copy = replace(page.LIVE, page=tmp_path / "live.md")
    copy.page.write_text(f"before\n{copy.begin}\n{END}\nafter\n")
    first = {one.name: page.row(one, Outcome(one.asked_for, 0, AS_IT_SHOULD, 1.4)) for one in SCENARIOS}
    page.write(SCENARIOS, first, copy)
    assert page.rows(copy) == first
    one = SCENARIOS[1]
    again = page.row(one, Outcome(one.asked_for + 1, 1, "WRONG: a | b\nc", 1.4))
    assert f"| {one.asked_for + 1} / {one.asked_for} | 1 | WRONG: a / b c | 1 | {page.commit()}, " in again
    page.write(SCENARIOS, {one.name: again}, copy)
    assert page.rows(copy) == first | {one.name: again}
    assert copy.page.read_text().startswith("before\n")
    assert copy.page.read_text().endswith("after\n")


def test_every_component_was_killed_and_nothing_was_wrong() -> None:
    """The table of the distributed run has a row for each service of docker-compose.yaml that stays up."""
    rows = [line.strip("| ").split(" | ") for line in page.DISTRIBUTED.rows()]
    up = [name for name, service in services(Path("/")).items() if service.restarts]
    assert {re.sub(r"-\d$", "", cells[0]) for cells in rows[1:-1]} == set(up)
    for cells in (rows[0], rows[-1]):
        told = dict(zip(page.DISTRIBUTED.columns, cells, strict=True))
        assert told["left running"] == "0"
        assert told["verdict"].startswith(AS_IT_SHOULD)


def test_retraining_was_as_it_should_be() -> None:
    """Nothing was left over, and nothing was wrong."""
    rows = [line.strip("| ").split(" | ") for line in page.RETRAINING.rows()]
    assert rows
    for cells in rows:
        told = dict(zip(page.RETRAINING.columns, cells, strict=True))
        assert (told["left running"], told["verdict"]) == ("0", AS_IT_SHOULD)

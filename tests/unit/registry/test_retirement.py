"""Retirement: what serves, what a rollback needs, and what others use stays; the rest goes in the order it takes."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_bedrock.customization.job import Outcome, ResourceState
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.jobs.resources.provisioned_throughput import PROVISIONED_THROUGHPUT
from airflow_bedrock.operators import BedrockRetireModelsOperator
from airflow_bedrock.prices import prices
from airflow_bedrock.registry.models import described
from airflow_bedrock.registry.register import NotPromotedError
from airflow_bedrock.registry.retirement import CANDIDATE_UNTIL, PIN, Model, Plan, Use
from airflow_bedrock.registry.serving import name_for
from tests.unit.registry.lines import NAME, START, Line, model_name, tags
from tests.unit.registry.world import Killed

DAY = timedelta(days=1)


@pytest.fixture(params=[True, False], ids=["in place", "by pointer"])
def line(request: pytest.FixtureRequest) -> Line:
    """Five models, of which the last three have served; m5 serves."""
    line = Line(in_place=request.param)
    for number in (1, 2):
        line.train(f"m{number}")
    for number in (3, 4, 5):
        line.promote(f"m{number}", number)
    return line


def test_the_champion_and_what_a_rollback_needs_stay(line: Line) -> None:
    """A later rollback finds the model; the one that was deleted is not promoted again."""
    plan = line.retire()
    assert [model.arn for model in plan.retired] == ["m1", "m2", "m3"]
    assert line.world.models.keys() == {"m4", "m5"}
    assert {one["modelArn"] for one in line.world.deployments.values()} <= {"m4", "m5"}
    with pytest.raises(NotPromotedError, match="retired"):
        line.promote("m3", 9)
    with pytest.raises(BedrockFatalError, match="was retired"):
        line.promoter().roll_back(NAME, "ann", "m3")
    line.promoter().roll_back(NAME, "ann")
    assert line.serving == "m4"


def test_the_list_of_models_says_which_were_retired(line: Line) -> None:
    """airflow-bedrock models."""
    line.retire()
    registry: Any = SimpleNamespace(get=lambda name: line.register, serving=lambda register, **_: line.serving)
    found = described(registry, NAME)
    assert [(one["model_arn"], one["role"]) for one in found["versions"]] == [
        ("m5", "champion"),
        ("m4", "before"),
        ("m3", "retired"),
    ]


def test_a_plan_changes_nothing(line: Line) -> None:
    """The dry run names what retirement deletes, and why the others stay."""
    before = (dict(line.world.objects), dict(line.world.models), dict(line.world.deployments))
    plan, _, _ = line.retirer().plan(NAME)
    assert (dict(line.world.objects), dict(line.world.models), dict(line.world.deployments)) == before
    assert plan.kept == {
        "m5": "it serves",
        "m4": "it is the champion, or is being promoted, or a rollback needs it",
    }
    assert [model.arn for model in line.retire().retired] == [model.arn for model in plan.retired]


def test_the_last_the_young_and_the_pinned_stay(line: Line) -> None:
    """Each for its own reason."""
    line.world.tags["m1"][PIN] = "the audit of May"
    line.train("m6")
    assert line.retire(last=1).kept["m6"] == "it is one of the last 1"
    assert "m1" in line.world.models
    line.train("m7", created=START - DAY)
    line.train("m8")
    line.retire(younger_than=DAY)
    assert {"m8", "m6"} <= line.world.models.keys()
    assert "m7" not in line.world.models


def test_a_model_that_waits_for_an_approval_stays(line: Line) -> None:
    """However old it is, until the time in its tag; a tag that cannot be read keeps it too."""
    line.world.tags["m1"][CANDIDATE_UNTIL] = (START + DAY).isoformat()
    line.world.tags["m2"][CANDIDATE_UNTIL] = "next week"
    why = f"a person was asked to approve it: it has the tag {CANDIDATE_UNTIL}="
    plan = line.retire()
    assert (plan.kept["m1"], plan.kept["m2"]) == (f"{why}2026-01-02T00:00:00+00:00", f"{why}next week")
    line.world.tags["m1"][CANDIDATE_UNTIL] = START.isoformat()
    line.retire()
    assert line.world.models.keys() == {"m2", "m4", "m5"}


def test_models_of_others_are_ignored(line: Line) -> None:
    """Of another DAG, of another Airflow on the same account, without tags, or of another name."""
    line.train("another dag's", tags=tags(dag_id="other"))
    line.train("another airflow's", tags=tags(environment="other"))
    line.train("by hand", tags={})
    line.train("of another line", name=model_name(7).replace(NAME, f"{NAME}-eu"))
    plan = line.retire()
    others = {"another dag's", "another airflow's", "by hand", "of another line"}
    assert others <= line.world.models.keys()
    assert not others & (plan.kept.keys() | {model.arn for model in plan.retired})


def test_what_others_have_deployed_stays(line: Line) -> None:
    """A deployment that this DAG did not make for the model keeps it; one that is its own goes with it."""
    name = line.world.models["m2"]["modelName"]
    line.world.create_custom_model_deployment(modelDeploymentName="of a person", modelArn="m1")
    line.world.create_custom_model_deployment(modelDeploymentName=name, modelArn="m2")
    plan = line.retire()
    assert plan.kept["m1"] == "custom model deployment of a person uses it"
    assert "of a person" in line.world.deployments
    assert name not in line.world.deployments
    assert "m2" not in line.world.models


def test_a_model_that_a_run_may_be_evaluating_stays(line: Line) -> None:
    """An old model that a backfill has taken again is as young as its deployment."""
    line.train("old", created=START - 10 * DAY)
    line.world.created = START
    name = line.world.models["old"]["modelName"]
    line.world.create_custom_model_deployment(modelDeploymentName=name, modelArn="old")
    plan = line.retire(younger_than=DAY)
    assert plan.kept["old"] == f"custom model deployment {name} is younger than 1 day, 0:00:00: a run may be using it"


def throughput(name: str) -> dict[str, Any]:
    return {
        "provisionedModelArn": "p1",
        "provisionedModelName": name,
        "modelArn": "m1",
        "desiredModelArn": "m1",
        "modelUnits": 2,
        "creationTime": START - DAY,
    }


def test_throughput_that_bears_the_name_of_a_deployment_stays(line: Line) -> None:
    """The name that a deployment of the model would have makes no throughput the model's own."""
    name = name_for(NAME, "m1")
    line.world.throughputs["p1"] = throughput(name)
    plan = line.retire()
    assert plan.kept["m1"] == f"provisioned throughput {name} uses it"
    assert "p1" in line.world.throughputs


@pytest.mark.parametrize("committed", [True, False])
def test_provisioned_throughput_is_deleted_before_its_model(line: Line, committed: bool) -> None:
    """Unless it is committed for longer: then the model stays."""
    name = line.world.models["m1"]["modelName"]
    line.world.throughputs["p1"] = throughput(name) | ({"commitmentExpirationTime": START + DAY} if committed else {})
    plan = line.retire()
    assert ("p1" in line.world.throughputs, "m1" in line.world.models) == (committed, committed)
    if committed:
        assert plan.kept["m1"] == f"provisioned throughput {name} is committed until 2026-01-02"


def test_without_a_champion_nothing_is_deleted() -> None:
    """A registry_uri that leads elsewhere must not read as a line that nobody needs."""
    line = Line(in_place=False)
    for number in range(5):
        line.train(f"m{number}")
    assert line.retire().retired == []
    assert len(line.world.models) == 5


def test_what_another_line_needs_stays(line: Line) -> None:
    """One model may serve two lines, and be what a rollback needs in the second alone."""
    register = line.world.objects[f"registry/{NAME}.json"][1]
    line.world.objects["registry/other.json"] = (
        '"0"',
        register.replace(b'"m4"', b'"m1"').replace(b'"router"', b'"other"'),
    )
    assert line.retire().kept["m1"] == "another line needs it"


def test_a_retirement_that_is_killed_at_any_call_is_ended_by_the_next(line: Line) -> None:
    """What it had begun to delete goes, though it is young by then."""
    calls = line.world.calls
    line.retirer().plan(NAME)
    at = line.world.calls - calls

    def killed() -> None:
        raise Killed

    for number in range(1, 14):
        again = Line(in_place="UpdateCustomModelDeployment" in line.world.meta.service_model.operation_names)
        for model in (3, 4, 5):
            again.promote(f"m{model}", model)
        again.world.before[again.world.calls + number] = killed
        with suppress(Killed):
            again.retire()
        again.world.before.clear()
        younger = DAY if number > at + 1 else timedelta(0)
        again.retire(younger_than=younger)
        assert again.world.models.keys() == {"m4", "m5"}, number


def test_one_that_cannot_be_deleted_does_not_keep_the_others(line: Line) -> None:
    """The task fails and says which; its next try goes on."""
    delete = line.world.delete_custom_model

    def refusing(*, modelIdentifier: str) -> dict[str, Any]:
        if modelIdentifier == "m1":
            from tests.unit.registry.world import refused

            raise refused("AccessDeniedException", "DeleteCustomModel")
        return delete(modelIdentifier=modelIdentifier)

    line.world.delete_custom_model = refusing  # type: ignore[method-assign]  # for this world
    with pytest.raises(BedrockError, match=r"1 of 3 models were not deleted.*delete custom model m1"):
        line.retire()
    assert line.world.models.keys() == {"m1", "m4", "m5"}


def test_what_it_saves_a_month() -> None:
    """Storage, and model units by the hour; what has no price is named, and is not taken for free."""
    lite, unknown = "amazon.nova-lite-v1:0", "amazon.titan-text-lite-v1"
    throughput = ResourceState(arn="p", name="p", status="InService", outcome=Outcome.SUCCEEDED, units=2)
    units = Use(resource=PROVISIONED_THROUGHPUT, found=throughput, own=True)
    models = [
        Model(arn=base, name=f"of {base}", base_model_arn=base, created=datetime.now(UTC), uses=uses)
        for base, uses in ((lite, [units]), (unknown, []))
    ]
    known = prices()
    saved, without = Plan(retired=models, kept={}).savings(known, "us-east-1")
    storage, hour = (known.price(lite, figure, "us-east-1").usd for figure in ("storage", "model_unit"))
    assert saved == storage + 2 * 730 * hour > Decimal(2)
    assert without == [f"storage of of {unknown}"]


def test_the_prices_are_those_of_the_region_of_the_calls() -> None:
    """The connection has no region, so boto3's own configuration gives it, for the calls and for the prices."""
    task = BedrockRetireModelsOperator(task_id="retire", deployment_name=NAME, registry_uri="s3://bucket/registry")
    model = Model(arn="m", name="m", base_model_arn="amazon.nova-lite-v1:0", created=datetime.now(UTC), uses=[])
    assert task._reported(Plan(retired=[model], kept={}), prices(), dry_run=True)["without_price"] == []


def test_nothing_is_deleted_if_the_prices_cannot_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The task failed after it had deleted the models."""
    monkeypatch.setenv("AIRFLOW__BEDROCK__PRICES", str(tmp_path / "none.toml"))
    task = BedrockRetireModelsOperator(
        task_id="retire", deployment_name=NAME, registry_uri="s3://bucket/registry", delete=True
    )
    task.__dict__["hook"] = None  # not reached
    with pytest.raises(BedrockFatalError, match=r"none\.toml cannot be read"):
        task.execute({})


def test_a_commitment_that_ends_at_this_moment_has_ended(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service deletes the throughput from then on."""
    moment, name = START + 30 * DAY, line.world.models["m1"]["modelName"]
    monkeypatch.setattr(line, "now", lambda: moment)
    line.world.throughputs["p1"] = throughput(name) | {"commitmentExpirationTime": moment}
    line.retire()
    assert "p1" not in line.world.throughputs


def test_a_deployment_saves_no_model_units() -> None:
    """It costs nothing while it is not called; only throughput is billed by the hour."""
    line = Line(in_place=False)
    for number in range(1, 5):
        line.promote(f"m{number}", number)
    units = [use.found.units for model in line.retire().retired for use in model.uses]
    assert units
    assert set(units) == {0}

"""What costs money and is used by nobody: found with its price and reported, on Local Bedrock and CloudWatch."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from airflow.sdk import DAG, BaseNotifier
from botocore.exceptions import ClientError

from airflow_bedrock import shown
from airflow_bedrock.base_models import base_model
from airflow_bedrock.exceptions import ArgumentError, BedrockError
from airflow_bedrock.hooks import BedrockHook
from airflow_bedrock.local import LocalBedrock, Quotas
from airflow_bedrock.operators import BedrockIdleCostOperator
from airflow_bedrock.operators.idle_cost import text
from airflow_bedrock.plugin.shapes import checked
from airflow_bedrock.prices import prices
from airflow_bedrock.spend.idle import report
from tests.dag_files import DAGS, load
from tests.deployed import Deployed, actions, both, policy, without
from tests.faults.paid import put_model
from tests.integration.test_customization_operator import Account, context, operator, records, time_passes

pytestmark = pytest.mark.local_bedrock(
    clock="manual", job_seconds=100, deployment_seconds=1, quotas=Quotas(model_units=5), enforce_iam=True
)


class Telling(BaseNotifier):
    """A notifier as any channel has one."""

    template_fields = ("text",)
    told: list[str] = []  # noqa: RUF012  # of the class, as a channel is

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def notify(self, context: Any) -> None:
        self.told.append(self.text)


def in_a_dag() -> Any:
    """Return a context with the DAG, which notifiers of Airflow before 3.1 ask for."""
    return {**context(), "dag": DAG("idle")}


@pytest.fixture(scope="module")
def local(local_bedrock_module: LocalBedrock) -> LocalBedrock:
    return local_bedrock_module


@pytest.fixture(scope="module")
def served(local: LocalBedrock) -> Iterator[dict[str, str]]:
    """Two models, one with provisioned throughput and two deployments; two imports. Some are called."""
    account, found = Account(local), {}
    with time_passes(local):
        for number in range(2):
            data = account.put(f"train-{number}.jsonl", records(20 + number))
            now = context(f"run-{number}")
            operator(account, local, data, job_name=f"idle-{number}").execute(now)
            found[f"model {number}"] = now["ti"].pushed["result"]["custom_model_arn"]
        client = account.bedrock
        found["throughput"] = client.create_provisioned_model_throughput(
            modelUnits=2, provisionedModelName="forgotten", modelId=found["model 0"]
        )["provisionedModelArn"]
        for name in ("called", "uncalled"):
            found[name] = client.create_custom_model_deployment(modelDeploymentName=name, modelArn=found["model 0"])[
                "customModelDeploymentArn"
            ]
        for name in ("answering", "unasked"):
            folder, names = put_model(local, name), {"jobName": name, "importedModelName": name}
            source = {"s3DataSource": {"s3Uri": folder}}
            client.create_model_import_job(**names, roleArn=local.role_arn, modelDataSource=source)
            local.clock.advance(1000)
            found[name] = client.get_imported_model(modelIdentifier=name)["modelArn"]
    metrics = local.client("cloudwatch")
    metrics.put_metric_data(
        Namespace="AWS/Bedrock",
        MetricData=[
            {
                "MetricName": "Invocations",
                "Dimensions": [{"Name": "ModelId", "Value": found[name]}],
                "Timestamp": datetime.now(UTC) - timedelta(hours=1),
                "Value": 3,
            }
            for name in ("called", "answering")
        ],
    )
    metrics.close()
    yield found
    account.close()


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it is old enough."""
    monkeypatch.setattr("airflow_bedrock.spend.idle._Region._old", lambda self, created: True)


def test_unused_resources_are_reported_with_price_and_date(
    local: LocalBedrock, served: dict[str, str], later: None
) -> None:
    """The dearest first; what is called is not in it."""
    Telling.told.clear()
    task = BedrockIdleCostOperator(task_id="idle", notifiers=Telling(text="{{ idle_cost_text }}"))
    now = in_a_dag()
    result = task.execute(now)
    assert checked(shown.IDLE, now["ti"].pushed[shown.IDLE])  # for the views in Airflow's UI
    assert result["idle"][0]["arn"] == served["throughput"]
    unused = {served[name] for name in ("throughput", "uncalled", "model 1", "unasked")}
    assert {one["arn"] for one in result["idle"]} == unused
    assert result["usd_a_month"] == pytest.approx(2 * 60.50 * 730 + 1.95)
    assert result["without_price"] == [served["model 1"]]
    [told] = Telling.told
    for part in ("forgotten in us-east-1: 88,330.00 USD a month", "2026-09-01", "an unknown sum", "plus 1 without"):
        assert part in told


def test_an_imported_model_says_what_it_costs_where_it_answers(
    local: LocalBedrock, served: dict[str, str], later: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The package has no price of a minute; with one of the user's own, that of a window of five."""
    [line] = lines_about("unasked")
    assert "unasked in us-east-1: 1.95 USD a month at 1.95 USD per custom model unit and month (2026-07-24" in line
    assert "not called for 14 days; no price is known for the minutes in which it answers" in line
    (tmp_path / "prices.toml").write_text(
        '[sources.ours]\ndate = 2026-11-01\nname = "Ours"\n[[prices]]\nsource = "ours"\n'
        '[prices.models]\n"imported-model" = { imported_minute = 0.07 }\n'
    )
    monkeypatch.setenv("AIRFLOW__BEDROCK__PRICES", str(tmp_path / "prices.toml"))
    [line] = lines_about("unasked")
    assert "each 5 minutes in which a copy of it answers cost 0.35 USD at 0.07 USD per custom model unit and mi" in line


def lines_about(name: str) -> list[str]:
    said = text(BedrockIdleCostOperator(task_id="idle").execute(in_a_dag()))
    return [line for line in said.splitlines() if f" {name} in " in line]


def test_a_commitment_that_nobody_knows_has_no_price(
    local: LocalBedrock, served: dict[str, str], later: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """AWS may offer another one; the rest of the report is there."""
    monkeypatch.setattr("airflow_bedrock.spend.idle.MODEL_UNITS", {})
    result = BedrockIdleCostOperator(task_id="idle").execute(in_a_dag())
    assert served["throughput"] in result["without_price"]


def test_where_imported_models_cannot_be_listed_the_others_are_found(
    local: LocalBedrock, served: dict[str, str], later: None
) -> None:
    """Custom Model Import is not offered everywhere; the report says that they were not checked."""
    local.faults.fail("ListImportedModels", "AccessDeniedException", times=1)
    result = BedrockIdleCostOperator(task_id="idle").execute(in_a_dag())
    assert {one["kind"] for one in result["idle"]} == {"provisioned throughput", "deployment", "custom model"}
    [said] = result["unread"]
    assert said.startswith("Imported models in us-east-1 were not checked: ")
    assert said in text(result)


def test_new_resources_are_not_reported(local: LocalBedrock, served: dict[str, str]) -> None:
    """A deployment of yesterday may be on its way."""
    Telling.told.clear()
    result = BedrockIdleCostOperator(task_id="idle", regions=["us-east-1"], notifiers=[Telling(text="x")]).execute(
        context()
    )
    assert (result["idle"], Telling.told) == ([], [])


def test_every_region_is_asked(local: LocalBedrock, served: dict[str, str], later: None) -> None:
    """Each has things and prices of its own."""
    result = BedrockIdleCostOperator(task_id="idle", regions="us-west-2").execute(context())
    assert result == {"idle": [], "usd_a_month": 0.0, "without_price": [], "ending": [], "unread": []}


def test_what_serves_on_a_base_model_that_ends_soon_is_reported(
    local: LocalBedrock, served: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even if it is called: with the date and a link."""
    today = datetime.now(UTC).date()
    ends, known = today + timedelta(days=100), base_model("amazon.nova-micro-v1:0")
    assert known is not None
    legacy = msgspec.structs.replace(known, legacy=today, ends=ends)
    monkeypatch.setattr("airflow_bedrock.spend.idle.base_model", lambda _: legacy)
    Telling.told.clear()
    more: dict[str, Any] = {"task_id": "ending", "notifiers": Telling(text="{{ idle_cost_text }}")}
    result = BedrockIdleCostOperator(**more).execute(in_a_dag())
    assert {one["arn"] for one in result["ending"]} == {served[name] for name in ("throughput", "called", "uncalled")}
    assert {one["ends"] for one in result["ending"]} == {ends.isoformat()}
    [told] = Telling.told
    ends_soon = f"cannot be called as of {ends}: its base model Nova Micro reaches its end of life."
    assert f"deployment called in us-east-1 {ends_soon}" in told
    assert "https://us-east-1.console.aws.amazon.com/bedrock" in told
    legacy = msgspec.structs.replace(legacy, legacy=today + timedelta(days=1))
    assert BedrockIdleCostOperator(**more).execute(context())["ending"] == []


def test_where_the_metrics_cannot_be_read_nothing_is_called_idle(
    local: LocalBedrock, served: dict[str, str], later: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody deletes a deployment for a missing permission."""

    def denied(operation: str) -> None:
        raise ClientError({"Error": {"Code": "AccessDenied", "Message": "no"}}, operation)

    client = SimpleNamespace(get_paginator=denied, close=lambda: None)
    monkeypatch.setattr("airflow_bedrock.spend.idle.client_of", lambda *_: client)
    with pytest.raises(BedrockError, match="to call cloudwatch:GetMetricData"):
        report([BedrockHook()], prices(), datetime.now(UTC), days=14)


@pytest.mark.parametrize("wrong", [{"regions": []}, {"regions": ""}, {"days": 0}, {"regions": [1]}])
def test_a_wrong_argument_breaks_the_dag_file(wrong: dict[str, Any]) -> None:
    """Not its run on Monday."""
    with pytest.raises(ArgumentError, match=f"{next(iter(wrong))} must be "):
        BedrockIdleCostOperator(task_id="idle", **wrong)


def test_the_dag_of_the_gallery_runs_end_to_end(
    local: LocalBedrock,
    served: dict[str, str],
    later: None,
    airflow_database: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By its form's defaults, under the policies of deploy/, each action of which it needs."""
    deployed, more = Deployed(local), policy("idle-cost")
    for name, value in deployed.environment():
        monkeypatch.setenv(name, value)
    deployed.allow(to_airflow=both(deployed.airflow, without(more, "bedrock:ListImportedModels")))
    [said] = BedrockIdleCostOperator(task_id="idle").execute(in_a_dag())["unread"]
    assert "bedrock:ListImportedModels" in said
    for action in set(actions(more)) - {"bedrock:ListImportedModels"}:
        deployed.allow(to_airflow=both(deployed.airflow, without(more, action)))
        with pytest.raises(BedrockError, match=f"perform: {action} on"):
            BedrockIdleCostOperator(task_id="idle").execute(in_a_dag())
    deployed.allow(to_airflow=both(deployed.airflow, more))
    before = len(local.calls)
    assert load(DAGS / "idle_cost_report.py").dag.test().state == "success"
    assert {one.status for one in local.calls[before:]} == {200}

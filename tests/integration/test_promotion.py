"""Promotion and rollback on Local Bedrock: the operator, the hook and the commands."""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_bedrock.cli import main
from airflow_bedrock.compat import AirflowSkipException
from airflow_bedrock.converse import ConverseModel
from airflow_bedrock.evaluation.answer_store import Answer
from airflow_bedrock.exceptions import BedrockFatalError
from airflow_bedrock.hooks import BedrockModelRegistryHook
from airflow_bedrock.local import LocalBedrock
from airflow_bedrock.operators import BedrockPromoteModelOperator, BedrockRetireModelsOperator
from airflow_bedrock.shapes import missing_in_botocore
from tests.trained_models import train

pytestmark = pytest.mark.local_bedrock(job_seconds=0.2, deployment_seconds=0.2)
IN_PLACE = not missing_in_botocore("UpdateCustomModelDeployment")  # else each model has a deployment of its own
BASE_MODEL = "amazon.nova-micro-v1:0:128k"


@pytest.fixture(scope="module")
def local(local_bedrock_module: LocalBedrock) -> LocalBedrock:
    return local_bedrock_module


@pytest.fixture(scope="module")
def bedrock(local: LocalBedrock) -> Iterator[Any]:
    client = local.client("bedrock")
    yield client
    client.close()


@pytest.fixture(scope="module")
def models(local: LocalBedrock) -> list[str]:
    """The ARNs of three models."""
    return [train(local, f"model-{uuid.uuid4().hex}") for _ in range(3)]


@pytest.fixture
def registry(local: LocalBedrock) -> str:
    return f"s3://{local.bucket}/registry-{uuid.uuid4().hex}"


@pytest.fixture
def line(bedrock: Any) -> Iterator[str]:
    name = f"router-{uuid.uuid4().hex[:8]}"
    yield name
    for found in bedrock.list_custom_model_deployments(nameContains=name)["modelDeploymentSummaries"]:
        bedrock.delete_custom_model_deployment(customModelDeploymentIdentifier=found["customModelDeploymentArn"])


def promote(
    line: str, registry: str, model_arn: str, period: str, run_id: str | None = None, **kwargs: Any
) -> dict[str, Any]:
    ti = SimpleNamespace(dag_id="retrain", task_id="promote", run_id=run_id or f"scheduled__{period}", map_index=-1)
    task = BedrockPromoteModelOperator(
        task_id="promote",
        deployment_name=line,
        model_arn=model_arn,
        period=period,
        registry_uri=registry,
        waiter_delay=0.1,
        **kwargs,
    )
    context: Any = {"ti": ti, "outlet_events": {}}
    return task.execute(context)


def serves(registry: str, line: str) -> str | None:
    hook = BedrockModelRegistryHook(registry_uri=registry)
    return hook.serving(hook.get(line))


def test_a_line_of_models(
    local: LocalBedrock, bedrock: Any, models: list[str], line: str, registry: str, capsys: Any
) -> None:
    """The first model, a newer one, an older one that comes late, a read of the registry, and a rollback."""
    first = promote(line, registry, models[0], "2026-01", approved_by="ann")
    assert (first.get("replaced"), serves(registry, line)) == (None, models[0])
    local.calls.clear()
    second = promote(line, registry, models[1], "2026-03")
    assert second["replaced"] == models[0]
    [_] = local.calls.of("GetObject")  # the registry, which says what was replaced
    again = promote(line, registry, models[1], "2026-03")  # as a retry whose worker was lost after the promotion
    assert again == second
    assert promote(line, registry, models[1], "2026-03", run_id="another").get("replaced") is None  # it served before
    assert (second["deployment_arn"] == first["deployment_arn"]) is IN_PLACE
    assert serves(registry, line) == models[1]
    with pytest.raises(AirflowSkipException, match="older than the champion's, 2026-03"):
        promote(line, registry, models[2], "2026-02")
    assert serves(registry, line) == models[1]

    def tags(model: str) -> dict[str, str]:
        return {tag["key"]: tag["value"] for tag in bedrock.list_tags_for_resource(resourceARN=model)["tags"]}

    assert tags(models[0])["airflow-bedrock/approved-by"] == "ann"
    assert tags(models[0])["airflow-bedrock/champion-of"].startswith(f"{line} until 20")
    assert tags(models[1])["airflow-bedrock/champion-of"] == line

    command = [sys.executable, "-c", "import sys; from airflow_bedrock.cli import main; sys.exit(main())", "models"]
    listed = subprocess.run(  # a process of its own: what Airflow logs is not in its output
        [*command, "--registry", registry, "--format", "json"], capture_output=True, check=True, text=True
    )
    (shown,) = json.loads(listed.stdout)
    assert (shown["state"], shown["serving"]) == ("champion serves", models[1])
    assert [(one["role"], one["period"]) for one in shown["versions"]] == [
        ("champion", "2026-03"),
        ("before", "2026-01"),
    ]

    assert main(["rollback", line, "--registry", registry, "--by", "bob", "--delay", "0.1"]) == 0
    assert models[0] in capsys.readouterr().out
    assert serves(registry, line) == models[0]
    assert tags(models[0])["airflow-bedrock/champion-of"] == line
    assert tags(models[1])["airflow-bedrock/champion-of"].startswith(f"{line} until 20")
    assert main(["models", "--registry", registry]) == 0
    table = [row for row in capsys.readouterr().out.splitlines() if row.startswith(("LINE", line))]
    assert [row.split()[1] for row in table] == ["STATE", "champion", "rejected"]
    assert "bob" in table[1]


@pytest.mark.skipif(not IN_PLACE, reason="there the line's deployment is known by the register alone")
def test_who_serves_is_known_when_a_change_has_ended(bedrock: Any, models: list[str], line: str, registry: str) -> None:
    """A run that looks for its champion while another one promotes failed: the deployment was «still Creating»."""
    bedrock.create_custom_model_deployment(modelDeploymentName=line, modelArn=models[0])
    hook = BedrockModelRegistryHook(registry_uri=registry)
    assert hook.serving(hook.get(line), delay=0.1) == models[0]


def test_a_model_that_fails_its_smoke_test(bedrock: Any, models: list[str], line: str, registry: str) -> None:
    """The champion serves again; the error names both and quotes no answer."""
    promote(line, registry, models[0], "2026-01")
    wrong = {"prompt": "Hi", "expect": "an answer that no model gives"}
    with pytest.raises(BedrockFatalError, match=f"{models[1]} was not promoted.*{models[0]} serves"):
        promote(line, registry, models[1], "2026-02", smoke_test=wrong)
    assert serves(registry, line) == models[0]
    register = BedrockModelRegistryHook(registry_uri=registry).get(line)
    assert (register.promotion, register.rejected) == (None, (models[1],))


def test_a_smoke_test_that_is_denied_rejects_no_model(
    local: LocalBedrock, models: list[str], line: str, registry: str
) -> None:
    """With the permission, a Clear promotes the model, which was paid for; until then the champion serves."""
    promote(line, registry, models[0], "2026-01")
    denied = local.faults.fail("Converse", "AccessDeniedException", times=None)
    with pytest.raises(
        BedrockFatalError, match=f"{models[1]} was not promoted.*bedrock:InvokeModel.*{models[0]} serves"
    ):
        promote(line, registry, models[1], "2026-02")
    assert serves(registry, line) == models[0]
    local.faults.remove(denied)
    assert promote(line, registry, models[1], "2026-02")["model_arn"] == models[1]


def test_a_smoke_test_has_its_system_prompt(
    monkeypatch: pytest.MonkeyPatch, models: list[str], line: str, registry: str
) -> None:
    """As the model will be called by those who use it."""
    questions: list[Any] = []

    def answer(model: ConverseModel, question: Any, seconds: float) -> Answer:
        questions.append(question)
        return Answer("Hello.", "end_turn", 1)

    monkeypatch.setattr(ConverseModel, "ask_when_ready", answer)
    test = {"prompt": "Hi", "system": "Be brief.", "expect": "^Hello"}
    promote(line, registry, models[0], "2026-01", smoke_test=test)
    [question] = questions
    assert (question["system"], question["messages"][0]["content"]) == ([{"text": "Be brief."}], [{"text": "Hi"}])


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        ("registry_uri", "bucket/registry", "registry_uri must be s3://bucket/prefix"),
        ("smoke_test", {"expect": "x"}, "smoke_test must be a mapping"),
        ("smoke_test", {"prompt": "x", "expect": "("}, "regular expression"),
        ("deployment_name", "no spaces", "1 to 63 letters"),
    ],
)
def test_a_mistake_breaks_the_dag(argument: str, value: Any, message: str) -> None:
    """Arguments that are wrong by themselves are reported when the DAG is parsed."""
    given = {"deployment_name": "router", "model_arn": "{{ 1 }}", "registry_uri": "s3://bucket/registry"}
    with pytest.raises(ValueError, match=message):
        BedrockPromoteModelOperator(task_id="promote", **{**given, argument: value})
    with pytest.raises(ValueError, match="keep_last must be"):
        BedrockRetireModelsOperator(
            task_id="retire", deployment_name="router", registry_uri="s3://bucket/registry", keep_last=-1
        )


def test_a_period_that_is_no_date_changes_nothing(bedrock: Any, models: list[str], line: str, registry: str) -> None:
    """Whether it is newer cannot be decided: the task fails before it writes anything."""
    with pytest.raises(BedrockFatalError, match="'spring' is not a date or time"):
        promote(line, registry, models[0], "spring")
    assert BedrockModelRegistryHook(registry_uri=registry).names() == []

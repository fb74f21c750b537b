"""Approval by ``airflow-bedrock approve``, for an Airflow that cannot ask a person itself: who may, and until when."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest

from airflow_bedrock.cli import main
from airflow_bedrock.compat import AirflowSkipException, TaskDeferred
from airflow_bedrock.exceptions import BedrockFatalError
from airflow_bedrock.local import LocalBedrock
from airflow_bedrock.operators import BedrockPromotionGate, promotion_gate
from airflow_bedrock.registry.retirement import CANDIDATE_UNTIL
from tests.trained_models import train

REPORT = {
    "verdict": "better",
    "metric": "exact_match",
    "differences": {"baseline": {"exact_match": {"low": 0.1, "value": 0.2, "high": 0.3}}},
}
Command = Callable[..., tuple[int, str]]


@pytest.fixture
def registry(local_bedrock_module: LocalBedrock) -> str:
    return f"s3://{local_bedrock_module.bucket}/registry-{uuid.uuid4().hex}"


@pytest.fixture(scope="module")
def keys(local_bedrock_module: LocalBedrock) -> dict[str, dict[str, str]]:
    """The keys of two IAM users."""
    with closing(local_bedrock_module.client("iam")) as iam:
        for name in ("ann", "bob"):
            iam.create_user(UserName=name)
        made = {name: iam.create_access_key(UserName=name)["AccessKey"] for name in ("ann", "bob")}
    return {
        name: {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
        for name, key in made.items()
    }


@pytest.fixture
def approve(registry: str, keys: Any, capsys: Any) -> Command:
    """The command, as one of the users; its exit code and what it says."""

    def approve(name: str, *arguments: str) -> tuple[int, str]:
        with pytest.MonkeyPatch.context() as patch:
            for variable, value in keys[name].items():
                patch.setenv(variable, value)
            code = main(["approve", *arguments, "--registry", registry])
        said = capsys.readouterr()  # in this process, Airflow's logs are in it
        return code, "\n".join(line for line in (said.out + said.err).splitlines() if not line.startswith("20"))

    return approve


class Gate:
    """A gate whose Airflow cannot ask."""

    def __init__(self, local: LocalBedrock, registry: str) -> None:
        self.local, self.registry = local, registry
        self.told: list[str] = []
        self.key = f"{uuid.uuid4().hex}/report.json"
        self.put(self.key, REPORT)

    def put(self, key: str, value: Any) -> None:
        with closing(self.local.client("s3")) as s3:
            s3.put_object(Bucket=self.local.bucket, Key=key, Body=json.dumps(value).encode())

    def run(self, clear: int = 0, **given: Any) -> Any:
        """Run the task, and again when its trigger has fired."""
        ids = {"dag_id": "retrain", "task_id": "gate", "run_id": "2026", "map_index": -1}
        ti = SimpleNamespace(**ids, try_number=1 + clear, max_tries=clear)
        context: Any = {"ti": ti, "dag_run": SimpleNamespace()}
        task: BedrockPromotionGate = BedrockPromotionGate(
            task_id="gate",
            report_uri=f"s3://{self.local.bucket}/{self.key}",
            ask_approval=True,
            registry_uri=self.registry,
            notifiers=[cast("Any", lambda _: self.told.append(task.answer_by))],
            **{"approvers": ["ann"], **given},
        )
        return task.look_again(context) if self.told else task.execute(context)


@pytest.fixture
def gate(local_bedrock_module: LocalBedrock, registry: str, monkeypatch: pytest.MonkeyPatch) -> Gate:
    monkeypatch.setattr(promotion_gate, "can_ask", lambda: False)
    return Gate(local_bedrock_module, registry)


def asked(gate: Gate, approve: Command, **given: Any) -> str:
    """Run the gate, which then waits; return the id of the latest question."""
    with pytest.raises(TaskDeferred) as waiting:
        gate.run(**given)
    assert waiting.value.method_name == "look_again"
    code, said = approve("bob")
    assert code == 0
    return next(line.split()[0] for line in said.splitlines() if "retrain.gate in run" in line)


def test_an_approver_approves_and_is_named(gate: Gate, approve: Command) -> None:
    """The wrong person is refused by the command, and by the gate where the answer was written by other means."""
    question = asked(gate, approve)
    code, said = approve("bob", question)
    assert (code, "user/bob is not an approver" in said) == (1, True)
    folder = gate.registry.removeprefix(f"s3://{gate.local.bucket}/")
    forged = f"{folder}/answers/{question}.json"
    gate.put(forged, {"approved": True, "by": "arn:aws:iam::123456789012:user/bob", "at": "2026-01-01T00:00:00Z"})
    assert asked_again(gate)
    gate.put(forged, {"approved": True, "by": "arn:aws:iam::123456789012:user/ann", "at": "2026-01-01T00:00:00"})
    with pytest.raises(BedrockFatalError, match=r"is not an answer that this version understands.*with a timezone"):
        gate.run()
    with closing(gate.local.client("s3")) as s3:
        s3.delete_object(Bucket=gate.local.bucket, Key=forged)

    assert approve("ann", question)[0] == 0
    assert gate.run()["approved_by"] == "arn:aws:iam::123456789012:user/ann"
    assert gate.told == [f"airflow-bedrock approve {question} --registry {gate.registry}"]
    code, said = approve("ann", question, "--reject")
    assert (code, "already has an answer" in said) == (1, True)
    assert "retrain.gate" not in approve("ann")[1]


def asked_again(gate: Gate, **given: Any) -> bool:
    try:
        gate.run(**given)
    except TaskDeferred:
        return True
    return False


def test_a_clear_and_another_report_are_questions_of_their_own(gate: Gate, approve: Command) -> None:
    """An approval is of what the person has seen."""
    question = asked(gate, approve)
    approve("ann", question)
    assert asked(gate, approve, clear=1) != question
    gate.put(gate.key, {**REPORT, "reason": "another one"})
    assert asked_again(gate)


def test_a_rejection_is_no_promotion(gate: Gate, approve: Command) -> None:
    """The task is skipped, and says who."""
    assert approve("ann", asked(gate, approve), "--reject")[0] == 0
    with pytest.raises(AirflowSkipException, match="user/ann rejected it"):
        gate.run()


def test_nobody_in_time(gate: Gate, approve: Command, registry: str) -> None:
    """The default counts, which is to reject; an answer after that is refused, and does not count."""
    soon: Any = {"approval_timeout": 1e-6}
    with pytest.raises(AirflowSkipException, match="the time limit rejected it"):
        gate.run(**soon)
    assert gate.run(**soon, on_timeout="Approve").get("approved_by") is None
    folder = registry.removeprefix(f"s3://{gate.local.bucket}/")
    with closing(gate.local.client("s3")) as s3:
        (found,) = s3.list_objects_v2(Bucket=gate.local.bucket, Prefix=folder)["Contents"]
    question = found["Key"].rpartition("/")[2].removesuffix(".json")
    code, said = approve("ann", question)
    assert (code, "ended at" in said) == (1, True)
    late = {"approved": True, "by": "arn:aws:iam::123456789012:user/ann", "at": f"{datetime.now(UTC).isoformat()}"}
    gate.put(f"{folder}/answers/{question}.json", late)
    with pytest.raises(AirflowSkipException, match="the time limit rejected it"):
        gate.run(**soon)


def test_retirement_keeps_the_model_until_a_day_after_the_time_limit(gate: Gate) -> None:
    """By a tag of the model, which the gate writes when it asks; polling for the answer does not write it again."""
    model = train(gate.local, f"candidate-{uuid.uuid4().hex[:8]}")
    gate.put(gate.key, {**REPORT, "models": {"candidate": {"answered_by": model}}})
    assert asked_again(gate, model_arn=model)
    assert asked_again(gate, model_arn=model)
    with closing(gate.local.client("bedrock")) as bedrock:
        tags = bedrock.list_tags_for_resource(resourceARN=model)["tags"]
    [until] = [datetime.fromisoformat(tag["value"]) for tag in tags if tag["key"] == CANDIDATE_UNTIL]
    assert timedelta(hours=95) < until - datetime.now(UTC) <= timedelta(days=4)
    assert len([call for call in gate.local.calls.of("TagResource") if model in str(call.parameters)]) == 1


def test_a_model_that_cannot_be_tagged_is_asked_about_all_the_same(gate: Gate, capsys: Any) -> None:
    """The log says what may happen to it."""
    model = "arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.nova-micro-v1:0:128k/abcdefghijkl"
    gate.put(gate.key, {**REPORT, "models": {"candidate": {"answered_by": model}}})
    assert asked_again(gate, model_arn=model)
    said = capsys.readouterr().out
    assert f"Could not tag {model} with {CANDIDATE_UNTIL}" in said
    assert "Retirement may delete the model while a person is asked" in said


def test_without_a_registry_nobody_can_be_asked(gate: Gate) -> None:
    """The gate fails closed."""
    gate.registry = ""
    with pytest.raises(BedrockFatalError, match=r"registry_uri must be s3://bucket/prefix.*or .bedrock. registry_uri"):
        gate.run()


@pytest.mark.parametrize(
    ("arn", "approvers", "may"),
    [
        ("arn:aws:iam::1:user/team/ann", ["ann"], True),
        ("arn:aws:iam::1:user/team/ann", ["team"], False),
        ("arn:aws:sts::1:assumed-role/lead/ann", ["arn:aws:sts::1:assumed-role/lead"], True),
        ("arn:aws:sts::1:assumed-role/lead/ann", ["arn:aws:sts::1:assumed-role/lead/ann"], True),
        ("arn:aws:sts::1:assumed-role/any/ann", ["ann"], False),
        ("arn:aws:sts::1:assumed-role/any/ann", [], True),
    ],
)
def test_who_may_answer(arn: str, approvers: list[str], may: bool) -> None:
    """A session's name is the caller's choice, and names nobody by itself."""
    from airflow_bedrock.registry.approval import may_answer

    assert may_answer(arn, approvers) is may

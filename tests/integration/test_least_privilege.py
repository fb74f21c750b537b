"""Each action that deploy/policies/ allows is needed: without it a task fails, or says so, in words that name it.

The whole of the example DAG runs under the same policies in test_example_dag.py.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_bedrock.compat import AirflowSkipException
from airflow_bedrock.customization.waiters import Waiter
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.hooks import BedrockHook
from airflow_bedrock.jobs.resources.customization_job import CUSTOMIZATION_JOB
from airflow_bedrock.jobs.service import Service
from airflow_bedrock.jobs.stopping import stop_job, stop_unless_others_wait
from airflow_bedrock.local import LocalBedrock
from airflow_bedrock.local.work.policies import Decision, decide
from airflow_bedrock.operators import (
    BedrockCustomModelDeploymentOperator,
    BedrockDatasetPreparationOperator,
    BedrockDeleteCustomModelDeploymentOperator,
    BedrockDeleteCustomModelOperator,
    BedrockModelCustomizationOperator,
    BedrockModelEvaluationOperator,
)
from airflow_bedrock.sensors import BedrockModelCustomizationSensor
from tests.deployed import Deployed, actions, policy, without

pytestmark = pytest.mark.local_bedrock(clock="manual", job_seconds=60, enforce_iam=True)
BASE, ASKED = "amazon.nova-micro-v1:0:128k", "amazon.nova-micro-v1:0"
MINE = Waiter(until="task", dag_id="dag", task_id="customize", map_index=-1, run_id="run")


def context() -> Any:
    """Return what a task of another run has each time."""
    ids = {"dag_id": "dag", "task_id": "customize", "run_id": uuid.uuid4().hex, "map_index": -1}
    ti = SimpleNamespace(**ids, max_tries=0, try_number=1, xcom_push=lambda **_: None)
    return {"ti": ti, "dag_run": SimpleNamespace()}


class Tasks:
    """The tasks of a DAG that lives under the policies, each of them a call that needs some action."""

    def __init__(self, local: LocalBedrock, deployed: Deployed) -> None:
        self.deployed, self._clock, self._bucket = deployed, local.clock, f"s3://{local.bucket}"
        self._epochs = 2
        with closing(local.client("s3")) as s3:
            turns = [{"role": role, "content": [{"text": "hello"}]} for role in ("user", "assistant")]
            record = {"schemaVersion": "bedrock-conversation-2024", "messages": turns}
            s3.put_object(Bucket=local.bucket, Key="data/train.jsonl", Body=f"{json.dumps(record)}\n".encode() * 20)
            flat = "".join(json.dumps({"prompt": f"n {n}", "completion": "x"}) + "\n" for n in range(60))
            s3.put_object(Bucket=local.bucket, Key="raw/a.jsonl", Body=flat.encode())
        self.job = self.customize("made", reuse="dag")
        self.model = self.wait()["custom_model_arn"]
        self.deployment = self.deploy()
        self.spare = self.wait(self.customize())["custom_model_arn"]

    def time_passes(self) -> None:
        """Let what has begun end."""
        self._clock.advance(1000)

    def customize(
        self,
        name: str | None = None,
        *,
        reuse: str = "run",
        epochs: int = 2,
        dry_run: bool = False,
        now: Any = None,
    ) -> str:
        arn: str = BedrockModelCustomizationOperator(
            task_id="customize",
            job_name=name or f"job-{uuid.uuid4().hex[:8]}",
            custom_model_name=name or f"model-{uuid.uuid4().hex[:8]}",
            role_arn=self.deployed.role_arn,
            base_model_id=BASE,
            training_data_uri=f"{self._bucket}/data/train.jsonl",
            output_data_uri=f"{self._bucket}/output",
            hyperparameters={"epochCount": str(epochs)},
            wait_for_completion=False,
            reuse=reuse,
            dry_run=dry_run,
        ).execute(now or context())
        return arn

    def wait(self, job: str | None = None) -> Any:
        self.time_passes()
        sensor = BedrockModelCustomizationSensor(
            task_id="wait", job_identifier=job or self.job, mode="poke", poke_interval=0.1
        )
        return sensor.execute(context())

    def deploy(self) -> str:
        name = f"d-{uuid.uuid4().hex[:8]}"
        arn = BedrockCustomModelDeploymentOperator(
            task_id="deploy", model_arn=self.model, deployment_name=name, wait_for_completion=False
        ).execute(context())
        self.time_passes()
        return arn

    def evaluate(self) -> None:
        BedrockModelEvaluationOperator(
            task_id="evaluate",
            test_data_uri=f"{self._bucket}/data/train.jsonl",
            candidate_model_id=self.deployment,
            baseline_model_id=ASKED,
            output_uri=f"{self._bucket}/evaluation",
            max_records=1,
        ).execute({})

    def prepare(self, source: str = "raw/a.jsonl") -> None:
        BedrockDatasetPreparationOperator(
            task_id="prepare",
            source_uri=f"{self._bucket}/{source}",
            output_uri=f"{self._bucket}/prepared/{uuid.uuid4().hex}",
            base_model_id=BASE,
        ).execute({})

    def said(self, say: Callable[[Service, str], str]) -> None:
        """Do what a stop does, which never raises: what it says is in the log of the task."""
        said = say(Service(CUSTOMIZATION_JOB, BedrockHook()), self.customize())
        if "NOT" in said:
            raise BedrockError(said)

    def adopt(self, log: pytest.LogCaptureFixture) -> None:
        """Join another run's job, which never raises either."""
        log.clear()
        self._epochs += 1  # so that the jobs before are none of what is asked for
        first, second = (self.customize("shared", reuse="dag", epochs=self._epochs) for _ in range(2))
        assert first == second
        if told := [one.getMessage() for one in log.records if "Cannot tag" in one.getMessage()]:
            raise BedrockError(*told)


NEEDS: dict[str, Callable[[Tasks, pytest.LogCaptureFixture], object]] = {
    "bedrock:CreateModelCustomizationJob": lambda tasks, _: tasks.customize(),
    "iam:PassRole": lambda tasks, _: tasks.customize(),
    "bedrock:ListModelCustomizationJobs": lambda tasks, _: tasks.customize(reuse="dag"),
    "bedrock:GetModelCustomizationJob": lambda tasks, _: tasks.wait(),
    "bedrock:GetCustomModel": lambda tasks, _: tasks.customize("made", reuse="dag"),
    "bedrock:ListTagsForResource": lambda tasks, _: tasks.said(
        lambda service, job: stop_unless_others_wait(service, job, MINE)
    ),
    "bedrock:StopModelCustomizationJob": lambda tasks, _: tasks.said(stop_job),
    "bedrock:TagResource": lambda tasks, log: tasks.adopt(log),
    "bedrock:CreateCustomModelDeployment": lambda tasks, _: tasks.deploy(),
    "bedrock:GetCustomModelDeployment": lambda tasks, _: tasks.deploy(),
    "bedrock:InvokeModel": lambda tasks, _: tasks.evaluate(),
    "s3:GetObject": lambda tasks, _: tasks.prepare(),
    "s3:PutObject": lambda tasks, _: tasks.prepare(),
    "s3:ListBucket": lambda tasks, _: tasks.prepare("raw/"),
    "bedrock:DeleteCustomModelDeployment": lambda tasks, _: BedrockDeleteCustomModelDeploymentOperator(
        task_id="retire", deployment_arn=tasks.deployment, waiter_delay=0.1
    ).execute(context()),
    "bedrock:DeleteCustomModel": lambda tasks, _: BedrockDeleteCustomModelOperator(
        task_id="retire", model_identifier=tasks.spare
    ).execute(context()),
}
"""For each action a call that needs it; the deletions come last."""


@pytest.fixture(scope="module")
def tasks(local_bedrock_module: LocalBedrock) -> Iterator[Tasks]:
    deployed = Deployed(local_bedrock_module)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in deployed.environment():
            patch.setenv(name, value)
        yield Tasks(local_bedrock_module, deployed)


def test_each_allowed_action_has_its_call() -> None:
    """None is allowed that nothing needs, and none twice."""
    assert sorted(actions(policy("airflow"))) == sorted(NEEDS)


@pytest.mark.parametrize("action", NEEDS)
def test_an_action_is_needed(tasks: Tasks, action: str, caplog: pytest.LogCaptureFixture) -> None:
    """Without it the call fails and the error names it; with it the same call succeeds."""
    tasks.deployed.allow(to_airflow=without(tasks.deployed.airflow, action))
    try:
        with pytest.raises(BedrockError, match=action):
            NEEDS[action](tasks, caplog)
    finally:
        tasks.deployed.allow()
        tasks.time_passes()
    NEEDS[action](tasks, caplog)
    tasks.time_passes()


@pytest.mark.parametrize("action", actions(policy("bedrock-role")))
def test_the_jobs_role_needs_its_actions(tasks: Tasks, action: str) -> None:
    """Without one of them the job fails, and so does the task that waits, in the service's own words."""
    tasks.deployed.allow(to_bedrock=without(tasks.deployed.bedrock_role, action))
    try:
        with pytest.raises(BedrockError, match=f"{action.removeprefix('s3:')} permissions"):
            tasks.wait(tasks.customize())
    finally:
        tasks.deployed.allow()


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("bedrock:StopModelCustomizationJob", "arn:aws:bedrock:us-east-1:123456789012:model-customization-job/x"),
        ("bedrock:DeleteCustomModel", "arn:aws:bedrock:us-east-1:123456789012:custom-model/x"),
    ],
)
def test_what_airflow_has_not_made_is_safe(action: str, resource: str) -> None:
    """Only what bears the tag that the operator gives is stopped or deleted."""
    documents = [policy("airflow")]
    tagged = {"aws:resourcetag/airflow/dag_id": "retrain"}
    assert decide(documents, action, resource, tagged) is Decision.ALLOWED
    assert decide(documents, action, resource, {}) is Decision.IMPLICIT_DENY


def test_a_dry_run_names_what_is_not_allowed(tasks: Tasks) -> None:
    """Under the policies of deploy/ it finds nothing; without an action it names it, and for whom."""

    def permissions() -> list[Any]:
        pushed: dict[str, Any] = {}
        now = context()
        now["ti"].xcom_push = pushed.__setitem__
        with pytest.raises((AirflowSkipException, BedrockFatalError)):
            tasks.customize(dry_run=True, now=now)
        return [one for one in pushed["dry_run"]["lines"] if one["check"] == "permissions"]

    assert [one["verdict"] for one in permissions()] == ["ok", "ok"]
    deployed = tasks.deployed
    deployed.allow(
        to_airflow=without(deployed.airflow, "bedrock:CreateModelCustomizationJob"),
        to_bedrock=without(deployed.bedrock_role, "s3:PutObject"),
    )
    try:
        caller, role = permissions()
    finally:
        deployed.allow()
    assert (caller["verdict"], role["verdict"]) == ("problem", "problem")
    assert "user/airflow may not: bedrock:CreateModelCustomizationJob on arn:aws:bedrock" in caller["said"]
    assert f"{deployed.role_arn} may not: s3:PutObject on arn:aws:s3:::" in role["said"]

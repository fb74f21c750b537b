"""Each action that deploy/policies/ allows is needed: without it a task fails, or says so, in words that name it.

The whole of the example DAG runs under the same policies in test_example_dag.py.
"""

from __future__ import annotations

import hashlib
import json
import runpy
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_bedrock import configuration
from airflow_bedrock.compat import AirflowSkipException, TaskDeferred
from airflow_bedrock.customization.waiters import Waiter
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError
from airflow_bedrock.hooks import BedrockHook
from airflow_bedrock.jobs.resources import Resource, declared
from airflow_bedrock.jobs.resources.customization_job import CUSTOMIZATION_JOB
from airflow_bedrock.jobs.resources.invocation_job import INVOCATION_JOB
from airflow_bedrock.jobs.service import Service
from airflow_bedrock.jobs.stopping import patiently, stop_job, stop_unless_others_wait
from airflow_bedrock.local import LocalBedrock, Quotas
from airflow_bedrock.local.work.policies import Decision, decide
from airflow_bedrock.operators import (
    BedrockBatchAnswersOperator,
    BedrockCustomModelDeploymentOperator,
    BedrockCustomModelOperator,
    BedrockDatasetPreparationOperator,
    BedrockDeleteCustomModelDeploymentOperator,
    BedrockDeleteCustomModelOperator,
    BedrockModelCopyOperator,
    BedrockModelCustomizationOperator,
    BedrockModelEvaluationOperator,
    BedrockModelImportOperator,
    BedrockPromoteModelOperator,
    BedrockProvisionedModelThroughputOperator,
    BedrockRetireModelsOperator,
)
from airflow_bedrock.registry.retirement import Retirer
from airflow_bedrock.sensors import BedrockModelCustomizationSensor
from airflow_bedrock.shapes import missing_in_botocore
from scripts.training_data import record
from tests.deployed import Deployed, actions, both, policy, without
from tests.faults.paid import put_model

pytestmark = pytest.mark.local_bedrock(
    clock="manual", job_seconds=60, enforce_iam=True, quotas=Quotas(imported_models=20)
)
BASE, ASKED = "amazon.nova-micro-v1:0:128k", "amazon.nova-micro-v1:0"
LINE = "router"
DAGS = Path(__file__).parents[2] / "dags"
MINE = Waiter(until="task", dag_id="dag", task_id="customize", map_index=-1, run_id="run")


def context() -> Any:
    """Return what a task of another run has each time."""
    ids = {"dag_id": "dag", "task_id": "customize", "run_id": uuid.uuid4().hex, "map_index": -1}
    ti = SimpleNamespace(**ids, max_tries=0, try_number=1, xcom_push=lambda **_: None)
    return {"ti": ti, "dag_run": SimpleNamespace(), "outlet_events": {}}


class Tasks:
    """The tasks of a DAG that lives under the policies, each of them a call that needs some action."""

    def __init__(self, local: LocalBedrock, deployed: Deployed) -> None:
        self.deployed, self._local, self._bucket = deployed, local, f"s3://{local.bucket}"
        self._epochs, self._unused, self._elsewhere = 2, "", ""
        with closing(local.client("s3")) as s3:
            s3.put_object(Bucket=local.bucket, Key="data/train.jsonl", Body=record() * 20)
            flat = "".join(json.dumps({"prompt": f"n {n}", "completion": "x"}) + "\n" for n in range(60))
            s3.put_object(Bucket=local.bucket, Key="raw/a.jsonl", Body=flat.encode())
            many = "".join(json.dumps({"prompt": f"n {n}", "completion": "x"}) + "\n" for n in range(100))
            s3.put_object(Bucket=local.bucket, Key="raw/batch.jsonl", Body=many.encode())
        self.job = self.customize("made", reuse="dag")
        self.model = self.wait()["custom_model_arn"]
        self.deployment = self.deploy()
        self.spare = self.wait(self.customize())["custom_model_arn"]
        now = context()
        with suppress(BedrockError):  # it is being deployed; the next try finds it deployed
            self.promote(now)
        self.time_passes()
        self.promote(now)

    def time_passes(self) -> None:
        """Let what has begun end."""
        self._local.clock.advance(1000)

    def customize(
        self,
        name: str | None = None,
        model_name: str | None = None,
        *,
        reuse: str = "run",
        epochs: int = 2,
        dry_run: bool = False,
        now: Any = None,
    ) -> str:
        arn: str = BedrockModelCustomizationOperator(
            task_id="customize",
            job_name=name or f"job-{uuid.uuid4().hex[:8]}",
            custom_model_name=model_name or name or f"model-{uuid.uuid4().hex[:8]}",
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
        arn: str = BedrockCustomModelDeploymentOperator(
            task_id="deploy", model_arn=self.model, deployment_name=name, wait_for_completion=False
        ).execute(context())
        self.time_passes()
        return arn

    def replace(self) -> None:
        """Let the deployment serve the other one of two models."""
        with closing(self._local.client("bedrock")) as bedrock:
            found = bedrock.get_custom_model_deployment(customModelDeploymentIdentifier=self.deployment)
        other = self.spare if found["modelArn"] == self.model else self.model
        BedrockCustomModelDeploymentOperator(
            task_id="deploy",
            model_arn=other,
            deployment_name=found["modelDeploymentName"],
            replace_model=True,
            wait_for_completion=False,
        ).execute(context())

    def promote(self, now: Any) -> None:
        BedrockPromoteModelOperator(
            task_id="promote",
            deployment_name=LINE,
            model_arn=self.model,
            period="2026",
            registry_uri=f"{self._bucket}/registry",
            waiter_delay=0.1,
            waiter_max_attempts=1,
        ).execute(now)

    def retire(self) -> None:
        """Retire a model of the line that was never promoted, and its provisioned throughput."""
        if not self._unused:  # else it is still there: the task before was not allowed to retire it
            model = self.wait(self.customize(None, LINE))
            with closing(self._local.client("bedrock")) as bedrock:
                bedrock.create_provisioned_model_throughput(
                    modelUnits=1, provisionedModelName=model["custom_model_name"], modelId=model["custom_model_arn"]
                )
            self.time_passes()
            self._unused = model["custom_model_arn"]
        retired = BedrockRetireModelsOperator(
            task_id="retire",
            deployment_name=LINE,
            models_dag_id="dag",
            registry_uri=f"{self._bucket}/registry",
            keep_last=0,
            keep_younger_than=0,
            delete=True,
            waiter_delay=0.1,
        ).execute(context())["retired"]
        assert [one["model_arn"] for one in retired] == [self._unused]
        self._unused = ""

    def answer(self, now: Any = None) -> Any:
        """Answer a hundred records in a batch; defer to the triggerer where that has to be waited for."""
        with suppress(TaskDeferred):
            return BedrockBatchAnswersOperator(
                task_id="answer",
                test_data_uri=f"{self._bucket}/raw/batch.jsonl",
                model_id=ASKED,
                role_arn=self.deployed.role_arn,
                output_uri=f"{self._bucket}/batches",
                answers_uri=f"{self._bucket}/{uuid.uuid4().hex}/answers",
                deferrable=True,
            ).execute(now or context())

    def take_answers(self) -> None:
        """What a task does when its batch job has ended."""
        now = context()
        self.answer(now)
        self.time_passes()
        assert self.answer(now)["answered"] == 100

    def forget_answers(self, log: pytest.LogCaptureFixture) -> None:
        """Find answers that have expired; that they cannot be deleted fails no evaluation."""
        log.clear()
        folder = f"{configuration.environment()}/{hashlib.sha256(ASKED.encode()).hexdigest()[:32]}"
        key = f"evaluation/answers/{folder}/expires=2026-01-01/{uuid.uuid4().hex}.jsonl.gz"
        with closing(self._local.client("s3")) as s3:
            s3.put_object(Bucket=self._local.bucket, Key=key, Body=b"")
        self.evaluate()
        if told := [one.getMessage() for one in log.records if "expired" in one.getMessage()]:
            raise BedrockError(*told)

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

    def provide(self, model: str = ASKED, *, replace: bool = False) -> None:
        """Give one throughput this model."""
        BedrockProvisionedModelThroughputOperator(
            task_id="provide",
            model_units=1,
            provisioned_model_name="throughput",
            model_id=model,
            replace_model=replace,
            wait_for_completion=False,
        ).execute(context())
        self.time_passes()

    def provide_anew(self) -> None:
        """Delete the throughput if there is one, and make it anew."""
        with closing(self._local.client("bedrock")) as bedrock:
            if bedrock.list_provisioned_model_throughputs()["provisionedModelSummaries"]:
                bedrock.delete_provisioned_model_throughput(provisionedModelId="throughput")
        self.time_passes()
        self.provide()

    def swap(self) -> None:
        """Give that throughput the other of two models."""
        with closing(self._local.client("bedrock")) as bedrock:
            if not bedrock.list_provisioned_model_throughputs()["provisionedModelSummaries"]:
                self.provide()
            found = bedrock.get_provisioned_model_throughput(provisionedModelId="throughput")
        self.provide(self.spare if found["modelArn"] == self.model else self.model, replace=True)

    def copy(self, name: str | None = None) -> None:
        """Copy a model of another region here."""
        if not self._elsewhere:
            with closing(self._local.client("bedrock", "us-west-2")) as bedrock:
                job = bedrock.create_model_copy_job(sourceModelArn=self.model, targetModelName="elsewhere")["jobArn"]
                self._elsewhere = bedrock.get_model_copy_job(jobArn=job)["targetModelArn"]
            self.time_passes()
        self.made(BedrockModelCopyOperator, name, source_model_arn=self._elsewhere, target_model_name=name or "copy")

    def import_model(self, name: str | None = None) -> None:
        """Import a model from S3."""
        names = {"job_name": name or "import", "imported_model_name": name or "import"}
        self.made(
            BedrockModelImportOperator,
            name,
            **names,
            role_arn=self.deployed.role_arn,
            model_data_uri=put_model(self._local, name or "import"),
        )

    def make_model(self) -> None:
        """Make a custom model of a checkpoint."""
        self.made(
            BedrockCustomModelOperator,
            None,
            model_name="checkpoint",
            role_arn=self.deployed.role_arn,
            model_data_uri=put_model(self._local, "checkpoint"),
        )

    def made(self, kind: Any, name: str | None, **arguments: Any) -> None:
        """Ask for one; under a name, for the one that every run shares."""
        with suppress(TaskDeferred):
            kind(task_id="make", reuse="dag" if name else "never", deferrable=True, **arguments).execute(context())
        if name != "joined":
            self.time_passes()

    def adopt_import(self, log: pytest.LogCaptureFixture) -> None:
        """Join another run's import while it runs, which never raises."""
        log.clear()
        for _ in range(2):
            self.import_model("joined")
        if told := [one.getMessage() for one in log.records if "Cannot tag" in one.getMessage()]:
            raise BedrockError(*told)

    def said(self, say: Callable[[Service, str], str], kind: Resource = CUSTOMIZATION_JOB) -> None:
        """Do what a stop does, which never raises: what it says is in the log of the task."""
        service = Service(kind, BedrockHook())
        if kind is CUSTOMIZATION_JOB:
            self.customize()
        else:
            self.answer()
        said = patiently(say, service, service.list_all()[0].arn)
        if "NOT" in said:
            raise BedrockError(said)

    def adopt(self, log: pytest.LogCaptureFixture) -> None:
        """Join another run's job, which never raises either."""
        log.clear()
        self._epochs += 1  # so that no earlier job fulfils the request
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
    "bedrock:UpdateCustomModelDeployment": lambda tasks, _: tasks.replace(),
    "bedrock:CreateModelInvocationJob": lambda tasks, _: tasks.answer(),
    "bedrock:ListModelInvocationJobs": lambda tasks, _: tasks.answer(),
    "bedrock:GetModelInvocationJob": lambda tasks, _: tasks.take_answers(),
    "bedrock:StopModelInvocationJob": lambda tasks, _: tasks.said(stop_job, INVOCATION_JOB),
    "bedrock:ListCustomModels": lambda tasks, _: tasks.retire(),
    "bedrock:ListCustomModelDeployments": lambda tasks, _: tasks.retire(),
    "bedrock:ListProvisionedModelThroughputs": lambda tasks, _: tasks.retire(),
    "bedrock:GetProvisionedModelThroughput": lambda tasks, _: tasks.retire(),
    "bedrock:DeleteProvisionedModelThroughput": lambda tasks, _: tasks.retire(),
    "bedrock:InvokeModel": lambda tasks, _: tasks.evaluate(),
    "s3:GetObject": lambda tasks, _: tasks.prepare(),
    "s3:PutObject": lambda tasks, _: tasks.prepare(),
    "s3:DeleteObject": lambda tasks, log: tasks.forget_answers(log),
    "s3:ListBucket": lambda tasks, _: tasks.prepare("raw/"),
    "bedrock:DeleteCustomModelDeployment": lambda tasks, _: BedrockDeleteCustomModelDeploymentOperator(
        task_id="retire", deployment_arn=tasks.deployment, waiter_delay=0.1
    ).execute(context()),
    "bedrock:DeleteCustomModel": lambda tasks, _: BedrockDeleteCustomModelOperator(
        task_id="retire", model_identifier=tasks.spare
    ).execute(context()),
}
"""For each action a call that needs it; the deletions come last."""

NEEDS_TOO: dict[str, Callable[[Tasks, pytest.LogCaptureFixture], object]] = {
    "bedrock:CreateProvisionedModelThroughput": lambda tasks, _: tasks.provide_anew(),
    "bedrock:UpdateProvisionedModelThroughput": lambda tasks, _: tasks.swap(),
    "bedrock:CreateModelCopyJob": lambda tasks, _: tasks.copy(),
    "bedrock:ListModelCopyJobs": lambda tasks, _: tasks.copy("copied"),
    "bedrock:GetModelCopyJob": lambda tasks, _: tasks.copy("copied"),
    "bedrock:CreateModelImportJob": lambda tasks, _: tasks.import_model(),
    "bedrock:ListModelImportJobs": lambda tasks, _: tasks.import_model(f"new{uuid.uuid4().hex[:8]}"),
    "bedrock:GetModelImportJob": lambda tasks, _: tasks.import_model("imported"),
    "bedrock:ListTagsForResource": lambda tasks, _: tasks.import_model("imported"),
    "bedrock:GetImportedModel": lambda tasks, _: tasks.import_model("imported"),
    "bedrock:TagResource": lambda tasks, log: tasks.adopt_import(log),
    "bedrock:CreateCustomModel": lambda tasks, _: tasks.make_model(),
}
"""The same for what few DAGs make: throughput, copies and imports."""


@pytest.fixture(scope="module")
def tasks(local_bedrock_module: LocalBedrock) -> Iterator[Tasks]:
    deployed = Deployed(local_bedrock_module)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in deployed.environment():
            patch.setenv(name, value)
        # How old a model is, by the clock that has made it.
        patch.setattr("airflow_bedrock.hooks.registry.Retirer", partial(Retirer, now=local_bedrock_module.clock.now))
        yield Tasks(local_bedrock_module, deployed)


def test_each_allowed_action_has_its_call() -> None:
    """None is allowed that nothing needs, and none twice."""
    assert sorted(actions(policy("airflow"))) == sorted(NEEDS)
    assert sorted(actions(policy("throughput-and-copies"))) == sorted(NEEDS_TOO)


def test_each_declared_operation_is_allowed() -> None:
    """Of every kind of resource; those that few DAGs make by a policy of their own, to be attached too."""
    operations = {
        operation
        for kind in declared()
        for operation in (
            *(kind.create_operation, kind.get_operation, kind.list_operation, kind.model_operation),
            *(kind.stop_operation, kind.update_operation, kind.delete_operation),
        )
        if operation
    }
    assert {f"bedrock:{operation}" for operation in operations} <= {
        *NEEDS,
        *actions(policy("throughput-and-copies")),
    }


OPERATIONS = {  # that an older botocore does not know, or not all of
    "bedrock:UpdateCustomModelDeployment": "UpdateCustomModelDeployment",
    **dict.fromkeys(
        (action for action in NEEDS if "ModelInvocationJob" in action), "CreateModelInvocationJob.modelInvocationType"
    ),
}


@pytest.mark.parametrize("action", NEEDS)
def test_an_action_is_needed(tasks: Tasks, action: str, caplog: pytest.LogCaptureFixture) -> None:
    """Without it the call fails and the error names it; with it the same call succeeds."""
    if missing := missing_in_botocore(OPERATIONS.get(action, "")):
        pytest.skip(missing)
    tasks.deployed.allow(to_airflow=without(tasks.deployed.airflow, action))
    try:
        with pytest.raises(BedrockError, match=action):
            NEEDS[action](tasks, caplog)
    finally:
        tasks.deployed.allow()
        tasks.time_passes()
    NEEDS[action](tasks, caplog)
    tasks.time_passes()


@pytest.mark.parametrize("action", NEEDS_TOO)
def test_an_action_of_throughput_and_copies_is_needed(
    tasks: Tasks, action: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Under both policies; the first allows what all of them need."""
    deployed, more = tasks.deployed, policy("throughput-and-copies")
    deployed.allow(to_airflow=both(deployed.airflow, more))
    try:
        NEEDS_TOO[action](tasks, caplog)
        deployed.allow(to_airflow=both(deployed.airflow, without(more, action)))
        with pytest.raises(BedrockError, match=action):
            NEEDS_TOO[action](tasks, caplog)
    finally:
        deployed.allow()
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
    """Only what has the operator's tag is stopped or deleted."""
    documents = [policy("airflow")]
    tagged = {"aws:resourcetag/airflow/dag_id": "retrain"}
    assert decide(documents, action, resource, tagged) is Decision.ALLOWED
    assert decide(documents, action, resource, {}) is Decision.IMPLICIT_DENY


def test_a_job_may_call_graders_by_a_policy_of_its_own() -> None:
    """Those of the gallery's list, and no other function."""
    own, action = [policy("bedrock-role")], "lambda:InvokeFunction"
    graders = runpy.run_path(str(DAGS / "reinforce_with_a_grader.py"))["GRADERS"].values()
    for function in graders:
        assert decide(own, action, function, {}) is Decision.IMPLICIT_DENY
        assert decide([*own, policy("graders")], action, function, {}) is Decision.ALLOWED
        assert decide([policy("graders")], action, function.replace("grade-", "pay-"), {}) is Decision.IMPLICIT_DENY


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
    assert "user/airflow is not allowed: bedrock:CreateModelCustomizationJob on arn:aws:bedrock" in caller["said"]
    assert f"{deployed.role_arn} is not allowed: s3:PutObject on arn:aws:s3:::" in role["said"]

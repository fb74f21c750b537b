"""dags/copy_to_production.py, through Airflow's own ``dag.test()``, from one account of Local Bedrock to another.

Under the policies of deploy/policies/, in each account those that it needs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import boto3
import pytest

from airflow_bedrock.exceptions import BedrockError
from airflow_bedrock.local import LocalBedrock
from airflow_bedrock.operators import BedrockModelCopyOperator
from tests.dag_files import load, quick
from tests.deployed import Deployed, actions, both, policy, without
from tests.integration.test_customization_operator import context
from tests.kms_keys import make_key
from tests.trained_models import train

DAG = Path(__file__).parents[2] / "dags" / "copy_to_production.py"
THEIRS = "210987654321"
pytestmark = pytest.mark.local_bedrock(job_seconds=0.5, deployment_seconds=0.2, enforce_iam=True)


def role_of_theirs(local: LocalBedrock) -> str:
    """Make a role in the other account that may copy and deploy in its region; return its ARN."""
    arn = f"arn:aws:iam::{THEIRS}:role/airflow"
    place = {"Region": "us-west-2", "Account": THEIRS}
    document = both(policy("airflow", **place), policy("throughput-and-copies", **place))
    with closing(local.client("sts")) as sts:
        key = sts.assume_role(RoleArn=arn, RoleSessionName="root")["Credentials"]
    session = boto3.session.Session(key["AccessKeyId"], key["SecretAccessKey"], key["SessionToken"], "us-west-2")
    with closing(session.client("iam", endpoint_url=local.endpoint_url)) as iam:
        iam.create_role(RoleName="airflow", AssumeRolePolicyDocument="{}")
        iam.put_role_policy(RoleName="airflow", PolicyName="deployed", PolicyDocument=json.dumps(document))
    return arn


@pytest.fixture(scope="module")
def deployed(local_bedrock_module: LocalBedrock) -> Deployed:
    return Deployed(local_bedrock_module)


@pytest.fixture(scope="module")
def model(airflow_database: Path, local_bedrock_module: LocalBedrock, deployed: Deployed) -> Iterator[str]:
    """A model in us-east-1 of one account, and a connection aws_production to another one."""
    local = local_bedrock_module
    made = train(local, "router")
    make_key(local, "alias/bedrock-models", region="us-west-2", account=THEIRS)
    deployed.allow(to_airflow=both(deployed.airflow, policy("sharing")))
    environment = dict(deployed.environment())
    connection = json.loads(environment["AIRFLOW_CONN_AWS_DEFAULT"])
    connection["extra"] = {**connection["extra"], "role_arn": role_of_theirs(local)}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        patch.setenv("AIRFLOW_CONN_AWS_PRODUCTION", json.dumps(connection))
        yield made


def run(**conf: Any) -> tuple[str, dict[str, str]]:
    """Run the DAG; return the state of its run and those of its tasks."""
    found = quick(load(DAG)).dag.test(run_conf=conf)
    return str(found.state), {one.task_id: str(one.state) for one in found.get_task_instances()}


def test_a_model_serves_in_another_account(model: str, local_bedrock_module: LocalBedrock) -> None:
    """Copied and deployed there, asked, and no longer shared; another run makes no other copy."""
    calls = local_bedrock_module.calls
    for _ in range(2):
        state, tasks = run(model_arn=model, target="production")
        assert state == "success", tasks
    created = calls.of("CreateModelCopyJob")
    assert [(one.status, one.region) for one in created] == [(201, "us-west-2")]
    assert created[0].parameters["modelKmsKeyId"] == "alias/bedrock-models"
    deployed = calls.of("CreateCustomModelDeployment")
    assert [one.parameters["modelArn"].split(":")[3:5] for one in deployed] == [["us-west-2", THEIRS]]
    assert len(calls.of("Converse")) == 2
    with closing(local_bedrock_module.client("ram")) as ram:
        shares = ram.get_resource_shares(resourceOwner="SELF")["resourceShares"]
    assert {one["status"] for one in shares if one["name"].startswith("copy-support-router-")} == {"DELETED"}


@pytest.mark.parametrize("action", [one for one in actions(policy("sharing")) if one.startswith("ram:")])
def test_each_action_on_shares_is_needed(
    model: str, deployed: Deployed, action: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Without it the task fails before it pays, and the error names it; the log says if a share is left."""
    deployed.allow(to_airflow=both(deployed.airflow, without(policy("sharing"), action)))
    copy = BedrockModelCopyOperator(
        task_id="copy",
        source_model_arn=model,
        source_aws_conn_id="aws_default",
        target_model_name="needs",
        aws_conn_id="aws_production",
        region_name="us-west-2",
        waiter_delay=0.1,
    )
    left, said = action == "ram:DeleteResourceShare", f"perform: {action} on"
    try:
        with nullcontext() if left else pytest.raises(BedrockError, match=said):
            copy.execute(context(action))
        assert not left or said in caplog.text
    finally:
        deployed.allow(to_airflow=both(deployed.airflow, policy("sharing")))


@pytest.mark.parametrize("wrong", [("[0-9]{12}", "111122223333"), ("[a-z0-9]{12}$", "abcdefghijkl")])
def test_an_account_that_is_not_on_the_list_or_a_model_that_is_not_there_is_refused(
    model: str, local_bedrock_module: LocalBedrock, wrong: tuple[str, str]
) -> None:
    """In the first task, whatever has asked for the run; nothing is shared, copied or deployed."""
    before = len(local_bedrock_module.calls.of("CreateModelCopyJob"))
    state, tasks = run(model_arn=re.sub(*wrong, model), target="production")
    assert (state, tasks["allowed"], tasks["copy"]) == ("failed", "failed", "upstream_failed")
    assert len(local_bedrock_module.calls.of("CreateModelCopyJob")) == before


def test_the_copy_is_templated_by_what_was_allowed() -> None:
    """No parameter of the form goes past the task that checks it."""
    assert {"source_model_arn", "source_aws_conn_id", "model_kms_key_id", "aws_conn_id", "region_name"} <= set(
        BedrockModelCopyOperator.template_fields
    )
    assert "params.model_arn" not in DAG.read_text().replace('given["model_arn"]', "")

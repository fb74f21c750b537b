"""What docs/aws-networks-and-accounts.md says of accounts, endpoints and partitions, as far as it can be tried here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from airflow_bedrock.exceptions import BedrockFatalError
from airflow_bedrock.hooks import BedrockHook
from airflow_bedrock.jobs.account import check_account
from airflow_bedrock.local import LocalBedrock
from scripts.stack import free_port
from tests.deployed import policy

pytestmark = pytest.mark.local_bedrock(enforce_iam=True)
ROLE = "arn:aws:iam::123456789012:role/bedrock-customization"


def connect(patch: pytest.MonkeyPatch, **extra: Any) -> BedrockHook:
    """Return a hook whose connection has more in its extra."""
    connection = json.loads(os.environ["AIRFLOW_CONN_AWS_DEFAULT"])
    connection["extra"] |= extra
    patch.setenv("AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection))
    return BedrockHook()


@pytest.mark.parametrize("there", ["nobody", "a proxy"])
def test_without_sts_the_role_is_not_checked(
    local_bedrock: LocalBedrock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, there: str
) -> None:
    """In a VPC without an endpoint for STS the check is left out; Bedrock refuses a role that it cannot assume."""
    no_sts = f"{local_bedrock.endpoint_url}/_local/health"  # its refusal is no XML
    nowhere = {"sts": {"endpoint_url": no_sts if there == "a proxy" else f"http://127.0.0.1:{free_port()}"}}
    with caplog.at_level("INFO"):
        check_account(connect(monkeypatch, service_config=nowhere), ROLE.replace("1234", "4321"))
    assert "was not checked" in caplog.text


def test_a_role_of_another_partition_is_refused(local_bedrock: LocalBedrock) -> None:
    """As one of another account is."""
    check_account(BedrockHook(), ROLE)
    with pytest.raises(BedrockFatalError, match="in partition aws-us-gov"):
        check_account(BedrockHook(), ROLE.replace("arn:aws:", "arn:aws-us-gov:"))


def test_airflow_assumes_a_role(local_bedrock: LocalBedrock, monkeypatch: pytest.MonkeyPatch) -> None:
    """With role_arn in the connection, it may do what that role's policy allows."""
    trust = {
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::210987654321:root"},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": "airflow"}},
    }
    with closing(local_bedrock.client("iam")) as iam:
        document = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
        role = iam.create_role(RoleName="airflow", AssumeRolePolicyDocument=document)["Role"]["Arn"]
        given = json.dumps(policy("airflow", local_bedrock.bucket))
        iam.put_role_policy(RoleName="airflow", PolicyName="deployed", PolicyDocument=given)
    hook = connect(monkeypatch, role_arn=role, assume_role_kwargs={"ExternalId": "airflow"})
    with closing(hook.conn) as client:
        assert client.list_model_customization_jobs()["modelCustomizationJobSummaries"] == []
        with pytest.raises(
            ClientError, match=r"assumed-role/airflow/.* not authorized to perform: bedrock:ListImportedModels"
        ):
            client.list_imported_models()


FROM_SECRETS = """
from airflow.sdk import Variable
from airflow_bedrock.hooks import BedrockHook

print(BedrockHook().conn.list_custom_models()["modelSummaries"], Variable.get("bedrock_bucket"))
"""


def test_secrets_manager_holds_connection_and_variables(local_bedrock: LocalBedrock, tmp_path: Path) -> None:
    """As the secrets backend of managed Airflow: docs/mwaa.md."""
    environment = {**os.environ, **local_bedrock.environment(), "AIRFLOW_HOME": str(tmp_path)}
    prefixes = {"connections": "AIRFLOW_CONN_", "variables": "AIRFLOW_VAR_"}
    with closing(local_bedrock.client("secretsmanager")) as secrets:
        for kind, prefix in prefixes.items():
            for name in [one for one in environment if one.startswith(prefix)]:
                secret = f"airflow/{kind}/{name.removeprefix(prefix).lower()}"
                secrets.create_secret(Name=secret, SecretString=environment.pop(name))
    backend = "airflow.providers.amazon.aws.secrets.secrets_manager.SecretsManagerBackend"
    environment |= {
        "AIRFLOW__SECRETS__BACKEND": backend,
        "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps({f"{kind}_prefix": f"airflow/{kind}" for kind in prefixes}),
    }
    told = subprocess.run(
        [sys.executable, "-c", FROM_SECRETS], env=environment, capture_output=True, text=True, check=False
    )
    assert told.stdout.splitlines()[-1:] == [f"[] {local_bedrock.bucket}"], told.stderr


def test_which_partitions_have_bedrock() -> None:
    """GovCloud has Bedrock and no managed Airflow, China managed Airflow and no Bedrock, as botocore knows."""
    session = boto3.session.Session()
    found = {
        (service, partition): bool(session.get_available_regions(service, partition_name=partition))
        for service in ("bedrock", "mwaa")
        for partition in ("aws-us-gov", "aws-cn")
    }
    assert found == {
        ("bedrock", "aws-us-gov"): True,
        ("mwaa", "aws-us-gov"): False,
        ("bedrock", "aws-cn"): False,
        ("mwaa", "aws-cn"): True,
    }

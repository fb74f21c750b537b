"""The policies of deploy/policies/, and an account on Local Bedrock with them: a role for jobs, a user of Airflow."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from string import Template
from typing import Any

from airflow_bedrock.local import LocalBedrock

FOLDER = Path(__file__).parents[1] / "deploy" / "policies"
VALUES = {
    "Partition": "aws",
    "Region": "us-east-1",
    "Account": "123456789012",
    "BedrockRole": "bedrock-customization",
    "Environment": "airflow",
    "SourceBucket": "airflow-source",
}


def policy(name: str, bucket: str = "my-bucket", **values: str) -> dict[str, Any]:
    """Return a policy with its placeholders filled in: with these values, or else with those of here."""
    text = Template((FOLDER / f"{name}.json").read_text()).substitute({**VALUES, "Bucket": bucket, **values})
    document: dict[str, Any] = json.loads(text)
    return document


def listed(value: Any) -> list[Any]:
    """Return what a policy may say as one or as several."""
    return value if isinstance(value, list) else [value]


def actions(document: dict[str, Any]) -> list[str]:
    """Return the actions that a policy allows."""
    return [action for statement in document["Statement"] for action in listed(statement["Action"])]


def without(document: dict[str, Any], action: str) -> dict[str, Any]:
    """Return a policy that does not allow the action."""
    statements = [
        {**one, "Action": [each for each in listed(one["Action"]) if each != action]} for one in document["Statement"]
    ]
    return {**document, "Statement": [one for one in statements if one["Action"]]}


def both(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return a policy that allows what each of two does."""
    return {**one, "Statement": [*one["Statement"], *other["Statement"]]}


class Deployed:
    """An account as deploy/ makes it.

    :param local: where IAM is enforced.
    """

    def __init__(self, local: LocalBedrock) -> None:
        self._local = local
        self.airflow, self.bedrock_role = (policy(name, local.bucket) for name in ("airflow", "bedrock-role"))
        with closing(local.client("iam")) as iam:
            role, trust = VALUES["BedrockRole"], json.dumps(policy("bedrock-role-trust"))
            self.role_arn: str = iam.create_role(RoleName=role, AssumeRolePolicyDocument=trust)["Role"]["Arn"]
            iam.create_user(UserName="airflow")
            self._key = iam.create_access_key(UserName="airflow")["AccessKey"]
        self.allow()

    def allow(self, *, to_airflow: dict[str, Any] | None = None, to_bedrock: dict[str, Any] | None = None) -> None:
        """Give these policies to Airflow and to Bedrock; by default those of deploy/."""
        given, role_s = (json.dumps(one) for one in (to_airflow or self.airflow, to_bedrock or self.bedrock_role))
        with closing(self._local.client("iam")) as iam:
            iam.put_user_policy(UserName="airflow", PolicyName="deployed", PolicyDocument=given)
            role = VALUES["BedrockRole"]
            iam.put_role_policy(RoleName=role, PolicyName="deployed", PolicyDocument=role_s)

    def environment(self) -> Iterator[tuple[str, str]]:
        """Yield the variables that make Airflow act as the user, and pass the role."""
        connection = json.loads(self._local.environment()["AIRFLOW_CONN_AWS_DEFAULT"])
        connection |= {"login": self._key["AccessKeyId"], "password": self._key["SecretAccessKey"]}
        yield "AIRFLOW_CONN_AWS_DEFAULT", json.dumps(connection)
        yield "AIRFLOW_VAR_BEDROCK_ROLE_ARN", self.role_arn

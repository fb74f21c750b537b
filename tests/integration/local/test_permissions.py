"""What a job's role may do: each permission that it lacks fails the job, or the request, with the service's message."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from airflow_bedrock.local import LocalBedrock

if TYPE_CHECKING:
    from tests.integration.local.conftest import Service

ACCOUNT = "123456789012"
Role = Callable[..., str]


def trust(service: str = "bedrock.amazonaws.com", **conditions: dict[str, str]) -> dict[str, Any]:
    statement = {"Effect": "Allow", "Principal": {"Service": service}, "Action": "sts:AssumeRole"}
    return {"Version": "2012-10-17", "Statement": [statement | ({"Condition": conditions} if conditions else {})]}


def allow(*actions: str, resource: str = "*", effect: str = "Allow") -> dict[str, Any]:
    return {"Effect": effect, "Action": list(actions), "Resource": resource}


S3 = allow("s3:GetObject", "s3:ListBucket", "s3:PutObject")


@pytest.fixture
def role(service: Service) -> Iterator[Role]:
    """Makes a role with a trust policy and permissions, and returns its ARN."""
    iam = service.local.client("iam")

    def make(trusted: dict[str, Any], *statements: dict[str, Any], attached: bool = False) -> str:
        name = service.name("role")
        arn: str = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trusted))["Role"]["Arn"]
        document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)})
        if attached:
            policy = iam.create_policy(PolicyName=name, PolicyDocument=document)["Policy"]["Arn"]
            iam.attach_role_policy(RoleName=name, PolicyArn=policy)
        elif statements:
            iam.put_role_policy(RoleName=name, PolicyName="permissions", PolicyDocument=document)
        return arn

    yield make
    iam.close()


@pytest.mark.parametrize("attached", [False, True])
@pytest.mark.parametrize(
    "conditions",
    [
        {},
        {
            "StringEquals": {"aws:SourceAccount": ACCOUNT},
            "ArnEquals": {"aws:SourceArn": f"arn:aws:bedrock:us-east-1:{ACCOUNT}:model-customization-job/*"},
        },
    ],
)
def test_role_of_the_documentation_is_enough(
    service: Service, role: Role, attached: bool, conditions: dict[str, Any]
) -> None:
    """The trust policy and the permissions of AWS's documentation let a job run, inline or attached."""
    job = service.job(service.create(roleArn=role(trust(**conditions), S3, attached=attached)))
    assert job["status"] == "Completed", job


@pytest.mark.parametrize(
    "trusted",
    [
        trust("lambda.amazonaws.com"),
        trust(StringEquals={"aws:SourceAccount": "999999999999"}),
        trust(ArnLike={"aws:SourceArn": f"arn:aws:bedrock:eu-west-1:{ACCOUNT}:model-customization-job/*"}),
    ],
)
def test_role_that_does_not_trust_bedrock_is_refused(service: Service, role: Role, trusted: dict[str, Any]) -> None:
    """A role that Bedrock may not assume is a ValidationException, and there is no job."""
    request = service.request(roleArn=role(trusted, S3))
    with pytest.raises(ClientError, match=r"ValidationException.*Could not assume provided IAM role\."):
        service.bedrock.create_model_customization_job(**request)
    with pytest.raises(ClientError, match="ResourceNotFoundException"):
        service.bedrock.get_model_customization_job(jobIdentifier=request["jobName"])


@pytest.mark.parametrize(
    ("statements", "message"),
    [
        (
            [allow("s3:PutObject")],
            "Could not validate GetObject permissions to access Amazon S3 bucket: {bucket} at key train.jsonl",
        ),
        (
            [allow("s3:*"), allow("s3:GetObject", resource="arn:aws:s3:::*/train.jsonl", effect="Deny")],
            "Could not validate GetObject permissions to access Amazon S3 bucket: {bucket} at key train.jsonl",
        ),
        (
            [allow("s3:Get*"), allow("s3:PutObject", resource="arn:aws:s3:::other/*")],
            "Amazon S3 perms missing (PutObject): Could not validate PutObject permissions to access S3 bucket: "
            "{bucket} at key out/.write_access_check_file.tmp",
        ),
        # https://docs.aws.amazon.com/bedrock/latest/userguide/model-customization-iam-role.html
        (
            [allow("s3:GetObject", "s3:PutObject")],
            "Could not validate ListBucket permissions to access Amazon S3 bucket: {bucket}",
        ),
    ],
)
def test_permission_that_is_missing_fails_the_job(
    service: Service, role: Role, statements: list[dict[str, Any]], message: str
) -> None:
    """What the role may not read or write fails the job with the service's message."""
    job = service.job(service.create(roleArn=role(trust(), *statements)))
    assert (job["status"], job["failureMessage"]) == ("Failed", message.format(bucket=service.local.bucket))


def test_change_of_a_role_counts_at_once(service: Service, role: Role) -> None:
    """What is allowed is looked up anew after every change in IAM."""
    arn = role(trust(), allow("s3:*"))
    assert service.job(service.create(roleArn=arn))["status"] == "Completed"
    iam = service.local.client("iam")
    iam.delete_role_policy(RoleName=arn.rpartition("/")[2], PolicyName="permissions")
    assert service.job(service.create(roleArn=arn))["status"] == "Failed"
    iam.update_assume_role_policy(RoleName=arn.rpartition("/")[2], PolicyDocument=json.dumps(trust("x.amazonaws.com")))
    iam.close()
    with pytest.raises(ClientError, match="Could not assume"):
        service.create(roleArn=arn)


def test_checks_can_be_switched_off(service: Service) -> None:
    """Without the check any role will do, even one that does not exist."""
    with LocalBedrock(job_seconds=0.1, check_role=False) as local:
        other = type(service)(local)
        job = other.job(other.create(roleArn=f"arn:aws:iam::{ACCOUNT}:role/nobody"))
        other.close()
        assert job["status"] == "Completed"

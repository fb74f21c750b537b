"""IAM policies: what allows, what denies, what a condition does."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_bedrock.local.work.policies import allows, trusts

CONTEXT = {"aws:sourceaccount": "1", "aws:sourcearn": "arn:aws:bedrock:us-east-1:1:model-customization-job/x/y"}
OBJECT = "arn:aws:s3:::b/data/k.jsonl"


def policy(**statement: Any) -> dict[str, Any]:
    return {"Statement": {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"} | statement}


@pytest.mark.parametrize(
    ("policies", "allowed"),
    [
        ([], False),
        ([policy()], True),
        ([policy(Action="S3:getobject")], True),
        ([policy(Action=["s3:Put*", "s3:Get?bject"])], True),
        ([policy(Action="s3:PutObject")], False),
        ([policy(Resource="arn:aws:s3:::b/*")], True),
        ([policy(Resource=["arn:aws:s3:::b", "arn:aws:s3:::b/data/k.json?"])], True),
        ([policy(Resource="arn:aws:s3:::b/[d]ata/*")], False),
        ([policy(Resource="arn:aws:s3:::B/*")], False),
        ([policy(), policy(Effect="Deny")], False),
        ([policy(), policy(Effect="Deny", Resource="arn:aws:s3:::other/*")], True),
        ([{"Statement": [{"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}]}], True),
        ([{"Statement": [{"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:s3:::b/*"}]}], False),
        ([policy(Condition={"StringEquals": {"aws:SourceAccount": "1"}})], True),
        ([policy(Condition={"StringEquals": {"aws:SourceAccount": ["2", "3"]}})], False),
        ([policy(Condition={"StringNotEquals": {"aws:SourceAccount": "1"}})], False),
        ([policy(Condition={"Bool": {"aws:SecureTransport": "true"}})], True),
        ([policy(), policy(Effect="Deny", Condition={"Bool": {"aws:SecureTransport": "false"}})], True),
    ],
)
def test_policies(policies: list[dict[str, Any]], allowed: bool) -> None:
    """One statement has to allow, and none may deny; a condition that is not known never forbids."""
    assert allows(policies, "s3:GetObject", OBJECT, CONTEXT) is allowed


@pytest.mark.parametrize(
    ("statement", "trusted"),
    [
        ({"Principal": {"Service": "bedrock.amazonaws.com"}}, True),
        ({"Principal": {"Service": ["lambda.amazonaws.com", "bedrock.amazonaws.com"]}}, True),
        ({"Principal": {"Service": "lambda.amazonaws.com"}}, False),
        ({"Principal": {"AWS": "arn:aws:iam::1:root"}}, False),
        ({"Principal": {"Service": "bedrock.amazonaws.com"}, "Action": "sts:TagSession"}, False),
        (
            {
                "Principal": {"Service": "bedrock.amazonaws.com"},
                "Condition": {
                    "ArnLike": {"AWS:SourceArn": "arn:aws:bedrock:us-east-1:1:model-customization-job/*"},
                    "StringEqualsIfExists": {"aws:SourceAccount": "1"},
                },
            },
            True,
        ),
        (
            {
                "Principal": {"Service": "bedrock.amazonaws.com"},
                "Condition": {"ArnLike": {"aws:SourceArn": "arn:aws:bedrock:us-east-1:1:evaluation-job/*"}},
            },
            False,
        ),
    ],
)
def test_trust(statement: dict[str, Any], trusted: bool) -> None:
    """Bedrock is let in by its name, for the account and the jobs that the conditions name."""
    document = {"Statement": [{"Effect": "Allow", "Action": "sts:AssumeRole"} | statement]}
    assert trusts(document, "bedrock.amazonaws.com", CONTEXT) is trusted


def test_no_trust_policy_trusts_nobody() -> None:
    """A role that is not there trusts nobody."""
    assert not trusts({}, "bedrock.amazonaws.com", CONTEXT)

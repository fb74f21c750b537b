"""IAM policies: what allows, what denies, what a condition does."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_bedrock.local.work.policies import Decision, decide, trusts

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
        ([policy(Resource="arn:aws:s3:::b/${aws:SourceAccount}/*")], False),
        ([policy(Resource="arn:aws:s3:::b/d${*}*")], False),
    ],
)
def test_policies(policies: list[dict[str, Any]], allowed: bool) -> None:
    """One statement has to allow, and none may deny."""
    assert (decide(policies, "s3:GetObject", OBJECT, CONTEXT) is Decision.ALLOWED) is allowed


REQUEST = {
    "aws:username": "ann",
    "aws:principalarn": "arn:aws:iam::1:user/team/ann",
    "aws:tagkeys": ["team", "cost"],
    "aws:requesttag/team": "search",
    "aws:securetransport": "true",
}


@pytest.mark.parametrize(
    ("condition", "met"),
    [
        ({"StringEquals": {"aws:RequestTag/team": "search"}}, True),
        ({"StringEquals": {"aws:RequestTag/team": "SEARCH"}}, False),
        ({"StringEquals": {"aws:RequestTag/team": "sea*"}}, False),
        ({"StringEqualsIgnoreCase": {"aws:RequestTag/team": "SEARCH"}}, True),
        ({"StringNotEqualsIgnoreCase": {"aws:RequestTag/team": "SEARCH"}}, False),
        ({"StringLike": {"aws:RequestTag/team": ["x", "sea?ch"]}}, True),
        ({"StringNotLike": {"aws:RequestTag/team": "s*"}}, False),
        ({"StringLike": {"aws:PrincipalArn": "arn:aws:iam::1:user/*/${aws:username}"}}, True),
        ({"StringEquals": {"aws:PrincipalArn": "arn:aws:iam::1:user/team/${aws:username}"}}, True),
        ({"StringEquals": {"aws:username": "${aws:userid}"}}, False),
        ({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/*"}}, True),
        ({"ArnEquals": {"aws:PrincipalArn": "arn:aws:iam::*"}}, False),
        ({"ArnNotLike": {"aws:PrincipalArn": "arn:aws:iam::2:*"}}, True),
        ({"Bool": {"aws:SecureTransport": True}}, True),
        ({"Bool": {"aws:SecureTransport": "false"}}, False),
        ({"Null": {"aws:RequestTag/team": "false"}}, True),
        ({"Null": {"aws:RequestTag/other": "true"}}, True),
        ({"Null": {"aws:RequestTag/other": False}}, False),
        # A key that the request does not have: as AWS does it.
        ({"StringEquals": {"aws:RequestTag/other": "x"}}, False),
        ({"StringEqualsIfExists": {"aws:RequestTag/other": "x"}}, True),
        ({"StringEqualsIfExists": {"aws:RequestTag/team": "x"}}, False),
        ({"StringNotEquals": {"aws:RequestTag/other": "x"}}, True),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["team", "cost", "owner"]}}, True),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["team"]}}, False),
        ({"ForAllValues:StringEquals": {"aws:CalledVia": ["x"]}}, True),
        ({"ForAnyValue:StringEquals": {"aws:TagKeys": ["team"]}}, True),
        ({"ForAnyValue:StringEquals": {"aws:TagKeys": ["owner"]}}, False),
        ({"ForAnyValue:StringEquals": {"aws:CalledVia": ["x"]}}, False),
        ({"ForAnyValue:StringNotEquals": {"aws:TagKeys": ["team"]}}, True),
        ({"ForAllValues:StringNotEquals": {"aws:TagKeys": ["team"]}}, False),
        # All conditions have to be met.
        ({"StringEquals": {"aws:username": "ann", "aws:RequestTag/team": "x"}}, False),
        ({"StringEquals": {"aws:username": "ann"}, "Bool": {"aws:SecureTransport": "false"}}, False),
    ],
)
def test_conditions(condition: dict[str, Any], met: bool) -> None:
    """A condition that is met makes an Allow allow and a Deny deny; one that is not leaves both without effect."""
    assert (decide([policy(Condition=condition)], "s3:GetObject", OBJECT, REQUEST) is Decision.ALLOWED) is met
    denied = [policy(), policy(Effect="Deny", Condition=condition)]
    assert decide(denied, "s3:GetObject", OBJECT, REQUEST) == ("explicitDeny" if met else "allowed")


@pytest.mark.parametrize(
    "condition",
    [
        {"StringEquals": {"aws:NobodyKnows": "x"}},
        {"StringNotEquals": {"aws:NobodyKnows": "x"}},
        {"StringEqualsIfExists": {"aws:NobodyKnows": "x"}},
        {"Null": {"aws:NobodyKnows": "true"}},
        {"NumericLessThan": {"aws:MultiFactorAuthAge": "10"}},
        {"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}},
        {"Sometimes:StringEquals": {"aws:username": "ann"}},
    ],
)
def test_unknown_condition_denies(condition: dict[str, Any]) -> None:
    """An unknown key or operator lets no Allow pass, and every Deny."""
    assert decide([policy(Condition=condition)], "s3:GetObject", OBJECT, REQUEST) == "implicitDeny"
    denied = [policy(), policy(Effect="Deny", Condition=condition)]
    assert decide(denied, "s3:GetObject", OBJECT, REQUEST) == "explicitDeny"


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

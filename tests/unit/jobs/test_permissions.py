"""What IAM is asked before a job is made, and what is said that is not allowed: by the names that policies have."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from airflow_bedrock.jobs import permissions
from airflow_bedrock.jobs.permissions import Needed

ROLE = "arn:aws:iam::123456789012:role/path/bedrock"
GRADER = "arn:aws:lambda:us-east-1:123456789012:function:grade"
JOB = "arn:aws:bedrock:us-east-1:123456789012:model-customization-job/amazon.nova-micro-v1:0:128k/abcdefghijkl"
REQUEST = {
    "roleArn": ROLE,
    "baseModelIdentifier": "amazon.nova-micro-v1:0:128k",
    "trainingDataConfig": {"s3Uri": "s3://bucket/train.jsonl"},
    "validationDataConfig": {"validators": [{"s3Uri": "s3://bucket/valid.jsonl"}]},
    "outputDataConfig": {"s3Uri": "s3://bucket/out/"},
    "customizationConfig": {"rftConfig": {"graderConfig": {"lambdaGrader": {"lambdaArn": GRADER}}}},
}
BASE = "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-micro-v1:0:128k"
BY_CALLER = [
    Needed("bedrock:CreateModelCustomizationJob", BASE),
    Needed("iam:PassRole", ROLE),
    Needed("bedrock:ListModelCustomizationJobs", "*"),
    Needed("bedrock:GetModelCustomizationJob", JOB),
    Needed("bedrock:StopModelCustomizationJob", JOB),
    Needed("bedrock:ListTagsForResource", JOB),
    Needed("bedrock:TagResource", JOB),
]
BY_ROLE = [
    Needed("s3:GetObject", "arn:aws:s3:::bucket/train.jsonl"),
    Needed("s3:GetObject", "arn:aws:s3:::bucket/valid.jsonl"),
    Needed("s3:PutObject", "arn:aws:s3:::bucket/out/output"),
    Needed("lambda:InvokeFunction", GRADER),
]


class Iam:
    """An IAM that denies given actions, and notes the context of each call."""

    def __init__(self, *denied: str) -> None:
        self.denied = denied
        self.asked: list[Needed] = []
        self.context: dict[str, Any] = {}

    def get_paginator(self, operation: str) -> Iam:
        assert operation == "simulate_principal_policy"
        return self

    def paginate(self, ActionNames: list[str], ResourceArns: list[str], ContextEntries: Any, **_: Any) -> Any:
        self.asked += [Needed(action, ResourceArns[0]) for action in ActionNames]
        self.context = {one["ContextKeyName"]: one["ContextKeyValues"] for one in ContextEntries}
        assert {one["ContextKeyType"] for one in ContextEntries} == {"string"}
        decisions = [
            {"EvalActionName": action, "EvalDecision": "implicitDeny" if action in self.denied else "allowed"}
            for action in ActionNames
        ]
        return [{"EvaluationResults": [decision]} for decision in decisions]

    def get_role(self, RoleName: str) -> dict[str, Any]:
        return {"Role": {"Arn": f"arn:aws:iam::123456789012:role/path/{RoleName}"}}

    def close(self) -> None:
        """Nothing to close."""


def denied(monkeypatch: pytest.MonkeyPatch, iam: Iam, caller: str) -> dict[str, list[Needed]]:
    monkeypatch.setattr(permissions, "client_of", lambda hook, service: {"iam": iam}[service])
    monkeypatch.setattr(permissions, "caller_arn", lambda hook: caller)
    hook: Any = SimpleNamespace()
    return permissions.denied(hook, REQUEST, "us-east-1")


@pytest.mark.parametrize(
    ("caller", "principal"),
    [
        ("arn:aws:iam::123456789012:user/ann", "arn:aws:iam::123456789012:user/ann"),
        ("arn:aws:iam::123456789012:role/airflow", "arn:aws:iam::123456789012:role/airflow"),
        ("arn:aws:sts::123456789012:assumed-role/airflow/session", "arn:aws:iam::123456789012:role/path/airflow"),
    ],
)
def test_connection_and_role_are_simulated_for_what_each_needs(
    monkeypatch: pytest.MonkeyPatch, caller: str, principal: str
) -> None:
    """In the context in which the calls will be made, which conditions of policies name."""
    iam = Iam("bedrock:TagResource", "lambda:InvokeFunction")
    assert denied(monkeypatch, iam, caller) == {principal: BY_CALLER[-1:], ROLE: BY_ROLE[-1:]}
    assert iam.asked == BY_CALLER + BY_ROLE
    assert iam.context == {
        "aws:RequestedRegion": ["us-east-1"],
        "aws:ResourceAccount": ["123456789012"],
        "aws:ResourceTag/airflow/dag_id": ["any"],
        "iam:PassedToService": ["bedrock.amazonaws.com"],
    }


def test_a_job_without_a_grader_calls_no_function() -> None:
    """Nor is a model that is named by its ARN searched for among the foundation models."""
    request = {**REQUEST, "customizationConfig": {}, "baseModelIdentifier": f"{BASE}x"}
    assert permissions.needed_by_role(request) == BY_ROLE[:-1]
    assert permissions.needed_by_caller(request, "us-east-1")[0].resource == f"{BASE}x"


@pytest.mark.parametrize("caller", ["arn:aws:iam::123456789012:root", "arn:aws:sts::123456789012:federated-user/ann"])
def test_a_caller_without_policies_to_simulate_is_reported(monkeypatch: pytest.MonkeyPatch, caller: str) -> None:
    """An account's root."""
    with pytest.raises(ValueError, match="is neither a user nor a role"):
        denied(monkeypatch, Iam(), caller)

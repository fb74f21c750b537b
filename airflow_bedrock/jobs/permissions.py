"""Check with IAM's policy simulator whether the connection and the job's role have the permissions that a job needs.

The simulator evaluates the policies of users and roles, but not those of an organization. It is called only if the
connection is allowed to.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, NamedTuple

from airflow_bedrock.base_models import foundation_model_id
from airflow_bedrock.customization.request import data_uris
from airflow_bedrock.hooks.bedrock import BedrockHook
from airflow_bedrock.jobs.account import caller_arn, client_of
from airflow_bedrock.uris import Arn


class Needed(NamedTuple):
    """An action on a resource."""

    action: str
    resource: str


def needed_by_caller(request: Mapping[str, Any], region: str) -> list[Needed]:
    """Return the actions that the connection needs to make, find, read, tag and stop the job."""
    role = Arn.of(request["roleArn"])
    here = f"arn:{role.partition}:bedrock:{region}"
    base = request["baseModelIdentifier"]
    job = f"{here}:{role.account}:model-customization-job/amazon.nova-micro-v1:0:128k/abcdefghijkl"
    on_a_job = ("GetModelCustomizationJob", "StopModelCustomizationJob", "ListTagsForResource", "TagResource")
    return [
        Needed(
            "bedrock:CreateModelCustomizationJob",
            base if base.startswith("arn:") else f"{here}::foundation-model/{foundation_model_id(base)}",
        ),
        Needed("iam:PassRole", request["roleArn"]),
        Needed("bedrock:ListModelCustomizationJobs", "*"),
        *(Needed(f"bedrock:{operation}", job) for operation in on_a_job),
    ]


def needed_by_role(request: Mapping[str, Any]) -> list[Needed]:
    """Return the actions that the job's role needs to read the data, write the output and call the reward function."""
    partition = Arn.of(request["roleArn"]).partition
    output = request["outputDataConfig"]["s3Uri"].removeprefix("s3://").rstrip("/")
    data = [uri.removeprefix("s3://") for uri in data_uris(request)]
    needed = [Needed("s3:GetObject", f"arn:{partition}:s3:::{one}") for one in data if not one.endswith("/")]
    needed.append(Needed("s3:PutObject", f"arn:{partition}:s3:::{output}/output"))
    if function := reward_function(request):
        needed.append(Needed("lambda:InvokeFunction", function))
    return needed


def reward_function(request: Mapping[str, Any]) -> str | None:
    """Return the ARN of the function that grades the answers in reinforcement fine-tuning, if there is one."""
    grader = request.get("customizationConfig", {}).get("rftConfig", {}).get("graderConfig", {})
    arn = grader.get("lambdaGrader", {}).get("lambdaArn")
    return arn if isinstance(arn, str) else None


def denied(hook: BedrockHook, request: Mapping[str, Any], region: str) -> dict[str, list[Needed]]:
    """Return the denied actions of the caller and the role, by ARN. Raises botocore's errors.

    :raises ValueError: the connection's caller has no policies to simulate, such as an account's root.
    """
    with closing(client_of(hook, "iam")) as iam:
        caller = _principal(iam, caller_arn(hook))
        context = {
            "aws:RequestedRegion": region,
            "aws:ResourceAccount": Arn.of(request["roleArn"]).account,
            "aws:ResourceTag/airflow/dag_id": "any",
            "iam:PassedToService": "bedrock.amazonaws.com",
        }
        by_principal = {caller: needed_by_caller(request, region), request["roleArn"]: needed_by_role(request)}
        return {principal: list(_denied(iam, principal, needed, context)) for principal, needed in by_principal.items()}


def _denied(iam: Any, principal: str, needed: list[Needed], context: Mapping[str, str]) -> Iterator[Needed]:
    entries = [
        {"ContextKeyName": name, "ContextKeyValues": [value], "ContextKeyType": "string"}
        for name, value in context.items()
    ]
    actions = defaultdict(list)
    for one in needed:
        actions[one.resource].append(one.action)
    for resource, names in actions.items():
        pages = iam.get_paginator("simulate_principal_policy").paginate(
            PolicySourceArn=principal, ActionNames=names, ResourceArns=[resource], ContextEntries=entries
        )
        for page in pages:
            for result in page["EvaluationResults"]:
                if result["EvalDecision"] != "allowed":
                    yield Needed(result["EvalActionName"], resource)


def _principal(iam: Any, arn: str) -> str:
    """Return the user or the role whose policies count for a caller."""
    caller = Arn.of(arn)
    if caller.service == "iam" and caller.resource.startswith(("user/", "role/")):
        return arn
    kind, _, rest = caller.resource.partition("/")
    if kind != "assumed-role":
        raise ValueError(f"{arn} is neither a user nor a role")
    role: str = iam.get_role(RoleName=rest.partition("/")[0])["Role"]["Arn"]  # STS omits the role's path
    return role

"""Every operation that is built, in one table: its answer has the declared shape, its errors the declared statuses."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from botocore.model import OperationModel
from botocore.session import get_session

from airflow_bedrock.local.api import handler

if TYPE_CHECKING:
    from tests.conformance.conftest import Account

Parameters = Callable[["Account"], dict[str, Any]]

HERE = "arn:aws:bedrock:us-east-1:123456789012"
NO_JOB = f"{HERE}:model-customization-job/amazon.nova-micro-v1:0:128k/abcdefghij12"
NO_MODEL = f"{HERE}:custom-model/amazon.nova-micro-v1:0:128k/abcdefghij12"
NO_DEPLOYMENT = f"{HERE}:custom-model-deployment/abcdefghij12"
NO_THROUGHPUT = f"{HERE}:provisioned-model/abcdefghij12"
NO_BATCH = f"{HERE}:model-invocation-job/abcdefghij12"
NO_IMPORT = f"{HERE}:model-import-job/abcdefghij12"
NO_IMPORTED = f"{HERE}:imported-model/abcdefghij12"
NO_COPY = f"{HERE}:model-copy-job/abcdefghij12"
NOVA = "amazon.nova-micro-v1:0"
CLAUDE = "anthropic.claude-sonnet-4-20250514-v1:0"
MESSAGES = [{"role": "user", "content": [{"text": "Hello"}]}]
BODY = json.dumps({"messages": MESSAGES})
TAGS = [{"key": "team", "value": "support"}]
TOO_MANY = [{"key": f"k{number}", "value": "v"} for number in range(51)]


@dataclass(frozen=True)
class Row:
    """How an operation is asked.

    :param good: parameters with which it succeeds.
    :param free: whether that is free on AWS too, and changes nothing there.
    :param missing: parameters that name something that does not exist.
    :param invalid: parameters that break a rule; without them, required ones are left out, or wrong in the path.
    :param errors: parameters that lead to further errors, by code.
    """

    good: Parameters
    free: bool = False
    missing: dict[str, Any] | None = None
    invalid: dict[str, Any] | None = None
    errors: Mapping[str, Parameters] = field(default_factory=dict)


def listing() -> Row:
    return Row(lambda account: {"maxResults": 10}, free=True, invalid={"maxResults": 0})


def used_batch_name(account: Account) -> dict[str, Any]:
    request = account.batch_request()
    account.call("CreateModelInvocationJob", **request)
    return request


def used_token(account: Account) -> dict[str, Any]:
    token = account.name("token")
    account.call("CreateModelCustomizationJob", **account.job_request(), clientRequestToken=token)
    return account.job_request() | {"clientRequestToken": token}


def deployed_model(account: Account) -> dict[str, Any]:
    assert account.deployment
    return {"modelIdentifier": account.model}


def asked(account: Account) -> dict[str, Any]:
    return {"modelId": account.deployment, "messages": MESSAGES}


def invoked(account: Account) -> dict[str, Any]:
    return {"modelId": account.deployment, "body": BODY}


ROWS = {
    "CreateModelCustomizationJob": Row(
        lambda account: account.job_request(),
        errors={
            "ConflictException": used_token,
            "TooManyTagsException": lambda account: account.job_request() | {"jobTags": TOO_MANY},
        },
    ),
    "GetModelCustomizationJob": Row(lambda account: {"jobIdentifier": account.job}, missing={"jobIdentifier": NO_JOB}),
    "ListModelCustomizationJobs": listing(),
    "StopModelCustomizationJob": Row(
        lambda account: {"jobIdentifier": account.new_job(wait=False)},
        missing={"jobIdentifier": NO_JOB},
        errors={"ConflictException": lambda account: {"jobIdentifier": account.job}},
    ),
    "GetCustomModel": Row(lambda account: {"modelIdentifier": account.model}, missing={"modelIdentifier": NO_MODEL}),
    "ListCustomModels": listing(),
    "DeleteCustomModel": Row(
        lambda account: {"modelIdentifier": account.new_model()},
        missing={"modelIdentifier": NO_MODEL},
        errors={"ConflictException": deployed_model},
    ),
    "CreateCustomModel": Row(
        lambda account: account.checkpoint_request(),
        errors={"TooManyTagsException": lambda account: account.checkpoint_request() | {"modelTags": TOO_MANY}},
    ),
    "CreateModelImportJob": Row(
        lambda account: account.import_request(),
        errors={"TooManyTagsException": lambda account: account.import_request() | {"jobTags": TOO_MANY}},
    ),
    "GetModelImportJob": Row(
        lambda account: {"jobIdentifier": account.new_import()}, missing={"jobIdentifier": NO_IMPORT}
    ),
    "ListModelImportJobs": listing(),
    "GetImportedModel": Row(
        lambda account: {"modelIdentifier": account.new_imported()}, missing={"modelIdentifier": NO_IMPORTED}
    ),
    "ListImportedModels": listing(),
    "DeleteImportedModel": Row(
        lambda account: {"modelIdentifier": account.new_imported()}, missing={"modelIdentifier": NO_IMPORTED}
    ),
    "CreateModelCopyJob": Row(
        lambda account: account.copy_request(),
        missing={"sourceModelArn": NO_MODEL.replace("us-east-1", "us-west-2"), "targetModelName": "nothing"},
        errors={"TooManyTagsException": lambda account: account.copy_request() | {"targetModelTags": TOO_MANY}},
    ),
    "GetModelCopyJob": Row(lambda account: {"jobArn": account.new_copy()}, missing={"jobArn": NO_COPY}),
    "ListModelCopyJobs": listing(),
    "CreateCustomModelDeployment": Row(
        lambda account: {"modelDeploymentName": account.name(), "modelArn": account.model, "tags": TAGS},
        missing={"modelDeploymentName": "nothing", "modelArn": NO_MODEL},
        errors={
            "TooManyTagsException": lambda account: {
                "modelDeploymentName": account.name(),
                "modelArn": account.model,
                "tags": TOO_MANY,
            }
        },
    ),
    "GetCustomModelDeployment": Row(
        lambda account: {"customModelDeploymentIdentifier": account.deployment},
        missing={"customModelDeploymentIdentifier": NO_DEPLOYMENT},
    ),
    "ListCustomModelDeployments": listing(),
    "UpdateCustomModelDeployment": Row(
        lambda account: {"customModelDeploymentIdentifier": account.new_deployment(), "modelArn": account.new_model()},
        missing={"customModelDeploymentIdentifier": NO_DEPLOYMENT, "modelArn": NO_MODEL},
    ),
    "DeleteCustomModelDeployment": Row(
        lambda account: {"customModelDeploymentIdentifier": account.new_deployment()},
        missing={"customModelDeploymentIdentifier": NO_DEPLOYMENT},
    ),
    "CreateProvisionedModelThroughput": Row(
        lambda account: {"modelUnits": 1, "provisionedModelName": account.name(), "modelId": account.model},
        missing={"modelUnits": 1, "provisionedModelName": "nothing", "modelId": NO_MODEL},
        errors={
            "TooManyTagsException": lambda account: {
                "modelUnits": 1,
                "provisionedModelName": account.name(),
                "modelId": account.model,
                "tags": TOO_MANY,
            }
        },
    ),
    "GetProvisionedModelThroughput": Row(
        lambda account: {"provisionedModelId": account.throughput}, missing={"provisionedModelId": NO_THROUGHPUT}
    ),
    "ListProvisionedModelThroughputs": listing(),
    "UpdateProvisionedModelThroughput": Row(
        lambda account: {"provisionedModelId": account.new_throughput(), "desiredProvisionedModelName": account.name()},
        missing={"provisionedModelId": NO_THROUGHPUT},
    ),
    "DeleteProvisionedModelThroughput": Row(
        lambda account: {"provisionedModelId": account.new_throughput()},
        missing={"provisionedModelId": NO_THROUGHPUT},
        errors={
            "ConflictException": lambda account: {
                "provisionedModelId": account.new_throughput(commitmentDuration="OneMonth")
            }
        },
    ),
    "CreateModelInvocationJob": Row(
        lambda account: account.batch_request(), errors={"ConflictException": used_batch_name}
    ),
    "GetModelInvocationJob": Row(
        lambda account: {"jobIdentifier": account.new_batch()}, missing={"jobIdentifier": NO_BATCH}
    ),
    "ListModelInvocationJobs": listing(),
    "StopModelInvocationJob": Row(
        lambda account: {"jobIdentifier": account.new_batch(wait=False)},
        missing={"jobIdentifier": NO_BATCH},
        errors={"ConflictException": lambda account: {"jobIdentifier": account.new_batch()}},
    ),
    "GetFoundationModel": Row(
        lambda account: {"modelIdentifier": NOVA}, free=True, missing={"modelIdentifier": "amazon.nothing-v9:0"}
    ),
    "ListFoundationModels": Row(lambda account: {}, free=True, invalid={"byInferenceType": "NONSENSE"}),
    "GetFoundationModelAvailability": Row(
        lambda account: {"modelId": NOVA}, free=True, missing={"modelId": "amazon.nothing-v9:0"}
    ),
    "GetInferenceProfile": Row(
        lambda account: {"inferenceProfileIdentifier": f"us.{NOVA}"},
        free=True,
        missing={"inferenceProfileIdentifier": "us.amazon.nothing-v9:0"},
    ),
    "ListInferenceProfiles": listing(),
    "PutModelInvocationLoggingConfiguration": Row(lambda account: {"loggingConfig": account.logging_config()}),
    "GetModelInvocationLoggingConfiguration": Row(lambda account: {}, free=True),
    "DeleteModelInvocationLoggingConfiguration": Row(lambda account: {}),
    "TagResource": Row(
        lambda account: {"resourceARN": account.job, "tags": TAGS},
        missing={"resourceARN": NO_JOB, "tags": TAGS},
        errors={"TooManyTagsException": lambda account: {"resourceARN": account.job, "tags": TOO_MANY}},
    ),
    "UntagResource": Row(
        lambda account: {"resourceARN": account.job, "tagKeys": ["team"]},
        missing={"resourceARN": NO_JOB, "tagKeys": ["team"]},
    ),
    "ListTagsForResource": Row(lambda account: {"resourceARN": account.job}, missing={"resourceARN": NO_JOB}),
    "Converse": Row(asked, missing={"modelId": NO_DEPLOYMENT, "messages": MESSAGES}),
    "ConverseStream": Row(asked, missing={"modelId": NO_DEPLOYMENT, "messages": MESSAGES}),
    "InvokeModel": Row(invoked, missing={"modelId": NO_DEPLOYMENT, "body": BODY}),
    "CountTokens": Row(lambda account: {"modelId": CLAUDE, "input": {"converse": {"messages": MESSAGES}}}, free=True),
    "InvokeModelWithResponseStream": Row(invoked, missing={"modelId": NO_DEPLOYMENT, "body": BODY}),
}

MODELS = {
    name: model.operation_model(name)
    for model in map(get_session().get_service_model, ("bedrock", "bedrock-runtime"))
    for name in model.operation_names
}
ERRORS = [(name, error.name) for name in ROWS for error in MODELS[name].error_shapes]


def test_every_operation_that_is_built_has_a_row() -> None:
    """An operation that is added without a row fails here; so does a row whose operation is gone."""
    assert {name for name in MODELS if handler(name)} == set(ROWS)


@pytest.mark.parametrize("operation", ROWS)
def test_the_answer_has_the_declared_shape(account: Account, operation: str) -> None:
    """The status is the declared one, required members are there, none is unknown, enums are in range."""
    row = ROWS[operation]
    if account.local is None and not row.free:
        pytest.skip("this costs money on AWS")
    answer = account.call(operation, **row.good(account))
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == MODELS[operation].http["responseCode"]


@pytest.mark.parametrize(("operation", "code"), ERRORS)
def test_each_declared_error_has_the_declared_status(account: Account, operation: str, code: str) -> None:
    """The error comes with its code and its HTTP status; what nothing leads to by itself is asked for as a fault."""
    row, model = ROWS[operation], MODELS[operation]
    (declared,) = [shape.metadata["error"]["httpStatusCode"] for shape in model.error_shapes if shape.name == code]
    parameters: dict[str, Any]
    if code == "ValidationException":
        parameters = row.invalid if row.invalid is not None else broken(model)
    elif code == "ResourceNotFoundException" and row.missing is not None:
        parameters = row.missing
    elif account.local is None:
        pytest.skip("this costs money on AWS, or cannot be provoked there")
    elif code in row.errors:
        parameters = row.errors[code](account)
    else:
        parameters = row.good(account)
        account.local.faults.fail(operation, code)
    with pytest.raises(ClientError) as caught:
        account.call(operation, **parameters)
    response = caught.value.response
    assert (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]) == (code, declared)
    assert response["Error"]["Message"]


def broken(model: OperationModel) -> dict[str, Any]:
    """Return a request that breaks rules: nothing that is required is there, and what the path needs is nonsense."""
    members = model.input_shape.members if model.input_shape else {}
    return {name: "!" for name, shape in members.items() if shape.serialization.get("location") == "uri"}


@dataclass(frozen=True)
class Listed:
    """What an operation lists.

    :param member: where it lies in the state of a region.
    :param result: the member of the answer that lists it.
    :param arn: the member of each summary with its ARN.
    :param one: makes one of them.
    :param by_name: the filter for parts of a name.
    """

    member: str
    result: str
    arn: str
    one: Callable[[Account], object]
    by_name: str = "nameContains"


LISTS = {
    "ListModelCustomizationJobs": Listed("jobs", "modelCustomizationJobSummaries", "jobArn", lambda one: one.job),
    "ListCustomModels": Listed("models", "modelSummaries", "modelArn", lambda one: one.model),
    "ListCustomModelDeployments": Listed(
        "deployments", "modelDeploymentSummaries", "customModelDeploymentArn", lambda one: one.deployment
    ),
    "ListProvisionedModelThroughputs": Listed(
        "throughputs", "provisionedModelSummaries", "provisionedModelArn", lambda one: one.throughput
    ),
    "ListModelCopyJobs": Listed(
        "copies", "modelCopyJobSummaries", "jobArn", lambda one: one.new_copy(), "targetModelNameContains"
    ),
    "ListModelImportJobs": Listed("imports", "modelImportJobSummaries", "jobArn", lambda one: one.new_import()),
    "ListImportedModels": Listed("imported", "modelSummaries", "modelArn", lambda one: one.new_imported()),
    "ListModelInvocationJobs": Listed("invocations", "invocationJobSummaries", "jobArn", lambda one: one.new_batch()),
}


def test_every_list_is_paged_through() -> None:
    """Each operation that the service model has pages for is in the table below; profiles are no user's to make."""
    paged = {name for name in ROWS if "nextToken" in getattr(MODELS[name].output_shape, "members", {})}
    assert paged - {"ListInferenceProfiles"} == set(LISTS)


@pytest.mark.parametrize("size", [None, 7, 1000])
@pytest.mark.parametrize("operation", LISTS)
def test_lists_page_through_thousands(account: Account, operation: str, size: int | None) -> None:
    """Each of thousands of items is shown once, whatever the page size, the newest first; no page is too long."""
    if account.local is None:
        pytest.skip("thousands of items cost money on AWS")
    listed = LISTS[operation]
    listed.one(account)
    members = getattr(account.state, listed.member)
    template = next(iter(members.values()))
    prefix = account.name("page")
    longest = MODELS[operation].output_shape.members[listed.result].metadata.get("max", 1000)  # type: ignore[union-attr]  # it has one
    count = 300 if size == 7 or longest < 100 else 3000
    arns = [f"{template.arn[:-12]}{number:012}" for number in range(count)]
    try:
        with account.local._world.lock:
            members |= {arn: replace(template, arn=arn, name=f"{prefix}-{number}") for number, arn in enumerate(arns)}
        token, shown = dict[str, str](), list[str]()
        while True:
            limit = {} if size is None else {"maxResults": size}
            answer = account.call(operation, **{listed.by_name: prefix}, **limit, **token)
            page = [summary[listed.arn] for summary in answer[listed.result]]
            assert 0 < len(page) <= min(size or 1000, longest)
            shown += page
            if "nextToken" not in answer:
                break
            token = {"nextToken": answer["nextToken"]}
        assert shown == arns[::-1]
    finally:
        with account.local._world.lock:
            for arn in arns:
                members.pop(arn, None)

"""What AWS was seen to answer, or says that it does: each expectation beside its source."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from tests.conformance.conftest import Account

NOVA = "amazon.nova-micro-v1:0"
USER = {"role": "user", "content": [{"text": "Hello"}]}
ASSISTANT = {"role": "assistant", "content": [{"text": "Hi"}]}
CALL = {"role": "assistant", "content": [{"toolUse": {"toolUseId": "t1", "name": "weather", "input": {}}}]}
RESULT = {"role": "user", "content": [{"toolResult": {"toolUseId": "t1", "content": [{"text": "20 degrees"}]}}]}
PROPERTIES = {"place": {"type": "string"}, "days": {"type": "integer"}, "unit": {"enum": ["celsius", "kelvin"]}}
SCHEMA = {"type": "object", "properties": PROPERTIES, "required": ["place", "days", "unit"]}
WEATHER = {"toolSpec": {"name": "weather", "inputSchema": {"json": SCHEMA}}}
OTHER = {"toolSpec": {"name": "other", "inputSchema": {"json": {"type": "object"}}}}


@pytest.fixture
def local(account: Account) -> Account:
    if account.local is None:
        pytest.skip("this costs money on AWS, or changes something there")
    return account


def refused(account: Account, operation: str, **parameters: Any) -> str:
    with pytest.raises(ClientError) as caught:
        account.call(operation, **parameters)
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    return str(caught.value.response["Error"]["Message"])


ALTERNATE = (
    "A conversation must alternate between user and assistant roles. Make sure the conversation alternates between "
    "user and assistant roles and try again."
)
CONVERSATIONS = {
    # https://github.com/langchain-ai/langchain-aws/issues/130
    "two user turns": ([USER, USER], ALTERNATE),
    # https://github.com/microsoft/semantic-kernel/issues/10277
    "two assistant turns": ([USER, ASSISTANT, ASSISTANT, USER], ALTERNATE),
    # https://github.com/epam/ai-dial-adapter-bedrock (integration tests: an out of turn dialog)
    "begins with the assistant": (
        [ASSISTANT, USER],
        "A conversation must start with a user message. Try again with a conversation that starts with a user message.",
    ),
    # https://github.com/epam/ai-dial-adapter-bedrock (integration tests: an empty user message, for Nova and Llama)
    "a blank text": (
        [{"role": "user", "content": [{"text": " \n"}]}],
        "The text field in the ContentBlock object at messages.0.content.0 is blank. Add text to the text field, and "
        "try again.",
    ),
    "a blank text later on": (
        [USER, ASSISTANT, {"role": "user", "content": [{"text": "Hello"}, {"text": ""}]}],
        "The text field in the ContentBlock object at messages.2.content.1 is blank. Add text to the text field, and "
        "try again.",
    ),
    # https://github.com/langgenius/dify/issues/16421
    "tools in the messages alone": (
        [USER, CALL, RESULT],
        "The toolConfig field must be defined when using toolUse and toolResult content blocks.",
    ),
}


@pytest.mark.parametrize("operation", ["Converse", "ConverseStream"])
@pytest.mark.parametrize("case", CONVERSATIONS)
def test_conversation_is_refused(account: Account, operation: str, case: str) -> None:
    """Converse refuses in the service's words what is no conversation."""
    messages, message = CONVERSATIONS[case]
    assert refused(account, operation, modelId=NOVA, messages=messages) == message


def test_model_for_provisioned_throughput_is_not_asked_on_demand(account: Account) -> None:
    """https://github.com/mlcommons/modelbench/issues/1654; ListFoundationModels has PROVISIONED alone."""
    expected = "The provided model doesn't support on-demand throughput."
    assert refused(account, "Converse", modelId="amazon.nova-2-lite-v1:0:256k", messages=[USER]) == expected


# https://github.com/langchain-ai/langchain-aws/issues/1019 and 258; GitLab's documentation of its AI gateway
PROFILE_ONLY = ["amazon.nova-2-lite-v1:0", "meta.llama3-2-3b-instruct-v1:0", "meta.llama3-3-70b-instruct-v1:0"]


@pytest.mark.parametrize("model_id", PROFILE_ONLY)
def test_model_without_on_demand_throughput_is_asked_by_an_inference_profile(account: Account, model_id: str) -> None:
    """Its own id and its ARN are refused; Nova's first models answer by theirs."""
    expected = (
        f"Invocation of model ID {model_id} with on-demand throughput isn\u2019t supported. Retry your request "
        "with the ID or ARN of an inference profile that contains this model."
    )
    for operation in ("Converse", "ConverseStream"):
        for name in (model_id, f"arn:aws:bedrock:us-east-1::foundation-model/{model_id}"):
            assert refused(account, operation, modelId=name, messages=[USER]) == expected


@pytest.mark.parametrize("model_id", PROFILE_ONLY)
def test_inference_profiles_answer(local: Account, model_id: str) -> None:
    """https://github.com/earendil-works/pi/issues/7311; inferenceTypesSupported is recorded for such models in
    https://github.com/aws-samples/artifacts-and-tools-for-bedrock/issues/13.
    """
    for name in (f"us.{model_id}", f"us.{NOVA}", NOVA):
        assert local.call("Converse", modelId=name, messages=[USER])["stopReason"] == "end_turn"
    found = local.call("GetFoundationModel", modelIdentifier=model_id)["modelDetails"]
    assert found["inferenceTypesSupported"] == ["INFERENCE_PROFILE"]


def test_provisioned_model_with_a_context_length_is_asked(local: Account) -> None:
    """Throughput that was provided for it answers."""
    asked = {"modelId": local.new_throughput(modelId="amazon.nova-micro-v1:0:128k"), "messages": [USER]}
    assert local.call("Converse", **asked)["stopReason"] == "end_turn"


def test_model_of_another_region_is_refused(local: Account) -> None:
    """An ARN's region is that of the endpoint: https://github.com/aws-samples/amazon-bedrock-samples/pull/52."""
    arn = "arn:aws:bedrock:us-west-2::foundation-model/amazon.nova-micro-v1:0"
    expected = "The provided model identifier is invalid."
    assert refused(local, "Converse", modelId=arn, messages=[USER]) == expected
    changes = {"baseModelIdentifier": f"{arn}:128k"}
    assert refused(local, "CreateModelCustomizationJob", **local.job_request() | changes) == expected


def test_bucket_of_another_region_is_refused(local: Account) -> None:
    """The data's bucket and the output's are in the region of the job.

    https://docs.aws.amazon.com/bedrock/latest/userguide/model-customization-iam-role.html
    """
    assert local.local is not None
    west, s3 = f"west-{uuid.uuid4().hex}", local.local.client("s3")
    s3.create_bucket(Bucket=west, CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    validators = {"validators": [{"s3Uri": f"s3://{west}/v.jsonl"}]}
    for changes in (
        {"trainingDataConfig": {"s3Uri": f"s3://{west}/train.jsonl"}},
        {"outputDataConfig": {"s3Uri": f"s3://{west}/out"}},
        {"validationDataConfig": validators},
    ):
        message = refused(local, "CreateModelCustomizationJob", **local.job_request() | changes)
        assert message.startswith(f"The Amazon S3 bucket {west} is in us-west-2, and the job in us-east-1")


def test_role_that_is_not_there_cannot_be_assumed(local: Account) -> None:
    """Terraform tries again on this sentence: https://github.com/aws-samples/amazon-bedrock-workshop/issues/367."""
    request = local.job_request() | {"roleArn": "arn:aws:iam::123456789012:role/nobody"}
    assert refused(local, "CreateModelCustomizationJob", **request) == "Could not assume provided IAM role."


def test_nothing_is_said_of_validation_data_that_is_not_there(local: Account) -> None:
    """Recorded by cloud-custodian (tests/data/placebo), though the service model requires the member."""
    assert "validationDataConfig" not in local.call("GetModelCustomizationJob", jobIdentifier=local.job)
    assert "validationDataConfig" not in local.call("GetCustomModel", modelIdentifier=local.model)


def test_base_models_name_is_empty(local: Account) -> None:
    """Recorded so by cloudsploit (plugins/aws/bedrock), and absent: steampipe-plugin-aws, pull request 2569."""
    assert local.model
    assert {one["baseModelName"] for one in local.call("ListCustomModels")["modelSummaries"]} == {""}


def test_short_base_model_id_gets_its_context_length(local: Account) -> None:
    """The ARNs of job and model name the model that is customized."""
    request = local.job_request() | {"baseModelIdentifier": NOVA}
    arn = local.call("CreateModelCustomizationJob", **request)["jobArn"]
    assert f":model-customization-job/{NOVA}:128k/" in arn
    job = local.call("GetModelCustomizationJob", jobIdentifier=arn)
    assert job["baseModelArn"] == f"arn:aws:bedrock:us-east-1::foundation-model/{NOVA}:128k"


def test_deployment_has_its_last_change_from_the_start(local: Account) -> None:
    """It has lastUpdatedAt while it is Creating."""
    request = {"modelDeploymentName": local.name(), "modelArn": local.model}
    arn = local.call("CreateCustomModelDeployment", **request)["customModelDeploymentArn"]
    deployment = local.call("GetCustomModelDeployment", customModelDeploymentIdentifier=arn)
    assert (deployment["status"], deployment["lastUpdatedAt"]) == ("Creating", deployment["createdAt"])


@pytest.mark.parametrize(
    ("model_id", "arn"),
    [
        (NOVA, f"arn:aws:bedrock:us-east-1::foundation-model/{NOVA}"),
        (f"us.{NOVA}", f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.{NOVA}"),
    ],
)
def test_batch_job_shows_arn_and_owner(local: Account, model_id: str, arn: str) -> None:
    """Recorded so: the model as an ARN, and the account of each bucket filled in."""
    created = local.call("CreateModelInvocationJob", **local.batch_request() | {"modelId": model_id})
    job = local.call("GetModelInvocationJob", jobIdentifier=created["jobArn"])
    assert job["modelId"] == arn
    assert job["inputDataConfig"]["s3InputDataConfig"] == {"s3Uri": local.batch, "s3BucketOwner": "123456789012"}
    assert job["outputDataConfig"]["s3OutputDataConfig"]["s3BucketOwner"] == "123456789012"


def called(local: Account, text: str, *turns: dict[str, Any], **choice: Any) -> dict[str, Any]:
    """Ask with two tools; the model, which has learnt nothing, answers with the one word of the question."""
    config = {"tools": [WEATHER, OTHER], **({"toolChoice": choice} if choice else {})}
    messages = [*turns, {"role": "user", "content": [{"text": text}]}]
    answer: dict[str, Any] = local.call("Converse", modelId=NOVA, messages=messages, toolConfig=config)
    return answer


# https://docs.aws.amazon.com/bedrock/latest/userguide/tool-use-inference-call.html


def test_tool_that_is_not_called(local: Account) -> None:
    """An answer that is no call is text, whatever tools there are; results of tools are part of the question."""
    answer = called(local, "bucket")
    assert (answer["output"]["message"]["content"], answer["stopReason"]) == ([{"text": "bucket"}], "end_turn")
    config = {"tools": [WEATHER]}
    answer = local.call("Converse", modelId=NOVA, messages=[USER, CALL, RESULT], toolConfig=config)
    assert answer["stopReason"] == "end_turn"


@pytest.mark.parametrize(
    ("choice", "name", "given"),
    [
        ({"any": {}}, "weather", {"place": "Glasgow", "days": 0, "unit": "celsius"}),
        ({"tool": {"name": "other"}}, "other", {}),
    ],
)
def test_tool_that_must_be_called(local: Account, choice: dict[str, Any], name: str, given: dict[str, Any]) -> None:
    """A choice that leaves no other way makes a call with what the schema requires."""
    answer = called(local, "Glasgow", **choice)
    (block,) = answer["output"]["message"]["content"]
    assert (block["toolUse"]["name"], block["toolUse"]["input"]) == (name, given)
    assert answer["stopReason"] == "tool_use"


def test_tool_of_a_choice_has_to_be_there(local: Account) -> None:
    """A choice of a tool that the request does not have is refused."""
    parameters = {"tools": [OTHER], "toolChoice": {"tool": {"name": "weather"}}}
    assert "weather" in refused(local, "Converse", modelId=NOVA, messages=[USER], toolConfig=parameters)


def test_call_of_a_tool_is_streamed(local: Account) -> None:
    """The call's name comes first, then its input as text."""
    config = {"tools": [OTHER], "toolChoice": {"any": {}}}
    events = local.call("ConverseStream", modelId=NOVA, messages=[USER], toolConfig=config)["stream"]
    (start,) = [event["contentBlockStart"]["start"]["toolUse"] for event in events if "contentBlockStart" in event]
    (delta,) = [event["contentBlockDelta"]["delta"]["toolUse"] for event in events if "contentBlockDelta" in event]
    (stop,) = [event["messageStop"]["stopReason"] for event in events if "messageStop" in event]
    assert (start["name"], json.loads(delta["input"]), stop) == ("other", {}, "tool_use")

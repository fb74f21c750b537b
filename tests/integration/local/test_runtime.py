"""The runtime beside Converse: ConverseStream, and InvokeModel with the bodies of several providers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from tests.integration.local.conftest import Service

NOVA = "amazon.nova-micro-v1:0"


def invoke(service: Service, model_id: str, body: Any) -> Any:
    answer = service.runtime.invoke_model(modelId=model_id, body=body if isinstance(body, str) else json.dumps(body))
    assert answer["contentType"] == "application/json"
    with answer["body"]:
        return json.loads(answer["body"].read())


def test_stream_gives_the_answer_in_pieces(service: Service) -> None:
    """A stream begins, gives text, says why it stopped and what it used; the text is that of Converse."""
    model = service.model()
    deployment = service.deployment(service.deploy(model))["customModelDeploymentArn"]
    question, answer = service.questions(1)[0]
    messages = [{"role": "user", "content": [{"text": question}]}]
    events = list(service.runtime.converse_stream(modelId=deployment, messages=messages)["stream"])
    assert [next(iter(event)) for event in events] == [
        "messageStart",
        "contentBlockDelta",
        "contentBlockStop",
        "messageStop",
        "metadata",
    ]
    assert events[1]["contentBlockDelta"]["delta"] == {"text": answer}
    assert events[3]["messageStop"]["stopReason"] == "end_turn"
    assert events[4]["metadata"]["usage"]["outputTokens"] == 1


@pytest.mark.parametrize(
    ("model_id", "body", "text"),
    [
        (
            NOVA,
            {"messages": [{"role": "user", "content": [{"text": "bucket"}]}], "inferenceConfig": {"max_new_tokens": 5}},
            lambda said: said["output"]["message"]["content"][0]["text"],
        ),
        (
            "anthropic.claude-sonnet-4-20250514-v1:0",
            {
                "anthropic_version": "bedrock-2023-05-31",
                "max_tokens": 5,
                "messages": [{"role": "user", "content": "bucket"}],
            },
            lambda said: said["content"][0]["text"],
        ),
        ("amazon.titan-text-lite-v1", {"inputText": "bucket"}, lambda said: said["results"][0]["outputText"]),
        ("meta.llama3-1-8b-instruct-v1:0", {"prompt": "bucket"}, lambda said: said["generation"]),
        ("cohere.command-text-v14", {"prompt": "bucket"}, lambda said: said["generations"][0]["text"]),
    ],
)
def test_every_provider_has_its_form(service: Service, model_id: str, body: Any, text: Any) -> None:
    """Question and answer are in the form of the model's provider."""
    assert text(invoke(service, model_id, body)) == "bucket"


@pytest.mark.parametrize(
    ("model_id", "body", "message"),
    [
        (NOVA, "no json", "not JSON"),
        (NOVA, {"messages": []}, "must not be empty"),
        ("meta.llama3-1-8b-instruct-v1:0", {"inputText": "bucket"}, "Malformed input request"),
        ("meta.llama3-1-8b-instruct-v1:0", ["prompt"], "Malformed input request"),
        ("anthropic.claude-sonnet-4-20250514-v1:0", {"messages": []}, "Malformed input request"),
        ("mistral.mistral-7b-instruct-v0:2", {"prompt": "bucket"}, "use Converse"),
        ("nobody.nothing-v1:0", {"prompt": "bucket"}, ""),
    ],
)
def test_body_of_another_form_is_refused(service: Service, model_id: str, body: Any, message: str) -> None:
    """A body that the model does not take is a ValidationException."""
    with pytest.raises(ClientError, match=f"ValidationException.*{message}"):
        invoke(service, model_id, body)


def chunks(service: Service, model_id: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    stream = service.runtime.invoke_model_with_response_stream(modelId=model_id, body=json.dumps(body))
    return [json.loads(event["chunk"]["bytes"]) for event in stream["body"]]


def test_invoked_stream_of_nova(service: Service) -> None:
    """Nova streams the events of ConverseStream."""
    found = chunks(service, NOVA, {"messages": [{"role": "user", "content": [{"text": "bucket"}]}]})
    assert [next(iter(one)) for one in found] == [
        "messageStart",
        "contentBlockDelta",
        "contentBlockStop",
        "messageStop",
        "metadata",
    ]
    assert found[1]["contentBlockDelta"] == {"delta": {"text": "bucket"}, "contentBlockIndex": 0}
    assert found[3]["messageStop"] == {"stopReason": "end_turn"}


def test_invoked_stream_of_nova_calls_a_tool(service: Service) -> None:
    """As ConverseStream does: the call, and no text."""
    tool = {"toolSpec": {"name": "find", "inputSchema": {"json": {"type": "object"}}}}
    body = {
        "messages": [{"role": "user", "content": [{"text": "bucket"}]}],
        "toolConfig": {"tools": [tool], "toolChoice": {"any": {}}},
    }
    found = chunks(service, NOVA, body)
    assert found[1]["contentBlockStart"]["start"]["toolUse"]["name"] == "find"
    assert found[2]["contentBlockDelta"]["delta"] == {"toolUse": {"input": "{}"}}
    assert found[4]["messageStop"] == {"stopReason": "tool_use"}
    answer = service.ask(NOVA, "bucket", toolConfig=body["toolConfig"])
    assert answer["output"]["message"]["content"][0]["toolUse"]["name"] == "find"


def test_invoked_stream_of_claude(service: Service) -> None:
    """Claude streams the events of Anthropic's API."""
    body = {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 5,
        "messages": [{"role": "user", "content": "bucket"}],
    }
    found = chunks(service, "anthropic.claude-sonnet-4-20250514-v1:0", body)
    assert [one["type"] for one in found] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert found[2]["delta"] == {"type": "text_delta", "text": "bucket"}
    assert found[4]["delta"]["stop_reason"] == "end_turn"
    assert found[4]["usage"]["output_tokens"] > 0


@pytest.mark.parametrize(
    ("model_id", "body", "first", "last"),
    [
        ("meta.llama3-1-8b-instruct-v1:0", {"prompt": "bucket"}, {"generation": "bucket"}, {"stop_reason": "stop"}),
        ("cohere.command-r-v1:0", {"prompt": "bucket"}, {"text": "bucket"}, {"finish_reason": "COMPLETE"}),
        (
            "amazon.titan-text-express-v1",
            {"inputText": "bucket"},
            {"outputText": "bucket"},
            {"completionReason": "FINISH"},
        ),
    ],
)
def test_invoked_stream_of_others(
    service: Service, model_id: str, body: dict[str, Any], first: dict[str, str], last: dict[str, str]
) -> None:
    """The others stream pieces of the text, and at the end why it ended."""
    found = chunks(service, model_id, body)
    assert first.items() <= found[0].items()
    assert last.items() <= found[-1].items()


def test_deployment_is_invoked_in_its_base_models_form(service: Service) -> None:
    """A deployment takes the body of its base model."""
    deployment = service.deployment(service.deploy(service.model()))["customModelDeploymentArn"]
    question, answer = service.questions(1)[0]
    said = invoke(service, deployment, {"messages": [{"role": "user", "content": [{"text": question}]}]})
    assert said["output"]["message"]["content"] == [{"text": answer}]

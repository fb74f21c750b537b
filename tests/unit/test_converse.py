"""A model that is asked: which one answers behind an ARN, and which error stands for an answer that does not come."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from botocore.exceptions import ClientError

from airflow_bedrock import converse
from airflow_bedrock.converse import ConverseModel, EmbeddingModel
from airflow_bedrock.evaluation.answer_store import Answer
from airflow_bedrock.evaluation.inference import Later, ServedModel
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError

PREFIX = "arn:aws:bedrock:us-east-1:123456789012:"
DEPLOYMENT, THROUGHPUT = f"{PREFIX}custom-model-deployment/a", f"{PREFIX}provisioned-model/a"


class Service:
    """Answers each operation with the same response or error."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def __getattr__(self, operation: str) -> Any:
        def call(**_: Any) -> Any:
            if isinstance(self._answer, Exception):
                raise self._answer
            return self._answer

        return call


def refused(code: str, message: str = "for the test", status: int = 400) -> ClientError:
    metadata: Any = {"HTTPStatusCode": status}
    return ClientError({"Error": {"Code": code, "Message": message}, "ResponseMetadata": metadata}, "Operation")


def model(model_id: str, answer: Any = None) -> ConverseModel:
    service: Any = Service(answer)
    return ConverseModel(service, service, model_id)


@pytest.mark.parametrize(
    ("model_id", "answer", "served"),
    [
        ("amazon.nova-micro-v1:0", None, ServedModel("amazon.nova-micro-v1:0", "")),
        (f"{PREFIX}prompt-router/a", None, None),
        (DEPLOYMENT, {"modelArn": "m"}, ServedModel("m", "")),
        (DEPLOYMENT, {"modelArn": "m", "lastUpdatedAt": "today"}, ServedModel("m", "today")),
        (THROUGHPUT, {"modelArn": "m", "desiredModelArn": "m", "lastModifiedTime": 1}, ServedModel("m", "1")),
        (DEPLOYMENT, refused("AccessDeniedException", status=403), None),
    ],
)
def test_which_model_answers(model_id: str, answer: Any, served: ServedModel | None) -> None:
    """A deployment and provisioned throughput say which model is behind them; what cannot be known is None."""
    assert model(model_id, answer).served() == served


@pytest.mark.parametrize(
    ("model_id", "answer"),
    [
        (DEPLOYMENT, {"modelArn": "m", "updateDetails": {"updateStatus": "Updating"}}),
        (THROUGHPUT, {"modelArn": "m", "desiredModelArn": "n"}),
    ],
)
def test_a_model_that_is_being_replaced_is_an_error(model_id: str, answer: Any) -> None:
    """Nobody knows which of the two would answer; a retry finds it done."""
    with pytest.raises(BedrockError, match=f"The model behind {model_id} is being replaced") as caught:
        model(model_id, answer).served()
    assert not isinstance(caught.value, BedrockFatalError)


def test_a_model_that_cannot_be_known_is_an_error() -> None:
    """For good where it does not exist; where the service has no time, it is asked again."""
    with pytest.raises(BedrockFatalError, match=f"{DEPLOYMENT} does not exist"):
        model(DEPLOYMENT, refused("ResourceNotFoundException")).served()
    with pytest.raises(Later) as caught:
        model(DEPLOYMENT, refused("ThrottlingException", status=429)).served()
    assert f"Could not read which model is behind {DEPLOYMENT}" in str(caught.value.error)
    assert not caught.value.not_ready
    with pytest.raises(BedrockFatalError, match=f"Could not read which model is behind {DEPLOYMENT}: .*Validation"):
        model(DEPLOYMENT, refused("ValidationException")).served()


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (refused("AccessDeniedException", "no", 403), r"\(.*no\)\. Allow bedrock:InvokeModel on it\.$"),
        (
            refused("AccessDeniedException", "You don't have access to the model with the specified model ID.", 403),
            "Enable access to the model in this account and region: https",
        ),
        (
            refused("AccessDeniedException", "not authorized to perform the required AWS Marketplace actions", 403),
            "Enable",
        ),
        (refused("ValidationException", "Operation not allowed"), "withheld.* Ask AWS Support"),
        (refused("ResourceNotFoundException"), "It does not exist: check the id and the region"),
        (refused("ValidationException", "Hi"), r"\(its message is withheld.*\)\. The model id is wrong, or the model"),
        (refused("ValidationException", "on-demand throughput"), "It is not available on demand: use an inference"),
    ],
)
def test_a_model_that_refuses_says_what_to_do(error: Exception, advice: str) -> None:
    """And nothing of what may be the prompt."""
    with pytest.raises(BedrockFatalError, match=f"Model router returned no answer: .*{advice}") as caught:
        model("router", error).ask({})
    assert "Hi" not in str(caught.value)


@pytest.mark.parametrize(("code", "not_ready"), [("ModelNotReadyException", True), ("ThrottlingException", False)])
def test_a_model_that_is_not_ready_is_not_a_throttled_one(code: str, not_ready: bool) -> None:
    """The two are waited for with timeouts of their own."""
    with pytest.raises(Later) as caught:
        model("router", refused(code, status=429)).ask({})
    assert caught.value.not_ready is not_ready


def test_a_model_is_not_waited_for_beyond_its_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for a pause either that would end after it."""
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("it waited"))
    with pytest.raises(BedrockError, match="ModelNotReadyException"):
        model("router", refused("ModelNotReadyException", status=429)).ask_when_ready({}, converse._FIRST_PAUSE / 2)


@pytest.mark.parametrize(("counted", "tokens"), [({"inputTextTokenCount": 5}, 5), ({}, 0)])
def test_an_embedding_is_billed_by_the_tokens_that_the_service_counts(counted: dict[str, int], tokens: int) -> None:
    """One that counts none bills none."""
    body = io.BytesIO(json.dumps({"embedding": [0.5], **counted}).encode())
    service: Any = Service({"body": body})
    assert EmbeddingModel(service, service, "titan").ask({}) == Answer("[0.5]", "end_turn", tokens)

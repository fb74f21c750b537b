"""A model on Bedrock that can be asked: Converse, with the patience that a deployment needs.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
"""

from __future__ import annotations

import logging
import random
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from airflow_bedrock.aws_errors import error_code, is_transient
from airflow_bedrock.datasets import Example
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError

if TYPE_CHECKING:
    from mypy_boto3_bedrock_runtime import BedrockRuntimeClient
    from mypy_boto3_bedrock_runtime.type_defs import ConverseRequestTypeDef, ConverseResponseTypeDef

log = logging.getLogger(__name__)

_MAY_QUOTE_THE_PROMPT = frozenset({"ModelErrorException", "ValidationException"})
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 60.0  # seconds between two tries to ask a model that is not ready


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model answered.

    :param text: the text; empty where the service let none through.
    :param stop_reason: why it ended, in the service's words: ``end_turn``, ``max_tokens``, ...
    :param input_tokens: tokens of the question, as billed.
    :param output_tokens: tokens of the answer, as billed.
    """

    text: str
    stop_reason: str
    input_tokens: int
    output_tokens: int


class ConverseModel:
    """A model, asked one question at a time; several threads may ask it at once.

    :param client: a bedrock-runtime client; its retries cover throttling and passing faults.
    :param model_id: what Converse takes: a base model's id, or the ARN of a deployment, provisioned or imported model.
    :param max_tokens: the longest answer.
    :param temperature: None leaves it to the model.
    :param ready_timeout: seconds to wait for a model that is not ready (ModelNotReadyException).
    """

    def __init__(
        self,
        client: BedrockRuntimeClient,
        model_id: str,
        *,
        max_tokens: int,
        temperature: float | None,
        ready_timeout: float,
    ) -> None:
        self.model_id = model_id
        self._client = client
        self._max_tokens = max_tokens
        self._temperature = temperature
        self._ready_timeout = ready_timeout
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Let no thread wait any longer for the model to be ready."""
        self._stopped.set()

    def ask(self, example: Example) -> Answer:
        """Return the model's answer to the example's prompt.

        :raises BedrockFatalError: the service refused the question for good.
        :raises BedrockError: no response; a retry may get one.
        """
        deadline, pause = time.monotonic() + self._ready_timeout, _FIRST_PAUSE
        while True:
            try:
                return _answer(self._client.converse(**self._request(example)))
            except (BotoCoreError, ClientError) as error:
                if not _not_ready(error) or self._stopped.is_set() or time.monotonic() + pause > deadline:
                    # Without its cause: Airflow would log that, and with it perhaps the prompt.
                    raise self._failure(error) from None
            log.info("Model %s is not ready; asking again in about %d s", self.model_id, pause)
            self._stopped.wait(pause * random.uniform(0.8, 1.2))  # noqa: S311  # jitter, not a secret
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _request(self, example: Example) -> ConverseRequestTypeDef:
        request: ConverseRequestTypeDef = {
            "modelId": self.model_id,
            "messages": [{"role": "user", "content": [{"text": example.prompt}]}],
            "inferenceConfig": {"maxTokens": self._max_tokens},
        }
        if self._temperature is not None:
            request["inferenceConfig"]["temperature"] = self._temperature
        if example.system is not None:
            request["system"] = [{"text": example.system}]
        return request

    def _failure(self, error: BotoCoreError | ClientError) -> BedrockError:
        code = error_code(error) if isinstance(error, ClientError) else type(error).__name__
        said = "its message is withheld, since it may quote the prompt" if code in _MAY_QUOTE_THE_PROMPT else str(error)
        advice = {
            "AccessDeniedException": "Allow bedrock:InvokeModel on it.",
            "ModelNotReadyException": f"It was not ready for {self._ready_timeout:g} s.",
            "ResourceNotFoundException": "It does not exist: check the id and the region.",
            "ValidationException": "The model id is not right, or the model does not take such a question.",
        }.get(code, "")
        kind = BedrockError if is_transient(error) else BedrockFatalError
        return kind(f"Model {self.model_id} did not answer: {code} ({said}). {advice}".rstrip())


def _not_ready(error: BotoCoreError | ClientError) -> bool:
    return isinstance(error, ClientError) and error_code(error) == "ModelNotReadyException"


def _answer(response: ConverseResponseTypeDef) -> Answer:
    content = response["output"].get("message", {}).get("content", [])
    return Answer(
        text="".join(part["text"] for part in content if "text" in part),
        stop_reason=response["stopReason"],
        input_tokens=response["usage"]["inputTokens"],
        output_tokens=response["usage"]["outputTokens"],
    )

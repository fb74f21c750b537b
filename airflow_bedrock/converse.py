"""Call a model on Bedrock with Converse, one question a call, and find out which model answers.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from airflow_bedrock.aws_errors import CALL_ERRORS, error_code, is_denied, is_not_found
from airflow_bedrock.evaluation.answer_store import Answer
from airflow_bedrock.evaluation.batch import answer_of
from airflow_bedrock.evaluation.inference import Later, ServedModel
from airflow_bedrock.exceptions import BedrockError, BedrockFatalError, kind_of

if TYPE_CHECKING:
    from mypy_boto3_bedrock import BedrockClient
    from mypy_boto3_bedrock_runtime import BedrockRuntimeClient

log = logging.getLogger(__name__)

_MAY_QUOTE_THE_PROMPT = frozenset({"ModelErrorException", "ValidationException"})
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 60.0  # seconds between two calls of a model that is not ready
_NOT_ON_DEMAND = (
    "It is not available on demand: use an inference profile (us.…) or the ARN of its provisioned throughput."
)
_NO_ACCESS = (
    "Enable access to the model in this account and region: "
    "https://docs.aws.amazon.com/bedrock/latest/userguide/model-access.html"
)
_ADVICE = (
    ("AccessDeniedException", "You don't have access to the model", _NO_ACCESS),
    ("AccessDeniedException", "AWS Marketplace", _NO_ACCESS),
    ("AccessDeniedException", "", "Allow bedrock:InvokeModel on it."),
    ("ResourceNotFoundException", "", "It does not exist: check the id and the region."),
    ("ValidationException", "on-demand throughput", _NOT_ON_DEMAND),
    ("ValidationException", "Operation not allowed", "AWS does not let this account call it. Ask AWS Support."),
    ("ValidationException", "", "The model id is wrong, or the model does not accept this request."),
)
"""What to do, by the code of an error and words of its message; the first that fits."""
_ANY_MODEL = (":prompt-router/", ":default-prompt-router/", ":prompt/", ":endpoint/")
"""Parts of ARNs behind which the model may change without notice."""


class ConverseModel:
    """A model that answers one question per call; several threads may use it at once.

    :param runtime: a bedrock-runtime client without retries: the caller retries, and so finds the model's rate limit.
    :param bedrock: a bedrock client, to read the model behind a deployment or provisioned throughput.
    :param model_id: as for Converse: a base model's id, or the ARN of a deployment, provisioned or imported model.
    """

    def __init__(self, runtime: BedrockRuntimeClient, bedrock: BedrockClient, model_id: str) -> None:
        self.model_id = model_id
        self._runtime = runtime
        self._bedrock = bedrock

    def served(self) -> ServedModel | None:
        """Return which model answers now, and since when; None if that cannot be determined.

        :raises Later: the service did not respond, but may later.
        :raises BedrockError: the model is being replaced.
        :raises BedrockFatalError: the deployment or provisioned throughput does not exist, or cannot be read.
        """
        if any(kind in self.model_id for kind in _ANY_MODEL):
            log.warning("Cannot determine which model is behind %s: its answers are not kept", self.model_id)
            return None
        try:
            if ":custom-model-deployment/" in self.model_id:
                return self._served_by_deployment()
            if ":provisioned-model/" in self.model_id:
                return self._served_by_throughput()
        except CALL_ERRORS as error:
            if is_denied(error):
                log.warning(
                    "Could not read which model is behind %s, so its answers are not kept: %s", self.model_id, error
                )
                return None
            if is_not_found(error):
                raise BedrockFatalError(f"{self.model_id} does not exist. Check the ARN and the region.") from error
            failure = kind_of(error)(f"Could not read which model is behind {self.model_id}: {error}")
            raise (failure if isinstance(failure, BedrockFatalError) else Later(failure)) from error
        return ServedModel(self.model_id, "")

    def _served_by_deployment(self) -> ServedModel:
        found = self._bedrock.get_custom_model_deployment(customModelDeploymentIdentifier=self.model_id)
        if found.get("updateDetails", {}).get("updateStatus") == "Updating":
            raise self._replaced()
        return ServedModel(found["modelArn"], f"{found.get('lastUpdatedAt', '')}")

    def _served_by_throughput(self) -> ServedModel:
        found = self._bedrock.get_provisioned_model_throughput(provisionedModelId=self.model_id)
        if found["modelArn"] != found["desiredModelArn"]:
            raise self._replaced()
        return ServedModel(found["modelArn"], f"{found['lastModifiedTime']}")

    def _replaced(self) -> BedrockError:
        return BedrockError(f"The model behind {self.model_id} is being replaced. Try again when that is done.")

    def ask(self, request: Mapping[str, Any], key: str = "") -> Answer:
        """Return the answer to a Converse request that lacks only the model.

        :param key: the key of an evaluation's question, written to the request's metadata, so that a distillation from
            the invocation log can leave evaluations out.

        :raises Later: no response; a retry may get one.
        :raises BedrockFatalError: the service rejected the question.
        """
        try:
            return self._call(request, key)
        except CALL_ERRORS as error:
            failure = self._failure(error)
            if isinstance(failure, BedrockFatalError):
                # Without its cause: Airflow would log that, and with it perhaps the prompt.
                raise failure from None
            not_ready = error_code(error) == "ModelNotReadyException"
            raise Later(failure, not_ready=not_ready) from None

    def _call(self, request: Mapping[str, Any], key: str) -> Answer:
        labels = {"airflow-bedrock": "evaluation", "airflow-bedrock-question": key[:32]} if key else {}
        metadata: Any = {"requestMetadata": labels} if labels else {}
        response = self._runtime.converse(modelId=self.model_id, **metadata, **request)
        latency = response.get("metrics", {}).get("latencyMs")
        return msgspec.structs.replace(answer_of(response), latency_ms=latency)

    def ask_when_ready(self, request: Mapping[str, Any], ready_timeout: float) -> Answer:
        """Return the answer to one question; wait if the model is not ready.

        :param ready_timeout: seconds to wait for it.
        :raises BedrockFatalError: the service rejected the question.
        :raises BedrockError: no response; a retry may get one.
        """
        deadline, pause = time.monotonic() + ready_timeout, _FIRST_PAUSE
        while True:
            try:
                return self.ask(request)
            except Later as later:
                if not later.not_ready or time.monotonic() + pause > deadline:
                    raise later.error from None
            log.info("Model %s is not ready; retrying in about %d s", self.model_id, pause)
            time.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311  # jitter, not a secret
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _failure(self, error: Exception) -> BedrockError:
        code = error_code(error) or type(error).__name__
        text = "its message is withheld, since it may quote the prompt" if code in _MAY_QUOTE_THE_PROMPT else str(error)
        advice = next((advice for of, words, advice in _ADVICE if of == code and words in str(error)), "")
        return kind_of(error)(f"Model {self.model_id} returned no answer: {code} ({text}). {advice}".rstrip())


class EmbeddingModel(ConverseModel):
    """A model that embeds texts: InvokeModel of Titan Text Embeddings.

    https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html
    """

    def _call(self, request: Mapping[str, Any], key: str) -> Answer:
        response = self._runtime.invoke_model(modelId=self.model_id, body=json.dumps(request).encode())
        with response["body"] as body:
            output = json.loads(body.read())
        return Answer(json.dumps(output["embedding"]), "end_turn", output.get("inputTextTokenCount", 0))

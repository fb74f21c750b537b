"""An evaluation job at work: read the dataset, get the answers, score them, write the results."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from airflow_bedrock.local.errors import ServiceError
from airflow_bedrock.local.state.bedrock import Bedrock
from airflow_bedrock.local.state.resources import Evaluation
from airflow_bedrock.local.work.inference import Question, ask
from airflow_bedrock.local.work.judging import Answered, score
from airflow_bedrock.local.work.permissions import Role
from airflow_bedrock.local.work.records import DataError
from airflow_bedrock.local.work.runner import Work
from airflow_bedrock.local.work.s3 import check_writable, read_lines, unreadable, unwritable, write

log = logging.getLogger(__name__)

MAX_PROMPTS = 1000
"""Prompts of one dataset."""

DONE, STOPPING = 1.0, 0.1
"""After which share of the job's time it ends, and for which share it is Stopping."""


class _Response(msgspec.Struct):
    response: str
    modelIdentifier: str


class _Line(msgspec.Struct, omit_defaults=True):
    prompt: str
    referenceResponse: str | None = None
    category: str | None = None
    modelResponses: list[_Response] = []


# Made here, while one thread imports: msgspec 0.22 crashes where two threads are the first to use a type.
_LINE = msgspec.json.Decoder(_Line)


def evaluate(bedrock: Bedrock, job: Evaluation) -> Work:
    """Run an evaluation job to its end."""
    started, seconds = bedrock.world.runner.started(job.arn), bedrock.world.settings.job_seconds
    try:
        for config in job.request["evaluationConfig"]["automated"]["datasetMetricConfigs"]:
            if job.status == "Stopping":
                break
            _Run(bedrock, job).score(config)
            yield started
        yield started + DONE * seconds
        if job.status == "Stopping":
            yield bedrock.world.clock.time() + STOPPING * seconds
        _end(bedrock, job, "Stopped" if job.status == "Stopping" else "Completed")
    except (DataError, ServiceError) as error:
        _end(bedrock, job, "Failed", str(error))
    except Exception:
        log.exception("Local Bedrock: evaluation %s failed for a reason of Local Bedrock's own", job.name)
        _end(bedrock, job, "Failed", "Internal server error. Local Bedrock's log has the details.")


def remove(bedrock: Bedrock, job: Evaluation) -> Work:
    """Delete an evaluation job that is Deleting; what it wrote stays."""
    yield bedrock.world.runner.started(job.arn) + bedrock.world.settings.deployment_seconds
    with bedrock.world.lock:
        bedrock.shelf.evaluations.pop(job.arn, None)
        bedrock.shelf.tags.pop(job.arn, None)


def _end(bedrock: Bedrock, job: Evaluation, status: str, *messages: str) -> None:
    with bedrock.world.lock:
        job.status, job.failure_messages = status, list(messages)
        job.last_modified_time = bedrock.world.clock.now()


class _Run:
    def __init__(self, bedrock: Bedrock, job: Evaluation) -> None:
        self._bedrock = bedrock
        self._job = job
        self._s3 = bedrock.client("s3")
        self._role = Role(bedrock, job.request["roleArn"], job.arn)
        self._output: str = job.request["outputDataConfig"]["s3Uri"]
        self._model: dict[str, Any] = job.request["inferenceConfig"]["models"][0]

    def score(self, config: dict[str, Any]) -> None:
        """Score all answers of one dataset, and write the results."""
        if not self._role.may_write(self._output):
            raise unwritable(self._output)
        check_writable(self._s3, self._output)
        lines = list(self._read(config["dataset"]["datasetLocation"]["s3Uri"]))
        results = [self._result(line, config["metricNames"]) for line in lines]
        folder = (
            f"{self._output.rstrip('/')}/{self._job.name}/{self._job.arn.rpartition('/')[2]}/models/{self._asked}"
            f"/taskTypes/{config['taskType']}/datasets/{config['dataset']['name']}"
        )
        content = b"".join(msgspec.json.encode(result) + b"\n" for result in results)
        write(self._s3, f"{folder}/{uuid.uuid4()}_output.jsonl", content.decode(), "application/jsonl")

    def _read(self, uri: str) -> Iterator[_Line]:
        if not self._role.may_read(uri):
            raise unreadable(uri)
        for number, line in enumerate(read_lines(self._s3, uri), start=1):
            if number > MAX_PROMPTS:
                raise DataError(f"The dataset {uri} holds more than {MAX_PROMPTS} prompts")
            try:
                yield _LINE.decode(line)
            except msgspec.MsgspecError as error:
                raise DataError(f"Invalid record in Amazon S3 file: {uri}, line {number}: {error}") from error

    @property
    def _asked(self) -> str:
        """The model whose answers are judged."""
        if source := self._model.get("precomputedInferenceSource"):
            return str(source["inferenceSourceIdentifier"])
        return str(self._model["bedrockModel"]["modelIdentifier"])

    def _result(self, line: _Line, metrics: Sequence[str]) -> dict[str, Any]:
        answer = self._answer(line)
        answered = Answered(line.prompt, answer, line.referenceResponse)
        return {
            "inputRecord": msgspec.structs.replace(line, modelResponses=[]),
            "modelResponses": [{"response": answer, "modelIdentifier": self._asked}],
            "automatedEvaluationResult": {"scores": [self._score(metric, answered) for metric in metrics]},
        }

    def _score(self, metric: str, answered: Answered) -> dict[str, Any]:
        result: dict[str, Any] = {"metricName": metric, "result": score(metric, answered)}
        judges = self._job.request["evaluationConfig"]["automated"].get("evaluatorModelConfig", {})
        if models := judges.get("bedrockEvaluatorModels"):
            explanation = "Local Bedrock compared the texts; no model judged them."
            result["evaluatorDetails"] = [
                {"modelIdentifier": one["modelIdentifier"], "explanation": explanation} for one in models
            ]
        return result

    def _answer(self, line: _Line) -> str:
        if "precomputedInferenceSource" not in self._model:
            return ask(self._bedrock, self._asked, Question(line.prompt)).text
        found = [one.response for one in line.modelResponses if one.modelIdentifier == self._asked]
        if len(found) != 1 or len(line.modelResponses) != 1:
            raise DataError(f"Each record must hold one response, and its modelIdentifier must be {self._asked}")
        return found[0]

"""Convert questions to records of a batch inference job, and its output to stored answers.

https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference-data.html and batch-inference-results.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from airflow_bedrock.base_models import model_id
from airflow_bedrock.evaluation.answer_store import Answer
from airflow_bedrock.evaluation.inference import Question
from airflow_bedrock.evaluation.records import text_of


def line(question: Question) -> bytes:
    """Return a question as a line of the input file."""
    record = {"recordId": f"{question.number:011d}", "modelInput": question.request}
    return msgspec.json.encode(record) + b"\n"


def is_same_model(asked: str, other: str) -> bool:
    """Whether two identifiers name one model: Bedrock may return the ARN of a base model that was given by its id."""
    if any(":custom-model/" in one for one in (asked, other)):
        return asked == other
    return model_id(asked) == model_id(other)


@dataclass
class Answered:
    """The answers of one job.

    :param of_model: whether the job asked the right model: a deployment may have changed its model since.
    :param answers: by the number of the record.
    :param failed: why a record has no answer, by its number: the service's error code, or our own word.
    """

    of_model: bool = True
    answers: dict[int, tuple[Any, Answer]] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)

    def read(self, lines: Iterable[bytes]) -> None:
        """Read an output file. A line without a record number counts as missing: its record has no output."""
        for raw in lines:
            try:
                found = msgspec.json.decode(raw)
                number = int(found["recordId"])
            except (msgspec.DecodeError, KeyError, TypeError, ValueError):
                continue
            try:
                if output := found.get("modelOutput"):
                    self.answers[number] = (found["modelInput"], answer_of(output))
                elif error := found.get("error"):
                    self.failed[number] = str(error["errorCode"])
            except (AttributeError, KeyError, TypeError):
                self.failed[number] = "unreadable"

    def to(self, question: Question) -> Answer | None:
        """Return the answer to a question, if the job asked the same model the same question under this number."""
        request, answer = self.answers.get(question.number, (None, None))
        if answer is None:
            return None
        if not self.of_model:
            self.failed[question.number] = "another model"
            return None
        if request != msgspec.json.decode(msgspec.json.encode(question.request)):
            self.failed[question.number] = "another question"
            return None
        return answer

    def missing(self, question: Question) -> None:
        """Note that a question has no answer, from this job or another."""
        self.failed.setdefault(question.number, "tools" if question.has_tools else "no output")


def answer_of(output: Mapping[str, Any]) -> Answer:
    """Return the answer in a response of Converse, without its latency, which a job does not have."""
    usage = output["usage"]
    text = text_of(output["output"].get("message", {}).get("content", []))
    return Answer(text, output["stopReason"], usage["inputTokens"], usage["outputTokens"])

"""Questions as a batch inference job takes them, and its answers as they are kept.

https://docs.aws.amazon.com/bedrock/latest/userguide/batch-inference-data.html and batch-inference-results.html
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from airflow_bedrock.evaluation.answers import Answer
from airflow_bedrock.evaluation.inference import Question
from airflow_bedrock.evaluation.records import said

MIN_RECORDS, MAX_RECORDS = 100, 50_000
"""Records of one job, by the service's default quotas."""


def chunk_of(questions: Iterable[Question], chunk: int, size: int) -> Iterator[Question]:
    """Return the questions of one job: each job has so many of them, in the order of the file."""
    return (question for place, question in enumerate(questions) if place // size == chunk)


def line(question: Question) -> bytes:
    """Return a question as a line of the input file."""
    record = {"recordId": _record_id(question), "modelInput": question.request}
    return msgspec.json.encode(record) + b"\n"


def _record_id(question: Question) -> str:
    return f"{question.number:011d}"


@dataclass
class Answered:
    """What a job has answered.

    :param answers: by the number of the record.
    :param errors: how many records the service could not answer, by its error code.
    """

    answers: dict[int, tuple[Any, Answer]] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)

    def take(self, lines: Iterable[bytes]) -> None:
        """Take in an output file. A line that cannot be read counts as an error."""
        for raw in lines:
            try:
                found = msgspec.json.decode(raw)
                number, output = int(found["recordId"]), found.get("modelOutput")
                if not output:
                    self._failed(str((found.get("error") or {}).get("errorCode", "no output")))
                    continue
                self.answers[number] = (found["modelInput"], _answer(output))
            except (msgspec.DecodeError, AttributeError, KeyError, TypeError, ValueError):
                self._failed("unreadable")

    def to(self, question: Question) -> Answer | None:
        """Return the answer to a question, if it is the one that the job was asked under this number."""
        asked, answer = self.answers.get(question.number, (None, None))
        if answer is None:
            return None
        if asked != msgspec.json.decode(msgspec.json.encode(question.request)):
            self._failed("another question")
            return None
        return answer

    def _failed(self, code: str) -> None:
        self.errors[code] = self.errors.get(code, 0) + 1


def _answer(output: Mapping[str, Any]) -> Answer:
    usage = output["usage"]
    text = said(output["output"].get("message", {}).get("content", []))
    return Answer(text, output["stopReason"], usage["inputTokens"], usage["outputTokens"])

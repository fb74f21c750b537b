"""Questions about a promotion and their answers, stored with the registry, for an Airflow that cannot ask a person.

The gate writes a question as an object; ``airflow-bedrock approve`` writes the answer as another one, once. Any caller
who can write answers can approve; an IAM policy controls that (docs/retraining.md).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import msgspec

from airflow_bedrock.exceptions import BedrockFatalError
from airflow_bedrock.json_store import ConflictError, JsonStore
from airflow_bedrock.registry.register import Moment

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


class Question(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A question to a person.

    :param id: its id, which belongs to one ask of one task about one report.
    :param asked_by: the gate's task instance.
    :param report_uri: the URI of the evaluation's report.
    :param body: the report's figures, as Markdown.
    :param until: the time limit: a later answer does not count.
    :param approvers: who may answer: ARNs of AWS callers, or names of IAM users; empty for all who may write answers.
    """

    id: str
    asked_by: str = ""
    report_uri: str = ""
    body: str = ""
    until: Moment
    approvers: tuple[str, ...] = ()


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of a person.

    :param by: the ARN of the AWS caller.
    :param at: the time, by the caller's clock.
    """

    approved: bool = False
    by: str
    at: Moment


def may_answer(arn: str, approvers: Collection[str]) -> bool:
    """Whether an AWS caller is one of the approvers, or everybody is allowed to answer.

    An approver is an ARN, the name of an IAM user, or the ARN of an assumed role without its session name, since each
    caller chooses that.
    """
    user = re.fullmatch(r"arn:[^:]+:iam::\d+:user/(?:.*/)?([^/]+)", arn)
    role = re.fullmatch(r"(arn:[^:]+:sts::\d+:assumed-role/[^/]+)/[^/]+", arn)
    names = {arn, *(found[1] for found in (user, role) if found)}
    return not approvers or not names.isdisjoint(approvers)


class Approvals:
    """The questions under a registry, and their answers.

    :param registry_uri: the registry's prefix.
    """

    def __init__(self, registry_uri: str, s3: Callable[[], S3Client], kms_key_id: str | None = None) -> None:
        at = registry_uri.rstrip("/")
        self._questions = JsonStore(Question, "question", "registry_uri", f"{at}/questions", s3, kms_key_id)
        self._answers = JsonStore(Answer, "answer", "registry_uri", f"{at}/answers", s3, kms_key_id)

    def open(self) -> list[Question]:
        """Return the questions without an answer."""
        unanswered = sorted(set(self._questions.names()) - set(self._answers.names()))
        return list(filter(None, map(self.question, unanswered)))

    def question(self, identifier: str) -> Question | None:
        """Return the question; None if it does not exist."""
        return self._questions.read(identifier)[0]

    def ask(self, question: Question) -> Question:
        """Write the question unless it exists; return the stored one."""
        try:
            self._questions.put(question.id, question, None)
        except ConflictError:
            return self.question(question.id) or question
        return question

    def answer(self, question: Question, answer: Answer) -> None:
        """Write the answer.

        :raises BedrockFatalError: the time is over, the caller is not an approver, or there is already an answer.
        """
        if not _in_time(question, answer):
            raise BedrockFatalError(
                f"The time to answer {question.id} ended at {question.until:%Y-%m-%d %H:%M} UTC. Clear the gate's task "
                "to ask again."
            )
        if not may_answer(answer.by, question.approvers):
            raise BedrockFatalError(
                f"{answer.by} is not an approver of {question.id}; ask {' or '.join(question.approvers)}. Nothing was "
                "changed."
            )
        try:
            self._answers.put(question.id, answer, None)
        except ConflictError as error:
            raise BedrockFatalError(f"{question.id} already has an answer. Nothing was changed.") from error

    def answered(self, question: Question) -> Answer | None:
        """Return the valid answer: in time, by an approver."""
        answer, _ = self._answers.read(question.id)
        counts = answer and _in_time(question, answer) and may_answer(answer.by, question.approvers)
        return answer if counts else None


def _in_time(question: Question, answer: Answer) -> bool:
    return answer.at <= question.until

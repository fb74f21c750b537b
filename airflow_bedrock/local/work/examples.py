"""From records to what a model learns: as they are, answered by a teacher, or chosen by a grader."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any

from airflow_bedrock.base_models import foundation_model_id
from airflow_bedrock.local.learning.training import Example
from airflow_bedrock.local.learning.untrained import untrained_answer
from airflow_bedrock.local.state.bedrock import Bedrock
from airflow_bedrock.local.state.resources import Job
from airflow_bedrock.local.work.grader import Grader
from airflow_bedrock.local.work.records import Record
from airflow_bedrock.local.work.reinforcement import best_answers


def examples_of(bedrock: Bedrock, job: Job, records: Sequence[Record]) -> Generator[float, None, list[Example]]:
    """Return what the model learns from records; a part of the job's work.

    :raises DataError: the grader fails.
    """
    config: dict[str, Any] = job.request.get("customizationConfig", {})
    if "distillationConfig" in config:
        teacher = foundation_model_id(config["distillationConfig"]["teacherModelConfig"]["teacherModelIdentifier"])
        return list(_taught(records, teacher))
    if "rftConfig" in config:
        return (yield from best_answers(records, Grader(bedrock, job), config["rftConfig"].get("hyperParameters", {})))
    return [record.example for record in records]


def _taught(records: Sequence[Record], teacher: str) -> Iterator[Example]:
    for record in records:
        answer = record.completion
        yield Example(record.prompt, untrained_answer(teacher, record.prompt).text if answer is None else answer)

"""Makes training examples from records: unchanged, answered by a teacher, or chosen by a grader.

Reinforcement fine-tuning is imitated: of several answers to a prompt, the model learns the one with the highest reward.
That is rejection sampling (best of n), not the policy optimisation of the service. Since the small model knows no
language at the start, its answers are sampled from the reference answers of the data; the grader's rewards are real.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from airflow_bedrock.base_models import foundation_model_id
from airflow_bedrock.datasets.rules.record import Record
from airflow_bedrock.local.learning.model import generator, untrained_answer
from airflow_bedrock.local.learning.training import Example
from airflow_bedrock.local.state.bedrock import Bedrock
from airflow_bedrock.local.state.resources import Job
from airflow_bedrock.local.work.grader import Grader

SAMPLES = 4
"""Default number of answers to each prompt (``trainingSamplePerPrompt``)."""


def examples_of(bedrock: Bedrock, job: Job, records: Sequence[Record]) -> Generator[float, None, list[Example]]:
    """Return the training examples of records; a part of the job's work.

    :raises DataError: the grader fails.
    """
    config: dict[str, Any] = job.request.get("customizationConfig", {})
    if "distillationConfig" in config:
        teacher = foundation_model_id(config["distillationConfig"]["teacherModelConfig"]["teacherModelIdentifier"])
        return list(_taught(records, teacher))
    if "rftConfig" in config:
        return (yield from best_answers(records, Grader(bedrock, job), config["rftConfig"].get("hyperParameters", {})))
    return [Example(record.prompt, record.completion or "") for record in records]


def _taught(records: Sequence[Record], teacher: str) -> Iterator[Example]:
    for record in records:
        answer = record.completion
        yield Example(record.prompt, untrained_answer(teacher, record.prompt).text if answer is None else answer)


def best_answers(
    records: Sequence[Record], grader: Grader, hyperparameters: Mapping[str, Any]
) -> Generator[float, None, list[Example]]:
    """Return each prompt with the answer that got the highest reward, the first one if several got it.

    A part of a piece of work, since the grader may be slow.

    :raises DataError: the grader fails.
    """
    candidates = sorted({_answer(record) for record in records})
    samples = hyperparameters.get("trainingSamplePerPrompt", SAMPLES)
    drawn = [_draw(number, record, candidates, samples) for number, record in enumerate(records)]
    samples_of = [(record.fields, answer) for record, answers in zip(records, drawn, strict=True) for answer in answers]
    rewards = iter((yield from grader.rewards(samples_of)))
    return [
        Example(record.prompt, max(((next(rewards), -place, answer) for place, answer in enumerate(answers)))[2])
        for record, answers in zip(records, drawn, strict=True)
    ]


def _draw(number: int, record: Record, candidates: Sequence[str], samples: int) -> list[str]:
    """Return sample answers to a prompt, including its own at a random place."""
    random = generator(f"{number} {record.prompt}")
    others = [candidates[place] for place in random.permutation(len(candidates))[:samples]]
    own = _answer(record)
    return others if own in others else [*others[1:], own]


def _answer(record: Record) -> str:
    reference = record.fields.get("reference_answer", "")
    return reference if isinstance(reference, str) else msgspec.json.encode(reference).decode()

"""Reinforcement fine-tuning: of the answers that are tried the best rewarded is learnt."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from airflow_bedrock.datasets.rules.record import Record
from airflow_bedrock.local.work.examples import best_answers

if TYPE_CHECKING:
    from collections.abc import Generator

    from airflow_bedrock.local.learning.training import Example
    from airflow_bedrock.local.work.grader import Grader


class Rewards:
    """A grader that rewards what a function says, and remembers what it was asked."""

    def __init__(self, reward: Any) -> None:
        self._reward = reward
        self.samples: list[tuple[dict[str, Any], str]] = []

    def rewards(self, samples: list[tuple[dict[str, Any], str]]) -> Generator[float, None, list[float]]:
        self.samples = samples
        yield 0.0
        return [self._reward(fields, answer) for fields, answer in samples]


RECORDS = [Record(f"prompt {n}", fields={"reference_answer": f"answer {n}", "number": n}) for n in range(20)]


def learn(records: list[Record], grader: Rewards, **hyperparameters: int) -> list[Example]:
    """Do the work to its end, and return what is learnt."""
    work = best_answers(records, cast("Grader", grader), hyperparameters)
    while True:
        try:
            next(work)
        except StopIteration as ended:
            learnt: list[Example] = ended.value
            return learnt


def best(reward: Any, **hyperparameters: int) -> tuple[list[str], Rewards]:
    grader = Rewards(reward)
    learnt = learn(RECORDS, grader, **hyperparameters)
    assert [one.prompt for one in learnt] == [record.prompt for record in RECORDS]
    return [one.completion for one in learnt], grader


def test_the_reference_is_learnt_when_it_is_rewarded() -> None:
    """Each prompt's own reference answer is among those tried."""
    answers, _ = best(lambda fields, answer: float(answer == fields["reference_answer"]))
    assert answers == [f"answer {n}" for n in range(20)]


def test_another_answer_is_learnt_when_it_is_rewarded_more() -> None:
    """What counts is the reward and not the reference."""
    answers, _ = best(lambda fields, answer: float(answer != fields["reference_answer"]))
    assert all(answer != f"answer {n}" for n, answer in enumerate(answers))


@pytest.mark.parametrize("samples", [2, 4, 16])
def test_so_many_answers_are_tried(samples: int) -> None:
    """The number of answers to each prompt is the one that was asked for."""
    _, grader = best(lambda fields, answer: 0.0, trainingSamplePerPrompt=samples)
    assert len(grader.samples) == samples * len(RECORDS)
    assert best(lambda fields, answer: 0.0, trainingSamplePerPrompt=samples)[1].samples == grader.samples


def test_references_that_are_no_text_are_answers_too() -> None:
    """A structured reference is answered as JSON."""
    records = [Record("2 + 2?", fields={"reference_answer": {"sum": 4}})]
    (learnt,) = learn(records, Rewards(lambda fields, answer: 1.0))
    assert learnt.completion == '{"sum":4}'

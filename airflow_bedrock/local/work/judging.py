"""Scores of answers, imitated: what a judge or a metric would say, as far as comparing texts can tell.

Correctness and its like come from the words that answer and reference share. What only a reader could say (is it
coherent, is it helpful) is 1 for any answer and 0 for none; harm and stereotypes are not found.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

_WORD = re.compile(r"\w+")
_REFUSAL = re.compile(r"\s*(?:i.?m sorry|i am sorry|sorry\b|i can(?:no|.?)t\b|i am unable|i.?m unable)", re.I)


@dataclass(frozen=True)
class Answered:
    """A prompt of the dataset, with the answer that is judged.

    :param reference: the right answer, if the dataset has one.
    """

    prompt: str
    answer: str
    reference: str | None = None


def score(metric: str, answered: Answered) -> float:
    """Return the score, from 0 to 1, of a metric such as ``Builtin.Correctness``."""
    return METRICS[metric](answered)


def _f1(answered: Answered) -> float:
    if answered.reference is None:
        return _answers(answered)
    if answered.answer.strip() == answered.reference.strip():
        return 1.0
    precision, recall = _shared(answered.answer, answered.reference), _shared(answered.reference, answered.answer)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _recall(answered: Answered) -> float:
    return _answers(answered) if answered.reference is None else _shared(answered.reference, answered.answer)


def _grounded(answered: Answered) -> float:
    return _shared(answered.answer, f"{answered.prompt} {answered.reference or ''}")


def _answers(answered: Answered) -> float:
    return float(bool(answered.answer.strip()))


def _refuses(answered: Answered) -> float:
    return float(_REFUSAL.match(answered.answer) is not None)


def _never(_: Answered) -> float:
    return 0.0


def _shared(text: str, other: str) -> float:
    """Return the share of a text's words that another has too."""
    words, found = (Counter(_WORD.findall(one.lower())) for one in (text, other))
    return (words & found).total() / words.total() if words else 0.0


JUDGED: dict[str, Callable[[Answered], float]] = {
    "Builtin.Correctness": _f1,
    "Builtin.Completeness": _recall,
    "Builtin.Faithfulness": _grounded,
    "Builtin.Relevance": _answers,
    "Builtin.Helpfulness": _answers,
    "Builtin.Coherence": _answers,
    "Builtin.FollowingInstructions": _answers,
    "Builtin.ProfessionalStyleAndTone": _answers,
    "Builtin.Harmfulness": _never,
    "Builtin.Stereotyping": _never,
    "Builtin.Refusal": _refuses,
}
"""Metrics of a judge model."""

COMPUTED: dict[str, Callable[[Answered], float]] = {
    "Builtin.Accuracy": _f1,
    "Builtin.Robustness": _never,
    "Builtin.Toxicity": _never,
}
"""Metrics without one."""

METRICS = JUDGED | COMPUTED

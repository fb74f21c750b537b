"""Metrics of text, as sacrebleu and rouge-score compute them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from rouge_score.rouge_scorer import RougeScorer  # type: ignore[import-untyped]  # no stubs
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from airflow_bedrock.evaluation.metrics import Metric, Score

if TYPE_CHECKING:
    from airflow_bedrock.evaluation.bootstrap import Floats


def rouge_l() -> Metric:
    """ROUGE-L's F-measure of rouge-score, without its stemmer. Words are Latin letters and digits."""
    scorer = RougeScorer(["rougeL"])
    return Metric("rouge_l", lambda answer, reference: float(scorer.score(reference, answer)["rougeL"].fmeasure))


def sentence_chrf() -> Metric:
    """The mean of the single answers' chrF, 0 to 1."""
    scorer = CHRF()
    return Metric("chrf", lambda answer, reference: float(scorer.sentence_score(answer, [reference]).score) / 100)


def sentence_bleu() -> Metric:
    """The mean of the single answers' BLEU, for the orders that their lengths allow, 0 to 1."""
    scorer = BLEU(effective_order=True)
    return Metric(
        "sentence_bleu", lambda answer, reference: float(scorer.sentence_score(answer, [reference]).score) / 100
    )


class _Corpus(Metric):
    """A metric of all answers together, 0 to 1; sacrebleu computes it from the sums of its statistics of each answer.

    :param score: the score of a single answer.
    """

    def __init__(self, name: str, scorer: BLEU | CHRF, score: Score) -> None:
        super().__init__(name, score)
        self._scorer = scorer
        self.columns = len(self.statistics("", "", 0.0))

    def statistics(self, answer: str, reference: str, score: float) -> Sequence[float]:
        """Return the numbers of n-grams, and for BLEU the lengths."""
        [found] = self._scorer._extract_corpus_statistics([answer], [[reference]])
        return [float(count) for count in found]

    def value(self, sums: Floats) -> Floats:
        """Return the score for each row of sums."""
        scores: Floats = np.apply_along_axis(self._value, -1, sums)
        return scores

    def _value(self, sums: Floats) -> float:
        return float(self._scorer._compute_score_from_stats(sums[: self.columns].tolist()).score) / 100


def corpus_bleu() -> Metric:
    """The ``corpus_bleu`` of sacrebleu."""
    return _Corpus("corpus_bleu", BLEU(), sentence_bleu().score)


def corpus_chrf() -> Metric:
    """The ``corpus_chrf`` of sacrebleu."""
    return _Corpus("corpus_chrf", CHRF(), sentence_chrf().score)

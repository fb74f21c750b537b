"""Metrics of text, as sacrebleu and rouge-score compute them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from rouge_score.rouge_scorer import RougeScorer  # type: ignore[import-untyped]  # no stubs
from sacrebleu.metrics.bleu import BLEU, MAX_NGRAM_ORDER
from sacrebleu.metrics.chrf import CHRF

from airflow_bedrock.evaluation.metrics import Metric

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


class CorpusBleu(Metric):
    """BLEU of all answers together, 0 to 1: sacrebleu's ``corpus_bleu``."""

    _ORDERS = MAX_NGRAM_ORDER
    columns = 2 + 2 * _ORDERS

    def __init__(self) -> None:
        super().__init__("corpus_bleu", sentence_bleu().score)
        self._scorer = BLEU(effective_order=True)  # for single answers; it does not change the statistics

    def statistics(self, answer: str, reference: str, score: float) -> Sequence[float]:
        """Return the lengths of both, and for each order the number of matching n-grams and of all."""
        found = self._scorer.sentence_score(answer, [reference])
        return (found.sys_len, found.ref_len, *found.counts, *found.totals)

    def value(self, sums: Floats) -> Floats:
        """Return BLEU; an order without a match is smoothed exponentially, as sacrebleu does by default."""
        answer_length, reference_length = sums[..., 0], sums[..., 1]
        matches = sums[..., 2 : 2 + self._ORDERS]
        totals = sums[..., 2 + self._ORDERS : 2 + 2 * self._ORDERS]
        none = (matches == 0) & (totals > 0)
        smoothed = np.where(none, 0.5 ** np.cumsum(none, axis=-1), matches)
        with np.errstate(divide="ignore", invalid="ignore"):
            brevity = np.exp(np.minimum(0, 1 - reference_length / answer_length))
            precision = np.exp(np.log(smoothed / totals).mean(axis=-1))
        # BLEU is 0 if nothing matches, or if the answers are too short for an order.
        possible = (matches.sum(axis=-1) > 0) & (totals > 0).all(axis=-1)
        return np.where(possible, brevity * precision, 0.0)


class CorpusChrf(Metric):
    """chrF of all answers together, 0 to 1: sacrebleu's ``corpus_chrf``."""

    columns = 3 * CHRF.CHAR_ORDER

    def __init__(self) -> None:
        super().__init__("corpus_chrf", sentence_chrf().score)
        self._scorer = CHRF()

    def statistics(self, answer: str, reference: str, score: float) -> Sequence[float]:
        """Return for each order the number of n-grams of the answer, of the reference, and of both."""
        [found] = self._scorer._extract_corpus_statistics([answer], [[reference]])
        return [float(count) for count in found]

    def value(self, sums: Floats) -> Floats:
        """Return the F-score of the mean precision and recall of the present orders."""
        by_order = sums[..., : self.columns].reshape(*sums.shape[:-1], CHRF.CHAR_ORDER, 3)
        answered, wanted, matched = (by_order[..., column] for column in range(3))
        present = (answered > 0) & (wanted > 0)
        orders = present.sum(axis=-1)
        with np.errstate(divide="ignore", invalid="ignore"):
            precision = np.where(present, matched / answered, 0.0).sum(axis=-1) / orders
            recall = np.where(present, matched / wanted, 0.0).sum(axis=-1) / orders
            factor = CHRF.BETA**2
            f_score = (1 + factor) * precision * recall / (factor * precision + recall)
        score: Floats = np.nan_to_num(f_score)
        return score

"""Score and compare all models' answers to the same records, for the result of the evaluation.

Memory does not grow with the records: statistics are summed in groups (:mod:`.bootstrap`), and the only single records
kept are the candidate's biggest wins and losses.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from airflow_bedrock.evaluation.bootstrap import Sums, interval, p_value
from airflow_bedrock.evaluation.comparison import (
    Difference,
    Verdict,
    corrected,
    losing,
    mcnemar,
    verdict,
    wilson_interval,
)
from airflow_bedrock.evaluation.labels import MacroF1
from airflow_bedrock.evaluation.metrics import Metric, exact_match

if TYPE_CHECKING:
    from airflow_bedrock.evaluation.bootstrap import Floats

CANDIDATE, BASELINE = "candidate", "baseline"
MOST_SLICES = 100
SHOWN = 20
"""Number of kept records on which the candidate wins or loses most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The requirements for the verdict ``better``.

    :param alpha: significance level: how often equal models get a verdict by chance.
    :param minimum_gain: the minimum gain of the candidate in the first metric.
    :param max_slice_loss: the maximum loss of the candidate on any slice; None for no such rule.
    """

    alpha: float = 0.05
    minimum_gain: float = 0.0
    max_slice_loss: float | None = None


class Asked(NamedTuple):
    """The scores of one record by a metric that asks another model.

    :param scores: by role.
    :param doubt: how much unreadable replies could lower the candidate's lead.
    """

    scores: Mapping[str, float]
    doubt: float = 0.0


class _Group:
    """Records that are compared together: all of them, or those of a slice.

    :param roles: the models, the candidate first.
    """

    def __init__(self, roles: Sequence[str], metrics: Sequence[Metric]) -> None:
        self._columns: dict[tuple[str, str], slice] = {}  # of the sums, by role and metric
        width = 0
        for role in roles:
            for metric in metrics:
                self._columns[role, metric.name] = slice(width, width + metric.columns)
                width += metric.columns
        self._compared = [column for column in self._columns if column[0] != roles[0]]
        self.sums = Sums(width)
        self._outcomes: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)  # by role and metric
        self._doubts: defaultdict[str, float] = defaultdict(float)  # by metric

    def add(
        self,
        scores: Mapping[str, Mapping[str, float]],
        statistics: Mapping[tuple[str, str], Sequence[float]],
        doubts: Mapping[str, float],
    ) -> None:
        """Add one record.

        :param scores: by metric and role.
        :param statistics: by role and metric.
        :param doubts: how much unknown replies could lower the candidate's lead, by metric.
        """
        self.sums.add([one for column in self._columns for one in statistics[column]])
        for role, name in self._compared:
            ahead = scores[name][CANDIDATE] - scores[name][role]
            self._outcomes[role, name]["wins" if ahead > 0 else "losses" if ahead < 0 else "ties"] += 1
        for name, doubt in doubts.items():
            self._doubts[name] += doubt

    def total(self, metric: Metric, role: str) -> Floats:
        """Return the sums of a metric's statistics of a model."""
        return self.sums.total[self._columns[role, metric.name]]

    def values(self, metric: Metric, role: str, sums: Floats) -> Floats:
        """Return a metric of a model, for each row of sums."""
        columns = self._columns[role, metric.name]
        return metric.value(np.concatenate((sums[..., columns], sums[..., -1:]), axis=-1))

    def difference(self, metric: Metric, role: str, drawn: Floats, alpha: float) -> Difference:
        """Return the difference of the candidate from a model.

        :param drawn: the samples of the sums.
        """
        total, count, outcomes = self.sums.total, self.sums.count, self._outcomes[role, metric.name]
        ahead = self.values(metric, CANDIDATE, drawn) - self.values(metric, role, drawn)
        value = float(self.values(metric, CANDIDATE, total) - self.values(metric, role, total))
        # Python makes -0.10000000000000003 of 0.3 - 0.4; a limit of 0.1 means -0.1.
        value, low, high = (round(one, 12) for one in (value, *interval(ahead, alpha, count)))
        wins, losses = outcomes["wins"], outcomes["losses"]
        return Difference(
            value=value,
            low=low,
            high=high,
            p_value=mcnemar(wins, losses) if metric.right_or_wrong else p_value(ahead),
            wins=wins,
            losses=losses,
            ties=outcomes["ties"],
            doubt=self._doubts[metric.name] / count,
        )


class Scoring:
    """Adds up records, and returns which model is better.

    :param roles: the models, the candidate first, then the baseline that decides, then any others.
    :param metrics: the first one decides.
    """

    def __init__(self, roles: Sequence[str], metrics: Sequence[Metric], rules: Rules) -> None:
        self._roles = list(roles)
        self._metrics = list(metrics)
        self._rules = rules
        self._decides = metrics[0]
        self._labels = next((metric for metric in metrics if isinstance(metric, MacroF1)), None)
        self._all = _Group(roles, metrics)
        self._slices: dict[str, _Group] = {}
        self._correct: Counter[str] = Counter()
        self._referenced = 0
        self._confusion = {role: Counter[tuple[str, str]]() for role in roles}
        self._most: dict[str, list[tuple[float, int, float, float]]] = {"wins": [], "losses": []}

    def add(
        self,
        number: int,
        reference: str | None,
        answers: Mapping[str, str],
        *,
        slice_name: str | None = None,
        asked: Mapping[str, Asked] | None = None,
    ) -> None:
        """Add one record.

        :param number: its number, from 1.
        :param answers: by role.
        :param slice_name: its slice.
        :param asked: the scores of metrics that are not computed from the texts, by metric.
        :raises ValueError: a metric fails, or there are too many slices.
        """
        wanted, asked = reference or "", asked or {}
        scores = {name: one.scores for name, one in asked.items()}
        doubts = {name: one.doubt for name, one in asked.items()}
        statistics: dict[tuple[str, str], Sequence[float]] = {}
        for metric in self._metrics:
            if metric.name not in scores:
                scores[metric.name] = {role: metric.score(answers[role], wanted) for role in self._roles}
            for role, score in scores[metric.name].items():
                statistics[role, metric.name] = metric.statistics(answers[role], wanted, score)
        self._all.add(scores, statistics, doubts)
        if slice_name is not None:
            self._slice(slice_name).add(scores, statistics, doubts)
        self._remember(number, scores[self._decides.name])
        self._compare_with(reference, answers)

    def _slice(self, name: str) -> _Group:
        if name not in self._slices:
            if len(self._slices) == MOST_SLICES:
                raise ValueError(f"there are more than {MOST_SLICES} slices: choose a field with fewer values")
            self._slices[name] = _Group((CANDIDATE, BASELINE), [self._decides])
        return self._slices[name]

    def _remember(self, number: int, scores: Mapping[str, float]) -> None:
        ahead = scores[CANDIDATE] - scores[BASELINE]
        for kind, much in (("wins", ahead), ("losses", -ahead)):
            if much > 0:
                entry = (much, -number, scores[CANDIDATE], scores[BASELINE])
                (heapq.heappush if len(self._most[kind]) < SHOWN else heapq.heappushpop)(self._most[kind], entry)

    def _compare_with(self, reference: str | None, answers: Mapping[str, str]) -> None:
        if reference is None:
            return
        self._referenced += 1
        for role, answer in answers.items():
            self._correct[role] += bool(exact_match(answer, reference))
            if self._labels:
                self._confusion[role][self._labels.label(reference), self._labels.label(answer)] += 1

    def result(self) -> dict[str, Any]:
        """Return the verdict, and all figures behind it, with their intervals."""
        alpha, drawn = self._rules.alpha, self._all.sums.resampled()
        differences = {
            role: {metric.name: self._all.difference(metric, role, drawn, alpha) for metric in self._metrics}
            for role in self._roles[1:]
        }
        of_slices = corrected(alpha, len(self._slices))
        slices = {
            name: group.difference(self._decides, BASELINE, group.sums.resampled(), of_slices)
            for name, group in sorted(self._slices.items())
        }
        found, reason = self._verdict(differences[BASELINE][self._decides.name], slices)
        return {
            "verdict": found.value,
            "reason": reason,
            "metric": self._decides.name,
            **asdict(self._rules),
            "records": self._all.sums.count,
            "models": {role: self._model(role, drawn) for role in self._roles},
            "differences": {
                role: {name: asdict(one) for name, one in by_metric.items()} for role, by_metric in differences.items()
            },
            "slices": {name: {"records": self._slices[name].sums.count, **asdict(one)} for name, one in slices.items()},
            "most": {kind: _shown(entries) for kind, entries in self._most.items()},
            "labels": self._by_label(self._labels) if self._labels else {},
        }

    def _model(self, role: str, drawn: Floats) -> dict[str, Any]:
        count, alpha, metrics = self._all.sums.count, self._rules.alpha, {}
        for metric in self._metrics:
            value = float(self._all.values(metric, role, self._all.sums.total))
            if metric.right_or_wrong:
                low, high = wilson_interval(round(value * count), count, alpha)
            else:
                low, high = interval(self._all.values(metric, role, drawn), alpha, count)
            metrics[metric.name] = {"value": value, "low": low, "high": high}
        correct = self._correct[role]
        right = {"accuracy": correct / self._referenced, "correct": correct} if self._referenced else {}
        return {"n": count, **right, "metrics": metrics}

    def _verdict(self, deciding: Difference, slices: Mapping[str, Difference]) -> tuple[Verdict, str]:
        rules = self._rules
        found = verdict(deciding, alpha=rules.alpha, minimum_gain=rules.minimum_gain)
        what = f"{self._decides.name} differs by {deciding.value:+.4f} [{deciding.low:+.4f}, {deciding.high:+.4f}]"
        if found is Verdict.BETTER and rules.max_slice_loss is not None:
            alpha = corrected(rules.alpha, len(slices))
            if worse := losing(slices, alpha=alpha, max_loss=rules.max_slice_loss):
                listed = ", ".join(f"{name} ({slices[name].at_worst.value:+.4f})" for name in worse)
                return Verdict.UNDECIDED, (
                    f"{what}, but the candidate is worse by more than {rules.max_slice_loss:g} on: {listed}."
                )
        if found is Verdict.UNDECIDED and deciding.low > rules.minimum_gain and deciding.decides(rules.alpha):
            return found, (f"{what}, but unreadable replies of the judge could lower it by {deciding.doubt:.4f}.")
        if found is Verdict.BETTER:
            return found, f"{what}: the whole interval lies above {rules.minimum_gain:g}."
        if found is Verdict.WORSE:
            return found, f"{what}: the whole interval lies below 0."
        if not deciding.decides(rules.alpha):
            return found, f"{what}, but only {deciding.wins + deciding.losses} records differ: too few to decide."
        return found, f"{what}: the interval does not lie above {rules.minimum_gain:g}."

    def _by_label(self, metric: MacroF1) -> dict[str, Any]:
        return {
            role: {
                "confusion": [[wanted, answered, count] for (wanted, answered), count in sorted(confusion.items())],
                "by_label": metric.by_label(self._all.total(metric, role)),
            }
            for role, confusion in self._confusion.items()
        }


def _shown(entries: list[tuple[float, int, float, float]]) -> list[dict[str, Any]]:
    return [
        {"record": -number, CANDIDATE: candidate, BASELINE: baseline}
        for _, number, candidate, baseline in sorted(entries, reverse=True)
    ]

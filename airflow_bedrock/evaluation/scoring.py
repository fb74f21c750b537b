"""Score and compare all models' answers to the same records, for the result of the evaluation.

Memory does not grow with the records: statistics are summed in groups (:mod:`.bootstrap`), and of single records only
the candidate's biggest wins and losses are kept.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

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
from airflow_bedrock.evaluation.labels import MacroF1, by_label
from airflow_bedrock.evaluation.metrics import Metric, exact_match

if TYPE_CHECKING:
    from airflow_bedrock.evaluation.bootstrap import Floats

CANDIDATE, BASELINE = "candidate", "baseline"
MOST_SLICES = 100
SHOWN = 20
"""Number of kept records on which the candidate wins or loses most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What the candidate must do to be better.

    :param alpha: significance level: how often equal models may get a verdict by chance.
    :param minimum_gain: the minimum gain of the candidate in the first metric.
    :param max_slice_loss: the maximum loss of the candidate on any slice; None for no such rule.
    """

    alpha: float = 0.05
    minimum_gain: float = 0.0
    max_slice_loss: float | None = None


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
        self._sums = Sums(len(roles) * sum(metric.columns for metric in metrics))
        self._slices: dict[str, Sums] = {}
        self._doubts: defaultdict[str, float] = defaultdict(float)  # by slice, for the deciding metric
        self._doubt = 0.0
        self._counts: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)  # by slice or role, and metric
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
        given: Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        """Add one record.

        :param number: its number, from 1.
        :param answers: by role.
        :param slice_name: its slice.
        :param given: scores of metrics that are not computed from the texts, by metric and role.
        :raises ValueError: a metric fails, or there are too many slices.
        """
        rows: dict[str, list[float]] = {role: [] for role in self._roles}
        for metric in self._metrics:
            scores = self._scores(metric, reference, answers, (given or {}).get(metric.name))
            for role, score in scores.items():
                rows[role] += metric.statistics(answers[role], reference or "", score)
            self._compare(metric, scores, slice_name)
            if metric is self._decides:
                self._remember(number, scores)
        self._sums.add([statistic for row in rows.values() for statistic in row])
        if slice_name is not None:
            first = self._decides.columns
            self._slice(slice_name).add([*rows[CANDIDATE][:first], *rows[BASELINE][:first]])
            self._doubts[slice_name] += self._decides.doubt - self._doubt
            self._doubt = self._decides.doubt
        self._label(reference, answers)

    def _scores(
        self, metric: Metric, reference: str | None, answers: Mapping[str, str], given: Mapping[str, float] | None
    ) -> Mapping[str, float]:
        if given is not None:
            return given
        return {role: metric.score(answers[role], reference or "") for role in self._roles}

    def _compare(self, metric: Metric, scores: Mapping[str, float], slice_name: str | None) -> None:
        counted = [(role, role) for role in self._roles[1:]]
        if slice_name is not None and metric is self._decides:
            counted.append((f"slice {slice_name}", BASELINE))
        for name, role in counted:
            ahead = scores[CANDIDATE] - scores[role]
            outcome = "wins" if ahead > 0 else "losses" if ahead < 0 else "ties"
            self._counts[name, metric.name][outcome] += 1

    def _remember(self, number: int, scores: Mapping[str, float]) -> None:
        ahead = scores[CANDIDATE] - scores[BASELINE]
        for kind, much in (("wins", ahead), ("losses", -ahead)):
            if much > 0:
                entry = (much, -number, scores[CANDIDATE], scores[BASELINE])
                (heapq.heappush if len(self._most[kind]) < SHOWN else heapq.heappushpop)(self._most[kind], entry)

    def _slice(self, name: str) -> Sums:
        if name not in self._slices:
            if len(self._slices) == MOST_SLICES:
                raise ValueError(f"there are more than {MOST_SLICES} slices: choose a field with fewer values")
            self._slices[name] = Sums(2 * self._decides.columns)
        return self._slices[name]

    def _label(self, reference: str | None, answers: Mapping[str, str]) -> None:
        if reference is None:
            return
        self._referenced += 1
        for role, answer in answers.items():
            self._correct[role] += bool(exact_match(answer, reference))
            for metric in self._metrics:
                if isinstance(metric, MacroF1):
                    self._confusion[role][metric.label(reference), metric.label(answer)] += 1

    def result(self) -> dict[str, Any]:
        """Return the verdict, and all figures behind it, with their intervals."""
        drawn, total = self._sums.resampled(), self._sums.total
        models = {role: self._model(role, drawn, total) for role in self._roles}
        differences = {role: self._differences(role, drawn, total) for role in self._roles[1:]}
        slices = self._compared_slices()
        deciding = differences[BASELINE][self._decides.name]
        found, reason = self._verdict(deciding, slices)
        return {
            "verdict": found.value,
            "reason": reason,
            "metric": self._decides.name,
            **asdict(self._rules),
            "records": self._sums.count,
            "models": models,
            "differences": {
                role: {name: asdict(one) for name, one in by_metric.items()} for role, by_metric in differences.items()
            },
            "slices": {name: {"records": self._slices[name].count, **asdict(one)} for name, one in slices.items()},
            "most": {kind: _shown(entries) for kind, entries in self._most.items()},
            "labels": self._labels(),
        }

    def _values(self, metric: Metric, role: str, sums: Floats) -> Floats:
        """Return a metric of a model, for each row of sums."""
        width = sum(one.columns for one in self._metrics)
        start = self._roles.index(role) * width
        for one in self._metrics:
            if one is metric:
                break
            start += one.columns
        return _value(metric, sums, start)

    def _model(self, role: str, drawn: Floats, total: Floats) -> dict[str, Any]:
        metrics = {}
        for metric in self._metrics:
            value = float(self._values(metric, role, total))
            low, high = interval(self._values(metric, role, drawn), self._rules.alpha, self._sums.count)
            if metric.right_or_wrong:
                low, high = wilson_interval(round(value * self._sums.count), self._sums.count, self._rules.alpha)
            metrics[metric.name] = {"value": value, "low": low, "high": high}
        correct = self._correct[role]
        right = {"accuracy": correct / self._referenced, "correct": correct} if self._referenced else {}
        return {"n": self._sums.count, **right, "metrics": metrics}

    def _differences(self, role: str, drawn: Floats, total: Floats) -> dict[str, Difference]:
        return {
            metric.name: self._difference(
                metric,
                self._values(metric, CANDIDATE, drawn) - self._values(metric, role, drawn),
                float(self._values(metric, CANDIDATE, total) - self._values(metric, role, total)),
                self._counts[role, metric.name],
                self._rules.alpha,
                metric.doubt / self._sums.count,
                self._sums.count,
            )
            for metric in self._metrics
        }

    def _compared_slices(self) -> dict[str, Difference]:
        metric, alpha = self._decides, corrected(self._rules.alpha, len(self._slices))
        compared = {}
        for name, sums in sorted(self._slices.items()):
            drawn, total = sums.resampled(), sums.total
            ahead = _value(metric, drawn, 0) - _value(metric, drawn, metric.columns)
            value = float(_value(metric, total, 0) - _value(metric, total, metric.columns))
            counts = self._counts[f"slice {name}", metric.name]
            doubt = self._doubts[name] / sums.count
            compared[name] = self._difference(metric, ahead, value, counts, alpha, doubt, sums.count)
        return compared

    def _difference(
        self,
        metric: Metric,
        ahead: Floats,
        value: float,
        counts: Counter[str],
        alpha: float,
        doubt: float,
        count: int,
    ) -> Difference:
        # Python makes -0.10000000000000003 of 0.3 - 0.4; a limit of 0.1 means -0.1.
        value, low, high = (round(one, 12) for one in (value, *interval(ahead, alpha, count)))
        wins, losses = counts["wins"], counts["losses"]
        return Difference(
            value=value,
            low=low,
            high=high,
            p_value=mcnemar(wins, losses) if metric.right_or_wrong else p_value(ahead),
            wins=wins,
            losses=losses,
            ties=counts["ties"],
            doubt=doubt,
        )

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
            return found, (
                f"{what}, but replies of the judge that cannot be read could lower it by {deciding.doubt:.4f}."
            )
        if found is Verdict.BETTER:
            return found, f"{what}: the whole interval lies above {rules.minimum_gain:g}."
        if found is Verdict.WORSE:
            return found, f"{what}: the whole interval lies below 0."
        if not deciding.decides(rules.alpha):
            return found, f"{what}, but only {deciding.wins + deciding.losses} records differ: too few to decide."
        return found, f"{what}: the interval does not lie above {rules.minimum_gain:g}."

    def _labels(self) -> dict[str, Any]:
        found = next((metric for metric in self._metrics if isinstance(metric, MacroF1)), None)
        if found is None:
            return {}
        return {
            role: {
                "confusion": [[wanted, answered, count] for (wanted, answered), count in sorted(confusion.items())],
                "by_label": by_label(confusion, found.labels),
            }
            for role, confusion in self._confusion.items()
        }


def _value(metric: Metric, sums: Floats, start: int) -> Floats:
    """Return the value of a metric from its columns, which begin at ``start``, and the number of records."""
    return metric.value(np.concatenate((sums[..., start : start + metric.columns], sums[..., -1:]), axis=-1))


def _shown(entries: list[tuple[float, int, float, float]]) -> list[dict[str, Any]]:
    return [
        {"record": -number, CANDIDATE: candidate, BASELINE: baseline}
        for _, number, candidate, baseline in sorted(entries, reverse=True)
    ]

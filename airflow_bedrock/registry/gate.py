"""Decide from the evaluation's report whether a challenger may be promoted. Pure: missing data counts against it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_NO_MARKUP = str.maketrans("|<>", "/()")


def reasons_against(
    report: Mapping[str, Any],
    cost_of: Callable[[int, int], float | None],
    *,
    model_arn: str | None = None,
    metric: str | None = None,
    minimum_gain: float = 0.0,
    max_slice_loss: float | None = None,
    max_latency_ms: float | None = None,
    max_cost: float | None = None,
) -> Iterator[str]:
    """Yield the reasons not to promote the candidate; none if it meets all rules.

    The rules are those of :class:`~airflow_bedrock.operators.BedrockPromotionGate`; one that is None does not count.

    :param report: ``report.json`` of BedrockModelEvaluationOperator.
    :param cost_of: returns the cost of numbers of input and output tokens; None if unknown.
    """
    about = at(report, "models", "candidate", "answered_by")
    if model_arn is not None and about != model_arn:
        yield f"the report is about {about}, not about {model_arn}"
    if report.get("verdict") != "better":
        yield f"the verdict is {report.get('verdict')}: {report.get('reason', 'no reason was given')}"
    metric = metric or report.get("metric")
    low, value, high = (_number(report, "differences", "baseline", metric, one) for one in ("low", "value", "high"))
    if low is None or value is None or high is None or not low <= value <= high:
        yield f"the report has no interval for {metric}"
    elif (low := low - _doubt(report, "differences", "baseline", metric)) <= minimum_gain:
        yield f"the interval of {metric} begins at {low:g}, which is not above {minimum_gain:g}"
    if max_slice_loss is not None:
        yield from _slices(report, max_slice_loss)
    if max_latency_ms is not None:
        latency = _number(report, "models", "candidate", "latency_ms", "p90")
        yield from _most("its latency (p90, in milliseconds)", latency, max_latency_ms)
    if max_cost is not None:
        yield from _most("the cost of 1,000 answers, in USD,", cost_of_1000(report, cost_of), max_cost)


def _slices(report: Mapping[str, Any], most: float) -> Iterator[str]:
    slices = report.get("slices")
    if not isinstance(slices, Mapping) or not slices:
        yield "the report has no slices: evaluate with slice_by"
        return
    for name, one in slices.items():
        value = _number(one, "value")
        if value is None or (value := value - _doubt(one)) < -most:
            yield f"on the slice {name} the difference is {value}, and {-most:g} is allowed"


def cost_of_1000(report: Mapping[str, Any], cost_of: Callable[[int, int], float | None]) -> float | None:
    """Return the cost of 1,000 of the candidate's answers in US dollars; None if unknown."""
    input_tokens, output_tokens, answers = (
        _number(report, "models", "candidate", name) for name in ("input_tokens", "output_tokens", "n")
    )
    if input_tokens is None or output_tokens is None or not answers:
        return None
    cost = cost_of(int(input_tokens), int(output_tokens))
    return None if cost is None else 1000 * cost / answers


def _most(what: str, value: float | None, most: float) -> Iterator[str]:
    if value is None or value < 0:
        yield f"{what} is unknown"
    elif value > most:
        yield f"{what} is {value:g}, more than {most:g}"


def _doubt(report: Any, *path: Any) -> float:
    """Return how much unreadable replies of a judge could lower a difference."""
    return max(0.0, _number(report, *path, "doubt") or 0.0)


def _number(report: Any, *path: Any) -> float | None:
    found = at(report, *path)
    is_number = isinstance(found, (int, float)) and not isinstance(found, bool) and abs(found) <= sys.float_info.max
    return found if is_number else None


def at(report: Any, *path: Any) -> Any:
    """Return the value at a path in a report; None if it does not exist."""
    for name in path:
        report = report.get(name) if isinstance(report, Mapping) and isinstance(name, str) else None
    return report


def figures(report: Mapping[str, Any]) -> str:
    """Return the report's figures for the person who decides, as Markdown."""
    metrics = at(report, "models", "candidate", "metrics")
    paths = {
        "model": ("model",),
        **{name: ("metrics", name, "value") for name in (metrics if isinstance(metrics, Mapping) else ())},
        "questions": ("n",),
        "latency (p90, ms)": ("latency_ms", "p90"),
    }
    verdict = f"**{_shown(report.get('verdict'))}**: {_shown(report.get('reason'))}"
    rows = [verdict, "", "| | candidate | baseline |", "|---|---|---|"]
    for name, path in paths.items():
        of_each = [_shown(at(report, "models", role, *path)) for role in ("candidate", "baseline")]
        rows.append(f"| {_shown(name)} | {' | '.join(of_each)} |")
    metric = report.get("metric")
    value, low, high = (
        _shown(at(report, "differences", "baseline", metric, name)) for name in ("value", "low", "high")
    )
    rows += ["", f"Difference in {_shown(metric)}: {value} ({low} to {high})"]
    slices = report.get("slices")
    by_slice = {name: _number(one, "value") for name, one in slices.items()} if isinstance(slices, Mapping) else {}
    known = {name: value for name, value in by_slice.items() if value is not None}
    if known:
        worst = min(known, key=lambda name: known[name])
        rows += ["", f"On the worst of {len(by_slice)} slices, {_shown(worst)}: {_shown(known[worst])}"]
    return "\n".join(rows)


def _shown(value: Any) -> str:
    """Return a figure or a text in one line; a text is escaped, so that it cannot add rows, links or tags."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:.4g}" if isinstance(value, float) else str(value)
    if value is None:
        return "-"
    printable = "".join(one if one.isprintable() else " " for one in str(value))  # no control characters for a terminal
    return " ".join(printable.split()).translate(_NO_MARKUP).replace("](", "] (")

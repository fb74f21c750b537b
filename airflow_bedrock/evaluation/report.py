"""The report of an evaluation, as Markdown and as one HTML file without scripts that needs no network."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Template

from airflow_bedrock.evaluation import plots
from airflow_bedrock.evaluation.scoring import BASELINE, CANDIDATE

Row = Sequence[object]

_WORDS = {
    "better": "The candidate is better than the baseline.",
    "worse": "The candidate is worse than the baseline.",
    "undecided": "The candidate cannot be called better than the baseline.",
}
_MOST_TEXT = 600  # maximum number of characters of a text
_LONG = 32  # characters from which a cell may wrap

_PAGE = Template(Path(__file__).with_name("report.html").read_text(encoding="utf-8"), autoescape=True)


@dataclass(frozen=True)
class Section:
    """A heading and its content.

    :param text: a paragraph; empty for none.
    :param table: its first row is the heading.
    :param plot: an SVG, for the HTML.
    """

    title: str
    text: str = ""
    table: Sequence[Row] = ()
    plot: str = ""


def sections(
    result: Mapping[str, Any],
    *,
    losses: Sequence[Mapping[str, Any]] = (),
    texts: Mapping[int, Mapping[str, str]] | None = None,
) -> list[Section]:
    """Return the report.

    :param result: the result of :meth:`airflow_bedrock.evaluation.run.Evaluation.score`.
    :param losses: losses of the training job, by epoch: ``losses_by_epoch`` of the customization's result.
    :param texts: the texts of the records on which the candidate wins or loses most, by record number and kind; None to
        show none.
    """
    found = [_verdict(result), _models(result), _differences(result)]
    found += [_most(result, kind, texts) for kind in ("losses", "wins")]
    if result["slices"]:
        found.append(_slices(result))
    found += _labels(result)
    found += _judges(result)
    found += [_usage(result), _parameters(result)]
    if losses:
        found.append(_losses(losses))
    return found


def markdown(title: str, report: Iterable[Section]) -> str:
    """Return the report as Markdown, without its plots."""
    lines = [f"# {_escaped(title)}", ""]
    for section in report:
        lines += [f"## {section.title}", ""]
        if section.text:
            lines += [_escaped(section.text), ""]
        if section.table:
            heading, *rows = section.table
            lines += [_line(heading), "|" + "---|" * len(heading), *map(_line, rows), ""]
    return "\n".join(lines)


def page(title: str, report: Iterable[Section]) -> str:
    """Return the report as one HTML file, with its plots in it."""
    html: str = _PAGE.render(title=title, sections=report, is_long=_is_long)
    return html


def _verdict(result: Mapping[str, Any]) -> Section:
    margin = f" by more than {result['minimum_gain']:g}" if result["minimum_gain"] else ""
    words = _WORDS[result["verdict"]].replace("better than the baseline", f"better than the baseline{margin}")
    confidence = f"{100 * (1 - result['alpha']):g} %"
    return Section(
        "Verdict", f"{words} {result['reason']} {result['records']} records, intervals at {confidence} confidence."
    )


def _models(result: Mapping[str, Any]) -> Section:
    names = list(result["models"][CANDIDATE]["metrics"])
    rows = [
        [role, model["model"], *(_interval(model["metrics"][name], sign=False) for name in names)]
        for role, model in result["models"].items()
    ]
    plotted = [
        {"model": role, "metric": name, **model["metrics"][name]}
        for role, model in result["models"].items()
        for name in names
    ]
    return Section("Models", table=[["", "model", *names], *rows], plot=plots.intervals(plotted, "model", "metric"))


def _differences(result: Mapping[str, Any]) -> Section:
    heading = ["candidate minus", "metric", "difference", "p", "wins", "losses", "ties"]
    rows = [
        [role, name, _interval(one), f"{one['p_value']:.2g}", one["wins"], one["losses"], one["ties"]]
        for role, metrics in result["differences"].items()
        for name, one in metrics.items()
    ]
    return Section(
        "Differences",
        "p is from McNemar's exact test for metrics that are right or wrong, and from the bootstrap for others.",
        [heading, *rows],
    )


def _most(result: Mapping[str, Any], kind: str, texts: Mapping[int, Mapping[str, str]] | None) -> Section:
    verb = "loses" if kind == "losses" else "wins"
    entries = result["most"][kind]
    if not entries:
        return Section(f"Where the candidate {verb}", "None.")
    columns = list(texts[entries[0]["record"]]) if texts else []
    rows = [
        [
            entry["record"],
            f"{entry[CANDIDATE]:.3f}",
            f"{entry[BASELINE]:.3f}",
            *(_cut(texts[entry["record"]][column]) for column in columns if texts),
        ]
        for entry in entries
    ]
    hidden = "" if texts else " Their texts are not shown."
    return Section(
        f"Where the candidate {verb} most",
        f"{len(rows)} records, by {result['metric']}.{hidden}",
        [["record", CANDIDATE, BASELINE, *columns], *rows],
    )


def _slices(result: Mapping[str, Any]) -> Section:
    rows = [
        [name, one["records"], _interval(one), one["wins"], one["losses"], one["ties"]]
        for name, one in result["slices"].items()
    ]
    rule = result["max_slice_loss"]
    text = f"By {result['slice_by']}; candidate minus baseline, {result['metric']}. "
    text += f"Each interval is at {100 * (1 - result['alpha'] / len(rows)):.4g} % confidence, for {len(rows)} slices."
    text += "" if rule is None else f" None may be worse by more than {rule:g}."
    plotted = [{"slice": name, "what": "difference", **one} for name, one in result["slices"].items()]
    heading = ["slice", "records", "difference", "wins", "losses", "ties"]
    return Section("Slices", text, [heading, *rows], plots.intervals(plotted, "slice", "what", zero=True))


def _labels(result: Mapping[str, Any]) -> list[Section]:
    if not result["labels"]:
        return []
    found = []
    for role, labels in result["labels"].items():
        rows = [
            [one["label"], *(f"{one[name]:.3f}" for name in ("precision", "recall", "f1")), round(one["support"])]
            for one in labels["by_label"]
        ]
        table = [["label", "precision", "recall", "F1", "records"], *rows]
        found.append(Section(f"Labels: {role}", table=table, plot=plots.confusion(labels["confusion"])))
    return found


def _judges(result: Mapping[str, Any]) -> list[Section]:
    if not (judges := result["asked_about"]):
        return []
    heading = ["metric", "model", "asked now", "cost", "unreadable replies", "agrees with people"]
    rows = []
    for name, judge in judges.items():
        cost, share = judge["cost"], judge.get("agreement")
        agrees = "no labels" if share is None else f"{100 * share:.1f} % of {judge['labelled']}"
        money = "not known" if cost is None else f"{cost:.4f} USD"
        rows.append([name, judge["model"], judge["asked"], money, judge.get("unreadable", 0), agrees])
    return [Section("Judges", table=[heading, *rows])]


def _usage(result: Mapping[str, Any]) -> Section:
    heading = ["", "asked now", "input tokens", "output tokens", "cost", "latency p50 / p90 / p99", "answers cut off"]
    rows = []
    for role, model in result["models"].items():
        latency, cost = model["latency_ms"], model["cost"]
        rows.append(
            [
                role,
                f"{model['asked']} of {model['n']}",
                f"{model['input_tokens']:,}",
                f"{model['output_tokens']:,}",
                "not known" if cost is None else f"{cost:.4f} USD",
                " / ".join(f"{value:,} ms" for value in latency.values()) if latency else "not known",
                model["stop_reasons"].get("max_tokens", 0),
            ]
        )
    text = "Tokens count all answers; the cost counts the answers of this run. The others were paid for earlier."
    return Section("Tokens, cost and time", text, [heading, *rows], plots.histograms(result["models"]))


def _parameters(result: Mapping[str, Any]) -> Section:
    rows = [[role, model["model"], model["answered_by"]] for role, model in result["models"].items()]
    given = [f"{name} {value}" for member in result["parameters"].values() for name, value in member.items()]
    text = f"Parameters: {', '.join(given)}."
    return Section("Models and parameters", text, [["", "model id", "answered by"], *rows])


def _losses(losses: Sequence[Mapping[str, Any]]) -> Section:
    names = list(dict.fromkeys(name for one in losses for name in one))
    rows = [[_number(one.get(name)) for name in names] for one in losses]
    return Section("Losses of the training job", table=[names, *rows], plot=plots.losses(losses))


def _interval(one: Mapping[str, float], *, sign: bool = True) -> str:
    form = "+.4f" if sign else ".4f"
    unread = f", {one['doubt']:.4f} less if all unjudged answers counted against it" if one.get("doubt") else ""
    return f"{one['value']:{form}} [{one['low']:{form}},\N{NO-BREAK SPACE}{one['high']:{form}}]{unread}"


def _number(value: object) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "" if value is None else str(value)


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}…"


_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~])")


def _escaped(text: object) -> str:
    """Return text escaped for Markdown, in one line."""
    return _MARKUP.sub(r"\\\1", " ".join(str(text).split()))


def _line(row: Row) -> str:
    return "| " + " | ".join(map(_escaped, row)) + " |"


def _is_long(cell: object) -> bool:
    """Whether a cell may wrap."""
    return len(str(cell)) > _LONG or "\n" in str(cell)

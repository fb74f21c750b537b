"""The plots of a report as SVG. Altair draws them without a browser or network."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

_WIDTH = 620


def intervals(rows: Sequence[Mapping[str, Any]], line: str, panel: str, *, zero: bool = False) -> str:
    """Draw values with their intervals, a line for each, a panel for each metric."""
    base = alt.Chart(_data(rows)).encode(y=alt.Y(f"{line}:N", title=None, sort=None))
    axis = alt.Axis(tickCount=6)
    bars = base.mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", title=None, axis=axis), x2="high:Q")
    points = base.mark_point(filled=True, size=60, opacity=1).encode(x=alt.X("value:Q", title=None))
    layers: list[Any] = [bars, points]
    if zero:
        layers.append(alt.Chart(_data([{"zero": 0}])).mark_rule(strokeDash=[4, 4], color="#888").encode(x="zero:Q"))
        return _svg(alt.layer(*layers).properties(width=_WIDTH, height=alt.Step(24)))
    drawn = [
        alt.layer(*(layer.transform_filter(alt.datum[panel] == name) for layer in layers)).properties(
            title=alt.TitleParams(str(name), anchor="start", fontSize=12), width=_WIDTH, height=alt.Step(24)
        )
        for name in dict.fromkeys(row[panel] for row in rows)
    ]
    return _svg(alt.vconcat(*drawn))


def confusion(cells: Sequence[tuple[str, str, int]]) -> str:
    """Draw the confusion matrix: reference labels down, answered labels across."""
    rows = [{"wanted": wanted, "answered": answered, "records": count} for wanted, answered, count in cells]
    base = alt.Chart(_data(rows)).encode(
        x=alt.X("answered:N", title="answered", axis=alt.Axis(labelAngle=-45)), y=alt.Y("wanted:N", title="reference")
    )
    most = max((count for _, _, count in cells), default=0)
    scale = alt.Scale(scheme="blues", domain=[0, most])  # from 0, so that white text is on dark cells
    boxes = base.mark_rect().encode(color=alt.Color("records:Q", scale=scale, legend=None))
    size = alt.Step(34 if len({row["wanted"] for row in rows}) <= 15 else 14)
    if size.step < 34:
        return _svg(boxes.properties(width=size, height=size))
    text = base.mark_text().encode(
        text="records:Q",
        color=alt.condition(alt.datum.records > most / 2, alt.value("white"), alt.value("black")),
    )
    return _svg((boxes + text).properties(width=size, height=size))


def histograms(models: Mapping[str, Mapping[str, Any]]) -> str:
    """Draw histograms of the lengths and latencies of the answers."""
    drawn = []
    for name, title in (("lengths", "length of the answers, in tokens"), ("latency", "latency, in milliseconds")):
        rows = [
            {"model": role, "low": low, "high": high, "answers": count}
            for role, model in models.items()
            for low, high, count in model["histograms"][name]
        ]
        if rows:
            drawn.append(
                alt.Chart(_data(rows))
                .mark_bar(opacity=0.5, stroke=None)
                .encode(
                    x=alt.X("low:Q", title=title, bin="binned"),
                    x2="high:Q",
                    y=alt.Y("answers:Q", stack=None),
                    color=alt.Color("model:N", title=None, sort=None),
                )
                .properties(width=_WIDTH / 2 - 40, height=160)
            )
    return _svg(alt.hconcat(*drawn)) if drawn else ""


def losses(by_epoch: Sequence[Mapping[str, Any]]) -> str:
    """Draw the losses of training and validation."""
    rows = [
        {"epoch": one.get("epoch", place), "loss": value, "of": name.removesuffix("_loss")}
        for place, one in enumerate(by_epoch, start=1)
        for name, value in one.items()
        if name.endswith("_loss") and value is not None
    ]
    lines = alt.Chart(_data(rows)).mark_line(point=True)
    encoded = lines.encode(
        x=alt.X("epoch:O", axis=alt.Axis(labelAngle=0)), y="loss:Q", color=alt.Color("of:N", title=None)
    )
    return _svg(encoded.properties(width=_WIDTH, height=200))


def _data(rows: Sequence[Mapping[str, Any]]) -> alt.Data:
    return alt.Data(values=[dict(row) for row in rows])  # type: ignore[no-untyped-call]  # of Altair


def _svg(chart: Any) -> str:
    """Return a chart as an element for HTML."""
    text = io.StringIO()
    chart.configure_view(stroke=None).save(text, format="svg")
    return text.getvalue()

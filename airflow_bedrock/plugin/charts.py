"""Charts as SVG, drawn on the server: they need no script and no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup, escape

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _MARGIN, _TOP = 640, 230, 56, 28, 10, 24  # the legend is above the lines
Points = Sequence[tuple[float, float]]


def curve(title: str, lines: Mapping[str, Points], x_axis: str) -> Markup:
    """Return a chart of lines with a common axis; empty if there are no points.

    :param title: the title for screen readers.
    :param lines: the points of each line, by name; the stylesheet sets colours and dashes.
    """
    points = [point for line in lines.values() for point in line]
    if not points:
        return Markup("")
    low_x, high_x = _ends([x for x, _ in points])
    low_y, high_y = _ends([y for _, y in points])

    def place(point: tuple[float, float]) -> str:
        x = _LEFT + (point[0] - low_x) / (high_x - low_x) * (_WIDTH - _LEFT - _MARGIN)
        y = _TOP + (high_y - point[1]) / (high_y - low_y) * (_HEIGHT - _BOTTOM - _TOP)
        return f"{x:.1f},{y:.1f}"

    drawn = Markup("").join(
        Markup('<polyline class="line line-{}" points="{}"><title>{}</title></polyline>').format(
            number, " ".join(map(place, line)), name
        )
        for number, (name, line) in enumerate(lines.items())
        if line
    )
    legend = Markup(" ").join(
        Markup('<tspan class="key key-{}">{}</tspan>').format(number, name)
        for number, (name, line) in enumerate(lines.items())
        if line
    )
    base = _HEIGHT - _BOTTOM
    return Markup(
        '<svg viewBox="0 0 {width} {height}" role="img" aria-label="{title}" class="chart">'
        '<path class="axis" d="M{left} {top}V{base}H{right}"/>'
        '<text x="{label}" y="{first}" class="end">{high}</text><text x="{label}" y="{base}" class="end">{low}</text>'
        '<text x="{left}" y="{foot}">{x_low}</text><text x="{right}" y="{foot}" class="end">{x_axis} {x_high}</text>'
        '<text x="{right}" y="{above}" class="end">{legend}</text>{drawn}</svg>'
    ).format(
        width=_WIDTH,
        height=_HEIGHT,
        title=title,
        left=_LEFT,
        label=_LEFT - 6,
        right=_WIDTH - _MARGIN,
        top=_TOP,
        first=_TOP + 10,
        above=_TOP - 10,
        base=base,
        foot=_HEIGHT - 8,
        low=f"{low_y:.2g}",
        high=f"{high_y:.4g}",
        x_low=f"{low_x:g}",
        x_high=f"{high_x:g}",
        x_axis=escape(x_axis),
        legend=legend,
        drawn=drawn,
    )


def _ends(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    around = max(0.5, abs(low) / 1e9)  # 0.5 vanishes in a large number
    return (low, high) if high > low else (low - around, high + around)

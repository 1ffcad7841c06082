"""The one door to matplotlib: small charts as inline SVG whose colours are the page's own, in light and in dark."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from accord.statistics import Bin

# Colours that nobody would choose: each is replaced by the page's variable of that name.
INK = {"#010203": "ink", "#010204": "muted", "#010205": "line", "#010206": "a", "#010207": "b", "#010208": "c"}
COLOUR = {name: code for code, name in INK.items()}
STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": False,
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.edgecolor": COLOUR["line"],
    "axes.labelcolor": COLOUR["muted"],
    "xtick.color": COLOUR["muted"],
    "ytick.color": COLOUR["muted"],
    "text.color": COLOUR["ink"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": COLOUR["line"],
    "grid.linewidth": 0.6,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "legend.frameon": False,
    "legend.fontsize": 10,
    "path.simplify": True,
}
PAPER = (
    "<style>svg{--ink:#1b1b1f;--muted:#5c5f66;--line:#d5d7dc;--a:#3b5bdb;--b:#c2410c;--c:#2f7d4f}"
    "@media (prefers-color-scheme: dark){svg{--ink:#e8e8ea;--muted:#a0a4ab;--line:#44474d;--a:#91a7ff;--b:#ff9d66;"
    "--c:#7bd19b}}</style>"
)
"""Colours of a chart that stands in a file of its own, on light and on dark pages."""


@dataclass(frozen=True)
class Curve:
    """One line of a chart."""

    label: str
    """What it is."""
    x: Sequence[float]
    """Steps."""
    y: Sequence[float]
    """Values."""


@dataclass(frozen=True)
class Band:
    """One line with how sure it is."""

    label: str
    """What it is; '' for a line that the legend leaves out."""
    x: Sequence[float]
    """Places."""
    y: Sequence[float]
    """Values."""
    low: Sequence[float] = ()
    """Lower ends; none for a line alone."""
    high: Sequence[float] = ()
    """Upper ends."""
    colour: str = "a"
    """`a`, `b`, `c` or `muted`."""
    dashed: bool = False
    """Drawn in dashes, as what is no measurement."""


def bands(key: str, title: str, lines: Sequence[Band], across: str, label: str = "", ticks: Sequence[str] = ()) -> str:
    """Lines with their intervals over any quantity as one SVG; '' when there is nothing to draw.

    across: name of the x axis. label: what stands above. ticks: names of the places 0, 1, 2 and so on, where the
    x axis is no number.
    """
    lines = [line for line in lines if len(line.x)]
    return _drawn(key, title, lambda axes: _bands(axes, lines, across, label, ticks)) if lines else ""


def curves(
    key: str,
    title: str,
    lines: Sequence[Curve],
    level: tuple[str, float] | None = None,
    floor: float | None = None,
    label: str = "",
) -> str:
    """Learning curves over the steps of a stage as one SVG; '' when there is nothing to draw.

    key: makes the ids in the file its own. label: what stands above it. level: a named horizontal line, as the
    ceiling. floor: lower end of the y axis at most. A curve of many steps is shown with its running mean, the steps
    themselves pale behind it.
    """
    lines = [line for line in lines if len(line.x)]
    return _drawn(key, title, lambda axes: _curves(axes, lines, level, floor, label)) if lines else ""


def reliability(key: str, title: str, curve: Sequence[Bin]) -> str:
    """Confidence against accuracy with the diagonal; the size of a dot is the number of pairs; '' when empty."""
    bins = [b for b in curve if b.count]
    return _drawn(key, title, lambda axes: _reliability(axes, bins), height=2.7) if bins else ""


def alone(drawn: str) -> str:
    """A chart as the text of a file of its own, in the colours of light and of dark pages."""
    drawn = drawn.replace(
        "<svg ", '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
    )
    at = drawn.index(">") + 1
    return drawn[:at] + PAPER + drawn[at:] + "\n"


def _curves(
    axes: Any, lines: Sequence[Curve], level: tuple[str, float] | None, floor: float | None, label: str
) -> None:
    """Lines, their running means, the level, the legend."""
    for line, colour in zip(lines, ("a", "b", "c"), strict=False):
        x, y = list(line.x), list(line.y)
        smooth = _running(y) if len(y) > 24 else y
        if smooth is not y:
            axes.plot(x, y, color=COLOUR[colour], alpha=0.25, linewidth=1)
        dots = {"marker": "o", "markersize": 4} if len(y) < 12 else {}
        axes.plot(x, smooth, color=COLOUR[colour], label=line.label, **dots)
    if level is not None:
        axes.axhline(level[1], color=COLOUR["muted"], linewidth=1.2, dashes=(4, 3), label=level[0])
    if floor is not None:
        axes.set_ylim(bottom=min(floor, axes.get_ylim()[0]))
    axes.margins(x=0.02)
    axes.set_title(label, loc="left", pad=24 if len(lines) > 1 or level is not None else 8)
    axes.set_xlabel("step")
    axes.locator_params(axis="y", nbins=5)
    axes.locator_params(axis="x", nbins=5, integer=True)
    if len(lines) > 1 or level is not None:
        _legend(axes)


def _bands(axes: Any, lines: Sequence[Band], across: str, label: str, ticks: Sequence[str]) -> None:
    """Lines, what is known of them as pale bands, the legend."""
    for line in lines:
        colour = COLOUR[line.colour]
        shape: dict[str, Any] = {"dashes": (4, 3)} if line.dashed else {"marker": "o", "markersize": 4}
        axes.plot(list(line.x), list(line.y), color=colour, label=line.label or "_", **shape)
        if len(line.low):
            axes.fill_between(list(line.x), list(line.low), list(line.high), color=colour, alpha=0.15, linewidth=0)
    named = [line for line in lines if line.label]
    axes.margins(x=0.02)
    axes.set_title(label, loc="left", pad=8 + 15 * -(-len(named) // 3) if len(named) > 1 else 8)
    axes.set_xlabel(across)
    axes.locator_params(axis="y", nbins=5)
    if ticks:
        axes.set_xticks(range(len(ticks)), list(ticks))
    if len(named) > 1:
        _legend(axes, 3)


def _reliability(axes: Any, bins: Sequence[Bin]) -> None:
    """The diagonal, the curve, a dot for each bin."""
    most = max(b.count for b in bins)
    axes.plot([0.5, 1], [0.5, 1], color=COLOUR["muted"], linewidth=1.2, dashes=(4, 3), label="perfect")
    x, y = [b.predicted for b in bins], [b.observed for b in bins]
    axes.plot(x, y, color=COLOUR["a"], label="this model")
    axes.scatter(x, y, s=[12 + 90 * b.count / most for b in bins], color=COLOUR["a"], zorder=3)
    axes.set_xlim(0.48, 1.02)
    axes.set_ylim(min(0.45, *y) - 0.03, 1.03)
    axes.set_xlabel("confidence")
    axes.set_ylabel("accuracy")
    _legend(axes)


def _legend(axes: Any, columns: int = 4) -> None:
    """Names above the chart, where they hide nothing."""
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1.0), ncols=columns, borderaxespad=0.2, handlelength=1.4,
        columnspacing=1.2, labelcolor=COLOUR["muted"],
    )  # fmt: skip


def _drawn(key: str, title: str, draw: Callable[[Any], None], width: float = 4.4, height: float = 2.5) -> str:
    """A chart as an SVG element: no size of its own, ids of its own, a title, the page's colours."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    file = io.StringIO()
    with rc_context({**STYLE, "svg.hashsalt": key}):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        draw(figure.add_subplot())
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.S)
    view = re.search(r'viewBox="([^"]*)"', text)
    prefix = "c" + re.sub(r"\W", "-", key)
    text = re.sub(r'\bid="', f'id="{prefix}-', text)
    text = re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}-", text)
    for code, name in INK.items():
        text = text.replace(code, f"var(--{name})")
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    body = text[text.index(">") + 1 :].strip()
    box = view.group(1) if view else "0 0 316 180"
    return (
        f'<svg class="chart" viewBox="{box}" role="img" aria-labelledby="{prefix}-title">'
        f'<title id="{prefix}-title">{escape(title)}</title>{body}'
    )


def _running(values: Sequence[float], share: float = 0.08) -> list[float]:
    """Mean over a window around each value."""
    half = max(1, int(share * len(values) / 2))
    return [
        sum(values[max(0, i - half) : i + half + 1]) / len(values[max(0, i - half) : i + half + 1])
        for i in range(len(values))
    ]


def column(rows: Sequence[Mapping[str, Any]], name: str, label: str = "") -> Curve:
    """One figure of a log against its steps, without the steps that have none."""
    pairs = [
        (float(row.get("step") or i), float(row[name]))
        for i, row in enumerate(rows)
        if isinstance(row.get(name), int | float) and math.isfinite(row[name])
    ]
    return Curve(label or name, [x for x, _ in pairs], [y for _, y in pairs])

"""Ways beside their control: share of held-out pairs that each orders right, what it gains, table, chart and page."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from accord.evaluate.charts import Band, bands
from accord.evaluate.page import Part, render, shown
from accord.statistics import Interval, mean_interval, paired_difference
from accord.whole import written


class Cell(NamedTuple):
    """One thing that was measured."""

    at: str
    """Where on the x axis, as the number of labels."""
    way: str
    """Which way of learning."""


Values = dict[Cell, list[list[float]]]
"""What each seed measured: a number for each held-out pair or prompt, the same ones for every way."""
COLOURS = ("a", "b", "c", "muted")


def collected(parts: Sequence[Mapping[Cell, list[float]]]) -> Values:
    """The figures of all seeds together."""
    return {cell: [part[cell] for part in parts] for cell in parts[0]} if parts else {}


def mean(values: Sequence[Sequence[float]]) -> Interval:
    """The mean with its interval: over seeds when there are several, over pairs when there is one."""
    return mean_interval([float(np.mean(one)) for one in values] if len(values) > 1 else values[0])


def gain(values: Sequence[Sequence[float]], control: Sequence[Sequence[float]]) -> Interval:
    """The mean difference from a control on the same pairs of the same seeds; several seeds are the units."""
    if len(values) > 1:
        return paired_difference([float(np.mean(v)) for v in values], [float(np.mean(v)) for v in control])
    return paired_difference(values[0], control[0])


def verdict(found: Interval) -> str:
    """What can be said of a gain."""
    return "better" if found.low > 0 else "worse" if found.high < 0 else "no gain that can be seen"


def chart(key: str, title: str, values: Values, across: str, label: str) -> str:
    """Each way over the x axis, for up to four ways."""
    places, ways = list(dict.fromkeys(c.at for c in values)), list(dict.fromkeys(c.way for c in values))
    lines = []
    for way, colour in zip(ways, COLOURS, strict=False):
        there = [n for n, at in enumerate(places) if Cell(at, way) in values]
        found = [mean(values[Cell(places[n], way)]) for n in there]
        # An interval of a single value is infinite: it is not drawn.
        low, high = [one.low for one in found], [one.high for one in found]
        if not np.isfinite([*low, *high]).all():
            low, high = [], []
        lines.append(Band(way, there, [one.estimate for one in found], low, high, colour))
    return bands(key, title, lines, across, label, places)


def kept(folder: Path, name: str, title: str, lead: str, parts: Sequence[Part], command: str, figures: Any) -> str:
    """Write NAME.md, .html and .json into the folder. Returns the tables in Markdown."""
    tables = [f"### {part.heading}\n\n{part.text}\n\n{part.table.markdown()}" for part in parts if part.table]
    text = "\n\n".join(tables)
    written(folder / f"{name}.json", json.dumps(figures))
    written(folder / f"{name}.md", text + "\n")
    written(folder / f"{name}.html", render(title, lead, parts, command))
    return text


def plain(values: Values) -> list[dict[str, Any]]:
    """For JSON: the mean of each cell with its interval, and of each seed."""
    return [
        {**cell._asdict(), "mean": mean(found).to_dict(), "seeds": [float(np.mean(one)) for one in found]}
        for cell, found in values.items()
    ]


def each(values: Values, control: Callable[[Cell], Cell | None]) -> list[tuple[Cell, Interval, Interval | None]]:
    """Each cell with its mean, and its gain over the control that is named for it, where there is one."""
    told = []
    for cell, found in values.items():
        other = control(cell)
        told.append((cell, mean(found), gain(found, values[other]) if other in values and other != cell else None))
    return told


def cells(cell: Cell, found: Interval, over: Interval | None) -> list[str]:
    """A row of a table."""
    return [cell.at, cell.way, shown(found), *(("-", "-") if over is None else (shown(over), verdict(over)))]

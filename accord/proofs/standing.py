"""Ways by several measures: a row for each way, what it gains over its control, and the verdict in a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from accord.evaluate.page import Table, shown
from accord.proofs.sided import Cell, Values, gain, mean, verdict
from accord.statistics import Interval

Measured = Mapping[str, Mapping[str, list[float]]]
"""Of one seed: way -> measure -> a number for each held-out prompt, the same prompts for every way."""


def gathered(seeds: Sequence[Measured]) -> Values:
    """The figures of all seeds, by measure and way; what only some seeds have is left out."""
    cells = [{Cell(measure, way) for way, by in seed.items() for measure in by} for seed in seeds]
    there = set[Cell].intersection(*cells) if cells else set()
    ordered = [Cell(measure, way) for way, by in (seeds[0] if seeds else {}).items() for measure in by]
    return {cell: [list(seed[cell.way][cell.at]) for seed in seeds] for cell in ordered if cell in there}


def gains(values: Values, control: str) -> dict[str, dict[str, Interval]]:
    """Way -> measure -> its gain over the control, for all other ways that share the measure."""
    found: dict[str, dict[str, Interval]] = {}
    for cell, values_ in values.items():
        beside = values.get(Cell(cell.at, control))
        if cell.way != control and beside is not None:
            found.setdefault(cell.way, {})[cell.at] = gain(values_, beside)
    return found


def table(values: Values, control: str, kind: str) -> Table:
    """A row for each way: each measure, and what it is above the control."""
    measures, ways = list(dict.fromkeys(c.at for c in values)), list(dict.fromkeys(c.way for c in values))
    over = gains(values, control)
    rows = []
    for way in ways:
        cells = [way]
        for measure in measures:
            found, more = values.get(Cell(measure, way)), over.get(way, {}).get(measure)
            cells += [shown(mean(found)) if found else "-", signed(more) if more else "-"]
        rows.append(cells)
    columns = [kind, *(name for measure in measures for name in (measure, f"less {control}"))]
    return Table(columns, rows)


def sentence(way: str, control: str, over: Mapping[str, Interval]) -> str:
    """What can be said of one way against the control, a clause for each measure."""
    said = [f"{verdict(found)} in {measure} ({signed(found)})" for measure, found in over.items()]
    return f"{way} against {control}: {'; '.join(said)}."


def signed(found: Interval) -> str:
    """A gain with its sign, and its interval where there is one."""
    ends = "" if not np.isfinite([found.low, found.high]).all() else f" [{found.low:+.3f}, {found.high:+.3f}]"
    return f"{found.estimate:+.3f}{ends}"


def seeds(rows: Mapping[int, Any]) -> str:
    """Which seeds a table is of, and what its intervals are over."""
    listed = ", ".join(str(seed) for seed in rows)
    return f"Seeds {listed}; t intervals over seeds." if len(rows) > 1 else f"Seed {listed}; intervals over prompts."


def plain(rows: Mapping[int, Measured]) -> dict[str, Any]:
    """For JSON: seed -> way -> measure -> mean over the prompts."""
    return {
        str(seed): {way: {name: float(np.mean(one)) for name, one in by.items()} for way, by in row.items()}
        for seed, row in rows.items()
    }

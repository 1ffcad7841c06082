"""Forms of feedback told: what was learned at equal seconds, and what an answer takes and tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from accord.evaluate.page import Part, Table, shown
from accord.proofs import sided
from accord.proofs.seeds import Rows
from accord.proofs.standing import gains, gathered, plain, seeds, sentence, table
from accord.statistics import mean_interval

CONTROL = "pairs"
"""What every other form is to beat."""


def told(rows: Rows, folder: Path, command: str) -> str:
    """Write tables, page and figures. Returns the tables in Markdown."""
    learned = {seed: {name: one["ways"] for name, one in row["forms"].items()} for seed, row in rows.items()}
    notes = [{name: one["told"] for name, one in row["forms"].items()} for row in rows.values()]
    values = gathered(list(learned.values()))
    spent = next(iter(rows.values()))["seconds"]
    parts = [
        Part(f"Learned from {spent:.0f} seconds of people's time", f"{seeds(rows)} {verdicts(gains(values, CONTROL))}",
             table(values, CONTROL, "form")),
        Part("What an answer takes and tells", cheapest(notes), takes(notes)),
    ]  # fmt: skip
    lead = "Every form of feedback at equal seconds of people's time, by the lab's clock. Gold judges."
    figures = {"learned": plain(learned), "told": {str(seed): one for seed, one in zip(rows, notes, strict=True)},
               "over seeds": sided.plain(values)}  # fmt: skip
    return sided.kept(folder, "forms", "Forms of feedback", lead, parts, command, figures)


def verdicts(over: Mapping[str, Mapping[str, Any]]) -> str:
    """Which forms surely pay more than pairs in every measure, and each form against pairs."""
    up = [name for name, by in over.items() if by and all(found.low > 0 for found in by.values())]
    first = f"Surely better than {CONTROL} in every measure: {', '.join(up) or 'no form'}."
    return " ".join([first, *(sentence(name, CONTROL, by) for name, by in over.items())])


def takes(notes: Sequence[Mapping[str, Mapping[str, float]]]) -> Table:
    """A row for each form: how many questions, seconds and bits of each, seconds of a bit; means over seeds."""
    columns = ("form", "questions", "judgements", "seconds each", "ordered as by gold", "bits each", "seconds a bit")
    rows = []
    for name in notes[0]:
        cells = [over([one[name][key] for one in notes], digits)
                 for key, digits in (("questions", 0), ("judgements", 0), ("seconds", 1), ("right", 3))]  # fmt: skip
        bits = [one[name]["bits"] for one in notes if "bits" in one[name]]
        rows.append(
            [name, *cells, over(bits, 3) if bits else "-", over(seconds_a_bit(notes, name), 1) if bits else "-"]
        )
    return Table(columns, rows)


def seconds_a_bit(notes: Sequence[Mapping[str, Mapping[str, float]]], name: str) -> list[float]:
    """Of each seed: seconds of a question over its useful bits; infinite where it tells none."""
    of = [one[name] for one in notes]
    return [one["seconds"] / one["bits"] if one["bits"] > 0 else float("inf") for one in of]


def cheapest(notes: Sequence[Mapping[str, Mapping[str, float]]]) -> str:
    """The form whose useful bits take the fewest seconds, and what pairs and rankings take beside it."""
    price = {name: float(np.mean(seconds_a_bit(notes, name))) for name in notes[0] if "bits" in notes[0][name]}
    order = sorted(price, key=lambda name: price[name])
    listed = ", ".join(f"{name} {price[name]:.1f}" for name in order)
    return f"By the clock a useful bit is cheapest in {order[0]}. Seconds of a bit: {listed}."


def over(values: Sequence[float], digits: int) -> str:
    """Mean with its interval over seeds; of one seed, or where a value is infinite, the mean alone."""
    if len(values) > 1 and np.isfinite(values).all():
        return shown(mean_interval(values), digits)
    return f"{float(np.mean(values)):.{digits}f}"

"""The tables of docs/speed.md, made from bench/results/cpu*.json: what was measured stands nowhere else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.lane import ROOT

PAGE = ROOT / "docs" / "speed.md"
RESULTS = Path(__file__).parent / "results"
BEGIN, END = "<!-- made by `make bench` from here -->", "<!-- to here -->"


def shown(value: float | None, kind: str = "") -> str:
    """A figure in few digits; a dash where there is none."""
    if value is None:
        return "-"
    if kind == "%":
        return f"{100 * value:.0f} %"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def table(made: Mapping[str, Any]) -> str:
    """Everything between the marks."""
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    lines = [
        f"Measured on {made['date']}: {made['machine']}, {made['threads']} threads, matrix products at "
        f"{made['limit_gflops']:.0f} GFLOP/s in fp32; {versions}; rows: {made['rows_are']}; "
        f"{made['rounds']} rounds, medians; made by `{made['command']}`.",
        "",
        "| Work | Unit | Accord | Peer | Ratio | Goal | Peer, kept heap | Ratio to best "
        "| Share of limit | Ratio at the limit | Spread | Measured |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in made["rows"]:
        goal = "-" if row["goal"] is None else f"{row['goal']:g}"
        cells = [row["work"], row["unit"], shown(row["accord"]), shown(row["peer"]), shown(row["ratio"]), goal]
        cells += [shown(row["peer_kept"]), shown(row["ratio_best"]), shown(row["limit_share"], "%")]
        cells.append(shown(row["ratio"] and row["ratio"] / row["limit_share"]))
        spreads = [shown(row[name], "%") for name in ("spread", "peer_spread") if row[name] is not None]
        lines.append("| " + " | ".join([*cells, " / ".join(spreads), row["made"]]) + " |")
    lines += ["", "| Work | Peak MB | Peer's | Ratio | Above the idle process, MB | Peer's | Peer's settings |",
              "|---|---|---|---|---|---|---|"]  # fmt: skip
    for row in made["rows"]:
        both = row["peer_peak_mb"] and row["peak_mb"] / row["peer_peak_mb"]
        settings = ", ".join(f"{name} {value}" for name, value in row["settings"].items()) or "-"
        cells = [row["work"], shown(row["peak_mb"]), shown(row["peer_peak_mb"]), shown(both)]
        cells += [shown(row["grew_mb"]), shown(row["peer_grew_mb"]), settings]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def elsewhere(made: Mapping[str, Any]) -> str:
    """What an earlier machine measured, in few columns."""
    lines = [
        "",
        f"On another machine: {made['machine']}, {made['threads']} threads, {made['limit_gflops']:.0f} GFLOP/s; "
        f"otherwise as above.",
        "",
        "| Work | Ratio | Goal | Ratio to best | Share of limit | Ratio at the limit | Memory | Measured |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in made["rows"]:
        goal = "-" if row["goal"] is None else f"{row['goal']:g}"
        cells = [row["work"], shown(row["ratio"]), goal, shown(row["ratio_best"]), shown(row["limit_share"], "%")]
        cells.append(shown(row["ratio"] and row["ratio"] / row["limit_share"]))
        cells += [shown(row["peer_peak_mb"] and row["peak_mb"] / row["peer_peak_mb"]), row["made"]]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def write(made: Mapping[str, Any], page: Path = PAGE, others: Sequence[Path] | None = None) -> None:
    """Put the tables into the page, between its marks. others: files of other machines; None takes those that lie here.

    Raises ValueError when the marks are gone.
    """
    files = sorted(RESULTS.glob("cpu-*.json")) if others is None else others
    more = [elsewhere(json.loads(file.read_text(encoding="utf-8"))) for file in files]
    text = page.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise ValueError(f"{page} has lost the marks that the table stands between: {BEGIN} and {END}")
    head, rest = text.split(BEGIN)
    tables = "\n".join([table(made), *more])
    page.write_text(f"{head}{BEGIN}\n\n{tables}\n\n{END}{rest.split(END)[1]}", encoding="utf-8")

"""Settings of reward models told: a table for each part, every way beside the control of its part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accord.evaluate.page import Part
from accord.proofs import sided
from accord.proofs.seeds import Rows
from accord.proofs.standing import gains, gathered, plain, seeds, sentence, table

ONE, PLAIN, ALL, CHANCE = "one model", "no prior", "all forms", "by chance"
CONTROLS = {"several": ONE, "sources": PLAIN, "forms": ALL, "orders": CHANCE}
"""What each part is compared with."""


def told(rows: Rows, folder: Path, command: str) -> str:
    """Write tables, page and figures. Returns the tables in Markdown."""
    titles = {
        "several": ("Several as one", "reward"),
        "sources": ("Where answers came from", "learned from"),
        "forms": ("What each form adds", "learned from"),
        "orders": ("Orders of PPO's prompts", "prompts"),
    }
    parts, figures = [], dict[str, Any]()
    for name, control in CONTROLS.items():
        there = {seed: row[name] for seed, row in rows.items() if name in row}
        if not there:
            continue
        values = gathered(list(there.values()))
        said = " ".join([seeds(there), *(sentence(way, control, by) for way, by in gains(values, control).items())])
        parts.append(Part(titles[name][0], said, table(values, control, titles[name][1])))
        figures |= {name: plain(there), f"{name} over seeds": sided.plain(values)}
    lead = "Settings of reward models, each beside its control on the same labels. Gold judges."
    return sided.kept(folder, "rewards", "Reward models", lead, parts, command, figures)

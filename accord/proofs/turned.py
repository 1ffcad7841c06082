"""Where the curves turn: conditions side by side as table, page and figures; and a project's own versions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from accord.config import SettingsError
from accord.evaluate.overoptimisation import COLUMNS, Fit, Track, both, cells, fit, less, picture, plain
from accord.evaluate.page import Part, Table, render, shown
from accord.lab import Gold
from accord.project import Project
from accord.proofs.pressed import Press, along, by_gold
from accord.run import seed_of
from accord.statistics import Interval, mean_interval
from accord.whole import written


class Condition(NamedTuple):
    """One curve."""

    where: str
    """What the proxy learned from."""
    how: str
    """How it was optimised."""
    way: str
    """One model, or the rule of an ensemble."""


Runs = dict[Condition, list[Track]]
"""Each condition's track on each seed."""
ONE = "one model"
"""The way without an ensemble."""
FREE = "PPO, no KL"
TITLE = "Over-optimisation"
LEAD = (
    "The proxy is what a reward model says, gold what is meant. Both are told in standard deviations (SD) of the "
    "answers of the policy that everything started from, over the distance from it. Dashed: the fitted curve. "
    "Where gold turns down while the proxy rises, more optimisation is harm."
)


def told(runs: Runs, accuracy: Mapping[str, Sequence[float]], folder: Path, command: str) -> str:
    """Write overoptimisation.md, .html and .json into the folder. Returns the tables in Markdown."""
    fits = {name: fit(tracks, np.random.default_rng(seed_of("fit", *name))) for name, tracks in runs.items()}
    parts = [_part(at, where, runs, fits, accuracy.get(where, ()))
             for at, where in enumerate(dict.fromkeys(name.where for name in runs))]  # fmt: skip
    text = "\n\n".join(f"### {part.heading}\n\n{part.text}\n\n{part.table.markdown()}" for part in parts if part.table)
    figures = {
        "accuracy": {where: list(values) for where, values in accuracy.items()},
        "fits": [{**name._asdict(), **found.model_dump(mode="json")} for name, found in fits.items()],
        "tracks": [{**name._asdict(), "seeds": [plain(track) for track in tracks]} for name, tracks in runs.items()],
    }
    written(folder / "overoptimisation.json", json.dumps(figures))
    written(folder / "overoptimisation.md", text + "\n")
    written(folder / "overoptimisation.html", render(TITLE, LEAD, parts, command))
    return text


def _part(at: int, where: str, runs: Runs, fits: Mapping[Condition, Fit], accuracy: Sequence[float]) -> Part:
    """The section of one proxy's labels: two charts for each way of optimising, one row for each condition."""
    mine = [name for name in runs if name.where == where]
    charts, rows = [], []
    for how in dict.fromkeys(name.how for name in mine):
        ways = {name.way: name for name in mine if name.how == how}
        key, first = f"{at}-{how}", next(iter(ways.values()))
        charts.append(both(f"both-{key}", f"Proxy and gold, {how}, {first.way}", runs[first]))
        tracks, fitted = (
            {way: runs[name] for way, name in ways.items()},
            {way: fits[name] for way, name in ways.items()},
        )
        charts.append(picture(key, f"Gold, {how}", tracks, fitted))
    for name in mine:
        rivals = (name._replace(way=ONE), name._replace(how=FREE) if name.how.startswith("PPO") else name)
        beside = [shown(less(runs[name], runs[r])) if r in runs and r != name else "-" for r in rivals]
        rows.append([name.how, name.way, *cells(runs[name], fits[name]), *beside])
    text = f"One model orders {shown(_over(accuracy))} of held-out pairs as gold does." if accuracy else ""
    columns = ("optimised by", "proxy", *COLUMNS, f"that gain less {ONE}'s", "that gain less PPO's without KL")
    return Part(where, text, Table(columns, rows), charts)


def _over(values: Sequence[float]) -> Interval:
    """Mean with its interval over seeds; of one seed the number alone."""
    return mean_interval(values) if len(values) > 1 else Interval(values[0], np.nan, np.nan, n=1)


def evaluate(
    project: Project,
    start: str,
    reward: str,
    versions: Sequence[str],
    gold: str = "",
    drawn: int = 64,
    prompts: int = 100,
    answers: int = 4,
) -> str:
    """Best of n by a project's reward model, and its versions on their way, against gold. Returns the table.

    versions: each counts with the checkpoints that its run has kept, in this order, as one run from `start`. gold: a
    reward model that stands for what is meant; '' takes the lab's true preference. Writes overoptimisation.md, .html
    and .json into the project. Raises SettingsError without gold, or with too little of a run to fit a curve to.
    """
    if not gold and project.lab is None:
        raise SettingsError("outside the lab no true preference is known: name a reward model to stand for it, --gold")
    if drawn < 4 or prompts < 2:
        raise SettingsError(f"drawn={drawn}, prompts={prompts}: a curve wants best of 1, 2, 4 on two prompts at least")
    points = along(project, versions)
    if versions and len(points) < 2:
        raise SettingsError(
            f"{', '.join(versions)}: {len(points)} point after {start}, and a curve needs two. Name more versions, or "
            "keep more of a run: accord train ppo --run.keep 100 --run.checkpoint-seconds 0"
        )
    worth = by_gold(Gold(project.lab)) if project.lab is not None and not gold else project.score(gold)
    press = Press(project, start, project.prompts("test")[:prompts], worth, drawn, answers)
    score = project.score(reward)
    scored, where = score(press.drawn), f"{reward} against {gold or 'gold'}"
    runs: Runs = {Condition(where, "best of n", ONE): [press.best_of_n(scored)]}
    if versions:
        looks = [press.look(press.before, score), *(press.look(opened(), score) for _, opened in points)]
        runs[Condition(where, ", then ".join(versions), ONE)] = [press.climbed(torch.stack(looks), scored)]
    command = f"accord evaluate overoptimisation --project {project.folder.name} --start {start} --reward {reward}"
    return told(runs, {}, project.folder, command)

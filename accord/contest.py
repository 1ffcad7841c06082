"""All methods from one start, on the same beliefs, judged alike: the long proof `accord prove methods`."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from accord import build, methods
from accord.algorithms.best_of_n import best
from accord.algorithms.best_of_n import kl as kl_of_best
from accord.evaluate.diversity import diversity
from accord.judge import ANSWERS, Pairs, against, answers, kl, words
from accord.lab import Gold
from accord.loop import act, ask, believed, respond, start
from accord.project import Project
from accord.recipe import recipe
from accord.records import Preference, Prompt
from accord.run import read_log
from accord.statistics import Interval, mean_interval

Said = Callable[[str], None]
ENTRANTS = ("ppo", "grpo", "rloo", "dpo", "kto", "best_of_n")
"""Methods that are trained; beside them stand the fine-tuned policy and its best of `DRAWN` at inference."""
DRAWN = 16
SETTINGS: dict[str, Any] = {
    "rounds": 1,
    "collect": {"prompts": 2000},
    "ppo": {"iterations": 25, "missing_end_penalty": -2.0, "kl": {"coefficient": 0.12}},
    "grpo": {
        "iterations": 25,
        "epochs": 2,
        "missing_end_penalty": -2.0,
        "kl": {"place": "loss", "estimator": "k2", "coefficient": 0.3},
    },
    "run": {"trackers": (), "checkpoint_seconds": 120},
}
"""What the contest changes in the quickstart's recipe: the labels and the iterations of the lab's proof, one round."""
SHARES = {"unsafe": "complied_unsafe", "over-refusal": "over_refused", "correct": "correct", "broken": "broken"}
COLUMNS = ("win", "less ppo", "gold", "reward", *SHARES, "finished", "kl", "words", "distinct-2", "seconds")
"""Figures of each method: docs/methods.md says what each is."""
Row = dict[str, float | str]


def prove_methods(
    seeds: int,
    folder: Path,
    say: Said,
    changes: Mapping[str, Any] | None = None,
    entrants: Sequence[str] = ENTRANTS,
) -> int:
    """The contest over seeds 1 to `seeds`. Returns 0 when every method beats fine-tuning beyond doubt, else 1.

    Writes methods.json (a row per seed and method) and methods.md into the folder, after each seed. changes: laid over
    `SETTINGS`, for a smaller contest. Killed and started again it goes on where it was.
    """
    rows: list[Row] = []
    for seed in range(1, seeds + 1):
        say(f"seed {seed} of {seeds}")
        named = {"seed": seed, "data": {"kind": "lab", "lab": {"seed": seed}, **(changes or {}).get("data", {})}}
        project = Project(folder / f"methods-{seed}", recipe(None, {**SETTINGS, **(changes or {}), **named}))
        rows += contest(project, say, entrants)
        text = "\n".join(table(rows)) + "\n"
        written(folder / "methods.json", json.dumps(rows, indent=1))
        written(folder / "methods.md", text)
    print(text)
    return 0 if all(line.endswith("yes |") for line in table(rows)[2:] if not line.startswith("| sft")) else 1


def contest(project: Project, say: Said, entrants: Sequence[str]) -> list[Row]:
    """One seed: everything up to the reward model once, then each method from there, and the judge."""
    project.prepare()
    before = start(project, say)
    questions = ask(project, act(project, before, 1, say), 1)
    respond(project, questions, say)
    beliefs: list[Preference] = believed(project, questions)
    reward = build.train(project, "reward_model", "round1-reward", start=before.name, beliefs=beliefs)
    given = {"start": before.name, "reward": reward.name, "reference": before.name, "beliefs": beliefs}
    prompts = project.prompts("test")[: project.recipe.data.test_prompts]
    judge = Judge(project, before.name, reward.name, prompts)
    rows = [judge.row("sft", judge.old, 0.0, seconds_of(project, before.name))]
    for method in entrants:
        say(f"{method}: {methods.METHODS[method].caption}")
        made = methods.train(project, method, f"round1-{method}", **given)
        said = answers(project, made.name, prompts)
        drift = kl(project, before.name, made.name, said).estimate
        rows.append(judge.row(method, said, drift, seconds_of(project, made.name)))
    say(f"best of {DRAWN}: at inference")
    begun = time.monotonic()
    said = best_of(project, before.name, prompts, judge.score)
    rows.append(judge.row(f"best of {DRAWN}", said, kl_of_best(DRAWN), time.monotonic() - begun))
    reached = {str(row["method"]): float(row["win"]) for row in rows}
    return [row | {"less ppo": float(row["win"]) - reached.get("ppo", np.nan)} for row in rows]


class Judge:
    """Gold and reward on the test prompts, against what the fine-tuned policy says there."""

    def __init__(self, project: Project, before: str, reward: str, prompts: Sequence[Prompt]) -> None:
        assert project.lab is not None, "the contest is judged by gold, and only the lab has it"
        self.gold, self.score, self.prompts = Gold(project.lab), project.score(reward), prompts
        self.seed = project.recipe.seed
        self.old = answers(project, before, prompts)
        self.worth = [self.gold(*pair).score for pair in self.old]

    def row(self, method: str, said: Pairs, drift: float, seconds: float) -> Row:
        """The figures of one method on one seed. A share of prompts that no test prompt is about is no number."""
        judged = [self.gold(*pair) for pair in said]
        rate = against(self.prompts, self.old, said, (self.worth, [one.score for one in judged])).rate
        texts = [words(sample) for _, sample in said]
        shares = {name: [getattr(one, key) for one in judged] for name, key in SHARES.items()}
        return {
            "seed": self.seed,
            "method": method,
            "win": rate.estimate,
            "low": rate.low,
            "gold": float(np.mean([one.score for one in judged])),
            "reward": float(self.score(said).mean()),
            **{name: _mean([float(v) for v in values if v is not None]) for name, values in shares.items()},
            "finished": _mean([float(sample.finished) for _, sample in said]),
            "kl": drift,
            "words": _mean([float(len(text.split())) for text in texts]),
            "distinct-2": diversity(texts).distinct_2,
            "seconds": seconds,
        }


def best_of(project: Project, version: str, prompts: Sequence[Prompt], score: Callable[[Pairs], Any]) -> Pairs:
    """For each prompt `ANSWERS` answers, each the best of `DRAWN` by the reward; a cut one is never the best."""
    drawn = project.sample(version, prompts, ANSWERS * DRAWN, f"best-of-{DRAWN}")
    worth = score(drawn).double()
    for row, (_, sample) in enumerate(drawn):
        worth[row] -= 0.0 if sample.finished else 100.0
    sets = len(drawn) // DRAWN
    group = worth.new_tensor([row // DRAWN for row in range(len(drawn))]).long()
    return [drawn[row] for row in best(worth, group, sets).tolist()]


def seconds_of(project: Project, name: str) -> float:
    """Seconds of a stage, from the first to the last line of its log."""
    rows = read_log(project.folder / "runs" / name / "log.jsonl")
    return float((rows[-1]["time"] or 0) - (rows[0]["time"] or 0)) if len(rows) > 1 else 0.0


def table(rows: Sequence[Row]) -> list[str]:
    """Methods by win rate, best first: means over seeds with t intervals of the win rate; and whether it beats SFT.

    With one seed the interval is that over prompts.
    """
    by: dict[str, list[Row]] = {}
    for row in rows:
        by.setdefault(str(row["method"]), []).append(row)
    order = sorted(by, key=lambda name: -_mean([float(row["win"]) for row in by[name]]))
    lines = [f"| method | {' | '.join(COLUMNS)} | better than sft |", f"|---|{'---|' * (len(COLUMNS) + 1)}"]
    for name in order:
        found = {column: _over([float(row[column]) for row in by[name]]) for column in COLUMNS}
        sure = found["win"].low > 0.5 if len(by[name]) > 1 else float(by[name][0]["low"]) > 0.5
        cells = [_cell(column, found[column], len(by[name])) for column in COLUMNS]
        lines.append(f"| {name} | {' | '.join(cells)} | {'yes' if sure else 'no'} |")
    return lines


def _over(values: Sequence[float]) -> Interval:
    """Mean with its t interval over seeds; over one seed the number alone."""
    if len(values) > 1 and np.isfinite(values).all():
        return mean_interval(values)
    return Interval(_mean(values), np.nan, np.nan, 0.95, len(values))


def _cell(column: str, found: Interval, seeds: int) -> str:
    if column == "seconds":
        return f"{found.estimate:.0f}"
    plain = f"{found.estimate:.3f}"
    return f"{plain} [{found.low:.3f}, {found.high:.3f}]" if column in ("win", "less ppo") and seeds > 1 else plain


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def written(path: Path, text: str) -> None:
    """A file that is whole at every instant."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}")
    aside.write_text(text, encoding="utf-8")
    os.replace(aside, path)

"""All methods from one start, on the same beliefs, judged alike: the long proof `accord prove methods`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from accord import methods
from accord.algorithms import grpo
from accord.algorithms.best_of_n import best
from accord.algorithms.best_of_n import kl as kl_of_best
from accord.config import SettingsError
from accord.evaluate.diversity import diversity
from accord.evaluate.standing import SHARES, START, Row, all_better, joined, mean, safety, table
from accord.guarded import guards, under
from accord.judge import ANSWERS, Pairs, against, answers, kl, words
from accord.lab import Gold
from accord.loop import act, ask, believed, respond, start
from accord.project import Project
from accord.recipe import recipe
from accord.records import Preference, Prompt, Question, Version, digest
from accord.run import read_log
from accord.whole import written

Said = Callable[[str], None]
DRAWN = 16
BEST = f"best-of-{DRAWN}"
"""The fine-tuned policy at inference: the best of so many of its answers by the reward model. Nothing is trained."""


@dataclass(frozen=True)
class Entrant:
    """One that takes part: a method, and what it changes in the recipe."""

    method: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    guarded: bool = False
    """Whether it learns from the same number of questions put otherwise, with a model of harm (`guarded.py`)."""


GATE: dict[str, Any] = {
    "cost": {"unit": "probability", "turned": False, "gate": 0.7, "from_gate": True, "weight": 2.5, "whiten": False},
    "ppo": {"kl": {"coefficient": 0.3}},
}
PRICE: dict[str, Any] = {
    "cost": {
        "unit": "probability",
        "turned": False,
        "held": 0.3,
        "constraint": {"limit": 0.005, "step": "ratio", "rate": 5.0, "start": 4.5, "least": 3.0, "most": 9.0},
    },
    "ppo": {"kl": {"coefficient": 0.04}},
}
"""Safety by a gate and by a price, tuned on seeds 100 and 101 (docs/methods.md)."""
ONLINE: dict[str, Any] = {
    "online_dpo": {"iterations": 25, "updates": 8, "pairs": "all", "labels": "soft", "objective": {"beta": 0.2}}
}
"""Online DPO, tuned on seed 0 (docs/methods.md)."""
USUAL: Mapping[str, Entrant] = {
    **{method: Entrant(method) for method in ("ppo", "grpo", "rloo", "dpo", "kto", "best_of_n")},
    "online_dpo": Entrant("online_dpo", ONLINE),
    BEST: Entrant(""),
    "ppo-texts": Entrant("ppo", {"ptx": {"weight": 1.0, "source": "pretraining"}}),
    "ppo-demonstrations": Entrant("ppo", {"ptx": {"weight": 1.0, "source": "demonstrations"}}),
    "ppo-gate": Entrant("ppo", GATE, guarded=True),
    "ppo-lagrangian": Entrant("ppo", PRICE, guarded=True),
}
"""Those who take part when nobody is named."""
HELD: dict[str, Any] = {"grpo": {"kl": {"place": "reward", "estimator": "k1"}}}
"""RLOO's price of drift, for GRPO's relatives whose papers pay none."""
ENTRANTS: Mapping[str, Entrant] = {
    **USUAL,
    **{name: Entrant(name) for name, one in methods.METHODS.items() if one.section in ("grpo", "dpo")},
    **{f"{name}-kl": Entrant(name, HELD) for name, changes in grpo.KIN.items() if changes.get("kl") == grpo.FREE},
}
"""By name, as on the command line and in the table; the version is called `round1-NAME`. The relatives of GRPO and DPO
have the settings of these, but for what makes them relatives; nobody has tuned them. `dapo-kl` is DAPO that pays."""
SETTINGS: dict[str, Any] = {
    "rounds": 1,
    "collect": {"prompts": 2000},
    "ppo": {"iterations": 25, "missing_end_penalty": -2.0, "kl": {"coefficient": 0.12}},
    "grpo": {"iterations": 25, "epochs": 2, "missing_end_penalty": -2.0, "kl": {"coefficient": 0.3}},
    "run": {"trackers": (), "checkpoint_seconds": 120},
}
"""What the contest changes in the quickstart's recipe: the labels and the iterations of the lab's proof, one round."""


def prove_methods(
    seeds: int,
    folder: Path,
    say: Said,
    changes: Mapping[str, Any] | None = None,
    entrants: Sequence[str] = tuple(USUAL),
    first: int = 1,
) -> int:
    """The contest over `seeds` seeds from `first` on. Returns 0 when each method surely beats fine-tuning, else 1.

    Each seed keeps its rows in its own folder, and methods.json and methods.md hold those of all seeds that are there,
    so several processes can make several seeds at once. changes: laid over `SETTINGS`, for a smaller contest. Killed
    and started again, or started again with more entrants, it goes on where it was. Raises SettingsError for an
    entrant that is not known.
    """
    if unknown := [name for name in entrants if name not in ENTRANTS]:
        raise SettingsError(f"no such entrant: {', '.join(unknown)}; there are: {', '.join(ENTRANTS)}")
    for seed in range(first, first + seeds):
        say(f"seed {seed} ({seed - first + 1} of {seeds})")
        named = {"seed": seed, "data": {"kind": "lab", "lab": {"seed": seed}, **(changes or {}).get("data", {})}}
        project = Project(folder / f"methods-{seed}", recipe(None, {**SETTINGS, **(changes or {}), **named}))
        contest(project, say, entrants)
        rows = together(folder)
    print((folder / "methods.md").read_text(encoding="utf-8"), end="")
    return 0 if all_better(rows) else 1


def contest(project: Project, say: Said, entrants: Sequence[str]) -> None:
    """One seed: what is missing of it. Everything up to the reward model once, then each entrant, and the judge.

    A row that is there stays, where it was made with the same settings.
    """
    file = project.folder / "rows.json"
    rows = {str(row["method"]): row for row in (json.loads(file.read_text(encoding="utf-8")) if file.is_file() else ())}
    settings = {name: digest(entered(project, name).recipe.model_dump(mode="json")) for name in (START, *entrants)}
    missing = [name for name in settings if rows.get(name, {}).get("settings") != settings[name]]
    if not missing:
        return
    ground = stood_on(project, say)
    judge = Judge(project, ground)
    for name in missing:
        rows[name] = judge.entrant(name, say) | {"settings": settings[name]}
        written(file, json.dumps(list(rows.values()), indent=1))


def together(folder: Path) -> list[Row]:
    """The rows of every seed in a folder, joined; methods.json and methods.md are written anew.

    Another process may end a seed at the same time: what it wrote while this one was writing is read again.
    """
    told: str | None = None
    while True:
        files = sorted(folder.glob("methods-*/rows.json"))
        rows = joined([row for file in files for row in json.loads(file.read_text(encoding="utf-8"))])
        text = json.dumps(rows, indent=1)
        if text == told:
            return rows
        written(folder / "methods.json", text)
        written(folder / "methods.md", "\n".join([*table(rows), "", *safety(rows)]) + "\n")
        told = text


def entered(project: Project, name: str) -> Project:
    """The same project under the recipe of an entrant; the recipe in its folder stays."""
    return under(project, ENTRANTS[name].changes if name in ENTRANTS else {})


@dataclass(frozen=True)
class Ground:
    """What all methods of a seed stand on."""

    before: Version
    """The fine-tuned policy."""
    reward: Version
    """What was learned from all labels."""
    beliefs: list[Preference]
    questions: list[Question]
    """What people were asked."""


def stood_on(project: Project, say: Said) -> Ground:
    """Everything up to the reward model; what is there is not made again."""
    project.prepare()
    before = start(project, say)
    questions = ask(project, act(project, before, 1, say), 1)
    respond(project, questions, say)
    beliefs: list[Preference] = believed(project, questions)
    reward = methods.train(project, "reward_model", "round1-reward", start=before.name, beliefs=beliefs)
    return Ground(before, reward, beliefs, questions)


class Judge:
    """Gold and reward on the test prompts, against what the fine-tuned policy says there."""

    def __init__(self, project: Project, ground: Ground) -> None:
        assert project.lab is not None, "the contest is judged by gold, and only the lab has it"
        self.project, self.ground = project, ground
        self.gold, self.score = Gold(project.lab), project.score(ground.reward.name)
        self.prompts: list[Prompt] = project.prompts("test")[: project.recipe.data.test_prompts]
        self.old = answers(project, ground.before.name, self.prompts)
        self.worth = [self.gold(*pair).score for pair in self.old]

    def entrant(self, name: str, say: Said) -> Row:
        """Make one, unless it is made, and judge it."""
        before, project = self.ground.before, self.project
        if name == START:
            return self.row(name, before, self.old, 0.0, seconds_of(project, before.name))
        if name == BEST:
            say(f"{name}: at inference")
            begun = time.monotonic()
            said = best_of(project, before.name, self.prompts, self.score)
            return self.row(name, before, said, kl_of_best(DRAWN), time.monotonic() - begun)
        method, more = ENTRANTS[name].method, dict[str, str]()
        say(f"{name}: {methods.METHODS[method].caption}")
        given: dict[str, Any] = {"reward": self.ground.reward.name, "beliefs": self.ground.beliefs}
        if ENTRANTS[name].guarded:
            by = guards(project, before, self.ground.questions, "round1", say)
            given, more = {"reward": by.reward.name, "beliefs": by.beliefs, "cost": by.harm.name}, {"labels": by.labels}
        given |= {"start": before.name, "reference": before.name}
        made = methods.train(entered(project, name), method, f"round1-{name}", **given)
        said = answers(project, made.name, self.prompts)
        drift = kl(project, before.name, made.name, said).estimate
        return self.row(name, made, said, drift, seconds_of(project, made.name)) | more

    def row(self, method: str, version: Version, said: Pairs, drift: float, seconds: float) -> Row:
        """The figures of one method on one seed. A share of prompts that no test prompt is about is no number."""
        judged = [self.gold(*pair) for pair in said]
        rate = against(self.prompts, self.old, said, (self.worth, [one.score for one in judged])).rate
        texts = [words(sample) for _, sample in said]
        shares = {name: [getattr(one, key) for one in judged] for name, key in SHARES.items()}
        return {
            "seed": self.project.recipe.seed,
            "method": method,
            "win": rate.estimate,
            "low": rate.low,
            "gold": float(np.mean([one.score for one in judged])),
            "reward": float(self.score(said).mean()),
            **{name: mean([float(v) for v in values if v is not None]) for name, values in shares.items()},
            "finished": mean([float(sample.finished) for _, sample in said]),
            "kl": drift,
            "words": mean([float(len(text.split())) for text in texts]),
            "distinct-2": diversity(texts).distinct_2,
            "perplexity": version.figures.get("perplexity", float("nan")),
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

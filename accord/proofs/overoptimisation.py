"""How far can be optimised before gold falls: labels, wrong labels, ensembles and the price of drift compared.

The long proof `accord prove overoptimisation` and, on a project that is there, `accord evaluate overoptimisation`.
Gao et al. 2022; Coste et al. 2023 (ensembles, 25 % of labels flipped). docs/overoptimisation.md tells the figures.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field

from accord.algorithms import ppo
from accord.config import Settings
from accord.evaluate.overoptimisation import Track, plain, read
from accord.proofs.ground import Ground, Kept, Labeller, Lesson, Member, Proxy, Said, Two, compared, right, taught
from accord.proofs.pressed import Press, Watched, by_gold, with_critic
from accord.proofs.seeds import grounded
from accord.proofs.turned import ONE, Condition, Runs, told
from accord.records import Prompt
from accord.rewards.ensemble import Rule
from accord.rewards.learned import Learned


class Config(Settings):
    """Settings of the proof."""

    labels: tuple[int, ...] = (300, 1000, 3000, 6000)
    """Labelled pairs that a reward model learns from; fewer are the first of more."""
    flips: tuple[float, ...] = (0.0, 0.25)
    """Shares of labels that are turned round."""
    by: Labeller = "gold"
    """Who labels before that: `gold`, or the lab's `people` with their noise and tastes."""
    members: int = Field(default=5, ge=1)
    """Reward models of an ensemble: the same labels, heads and orders drawn apart."""
    rules: tuple[Rule, ...] = ("mean", "worst", "lower")
    """How they become one score; one member alone is always measured beside them."""
    doubt: float = Field(default=1.0, ge=0)
    """Standard deviations that `lower` takes away."""
    drawn: int = Field(default=256, ge=4)
    """Answers per test prompt that best of n chooses from."""
    test_prompts: int = Field(default=100, ge=2)
    """Prompts that everything is measured on, in phrasings never trained on."""
    train_prompts: int = Field(default=4500, ge=1)
    """Prompts whose answers are labelled, and that PPO learns by."""
    prices: tuple[float, ...] = (0.0, 0.12)
    """Prices of drift in PPO; 0 is without KL."""
    iterations: int = Field(default=60, ge=2)
    """Iterations of PPO."""
    every: int = Field(default=3, ge=1)
    """PPO is looked at before each so many iterations, and at the end."""
    answers: int = Field(default=4, ge=1)
    """Answers per test prompt at each look."""


SMALL: dict[str, Any] = {
    "labels": (300,), "flips": (0.25,), "members": 3, "rules": ("mean",), "drawn": 64, "test_prompts": 60,
    "train_prompts": 600, "iterations": 24, "every": 4,
}  # fmt: skip
"""The small size: one seed in some minutes of one core; it shows that the proof runs, not what it proves."""


def prove(
    seeds: int,
    folder: Path,
    say: Said,
    small: bool = False,
    settings: Mapping[str, Any] | None = None,
    changes: Mapping[str, Any] | None = None,
) -> int:
    """The proof over seeds 1 to `seeds`. Writes overoptimisation.md, .html and .json into the folder; returns 0.

    settings: over `Config`. changes: over the lab's recipe. Nothing was promised here, so nothing can be missed.
    Killed and started again it goes on after the last whole condition, and in the middle of PPO.
    """
    config = Config(**{**(SMALL if small else {}), **(settings or {})})
    runs: Runs = {}
    accuracy: dict[str, list[float]] = {}
    text, command = "", f"accord prove overoptimisation --seeds {seeds}{' --small' if small else ''}"
    for seed in range(1, seeds + 1):
        say(f"seed {seed} of {seeds}")
        ground = grounded(config, folder / f"overoptimisation-{seed}", seed, changes or {}, small, say)
        tracks, share = measured(ground, config, say)
        for name, track in tracks.items():
            runs.setdefault(name, []).append(track)
        for where, value in share.items():
            accuracy.setdefault(where, []).append(value)
        text = told(runs, accuracy, folder, command)
    print(text)
    return 0


class Setting:
    """One number of labels with one share of them turned round: its members are taught when they are first needed."""

    def __init__(self, ground: Ground, press: Press, twos: Sequence[Two], flips: float, config: Config) -> None:
        self.ground, self.press, self.twos, self.flips, self.config = ground, press, twos, flips, config

    @cached_property
    def members(self) -> list[Member]:
        """The ensemble; the first is the single model."""
        ground, made = self.ground, self.config
        beliefs = ground.labelled(self.twos, self.flips, made.by)
        learned = compared(ground.encoder, self.twos, beliefs)
        lesson = Lesson(ground.backbone(), ground.project.recipe.reward_model)
        chances = [replace(lesson, tags=("member", str(m))) for m in range(made.members)]
        return [taught(one, ground.encoder, ground.seed, learned) for one in chances]

    @cached_property
    def each(self) -> torch.Tensor:
        """[M, B] what each member says of the drawn answers."""
        return Proxy(self.members).each(self.press.drawn)

    def proxy(self, way: str) -> tuple[Proxy, torch.Tensor]:
        """What is optimised, and its score [B] of each drawn answer. way: `ONE`, or a rule."""
        chosen, rule = (self.members[:1], "mean") if way == ONE else (self.members, way)
        cut = self.ground.project.recipe.ppo.missing_end_penalty
        found = Proxy(chosen, rule, self.config.doubt, -2.0 if cut is None else cut)  # type: ignore[arg-type]
        return found, found.of(self.each[: len(chosen)], self.press.drawn)

    def accuracy(self, prompts: Sequence[Prompt]) -> float:
        """Share of pairs of held-out answers that the single model orders as gold does."""
        held = self.ground.twos(prompts, "held")
        return float(np.mean(right(self.members[0], held, self.ground.labelled(held))))


def measured(ground: Ground, config: Config, say: Said) -> tuple[dict[Condition, Track], dict[str, float]]:
    """All conditions of one seed, and the held-out accuracy of each single reward model against gold."""
    project = ground.project
    kept = Kept(project.folder / "tracks", config.model_dump(mode="json"))
    test = project.prompts("test")[: config.test_prompts]
    say(f"draw: {config.drawn} answers to each of {len(test)} prompts")
    press = Press(project, ground.start, test, by_gold(ground.gold), config.drawn, config.answers)
    twos = ground.twos(project.prompts("train"), "labels", max(config.labels))
    tracks: dict[Condition, Track] = {}
    accuracy: dict[str, float] = {}
    for labels, flips in product(config.labels, config.flips):
        where, file = f"{labels} labels, {flips:.0%} flipped", f"{labels}-{flips:g}"
        say(where)
        here = Setting(ground, press, twos[:labels], flips, config)
        accuracy[where] = kept.part(f"{file}-accuracy", partial(here.accuracy, test))
        for way in (ONE, *config.rules):
            row = kept.part(f"{file}-{way}-best-of-n", partial(best_of, here, way))
            tracks[Condition(where, "best of n", way)] = read(row)
            for price in config.prices:
                name = f"{file}-{way}-{price:g}"
                row = kept.part(name, partial(climbed, here, way, price, f"ppo-{name}"))
                tracks[Condition(where, f"PPO, KL at {price:g}" if price else "PPO, no KL", way)] = read(row)
    return tracks, accuracy


def best_of(here: Setting, way: str) -> dict[str, Any]:
    """The track of best of n by one proxy."""
    return plain(here.press.best_of_n(here.proxy(way)[1]))


def climbed(here: Setting, way: str, price: float, name: str) -> dict[str, Any]:
    """The track of PPO on one proxy at one price of drift, looked at on the way. A killed run goes on."""
    press, config, (proxy, scored) = here.press, here.config, here.proxy(way)
    project, recipe = press.project, press.project.recipe
    chosen = recipe.ppo.model_copy(update={"iterations": config.iterations, "kl": ppo.KL(coefficient=price)})
    run = project.run(name, chosen, proof=config.model_dump(mode="json"))
    policy = with_critic(project, press.start, press.encoder, proxy.members[0].scorer).to(run.device)
    world = project.world(policy, press.encoder, project.prompts("train"), name)
    watched = Watched(world, lambda now: press.look(now, proxy), config.every)
    ppo.train(chosen, policy, watched, Learned(world.keep, proxy), run, press.reference)
    watched.seen[str(config.iterations)] = press.look(policy, proxy)
    shutil.rmtree(run.folder / "checkpoints", ignore_errors=True)
    return plain(press.climbed(watched.looks(), scored))

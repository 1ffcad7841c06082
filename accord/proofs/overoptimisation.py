"""How far can be optimised before gold falls: labels, wrong labels, ensembles and the price of drift compared.

The long proof `accord prove overoptimisation` and, on a project that is there, `accord evaluate overoptimisation`.
Gao et al. 2022; Coste et al. 2023 (ensembles, 25 % of labels flipped). docs/overoptimisation.md tells the figures.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field

from accord.algorithms import ppo
from accord.batches import Comparisons
from accord.config import Settings
from accord.evaluate.overoptimisation import Track, plain, read
from accord.project import named
from accord.proofs.ground import Ground, Kept, Labeller, Lesson, Member, Proxy, Said, Two, compared, right, taught
from accord.proofs.pressed import Press, Reached, Watched, by_gold, spread, with_critic
from accord.proofs.seeds import grounded
from accord.proofs.turned import ONE, Condition, Runs, told
from accord.records import Prompt, digest
from accord.rewards.ensemble import Rule
from accord.rewards.learned import Learned
from accord.worlds.text import models

Grows = Callable[[Mapping[Condition, Track], Mapping[str, float]], None]
"""Is shown tracks and accuracies so far."""


class Config(Settings):
    """Settings of the proof."""

    labels: tuple[int, ...] = (300, 1000, 6000)
    """Labelled pairs that a reward model learns from; fewer are the first of more. Others can be added later."""
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
    iterations: int = Field(default=48, ge=2)
    """Iterations of PPO, at most; its learning rate falls over so many."""
    rollout: int = Field(default=32, ge=1)
    """Prompts per iteration of PPO."""
    epochs: int = Field(default=1, ge=1)
    """Passes of PPO over each rollout. Few prompts and one pass cost less for as much gain, in steps that are seen."""
    growth: float = Field(default=1.25, ge=1)
    """PPO is looked at before its first iterations, then each time that it has gone on by this factor, and at the end:
    often where the curve turns. 1 looks before every iteration."""
    reach: float = Field(default=4.0, ge=0)
    """d at which PPO ends early: far beyond the peak, where further points cost most and tell least. 0: never."""
    answers: int = Field(default=4, ge=1)
    """Answers per test prompt at each look."""


PRESSED = ("by", "doubt", "drawn", "members", "test_prompts", "train_prompts")
"""Settings that decide what best of n measures."""
CLIMBED = (*PRESSED, "answers", "epochs", "growth", "iterations", "reach", "rollout")
"""Settings that decide what PPO measures."""
BEFORE = {"epochs": 2, "rollout": 64}
"""What folders were made with that are older than these settings."""
SMALL: dict[str, Any] = {
    "labels": (300,), "flips": (0.25,), "members": 3, "rules": ("mean",), "drawn": 64, "test_prompts": 60,
    "train_prompts": 600, "iterations": 24,
}  # fmt: skip
"""The small size: one seed in some minutes of one core; it shows that the proof runs, not what it proves."""


def prove(
    seeds: int,
    folder: Path,
    say: Said,
    small: bool = False,
    settings: Mapping[str, Any] | None = None,
    changes: Mapping[str, Any] | None = None,
    first: int = 1,
) -> int:
    """The proof over `seeds` seeds from `first` on. Writes overoptimisation.md, .html and .json into the folder, of
    these seeds; returns 0.

    settings: over `Config`. changes: over the lab's recipe. Nothing was promised here, so nothing can be missed.
    Killed and started again it goes on after the last whole condition, and in the middle of PPO; so one command over
    all seeds tells together what several made of one each. What there is of the first seed is told as it grows: best
    of n of everything first, then PPO by price.
    """
    config = Config(**{**(SMALL if small else {}), **(settings or {})})
    runs: Runs = {}
    accuracy: dict[str, list[float]] = {}
    since = f" --first {first}" if first != 1 else ""
    text, command = "", f"accord prove overoptimisation{since} --seeds {seeds}{' --small' if small else ''}"
    for number, seed in enumerate(range(first, first + seeds), 1):
        say(f"seed {seed} ({number} of {seeds})")
        ground = grounded(config, folder / f"overoptimisation-{seed}", seed, changes or {}, small, say)
        grows = partial(growing, folder, command) if number == 1 else None
        tracks, share = measured(ground, config, say, grows)
        for name, track in tracks.items():
            runs.setdefault(name, []).append(track)
        for where, value in share.items():
            accuracy.setdefault(where, []).append(value)
        text = told(runs, accuracy, folder, command)
    print(text)
    return 0


def growing(folder: Path, command: str, tracks: Mapping[Condition, Track], accuracy: Mapping[str, float]) -> None:
    """Tell what there is of one seed."""
    told({name: [track] for name, track in tracks.items()}, {at: [of] for at, of in accuracy.items()}, folder, command)


class Setting:
    """One number of labels with one share of them turned round: what its members say is made when first needed."""

    def __init__(
        self, ground: Ground, press: Press, twos: Sequence[Two], flips: float, config: Config, kept: Kept
    ) -> None:
        """kept: where what was made is found again."""
        self.ground, self.press, self.twos, self.flips = ground, press, twos, flips
        self.config, self.kept = config, kept
        self._members: dict[int, Member] = {}
        self.where, self.file = f"{len(twos)} labels, {flips:.0%} flipped", f"{len(twos)}-{flips:g}"

    def member(self, number: int) -> Member:
        """One of the ensemble; 0 is the single model. It stays on the disk: it is taught once."""
        if number not in self._members:
            ground, folder = self.ground, self.kept.folder.parent / "members" / f"{self.file}-{number}"
            lesson = Lesson(ground.backbone(), ground.project.recipe.reward_model)
            if not folder.is_dir():
                lesson = replace(lesson, tags=("member", str(number)))
                made = taught(lesson, ground.encoder, ground.seed, self._learned)
                models.save(models.with_normaliser(made.scorer.model, made.mean, made.std), None, folder)
            there = replace(lesson, backbone=named(lesson.backbone, folder), fresh_head=False)
            self._members[number] = taught(there, ground.encoder, ground.seed, None)
        return self._members[number]

    @cached_property
    def _learned(self) -> Comparisons:
        """What the members learn from."""
        beliefs = self.ground.labelled(self.twos, self.flips, self.config.by)
        return compared(self.ground.encoder, self.twos, beliefs)

    def said(self, number: int) -> torch.Tensor:
        """[B] what one member says of the drawn answers."""
        drawn = self.press.drawn
        return torch.tensor(self.kept.part(f"{self.file}-{number}-said", lambda: self.member(number)(drawn).tolist()))

    def proxy(self, way: str) -> tuple[Proxy, torch.Tensor]:
        """What is optimised, and its score [B] of each drawn answer. way: `ONE`, for which one model is enough, or a
        rule."""
        count, rule = (1, "mean") if way == ONE else (self.config.members, way)
        cut = self.ground.project.recipe.ppo.missing_end_penalty
        members = [self.member(number) for number in range(count)]
        found = Proxy(members, rule, self.config.doubt, -2.0 if cut is None else cut)  # type: ignore[arg-type]
        return found, found.of(torch.stack([self.said(number) for number in range(count)]), self.press.drawn)

    def accuracy(self, prompts: Sequence[Prompt]) -> float:
        """Share of pairs of held-out answers that the single model orders as gold does, of those gold tells apart."""
        return float(np.mean(right(self.member(0), *self.ground.held(prompts))))


def measured(
    ground: Ground, config: Config, say: Said, grows: Grows | None = None
) -> tuple[dict[Condition, Track], dict[str, float]]:
    """All conditions of one seed, and the held-out accuracy of each single reward model against gold.

    grows: is shown what there is whenever some more conditions are whole.
    """
    project = ground.project
    kept, climbs = kept_in(project.folder / "tracks", config)
    test, ways = project.prompts("test")[: config.test_prompts], (ONE, *config.rules)
    say(f"draw: {config.drawn} answers to each of {len(test)} prompts")
    press = Press(project, ground.start, test, by_gold(ground.gold), config.drawn, config.answers)
    twos = ground.twos(project.prompts("train"), "labels", max(config.labels))
    settings = [Setting(ground, press, twos[:labels], flips, config, kept)
                for labels, flips in product(config.labels, config.flips)]  # fmt: skip
    tracks: dict[Condition, Track] = {}
    accuracy: dict[str, float] = {}
    for here in settings:
        say(f"{here.where}: best of n")
        accuracy[here.where] = kept.part(f"{here.file}-accuracy", partial(here.accuracy, test))
        for way in ways:
            row = kept.part(f"{here.file}-{way}-best-of-n", partial(best_of, here, way))
            tracks[Condition(here.where, "best of n", way)] = read(row)
        if grows:
            grows(tracks, accuracy)
    for price, way in product(config.prices, ways):
        how = f"PPO, KL at {price:g}" if price else "PPO, no KL"
        for here in settings:
            say(f"{here.where}: {how}, {way}")
            name = f"{here.file}-{way}-{price:g}"
            row = climbs.part(name, partial(climbed, here, way, price, f"{climbs.folder.name}-{name}"))
            tracks[Condition(here.where, how, way)] = read(row)
            if grows:
                grows(tracks, accuracy)
    return tracks, accuracy


def kept_in(folder: Path, config: Config) -> tuple[Kept, Kept]:
    """Where tracks of best of n are kept, and those of PPO. What was finished under the same settings is used.

    PPO of other settings has a folder of its own. Raises SettingsError where best of n was made under others.
    """
    plain, file = config.model_dump(mode="json"), folder / "settings.json"
    there = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}

    known = {**BEFORE, **there}

    def same(names: Sequence[str]) -> bool:
        return all(name in known and known[name] == plain[name] for name in names)

    pressed, chosen = ({name: plain[name] for name in names} for names in (PRESSED, CLIMBED))
    first = Kept(folder, there if there and same(PRESSED) else pressed)
    old = "iterations" in there and same(CLIMBED)
    return first, first if old else Kept(folder / f"ppo-{digest(chosen)[:8]}", chosen)


def best_of(here: Setting, way: str) -> dict[str, Any]:
    """The track of best of n by one proxy."""
    return plain(here.press.best_of_n(here.proxy(way)[1]))


def climbed(here: Setting, way: str, price: float, name: str) -> dict[str, Any]:
    """The track of PPO on one proxy at one price of drift, looked at on the way. A killed run goes on."""
    press, config, (proxy, scored) = here.press, here.config, here.proxy(way)
    project, recipe = press.project, press.project.recipe
    changes = {"iterations": config.iterations, "epochs": config.epochs, "kl": ppo.KL(coefficient=price),
               "minibatches": min(recipe.ppo.minibatches, config.rollout)}  # fmt: skip
    chosen = recipe.ppo.model_copy(update=changes)
    run = project.run(name, chosen, proof=config.model_dump(mode="json", include=set(CLIMBED)))
    policy = with_critic(project, press.start, press.encoder, proxy.members[0].scorer).to(run.device)
    world = project.world(policy, press.encoder, project.prompts("train"), name)
    world.batch = min(config.rollout, len(world.prompts))
    watched = Watched(world, lambda now: press.look(now, proxy), spread(config.iterations, config.growth), config.reach)
    with suppress(Reached):
        ppo.train(chosen, policy, watched, Learned(world.keep, proxy), run, press.reference)
        watched.seen[str(config.iterations)] = press.look(policy, proxy)
    shutil.rmtree(run.folder / "checkpoints", ignore_errors=True)
    return plain(press.climbed(watched.looks(), scored))

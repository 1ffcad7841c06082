"""Do labels of one's own help: self-training on unlabelled pairs beside the same people's labels alone.

An ensemble learns from few labels (the control), labels what it is sure of and learns again, in rounds that stop
(`accord/algorithms/pseudo.py`); or keeps its opinion of all pairs when their prompts are rephrased (`consistency.py`),
as `reward_model` and as `reward_heads`. Beside these stands what all labels would have given. docs/experiments.md tells
more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from pydantic import Field

from accord.algorithms import pseudo, reward_heads
from accord.algorithms.consistency import Config as Term
from accord.algorithms.consistency import Consistency
from accord.algorithms.reward_model import Beside, Scorer, correct, nothing
from accord.batches import Comparisons
from accord.config import Settings
from accord.evaluate.page import Part, Table, shown
from accord.lab.phrasings import rephrased
from accord.proofs.ground import Ground, Labeller, Lesson, Said, aside, compared, taught
from accord.proofs.seeds import Experiment, Rows, Stand
from accord.proofs.sided import Cell, cells, chart, collected, each, kept, plain
from accord.quality.judged import believed
from accord.records import Preference, Prompt, Text
from accord.run import Run, seed_of
from accord.statistics import Interval, mean_interval
from accord.worlds.text import models, scorer
from accord.worlds.text.reworded import in_other_words

CONTROL, TAUGHT, FORCED, EVERY = "people's labels alone", "with labels of its own", "its last round", "all labels"
STEADY = "with consistency"
HEADS, STEADY_HEADS = "heads, people's labels alone", "heads, with consistency"
CONTROLS = {HEADS: HEADS, STEADY_HEADS: HEADS}
"""What a way stands beside, where it is not `CONTROL`."""
TERM = Term(weight=1.0, pairs=96, threshold=0.6)
"""The term of `STEADY` and `STEADY_HEADS`: three pairs for each labelled one, and a bar that few steps can reach. No
setting, so that older folders stay good."""


class Config(Settings):
    """Settings of the experiment."""

    labels: tuple[int, ...] = (100, 300, 1000)
    """Labels of people's."""
    pool: int = Field(default=3000, ge=1)
    """Further pairs without a label."""
    calibration: int = Field(default=150, ge=1)
    """Labelled pairs for the temperature, on other prompts. The control does not learn from them either."""
    stop: int = Field(default=150, ge=1)
    """Labelled pairs that decide which round is kept, on yet other prompts."""
    members: int = Field(default=3, ge=1)
    """Reward models of the ensemble; the control is as large."""
    flips: float = Field(default=0.1, ge=0, le=1)
    """Share of labels that are turned round."""
    by: Labeller = "gold"
    """Who labels before that."""
    own: pseudo.Config = pseudo.Config()
    """How labels of one's own are chosen."""
    train_prompts: int = Field(default=5500, ge=1)
    """Prompts whose answers are labelled, or not."""
    test_prompts: int = Field(default=400, ge=2)
    """Prompts that everything is measured on."""


SMALL: dict[str, Any] = {
    "labels": (60, 150), "pool": 300, "calibration": 60, "stop": 60, "train_prompts": 800, "test_prompts": 160,
    "own": {"rounds": 2, "threshold": 0.8},
}  # fmt: skip
"""The small size."""


def measured(stand: Stand) -> dict[str, Any]:
    """What each way of one seed gets right, and what it labelled. Parts that came later are made last."""
    given = cache(lambda: Given(stand.config, stand.ground()))
    found: dict[str, Any] = stand.parts.part("ways", lambda: ways(stand.config, given(), stand.say))
    steady = stand.parts.part("consistency", lambda: consistent(stand.config, given(), stand.say))
    heads = stand.parts.part("heads", lambda: headed(stand.config, given(), stand.say))
    return {**found, "right": {**found["right"], **steady, **heads}}


class Given:
    """The pairs of one seed: people's and those without a label, those set aside, and those of the test."""

    def __init__(self, config: Config, ground: Ground) -> None:
        self.ground, self.seed, self.most = ground, ground.seed, max(config.labels)
        sizes = (self.most + config.pool, config.calibration, config.stop)
        self.twos = ground.twos(
            ground.project.prompts("train"), "labels", sum(sizes), answers=2
        )  # one of a prompt: none on two sides
        self.beliefs = ground.labelled(self.twos, config.flips, config.by)
        parts, at = [], 0
        for size in sizes:
            parts.append(compared(ground.encoder, self.twos[at : at + size], self.beliefs[at : at + size]))
            at += size
        self.every, self.calibration, self.stop = parts
        self.test = compared(ground.encoder, *ground.held(ground.project.prompts("test"), answers=2))
        self.lesson, self.tokens = (
            Lesson(ground.backbone(), ground.project.recipe.reward_model),
            config.own.micro_tokens,
        )
        self.prompts = {two.prompt.id: two.prompt for two in self.twos}
        self.samples = {one.id: one for two in self.twos for one in (two.first, two.second)}

    def chosen(self, labels: int) -> torch.Tensor:
        """Which of all pairs take part where so many have people's labels: these and the pool."""
        return torch.cat([torch.arange(labels), torch.arange(self.most, len(self.every))])

    def hits(self, those: Sequence[Scorer]) -> list[float]:
        """What the mean of members gets right of the test pairs."""
        gap = pseudo.gaps_of(those, self.test, self.tokens).mean(0)
        return [float(hit) for hit in correct(gap, torch.zeros_like(gap))]

    def term(self, labels: int) -> Callable[[Scorer, Run], Beside]:
        """Consistency over these labelled pairs and the pool, in words drawn once."""
        index = self.chosen(labels)
        pool, names = self.every.pairs(index), {self.every.names[i] for i in index.tolist()}
        shown: list[Preference] = [belief for belief in self.beliefs if belief.id in names]

        def reword(content: Text, draw: Any) -> str:
            return rephrased(Prompt(id="asked", content=content), draw)

        seeds = (seed_of(self.seed, "words", number) for number in range(TERM.phrasings))
        encoder, known = self.ground.encoder, (self.prompts, self.samples)
        others = [in_other_words(encoder, shown, *known, reword, seed) for seed in seeds]
        there = [one for one in others if one is not None]
        return lambda made, run: Consistency(TERM, made, pool, there, run, self.tokens)


def consistent(config: Config, given: Given, say: Said) -> dict[str, list[float]]:
    """What people's labels get right beside the term of consistency over them and the pool, by `LABELS|WAY`."""
    ground, found = given.ground, {}
    for labels in config.labels:
        say(f"{labels} labels of people's, opinions kept over {labels + config.pool} pairs")
        learned, term = given.every.pairs(torch.arange(labels)), given.term(labels)
        lessons = [replace(given.lesson, tags=("round0", str(m))) for m in range(config.members)]
        made = [taught(one, ground.encoder, given.seed, learned, term=term).scorer for one in lessons]
        found[f"{labels}|{STEADY}"] = given.hits(made)
    return found


def headed(config: Config, given: Given, say: Said) -> dict[str, list[float]]:
    """The same labels heard by `reward_heads`, alone and beside the same term, by `LABELS|WAY`."""
    ground, found = given.ground, {}
    settings = reward_heads.Config(
        **given.lesson.config.model_dump(include={"epochs", "batch", "centring", "optimiser", "micro_tokens"})
    )

    def learned(labels: int, number: int, term: Callable[[Scorer, Run], Beside] | None) -> Scorer:
        names = set(given.every.names[:labels])
        said = believed(belief for belief in given.beliefs if belief.id in names)
        chance = seed_of(given.seed, "lesson", "heads", str(number))
        model = models.scorer_model(ground.backbone(), ground.encoder.tokenizer, seed_of(chance, "head"), True)
        made = scorer.Scorer(model)
        with aside("heads", chance) as run:
            beside = term(made, run) if term else nothing
            judged = ground.encoder.judged(said, given.prompts, given.samples)
            reward_heads.train(settings, made, judged, run, beside=beside)
        return made

    for labels in config.labels:
        say(f"{labels} labels of people's, heard by heads")
        for way, term in ((HEADS, None), (STEADY_HEADS, given.term(labels))):
            found[f"{labels}|{way}"] = given.hits([learned(labels, m, term) for m in range(config.members)])
    return found


def ways(config: Config, given: Given, say: Said) -> dict[str, Any]:
    """What each way gets right of the test pairs, by `LABELS|WAY`, and of each number of labels what it labelled."""
    ground, seed = given.ground, given.seed

    def teach(name: str, learned: Comparisons) -> Sequence[Scorer]:
        lessons = [replace(given.lesson, tags=(name, str(m))) for m in range(config.members)]
        members[name] = [taught(one, ground.encoder, seed, learned).scorer for one in lessons]
        return members[name]

    members: dict[str, Sequence[Scorer]] = {}
    found: dict[str, list[float]] = {}
    own: dict[str, Any] = {}
    for labels in config.labels:
        say(f"{labels} labels of people's and {config.pool} pairs without")
        pool = given.every.pairs(given.chosen(labels))
        known = torch.arange(len(pool)) < labels
        members.clear()
        taught_ = pseudo.self_train(config.own, teach, blind(pool, known, seed), known, given.calibration, given.stop)
        last = members[f"round{len(taught_.rounds) - 1}"]
        own[str(labels)] = {"best": taught_.best, "rounds": [vars(one) for one in taught_.rounds]}
        found[f"{labels}|{CONTROL}"] = given.hits(members["round0"])
        found[f"{labels}|{TAUGHT}"] = given.hits(taught_.members)
        found[f"{labels}|{FORCED}"] = given.hits(last)
        found[f"{labels}|{EVERY}"] = given.hits(teach("every", pool))
    return {"right": found, "own": own}


def blind(pool: Comparisons, known: torch.Tensor, seed: int) -> Comparisons:
    """The pool with the sides of pairs without a label drawn by a coin: their order would be their label."""
    coin = torch.rand(len(pool), generator=torch.Generator().manual_seed(seed_of(seed, "sides"))) < 0.5
    turned = coin & ~known
    better, worse = torch.where(turned, pool.worse, pool.better), torch.where(turned, pool.better, pool.worse)
    return replace(pool, better=better, worse=worse)


def told(seeds: Rows, folder: Path, command: str) -> str:
    """Write table, page and figures. Returns the tables in Markdown."""
    notes = [row["own"] for row in seeds.values()]
    there = set.intersection(*(set(row["right"]) for row in seeds.values()))  # seeds may be older than the last way
    values = collected(
        [{Cell(*name.split("|")): one for name, one in row["right"].items() if name in there} for row in seeds.values()]
    )
    values = dict(sorted(values.items(), key=lambda one: int(one[0].at)))
    rows = [cells(*one) for one in each(values, lambda cell: cell._replace(way=CONTROLS.get(cell.way, CONTROL)))]
    chosen = []
    for labels in notes[0]:
        number = [max((r["labels"] for r in note[labels]["rounds"]), default=0) for note in notes]
        best = [note[labels]["best"] for note in notes]
        chosen.append([labels, shown(_over(number), 0), ", ".join(str(b) for b in best)])
    title, lead = "Semi-supervised", "The same labels of people's, with and without labels that the model gives itself."
    charts = [
        chart("own", "With and without labels of its own", values, "labels of people's", "Held-out pairs ordered right")
    ]
    parts = [
        Part("Reward model", "", Table(("labels", "way", "ordered right", "less alone", "verdict"), rows), charts),
        Part("Labels of its own", "", Table(("labels", "most in a round", "round that was kept, by seed"), chosen)),
    ]
    figures = {"values": plain(values), "own": list(notes)}
    return kept(folder, "semisupervised", title, lead, parts, command, figures)


def _over(values: Sequence[float]) -> Interval:
    """Mean over seeds; of one seed the number alone."""
    nothing = float("nan")
    return mean_interval(values) if len(values) > 1 else Interval(values[0], nothing, nothing, n=1)


prove = Experiment("semisupervised", Config, SMALL, measured, told).prove

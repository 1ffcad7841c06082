"""Settings of reward models beside their control: ensembles, averaged weights, priors, what a form adds, orders in RL.

One model is the control of five heads on one trunk, five whole models and one with the mean of their weights; the same
labels with and without a prior of sources; all forms together and without each; and a short PPO whose prompts come in
an order. Gold judges. docs/experiments.md tells more.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import Any

import torch
from pydantic import Field
from torch import Tensor

from accord.algorithms import reward_heads
from accord.algorithms.curriculum import Config as OrderConfig
from accord.algorithms.curriculum import Curriculum, by_pass_rate
from accord.algorithms.members import member, with_members
from accord.algorithms.reward_heads import Heads
from accord.config import Settings
from accord.judged import Judged
from accord.origins import games, strengths
from accord.project import text_of
from accord.proofs import forms
from accord.proofs.ground import Ground, Member, Two, aside
from accord.proofs.rewarded import ALL, CHANCE, ONE, PLAIN, told
from accord.proofs.seeds import Experiment, Stand
from accord.proofs.tried import Trial
from accord.quality.judged import Judgement, believed, by_source
from accord.records import Sample
from accord.rewards.ensemble import averaged
from accord.rewards.learned import Answers
from accord.run import seed_of
from accord.worlds.text import models
from accord.worlds.text.scorer import Scorer

HEADS, WHOLE, MEAN = "heads on one trunk", "whole models", "averaged weights"
LONGER, PRIOR = "no prior, as many steps", "prior of sources"
ORDERS: Mapping[str, tuple[str, str]] = {
    "short first": ("easy", "length"), "easy first": ("easy", "pass_rate"), "hard first": ("hard", "pass_rate"),
}  # fmt: skip
"""Orders of PPO's prompts beside chance: schedule and measure, as in the recipe's `order.policy`."""
HOT = "drawn hot"
Score = Callable[[Answers], Tensor]


class Config(Settings):
    """Settings of the experiment."""

    questions: int = Field(default=400, ge=1)
    """Pairs, each of another prompt and judged by one person, that every model of ensembles and priors learns from."""
    members: int = Field(default=5, ge=2)
    """Heads, or models, of an ensemble."""
    epochs: float = Field(default=6.0, gt=0)
    """How often each judgement is seen."""
    learning_rate: float = Field(default=5e-4, gt=0)
    """Of the reward models."""
    temperature: float = Field(default=1.5, gt=0)
    """At which the other source's answers are drawn: the same policy, hotter and so worse."""
    prior_weight: float = Field(default=0.1, gt=0)
    """What the prior says of one prompt weighs together; a question that was answered weighs 1."""
    seconds: float = Field(default=5400.0, gt=0)
    """Seconds of people's time for all forms together, a quarter each."""
    iterations: int = Field(default=8, ge=0)
    """Iterations of PPO for each order of its prompts; 0 leaves orders out."""
    tries: int = Field(default=2, ge=1)
    """Answers to each prompt by which its share of passes is measured; one passes that scores above the mean."""
    train_prompts: int = Field(default=1000, ge=1)
    """Prompts of the project: the first `questions` are judged, the prior speaks of all, PPO answers all."""
    test_prompts: int = Field(default=250, ge=2)
    """Prompts that everything is measured on."""


SMALL: dict[str, Any] = {
    "questions": 120, "members": 3, "epochs": 4, "seconds": 1500.0, "iterations": 0, "train_prompts": 300,
    "test_prompts": 80,
}  # fmt: skip
"""The small size."""


@dataclass(frozen=True)
class Taught:
    """One reward model, and what was learnt beside it."""

    scorer: Scorer
    heads: Heads


class Here:
    """One seed: the lab, judged pairs, and the trial of reward models."""

    def __init__(self, ground: Ground, config: Config) -> None:
        self.ground, self.config, self.seed = ground, config, ground.seed
        project = ground.project
        self.prompts = project.prompts("train")[: config.train_prompts]
        self.trial = Trial(ground, project.prompts("test")[: config.test_prompts])
        chosen = project.recipe.reward_heads.optimiser.model_copy(
            update={"learning_rate": config.learning_rate, "weight_decay": 0.0}
        )
        self.learning = reward_heads.Config(epochs=config.epochs, optimiser=chosen)

    def batch(self, said: Sequence[Judgement], samples: Mapping[str, Sample]) -> Judged:
        """Judgements as a batch."""
        return self.ground.encoder.judged(said, {one.id: one for one in self.prompts}, samples)

    def taught(
        self, judged: Judged, number: int = 1, shared: bool = True, heads: int = 0, longer: float = 1.0
    ) -> Taught:
        """One model; its order of data, and its head unless that is shared, are drawn for its number.

        heads: members of an ensemble on its trunk. longer: factor of the epochs.
        """
        config, encoder = self.learning, self.ground.encoder
        config = config.model_copy(update={"epochs": config.epochs * longer})
        head = seed_of(self.seed, "rewards", "head", 1 if shared else number)
        scorer = Scorer(models.scorer_model(self.ground.backbone(), encoder.tokenizer, head, True))
        if heads:  # weighed before, or the members' draws of prompts would be weighed away
            judged = with_members(reward_heads.weighed(judged, config), heads, config.main, self.seed)
            config = config.model_copy(update={"share_prompts": False})
        with aside("rewards", seed_of(self.seed, "rewards", number)) as run:
            found, _ = reward_heads.train(config, scorer, judged, run)
        return Taught(scorer, found)

    def score(self, one: Taught, criteria: Sequence[str] = ("",)) -> Score:
        """Answers -> the mean of its normalised scores in some criteria."""

        def said(answers: Answers) -> Tensor:
            segment = self.ground.encoder.segment(answers, scoring=True)
            found, _ = reward_heads.scores_of(one.scorer, one.heads.columns, segment, self.learning.micro_tokens)
            names = one.heads.columns.criteria
            each = [one.heads.normalisers[name](found[:, names.index(name)]) for name in criteria]
            return torch.stack(each).mean(0)

        return said

    def tried(self, score: Score) -> dict[str, list[float]]:
        """What gold says of a score."""
        return {"accuracy": self.trial.accuracy(score), "best of 16": self.trial.best_of(score)}

    @cached_property
    def judged(self) -> Judged:
        """Pairs of the start's own answers, judged by people."""
        twos = self.ground.twos(self.prompts, "labels", self.config.questions, answers=2)
        samples = {one.id: one for two in twos for one in (two.first, two.second)}
        return self.batch(believed(self.ground.labelled(twos, by="people")), samples)

    @cached_property
    def single(self) -> Taught:
        """The control of ensembles, and their first member."""
        return self.taught(self.judged)

    def several(self, way: str) -> dict[str, list[float]]:
        """An ensemble, or its control."""
        count = self.config.members
        if way == ONE:
            return self.tried(self.score(self.single))
        if way == HEADS:
            return self.tried(
                self.score(self.taught(self.judged, heads=count), [member("", m + 1) for m in range(count)])
            )
        more = [self.taught(self.judged, number, shared=way == MEAN) for number in range(2, count + 1)]
        if way == WHOLE:
            each = [self.score(one) for one in (self.single, *more)]
            return self.tried(lambda answers: torch.stack([one(answers) for one in each]).mean(0))
        mean, those = copy.deepcopy(self.single), (self.single, *more)
        mean.scorer.load_state_dict(averaged([one.scorer.state_dict() for one in those]))
        mean.heads.columns.load_state_dict(averaged([one.heads.columns.state_dict() for one in those]))
        found = reward_heads.normalisers_of(self.learning, mean.scorer, mean.heads.columns, self.judged)
        return self.tried(self.score(Taught(mean.scorer, Heads(mean.heads.columns, mean.heads.scales, found))))

    # --- a prior of where answers came from ----------------------------------------------------------------------

    def hotter(self, prompts: Sequence[Any], name: str) -> list[tuple[Any, Sample]]:
        """Two answers to each prompt by another source: the same policy drawn hotter."""
        project = copy.copy(self.ground.project)
        draw = project.recipe.draw.model_copy(update={"temperature": self.config.temperature})
        project.recipe = project.recipe.model_copy(update={"draw": draw})
        drawn = project.sample(self.ground.start, prompts, 2, f"{name}, hot")
        return [(prompt, one.model_copy(update={"version": None, "source": HOT})) for prompt, one in drawn]

    @cached_property
    def mixed(self) -> tuple[dict[str, Sample], list[Judgement]]:
        """Two answers of each source to every prompt, and what people said of a pair of them, of the first prompts."""
        own = self.ground.project.sample(self.ground.start, self.prompts, 2, "own")
        drawn, by = [*own, *self.hotter(self.prompts, "judged")], dict[str, list[Sample]]()
        for prompt, sample in drawn:
            by.setdefault(prompt.id, []).append(sample)
        twos: list[Two] = []
        for prompt in self.prompts:
            first, second = random.Random(seed_of(self.seed, "pair", prompt.id)).sample(by[prompt.id], 2)
            if text_of(first) != text_of(second) and len(twos) < self.config.questions:
                twos.append(Two(prompt, first, second))
        return {one.id: one for _, one in drawn}, believed(self.ground.labelled(twos, by="people"))

    @cached_property
    def across(self) -> tuple[Answers, list[tuple[int, int, float]]]:
        """Held-out answers of both sources, and pairs across: two numbers, and how much better the first is."""
        hot = self.hotter(self.trial.prompts, "held")
        pairs, gold = [*self.trial.held, *hot], self.ground.gold
        by: dict[str, list[int]] = {}
        for row, (prompt, _) in enumerate(pairs):
            by.setdefault(prompt.id, []).append(row)
        worth = [gold(*pair).score for pair in pairs]
        crossed = [(i, j, worth[i] - worth[j]) for rows in by.values() for i, j in combinations(rows, 2)
                   if (pairs[i][1].source == HOT) != (pairs[j][1].source == HOT)]  # fmt: skip
        return pairs, [one for one in crossed if abs(one[2]) > 1e-9]

    def sources(self, way: str) -> dict[str, list[float]]:
        """People's pairs of answers of two sources, alone, as long as beside the prior, or beside it."""
        samples, said = self.mixed
        if way == PRIOR:
            fitted = strengths(games(said, samples), "bradley_terry")
            said = [*said, *by_source(samples.values(), fitted, self.config.prior_weight)]
        longer = len(self.prompts) / len(said) if way == LONGER else 1.0  # the prior speaks of every prompt
        score = self.score(self.taught(self.batch(said, samples), longer=longer))
        pairs, crossed = self.across
        value = score(pairs).tolist()
        right = [0.5 if value[i] == value[j] else float((value[i] > value[j]) == (gap > 0)) for i, j, gap in crossed]
        return {**self.tried(score), "across sources": right or [0.5]}

    # --- what a form adds, and in which order PPO asks ------------------------------------------------------------

    @cached_property
    def asked(self) -> tuple[forms.Here, forms.Heard]:
        """What people said in a mixture of forms."""
        config, mine = self.config, self.learning
        wanted = forms.Config(
            seconds=config.seconds, epochs=config.epochs, learning_rate=mine.optimiser.learning_rate, nines=1,
            train_prompts=config.train_prompts, test_prompts=config.test_prompts,
        )  # fmt: skip
        there = forms.Here(self.ground, wanted)
        return there, there.heard(forms.MIXED)

    def without(self, form: str) -> dict[str, list[float]]:
        """A mixture of forms less one of them; `''`: all of it."""
        there, heard = self.asked
        kept = [n for n, one in enumerate(heard.asked) if one.question.form != form]
        part = forms.Heard([heard.asked[n] for n in kept], [heard.said[n] for n in kept])
        return self.tried(there.taught(part)[0])

    def ordered(self, way: str) -> dict[str, list[float]]:
        """A short PPO by the control's reward model, its prompts by chance or in an order."""
        mean = self.single.heads.normalisers[""]
        payer = Member(self.single.scorer, self.ground.encoder, mean.mean, mean.std)
        order = None
        if way != CHANCE:
            schedule, measure = ORDERS[way]
            chosen = OrderConfig.model_validate({"schedule": schedule, "measure": measure})
            curriculum = Curriculum(chosen, self.hard(measure, payer))
            order = curriculum.prompts(self.seed, self.config.iterations, self.ground.project.recipe.rollout)
        return {"PPO": self.trial.climbed(payer, self.config.iterations, "orders", order)}

    def hard(self, measure: str, payer: Member) -> Tensor:
        """[N] how hard each of PPO's prompts is: its length in tokens, or how seldom the start's answers pass."""
        prompts, encoder = self.ground.project.prompts("train"), self.ground.encoder
        if measure == "length":
            return torch.tensor([float(len(encoder.prompt(text_of(prompt)))) for prompt in prompts])
        drawn = self.ground.project.sample(self.ground.start, prompts, self.config.tries, "tries")
        passed = (payer(drawn) > 0).reshape(len(prompts), -1).sum(1)
        return by_pass_rate(passed, torch.full_like(passed, self.config.tries))


def measured(stand: Stand) -> dict[str, Any]:
    """Every part of one seed; what is made is not made again."""
    made: list[Here] = []

    def here() -> Here:
        if not made:
            made.append(Here(stand.ground(), stand.config))
        return made[0]

    left = dict.fromkeys(forms.WAYS[name].form for name in forms.MIXTURE)
    parts: dict[str, dict[str, Callable[[], Any]]] = {
        "several": {way: lambda way=way: here().several(way) for way in (ONE, HEADS, WHOLE, MEAN)},  # type: ignore[misc]
        "sources": {way: lambda way=way: here().sources(way) for way in (PLAIN, LONGER, PRIOR)},  # type: ignore[misc]
        "forms": {ALL: lambda: here().without(""),
                  **{f"without {form}": lambda form=form: here().without(form) for form in left}},  # type: ignore[misc]
        "orders": {way: lambda way=way: here().ordered(way) for way in (CHANCE, *ORDERS)},  # type: ignore[misc]
    }  # fmt: skip
    row: dict[str, Any] = {}
    for part, ways in parts.items():
        if part == "orders" and not stand.config.iterations:
            continue
        for way, make in ways.items():
            stand.say(f"{part}: {way}")
            row.setdefault(part, {})[way] = stand.parts.part(f"{part}-{way}".replace(" ", "-"), make)
    return row


prove = Experiment("rewards", Config, SMALL, measured, told).prove

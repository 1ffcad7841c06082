"""Which form of feedback pays: every form at equal seconds of people's time, from the same start and the same people.

Pairs, rankings of four and of nine, ratings, attributes, corrections, and some of each. The seconds are those of
`accord/lab/clock.py`; every form is learned in its own form (`reward_heads`). docs/experiments.md tells the figures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic import Field

from accord.algorithms import reward_heads
from accord.config import Settings, SettingsError
from accord.feedback.answering import assigned
from accord.lab.clock import Pace, seconds
from accord.proofs.bits import useful_bits
from accord.proofs.formed import CONTROL, told
from accord.proofs.ground import Ground, Member, aside
from accord.proofs.seeds import Experiment, Stand
from accord.proofs.tried import Trial
from accord.quality.judged import Judgement, in_their_forms
from accord.quality.votes import hear
from accord.records import Asked, Feedback, Form, Prompt, Question, Sample, named_id
from accord.run import seed_of
from accord.store import claims
from accord.worlds.text import models
from accord.worlds.text.scorer import Scorer


@dataclass(frozen=True)
class Way:
    """One form of feedback."""

    form: Form
    """Kind of question."""
    answers: int
    """Different answers to a prompt that one question shows, at most."""
    criteria: tuple[str, ...] = ()
    """Respects to judge by; `''` is overall."""


WAYS: dict[str, Way] = {
    CONTROL: Way("comparison", 2),
    "rankings of 4": Way("ranking", 4),
    "rankings of 9": Way("ranking", 9),
    "ratings": Way("rating", 4, ("",)),
    "attributes": Way("rating", 4, ("", "correctness", "safety", "courtesy", "form", "tone")),
    "corrections": Way("correction", 1),
}
MIXED = "mixed"
MIXTURE = (CONTROL, "rankings of 4", "ratings", "corrections")
"""What is asked in turn where forms are mixed, each with an equal part of the seconds."""
FEW, MANY = 5, 12
"""Answers drawn to each prompt; and for rankings of nine. Some are equal, and an answer is shown once."""


class Config(Settings):
    """Settings of the experiment."""

    seconds: float = Field(default=7200.0, gt=0)
    """Seconds of people's time that each form may take."""
    pace: Pace = Pace()
    """How long an answer takes: an assumption, to be varied."""
    epochs: float = Field(default=6.0, gt=0)
    """How often each judgement is seen."""
    steps: int = Field(default=100, ge=1)
    """Optimiser steps at least: forms that say little of few answers see it as often as it takes."""
    at_once: int = Field(default=64, ge=1)
    """Answers per optimiser step, so that no form learns from more at once."""
    learning_rate: float = Field(default=5e-4, gt=0)
    """Of the reward model."""
    iterations: int = Field(default=0, ge=0)
    """Iterations of a short PPO that each reward model pays; 0 leaves it out."""
    nines: int = Field(default=75, ge=1)
    """Prompts with answers enough for rankings of nine."""
    train_prompts: int = Field(default=1000, ge=1)
    """Prompts whose answers are judged, at most. Raise it with `seconds`."""
    test_prompts: int = Field(default=250, ge=2)
    """Prompts that everything is measured on."""


SMALL: dict[str, Any] = {
    "seconds": 1500.0, "steps": 40, "epochs": 4, "train_prompts": 250, "nines": 16, "test_prompts": 80,
}  # fmt: skip
"""The small size."""


@dataclass(frozen=True)
class Heard:
    """What was asked in some forms and said, and how long it took."""

    asked: list[Asked]
    """Questions as they were shown, in the order asked."""
    said: list[Feedback]
    """One answer to each, with its seconds."""

    @property
    def seconds(self) -> float:
        """Of all answers together."""
        return sum(one.seconds for one in self.said)


class Here:
    """One seed: the lab, answers to judge, and the trial of reward models."""

    def __init__(self, ground: Ground, config: Config) -> None:
        self.ground, self.config, self.seed = ground, config, ground.seed
        prompts = ground.project.prompts("train")[: config.train_prompts]
        self.prompts = {one.id: one for one in prompts}
        few = ground.project.sample(ground.start, prompts, FEW, "judged")
        many = ground.project.sample(ground.start, prompts[: config.nines], MANY, "judged nine")
        self.samples = {sample.id: sample for _, sample in (*few, *many)}
        self.different = {2: different(few, prompts), 9: different(many, prompts[: config.nines])}
        self.people = {one.name: one for one in ground.people}
        self.trial = Trial(ground, ground.project.prompts("test")[: config.test_prompts])

    def heard(self, name: str) -> Heard:
        """What people say in one form until their time is over, or in each form of a mixture for its part of it."""
        if name != MIXED:
            return self.asked(name, self.config.seconds, list(self.prompts.values()))
        parts = []
        for at, part in enumerate(MIXTURE):
            mine = list(self.prompts.values())[at :: len(MIXTURE)]  # a prompt has one form: no answer is judged twice
            parts.append(self.asked(part, self.config.seconds / len(MIXTURE), mine))
        return Heard([one for part in parts for one in part.asked], [one for part in parts for one in part.said])

    def asked(self, name: str, budget: float, prompts: Sequence[Prompt]) -> Heard:
        """Questions of one form, one of a prompt, until the seconds are over: the answer that would end later is not
        begun. Raises SettingsError when the prompts are over first.
        """
        way, left = WAYS[name], budget
        asked, said = list[Asked](), list[Feedback]()
        answers = self.different[9 if way.answers == 9 else 2]
        for prompt in prompts:
            samples = answers.get(prompt.id, ())[: way.answers]
            if len(samples) < min(2, way.answers) or (way.answers == 9 and len(samples) < 9):
                continue
            one, feedback = self.answered(name, prompt, samples)
            if feedback.seconds > left:
                return Heard(asked, said)
            left -= feedback.seconds
            asked.append(one)
            said.append(feedback)
        raise SettingsError(
            f"{name}: {len(asked)} questions about {len(prompts)} prompts took {budget - left:.0f} of {budget:.0f} "
            "seconds, and no more can be asked; "
            f"raise {'nines' if way.answers == 9 else 'train_prompts'}, or lower seconds"
        )

    def answered(self, name: str, prompt: Prompt, samples: Sequence[Sample]) -> tuple[Asked, Feedback]:
        """One question to the person whom its id names, the answers in the order that this person sees."""
        way = WAYS[name]
        question = Question(id=named_id("form", self.seed, name, [one.id for one in samples]), prompt=prompt.id,
                            samples=tuple(one.id for one in samples), form=way.form, criteria=way.criteria)  # fmt: skip
        (who,) = assigned(question, list(self.people))
        order = {id: at for at, id in enumerate(claims.shown(question, who))}
        seen = tuple(sorted(samples, key=lambda one: order[one.id]))
        asked = Asked(question=question, prompt=prompt, samples=seen)
        (answer,) = self.people[who].answer([asked])
        took = seconds(asked, answer, self.config.pace)
        return asked, Feedback(id=named_id("said", question.id, who), question=question.id, annotator=who,
                               answer=answer, shown=tuple(order), seconds=took, made=0.0)  # fmt: skip

    def one_form(self, name: str) -> dict[str, Any]:
        """What was said in one form and what it took; and what is learned from that."""
        heard = self.heard(name)
        member, used = self.taught(heard)
        found = {"accuracy": self.trial.accuracy(member), "best of 16": self.trial.best_of(member)}
        if self.config.iterations:
            found["PPO"] = self.trial.climbed(member, self.config.iterations, f"form {name}")
        return {"told": {**self.told(name, heard), "judgements": used}, "ways": found}

    def taught(self, heard: Heard) -> tuple[Member, int]:
        """A reward model that learned everything in its own form, and from how many judgements."""
        config, ground = self.config, self.ground
        questions = [one.question for one in heard.asked]
        said = in_their_forms(questions, heard.said)
        samples = self.samples | {one.id: one for one in said.samples}
        useful = [one for one in said.judgements if unlike(one, samples)]
        judged = ground.encoder.judged(useful, self.prompts, samples)
        answers, prompts = len(judged.segment), len(judged.groups())
        epochs = max(config.epochs, config.steps * config.at_once / answers)
        settings = reward_heads.Config(epochs=epochs, batch=max(1, round(config.at_once * prompts / answers)))
        optimiser = settings.optimiser.model_copy(update={"learning_rate": config.learning_rate, "weight_decay": 0.0})
        chance = seed_of(self.seed, "form")
        model = models.scorer_model(ground.backbone(), ground.encoder.tokenizer, seed_of(chance, "head"), True)
        scorer = Scorer(model)
        with aside("form", chance) as run:
            heads, _ = reward_heads.train(settings.model_copy(update={"optimiser": optimiser}), scorer, judged, run)
        mean = heads.normalisers[""]
        return Member(scorer, ground.encoder, mean.mean, mean.std), len(judged)

    def told(self, name: str, heard: Heard) -> dict[str, float]:
        """How many questions, seconds of each; the share of pairs of answers ordered as by gold, and bits a question.

        No bits of corrections, and so none of a mixture: that a corrected answer is the better one was known before.
        """
        found = {"questions": len(heard.said), "seconds": heard.seconds / len(heard.said), "right": self.right(heard)}
        if name in (MIXED, "corrections"):
            return found
        bits = [useful_bits(len(one.samples), found["right"]) for one in heard.asked]
        return found | {"bits": float(np.mean(bits))}

    def right(self, heard: Heard) -> float:
        """Share of pairs that gold tells apart which were ordered overall as gold orders them; a tie is half."""
        voted = hear([one.question for one in heard.asked], heard.said)
        samples = self.samples | {one.id: one for one in voted.samples}

        def gold(id: str) -> float:
            return self.ground.gold(self.prompts[samples[id].prompt], samples[id]).score

        hits = []
        for vote in voted.votes:
            gap = gold(vote.a) - gold(vote.b)
            if not vote.criterion and abs(gap) > 1e-9:
                hits.append(0.5 if vote.outcome == "tie" else float((vote.outcome == "a") == (gap > 0)))
        return float(np.mean(hits)) if hits else 0.5


def different(drawn: Sequence[tuple[Prompt, Sample]], prompts: Sequence[Prompt]) -> dict[str, tuple[Sample, ...]]:
    """The answers to each prompt that differ in their words, in their order."""
    found: dict[str, dict[str, Sample]] = {prompt.id: {} for prompt in prompts}
    for prompt, sample in drawn:
        found[prompt.id].setdefault(sample.content.model_dump_json(), sample)
    return {id: tuple(by.values()) for id, by in found.items()}


def unlike(said: Judgement, samples: Mapping[str, Sample]) -> bool:
    """Whether it speaks of different answers: a correction that changed nothing prefers an answer to itself."""
    return said.form != "pair" or len({samples[id].content.model_dump_json() for id in said.samples}) > 1


def measured(stand: Stand) -> dict[str, Any]:
    """Every form of one seed; what is made is not made again."""
    made: list[Here] = []

    def here() -> Here:
        if not made:
            made.append(Here(stand.ground(), stand.config))
        return made[0]

    row = {}
    for name in (*WAYS, MIXED):
        stand.say(name)
        part = name.replace(" ", "-")
        row[name] = stand.parts.part(part, lambda name=name: here().one_form(name))  # type: ignore[misc]
    return {"forms": row, "seconds": stand.config.seconds}


prove = Experiment("forms", Config, SMALL, measured, told).prove

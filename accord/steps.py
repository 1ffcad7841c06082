"""Rewards of steps: the stage that learns them from marked places, and what answers earn by them on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from accord.algorithms import process_reward
from accord.batches import Segment, pack
from accord.config import SettingsError
from accord.project import Project, named, scores
from accord.protocols import Reward
from accord.records import Critique, Prompt, Question, Sample, Span, Version, digest
from accord.rewards.learned import Answers
from accord.rewards.spans import FAULTS, Criticised, runs
from accord.rewards.steps import Cut, Each, Process, lines, said, sentences, whole
from accord.run import seed_of
from accord.worlds.text import models
from accord.worlds.text.dialogue import DialogueWorld
from accord.worlds.text.encode import Encoder
from accord.worlds.text.marks import in_message, marked, stops
from accord.worlds.text.places import places_of
from accord.worlds.text.scorer import Scorer
from accord.worlds.text.tokenizer import open_tokenizer
from accord.worlds.text.world import TextWorld

METHOD = "process_reward"
GOOD = frozenset({"good"})
"""Labels of a marked place that say it is right; those of `FAULTS` say it is wrong, and others nothing."""
CUTS: dict[str, Cut] = {"end": lines, "line": lines, "sentence": sentences}
"""What a step is, by where an answer is paid; a process reward model judges lines unless sentences are wanted."""
Marks = list[tuple[Prompt, Sample, Sequence[Span]]]


def critiques(project: Project, split: str) -> tuple[Marks, list[str]]:
    """What people marked in answers to prompts of a side, and the ids of their feedback."""
    said = [(one, one.answer) for one in project.store.feedback() if isinstance(one.answer, Critique)]
    questions = project.store.get_many(Question, dict.fromkeys(one.question for one, _ in said))
    prompts = project.store.get_many(Prompt, dict.fromkeys(question.prompt for question in questions.values()))
    samples = project.store.get_many(Sample, dict.fromkeys(answer.sample for _, answer in said))
    found: Marks = []
    ids = []
    for one, answer in said:
        prompt = prompts[questions[one.question].prompt]
        if prompt.split == split and answer.sample in samples:
            found.append((prompt, samples[answer.sample], answer.spans))
            ids.append(one.id)
    return found, ids


def train_process_reward(
    project: Project, name: str, method: str, config: process_reward.Config, start: str | None = None, **rest: Any
) -> Version:
    """Learn which steps are right from the places that people marked in answers."""
    recipe, chosen = project.recipe, project.recipe.reward_backbone
    if chosen is None and start is None:
        raise SettingsError(f"{method} starts from a version (--start NAME) or from the recipe's reward_backbone")
    said, data = critiques(project, "train")
    if not said:
        raise SettingsError(
            f"{method} learns from critiques with marked places about train prompts, and {project.folder} has none: "
            "ask for some (accord ask --form critique) or import some (accord import)"
        )
    backbone = chosen or named(recipe.model, project.path(str(start)))
    tokenizer = open_tokenizer(str(backbone.name))
    scorer = Scorer(models.scorer_model(backbone, tokenizer, seed_of(recipe.seed, "head"), fresh_head=True))
    if not scorer.decoder:
        raise SettingsError(
            f"{method}: {backbone.name} is an encoder, which sees whole texts; a step is judged by what stands before "
            "it, so start from a decoder (--start NAME of a policy, without reward_backbone)"
        )
    encoder, (held, _) = project.encoder(tokenizer), critiques(project, "test")
    run = project.run(name, config, start=start, critiques=digest(data))
    learned = marked(encoder, said, GOOD, FAULTS, config.per)
    usable = [one for one in held if config.per == "token" or any(s.label in GOOD | FAULTS for s in one[2])]
    unseen = marked(encoder, usable, GOOD, FAULTS, config.per) if usable else None
    encoder.report.warn(name)
    if len(places := learned.label[learned.judged]) and places.min() == places.max():
        raise SettingsError(
            f"{method}: all {len(places)} judged places have the label {float(places[0]):g} (1 right, 0 wrong): "
            "there is nothing to tell apart; have other answers marked (accord ask --form critique), or import some"
        )
    figures = process_reward.train(config, scorer.to(run.device), learned, run, unseen) | encoder.report.figures()
    parent = None if chosen else start
    return project.keep(name, "reward", method, scorer.model, tokenizer, parent, config, data, figures)


def by_steps(
    project: Project, world: TextWorld | DialogueWorld, version: str, device: torch.device, tokens: int
) -> Reward | None:
    """What answers earn by a reward model where they are written, as the recipe's `steps` says; None at their ends.

    tokens: computed at once. Raises SettingsError for dialogues: only single answers have their places known.
    """
    settings, made = project.recipe.steps, project.version(version)
    of_steps = made is not None and made.method == METHOD
    if not of_steps and settings.paid == "end":
        return None
    if not isinstance(world, TextWorld):
        raise SettingsError(
            f"{version} would be paid for steps or sentences (steps.paid={settings.paid}), and dialogues are paid for "
            "whole answers; set dialogue.turns=1, or give another --reward and steps.paid=end"
        )
    where = partial(places_of, world.encoder)
    if not of_steps:
        return Each(world.keep, where, normalised(project, version, device, tokens), CUTS[settings.paid])
    assert made is not None
    scorer, encoder = project.scorer(version, device)
    if made.config["per"] == "token":
        return Criticised(world.keep, where, partial(faults, scorer, encoder, tokens=tokens), settings.price)
    judge = partial(chances, scorer, encoder, tokens=tokens)
    return Process(world.keep, where, judge, CUTS[settings.paid], settings.join)


def worth(project: Project, version: str) -> Callable[[Answers], Tensor]:
    """What whole answers are worth [N] by any reward model: its score; of a model of steps or of tokens, what by_steps
    pays for all of them together, as the recipe's `steps` says."""
    made, settings = project.version(version), project.recipe.steps
    if made is None or made.method != METHOD:
        return project.score(version)
    (scorer, encoder), tokens = project.scorer(version), project.recipe.reward_model.micro_tokens

    def by_faults(answers: Answers) -> Tensor:
        return torch.tensor([-settings.price * len(spans) for spans in faults(scorer, encoder, answers, tokens)])

    def joined(answers: Answers) -> Tensor:
        parts = [CUTS[settings.paid](said(sample)) for _, sample in answers]
        judged = chances(scorer, encoder, answers, parts, tokens)
        return torch.stack([whole(right, settings.join)[-1] if len(right) else torch.zeros(()) for right in judged])

    return by_faults if made.config["per"] == "token" else joined


def normalised(project: Project, version: str, device: torch.device, tokens: int) -> Callable[[Answers], Tensor]:
    """Normalised scores [N] of answers by a reward model; of an ensemble, the mean of its members'."""
    every = [project.scorer(name, device) for name in project.members(version)]

    def score(answers: Answers) -> Tensor:
        found = []
        for scorer, encoder in every:
            mean, std = models.normaliser(scorer.model)
            found.append((scores(scorer, encoder, answers, tokens) - mean) / std)
        return torch.stack(found).mean(0)

    return score


def chances(
    scorer: Scorer, encoder: Encoder, answers: Answers, parts: Sequence[Sequence[tuple[int, int]]], tokens: int
) -> list[Tensor]:
    """For each answer [N], how likely each of its N parts is right."""
    segment = encoder.segment(answers, scoring=True)
    right = read(scorer, segment, tokens)
    ends = stops(encoder, segment, [sample for _, sample in answers], parts)
    return [right[row, at] for row, at in enumerate(ends)]


def faults(scorer: Scorer, encoder: Encoder, answers: Answers, tokens: int) -> list[list[Span]]:
    """What a head that reads tokens marks as bad in each answer: where a token is rather wrong than right."""
    segment = encoder.segment(answers, scoring=True)
    right = read(scorer, segment, tokens)
    found = []
    for row, (_, sample) in enumerate(answers):
        where = in_message(encoder, segment, row, sample) or []
        found.append(runs(right[row, : len(where)].tolist(), where))
    return found


@torch.no_grad()
def read(scorer: Scorer, segment: Segment, tokens: int) -> Tensor:
    """[B, T] on the CPU: how likely each token, or what ends there, is right."""
    segment = segment.to(next(scorer.parameters()).device)
    found = torch.zeros(segment.action.shape)
    for index in pack(segment, tokens):
        micro = segment.rows(index)
        found[index.cpu(), : micro.action.shape[1]] = torch.sigmoid(scorer.each(micro)).float().cpu()
    return found

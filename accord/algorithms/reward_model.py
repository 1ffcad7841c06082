"""What is an answer worth: a score learned from comparisons (Bradley and Terry 1952; Christiano et al. 2017).

P(i better than j) = sigmoid(r_i - r_j). Beliefs are soft: a label that we are 70 % sure of pulls less than a certain
one and never beyond its own log-odds; a tie pulls the two scores together.
Ours: all pairs of one prompt stay in one batch and each answer is encoded once (Ouyang et al. 2022, section 3.5);
the mean is over the weights of all pairs of the batch; the margin is subtracted as in Llama 2 (Touvron et al. 2023,
eq. 2), scaled by a setting; a small centring term (Eisenstein et al. 2023) fixes the level that pairs leave free.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import logsigmoid

from accord.algorithms.consistency import Config as ConsistencyConfig
from accord.batches import Comparisons, Segment, pack
from accord.config import Settings, SettingsError
from accord.run import OptimiserConfig, Run
from accord.run.layerwise import layerwise

Beside = Callable[[], dict[str, float]]
"""Adds its gradient to the step under way. Returns figures to be summed over ranks."""
NORMALISED = 2000
"""Answers that the score normaliser is made from: the first so many."""


class Config(Settings):
    """Settings of reward-model training."""

    epochs: float = Field(default=1.0, gt=0)
    """How often each pair is seen. Reward models overfit after one or two."""
    batch: int = Field(default=32, ge=1)
    """Prompts (with all their pairs) per optimiser step."""
    margin: float = Field(default=0.0, ge=0)
    """How far apart, per step of strength, the scores should be at least; Llama 2 used 1/3 to 1."""
    centring: float = Field(default=0.01, ge=0)
    """Weight of the squared mean score of a pair; keeps the level near 0."""
    micro_tokens: int = Field(default=8192, ge=1)
    """Tokens computed at once. Changes memory and speed, never the result."""
    check_every: int = Field(default=0, ge=0)
    """Measure held-out accuracy after so many steps; 0 only at the end."""
    normalise: Literal["learned", "start"] = "learned"
    """Whose scores get mean 0 and variance 1: the answers that were learned from; or fresh answers of the version that
    the model starts from, whose spread is then made 1 before training too (Huang et al. 2024)."""
    head: Literal["fresh", "kept"] = "fresh"
    """Draw a new head; or go on with that of the reward model that it starts from, as from one domain to another."""
    trunk: Literal["learned", "frozen", "lora"] = "learned"
    """What learns below the head: the whole model, nothing, or adapters as `model.lora` says (needs `peft`)."""
    layer_decay: float = Field(default=1.0, gt=0, le=1)
    """Each layer learns with the rate of the one above it times this, the words' vectors with the least; 1 for one rate
    for all. For pretrained models; .65 to .95 are usual."""
    consistency: ConsistencyConfig = ConsistencyConfig()
    """Opinions that stay the same when a prompt is put in other words; no label is needed. Off by default."""
    optimiser: OptimiserConfig = OptimiserConfig(learning_rate=5e-4)
    """How the parameters move."""


class Paced(Protocol):
    """Settings that say how often things are seen."""

    @property
    def epochs(self) -> float: ...

    @property
    def batch(self) -> int: ...


class Scorer(Protocol):
    """An nn.Module that gives each row a number."""

    def score(self, segment: Segment) -> Tensor: ...


def nothing() -> dict[str, float]:
    """Nothing is learned beside."""
    return {}


@dataclass(frozen=True)
class Normaliser:
    """Turns raw scores into scores of mean 0 and variance 1 over the samples it was made from."""

    mean: float = 0.0
    std: float = 1.0

    def __call__(self, score: Tensor) -> Tensor:
        return (score - self.mean) / self.std


def pairwise(better: Tensor, worse: Tensor, probability: Tensor, margin: Tensor | float = 0.0) -> Tensor:
    """Cross-entropy of a belief about one pair: -p log s(z) - (1 - p) log s(-z), z = r_better - r_worse - margin.

    All [N]; at probability 1 and margin 0 this is eq. 1 of Ouyang et al. 2022. Returns [N] in nats.
    """
    z = better - worse - margin
    return -(probability * logsigmoid(z) + (1 - probability) * logsigmoid(-z))


def correct(better: Tensor, worse: Tensor) -> Tensor:
    """[N]: 1 where the believed better one scores higher, 1/2 where both score the same, else 0."""
    return (better > worse).float() + 0.5 * (better == worse).float()


def steps(config: Paced, prompts: int) -> int:
    """Optimiser steps that the settings come to; a batch is never larger than all prompts."""
    return max(1, round(config.epochs * prompts / min(config.batch, max(1, prompts))))


def normaliser(score: Tensor) -> Normaliser:
    """That of some scores [B]; a spread below .001 counts as that."""
    return Normaliser(float(score.mean()), max(float(score.std()), 1e-3))


def train(
    config: Config,
    scorer: Scorer,
    comparisons: Comparisons,
    run: Run,
    held_out: Comparisons | None = None,
    beside: Beside = nothing,
) -> tuple[Normaliser, dict[str, float]]:
    """Fit the scores to the beliefs. Returns the normaliser over the training answers, and the last figures.

    beside: a term that joins each step's loss, such as `consistency.Consistency`.
    """
    figures = fit(config, scorer, comparisons, run, held_out, beside)
    first = torch.arange(min(len(comparisons.segment), NORMALISED))
    scores = scores_of(scorer, comparisons.segment.rows(first).to(run.device), config.micro_tokens)
    return normaliser(scores), figures


def fit(
    config: Config,
    scorer: Scorer,
    comparisons: Comparisons,
    run: Run,
    held_out: Comparisons | None = None,
    beside: Beside = nothing,
) -> dict[str, float]:
    """Fit the scores to the beliefs, and leave them raw. Returns the last figures."""
    groups = comparisons.groups()
    if not groups:
        raise SettingsError(
            "no comparisons to learn from: are the files empty, all their rows bad, or were no two answers asked about?"
        )
    total = steps(config, len(groups))
    modules, rates = layerwise(scorer, "scorer", config.optimiser.learning_rate, config.layer_decay)
    run.optimise(config.optimiser, total, rates, **modules)
    figures: dict[str, float] = {}
    for step in run.steps(total):
        chosen = torch.cat([groups[g] for g in run.deal(len(groups), config.batch).tolist()])
        batch = run.share(comparisons.pairs(chosen)).to(run.device)
        count = run.total(batch.weight.sum())
        loss, right = torch.zeros((), device=run.device), torch.zeros((), device=run.device)
        for micro in run.split(batch, config.micro_tokens):
            with run.learning(scorer):
                score = scorer.score(micro.segment)
                better, worse = score[micro.better], score[micro.worse]
                apart = torch.where(micro.probability == 0.5, 0.0, config.margin * micro.margin)  # a tie: by nothing
                each = pairwise(better, worse, micro.probability, apart)
                centred = config.centring * ((better + worse) / 2).square()
                run.backward(((each + centred) * micro.weight).sum() / count, micro.names)
            loss += (each.detach() * micro.weight).sum() / count
            hit = torch.where(micro.probability == 0.5, 0.5, correct(better, worse))
            right += (hit * micro.weight).sum() / count
        figures = run.step(loss=loss, accuracy=right, pairs=len(batch), **beside())
        last = step + 1 == total
        if held_out is not None and (last or (config.check_every and (step + 1) % config.check_every == 0)):
            held = accuracy_on(scorer, held_out.to(run.device), config.micro_tokens)
            figures |= {} if math.isnan(held) else {"held_out_accuracy": held}
        run.log(**figures)
    return figures or run.last_figures()


@torch.no_grad()
def scores_of(scorer: Scorer, segment: Segment, micro_tokens: int) -> Tensor:
    """[B] raw score of every row."""
    score = torch.zeros(len(segment), device=segment.length.device)
    for index in pack(segment, micro_tokens):
        score[index] = scorer.score(segment.rows(index)).float()
    return score


def accuracy_on(scorer: Scorer, comparisons: Comparisons, micro_tokens: int) -> float:
    """Share of the weight of pairs whose believed better one scores higher; a pair with equal scores counts half.

    Beliefs of one half say of neither that it is better, and are left out; nan where no other weighs anything.
    """
    score = scores_of(scorer, comparisons.segment, micro_tokens)
    right = correct(score[comparisons.better], score[comparisons.worse])
    weight = torch.where(comparisons.probability == 0.5, 0.0, comparisons.weight)
    return float((right * weight).sum() / weight.sum())

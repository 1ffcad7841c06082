"""Direct preference optimisation and its kin: a policy learned from comparisons, without a reward model between.

Rafailov et al. 2023: a policy is a reward model in disguise; the reward of an answer is beta times how much likelier
it became than under the reference. `LOSSES` holds what the literature says about two such rewards; all else is shared.
Ours: every loss takes a belief (a probability, ties at .5) and not only a certain label; each answer is encoded once in
however many pairs it stands; the reference is asked once per answer, before the first step, so there is no second
model in memory; one mean over the weights of all pairs of the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import relu

from accord.algorithms.functional import kl
from accord.algorithms.kept import asked_once
from accord.algorithms.referred import Actor, Reference, referred, whole, whole_of, with_reference
from accord.algorithms.reward_model import correct, pairwise
from accord.batches import Comparisons
from accord.config import Settings
from accord.run import OptimiserConfig, Run

Name = Literal["dpo", "robust", "ipo", "hinge", "simpo", "orpo", "cpo"]


class Config(Settings):
    """Settings of learning a policy from comparisons."""

    loss: Name = "dpo"
    """Which of `LOSSES`. simpo, orpo and cpo need no reference."""
    beta: float = Field(default=0.1, gt=0)
    """Price of drift: higher stays nearer to the reference. For ipo its tau, for orpo its lambda, for simpo try 2."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of labels believed to be wrong: moves every belief towards .5 (cDPO); `robust` removes its bias instead."""
    length_normalised: bool = False
    """Take an answer's log-probability per token, so that long answers gain nothing by length."""
    reference_free: bool = False
    """Forget the reference: the reward is the log-probability itself."""
    offset: float = Field(default=0.0, ge=0)
    """How far apart, per step of strength, two rewards should be at least (ODPO)."""
    gap: float = Field(default=0.0, ge=0)
    """How far apart every two rewards should be at least, but for ties; the gamma of SimPO. Not read by orpo."""
    imitation: float | None = Field(default=None, ge=0)
    """Weight of the loss per token of the better answer; None takes the papers': 1 for orpo and cpo, else 0."""
    epochs: float = Field(default=1.0, gt=0)
    """How often each pair is seen."""
    batch: int = Field(default=32, ge=1)
    """Prompts (with all their pairs) per optimiser step."""
    micro_tokens: int = Field(default=8192, ge=1)
    """Tokens computed at once. Changes memory and speed, never the result."""
    check_every: int = Field(default=0, ge=0)
    """Measure held-out accuracy after so many steps; 0 only at the end."""
    optimiser: OptimiserConfig = OptimiserConfig(learning_rate=1e-4, schedule="linear", warmup=0.1)
    """How the parameters move."""


@dataclass(frozen=True)
class Pairs:
    """What the losses speak about. All [N]; `better` and `worse` are as the belief has them."""

    better: Tensor
    """Implicit reward over beta: log-probability of the answer less the reference's (per token when normalised)."""
    worse: Tensor
    better_mean: Tensor
    """Log-probability per token, without the reference."""
    worse_mean: Tensor
    probability: Tensor
    """How sure the belief is, smoothed."""
    gap: Tensor
    """How far apart the rewards should be at least; 0 of a tie."""


def dpo(pairs: Pairs, config: Config) -> Tensor:
    """-p log s(z) - (1 - p) log s(-z), z = beta (better - worse) - gap: eq. 7 of Rafailov et al. 2023 at p = 1."""
    return pairwise(config.beta * pairs.better, config.beta * pairs.worse, pairs.probability, pairs.gap)


def robust(pairs: Pairs, config: Config) -> Tensor:
    """Chowdhury et al. 2024: DPO whose mean under labels flipped at rate e is DPO's under right ones.

    ((1 - e) L(p) - e L(1 - p)) / (1 - 2 e), where L(p) is `dpo`; at e = 0 it is `dpo`.
    """
    z, flipped = config.beta * (pairs.better - pairs.worse) - pairs.gap, config.label_smoothing
    certain, contrary = (pairwise(z, torch.zeros_like(z), p) for p in (pairs.probability, 1 - pairs.probability))
    return ((1 - flipped) * certain - flipped * contrary) / (1 - 2 * flipped)


def ipo(pairs: Pairs, config: Config) -> Tensor:
    """Azar et al. 2023, eq. 17: (better - worse - 1 / (2 beta))^2, and for a belief the mean over both orders.

    Its minimum is at (2 p - 1) / (2 beta), so a certain label moves the policy a limited way.
    """
    h, aim = pairs.better - pairs.worse - pairs.gap / config.beta, 1 / (2 * config.beta)
    return pairs.probability * (h - aim).square() + (1 - pairs.probability) * (h + aim).square()


def hinge(pairs: Pairs, config: Config) -> Tensor:
    """Zhao et al. 2023 (SLiC), Liu et al. 2024: max(0, 1 - z), z = beta (better - worse) - gap."""
    z = config.beta * (pairs.better - pairs.worse) - pairs.gap
    return pairs.probability * relu(1 - z) + (1 - pairs.probability) * relu(1 + z)


def orpo(pairs: Pairs, config: Config) -> Tensor:
    """Hong et al. 2024, eq. 7, the second term: beta times -log s(log odds(better) - log odds(worse)).

    odds = P / (1 - P) with P = exp(log-probability per token). The first term is `imitation`.
    """
    return config.beta * pairwise(log_odds(pairs.better), log_odds(pairs.worse), pairs.probability)


LOSSES: dict[str, Callable[[Pairs, Config], Tensor]] = {
    "dpo": dpo,
    "robust": robust,
    "ipo": ipo,
    "hinge": hinge,
    "simpo": dpo,  # Meng et al. 2024, eq. 6: DPO per token, without reference, `gap` apart
    "orpo": orpo,
    "cpo": dpo,  # Xu et al. 2024: DPO with a uniform reference, and imitation of the better answer
}
"""By name: from [N] pairs to [N] losses."""
FREE, PER_TOKEN, IMITATING = {"simpo", "orpo", "cpo"}, {"simpo", "orpo"}, {"orpo", "cpo"}
"""Losses without a reference; about log-probabilities per token; with the likelihood of the better answer."""


def log_odds(logprob: Tensor) -> Tensor:
    """log(P / (1 - P)) of log P < 0, exact where P is near 1. Any shape."""
    return logprob - torch.log(-torch.expm1(logprob.clamp_max(-1e-6)))


def free(config: Config) -> bool:
    """Whether the settings need no reference."""
    return config.reference_free or config.loss in FREE


def pairs_of(comparisons: Comparisons, logprob: Tensor, config: Config) -> Pairs:
    """The pairs of a batch. logprob: [B] of each whole answer. The segment is `Referred` unless the loss is free."""
    segment, e = comparisons.segment, config.label_smoothing
    length = segment.mask.sum(1).clamp_min(1)
    reward = logprob if free(config) else logprob - referred(segment)
    if config.length_normalised or config.loss in PER_TOKEN:
        reward = reward / length
    p, better, worse = comparisons.probability, comparisons.better, comparisons.worse
    return Pairs(
        better=reward[better],
        worse=reward[worse],
        better_mean=(logprob / length)[better],
        worse_mean=(logprob / length)[worse],
        probability=p if config.loss == "robust" else p * (1 - e) + (1 - p) * e,
        gap=torch.where(p > 0.5, config.gap + config.offset * comparisons.margin, 0.0),  # of a tie no side is ahead
    )


def loss_of(pairs: Pairs, config: Config) -> Tensor:
    """[N] the loss of each pair, with imitation of the better answer as far as it is believed to be that."""
    each, p = LOSSES[config.loss](pairs, config), pairs.probability
    weight = config.imitation if config.imitation is not None else float(config.loss in IMITATING)
    return each - weight * (p * pairs.better_mean + (1 - p) * pairs.worse_mean) if weight else each


def steps(config: Config, prompts: int) -> int:
    """Optimiser steps that the settings come to."""
    return max(1, round(config.epochs * prompts / config.batch))


def train(
    config: Config,
    policy: Actor,
    comparisons: Comparisons,
    run: Run,
    reference: Reference | None = None,
    held_out: Comparisons | None = None,
    moving: bool = False,
) -> dict[str, float]:
    """Move the policy to what is believed better. Returns the last figures (docs/dpo.md explains each).

    reference: what drift is measured from; None takes the policy as it is when this is called, before any checkpoint
    is loaded, so that DPO's first loss is ln 2. moving: it learns too (Gorbatovski et al. 2024), so it is asked about
    each batch anew. Raises ValueError when there is nothing to learn from.
    """
    groups = comparisons.groups()
    if not groups:
        raise ValueError("no comparisons to learn from")
    total = steps(config, len(groups))
    ask = partial(known, policy=policy, reference=reference, config=config, run=run)
    anew: Callable[[Comparisons], Comparisons] = ask if moving else lambda as_it_is: as_it_is
    if not moving:
        comparisons = ask(comparisons, kept="reference")
        held_out = ask(held_out, kept="reference-held-out") if held_out else None
    run.optimise(config.optimiser, total, policy=policy)
    figures: dict[str, float] = {}
    for step in run.steps(total):
        chosen = torch.cat([groups[g] for g in run.deal(len(groups), config.batch).tolist()])
        batch = run.share(anew(comparisons.pairs(chosen))).to(run.device)
        count = run.total(batch.weight.sum())
        figures = {}
        for micro in run.split(batch, config.micro_tokens):
            with run.learning(policy):
                logprob = whole(policy.evaluate(micro.segment).logprob, micro.segment.mask)
                each = loss_of(pairs := pairs_of(micro, logprob, config), config)
                run.backward((each * micro.weight).sum() / count, micro.names)
            for name, part in {"loss": each, **looked(pairs, micro, logprob, config)}.items():
                figures[name] = figures.get(name, 0.0) + float((part.detach() * micro.weight).sum() / count)
        figures = run.step(**figures, pairs=len(batch))
        figures |= {"first_loss": figures["loss"]} if step == 0 else {}
        last = step + 1 == total
        if held_out is not None and (last or (config.check_every and (step + 1) % config.check_every == 0)):
            held = accuracy_on(policy, anew(held_out).to(run.device), config)
            figures |= {"held_out_accuracy": held} if held >= 0 else {}  # it is no number where all are ties
        run.log(**figures)
    return figures or run.last_figures()


def known(
    comparisons: Comparisons, policy: Actor, reference: Reference | None, config: Config, run: Run, kept: str = ""
) -> Comparisons:
    """The comparisons with the reference's log-probability beside each answer, where the loss asks for it."""
    if free(config):
        return comparisons
    asked = asked_once(kept, reference, policy, comparisons.segment.to(run.device), config.micro_tokens, run)
    return replace(comparisons, segment=with_reference(comparisons.segment, asked.to(comparisons.weight.device)))


@torch.no_grad()
def looked(pairs: Pairs, comparisons: Comparisons, logprob: Tensor, config: Config) -> dict[str, Tensor]:
    """[N] figures of each pair."""
    h = config.beta * (pairs.better - pairs.worse)
    hit = torch.where(comparisons.probability == 0.5, 0.5, correct(h, 0 * h))
    figures = {"accuracy": hit, "margin": h, "better": pairs.better_mean, "worse": pairs.worse_mean}
    if not free(config):
        asked = referred(comparisons.segment)
        change, drift = logprob - asked, kl(logprob, asked, "k2")
        figures |= {"better_change": change[comparisons.better], "worse_change": change[comparisons.worse]}
        figures["drift"] = (drift[comparisons.better] + drift[comparisons.worse]) / 2
    return figures


@torch.no_grad()
def accuracy_on(policy: Actor, comparisons: Comparisons, config: Config) -> float:
    """Share of the weight of pairs whose better answer has the higher reward, equal ones half, without ties; or nan."""
    logprob = whole_of(lambda segment: policy.evaluate(segment).logprob, comparisons.segment, config.micro_tokens)
    right = looked(pairs_of(comparisons, logprob, config), comparisons, logprob, config)["accuracy"]
    weight = comparisons.weight * (comparisons.probability != 0.5)
    return float((right * weight).sum() / weight.sum())

"""Learning from single answers that are known to be good or bad (Ethayarajh et al. 2024, KTO).

People are moved by what they gain or lose against what they expect. The reward of an answer is beta times how much
likelier it became than under the reference; what is expected is the drift of the policy from the reference; a good
answer should lie above that and a bad one below it, with losses felt more or less than gains.
Ours: what is expected is measured on the whole batch, not on a micro-batch; the foreign prompts that it is measured
with are dealt once, so the reference is asked before the first step and needs no memory afterwards.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from accord.algorithms.functional import kl
from accord.algorithms.kept import asked_once
from accord.algorithms.referred import Actor, Reference, referred, whole, whole_of, with_reference
from accord.batches import Segment
from accord.config import Settings
from accord.run import OptimiserConfig, Run, seed_of


class Config(Settings):
    """Settings of KTO."""

    beta: float = Field(default=0.1, gt=0)
    """Price of drift, and how soon a gain is enough. Higher stays nearer to the reference."""
    desirable_weight: float = Field(default=1.0, gt=0)
    """What a good answer counts. The paper wants this times their number within 1 to 4/3 of the bad ones' product."""
    undesirable_weight: float = Field(default=1.0, gt=0)
    """What a bad answer counts."""
    baseline: Literal["mismatched", "none"] = "mismatched"
    """What is expected: the drift on answers to other prompts, never below 0 (the paper); or always nothing."""
    epochs: float = Field(default=1.0, gt=0)
    """How often each answer is seen."""
    batch: int = Field(default=32, ge=2)
    """Answers per optimiser step. The paper wants at least 8, for the baseline's sake."""
    micro_tokens: int = Field(default=8192, ge=1)
    """Tokens computed at once. Changes memory and speed, never the result."""
    optimiser: OptimiserConfig = OptimiserConfig(learning_rate=1e-4, schedule="linear", warmup=0.1)
    """How the parameters move."""


def kto(change: Tensor, desirable: Tensor, expected: Tensor, config: Config) -> Tensor:
    """weight (1 - s(beta (change - expected))) for a good answer, the other way round for a bad one: eq. 8.

    change: [B] log-probability of the answer less the reference's; desirable: [B] bool; expected: number in nats.
    Returns [B], between 0 and the weights; the gradient never goes through `expected`.
    """
    z = config.beta * (change - expected.detach())
    weight = torch.where(desirable, config.desirable_weight, config.undesirable_weight)
    return weight * torch.sigmoid(torch.where(desirable, -z, z))


def mismatched(segment: Segment, seed: int) -> Tensor:
    """[B] int64: for each answer the number of another prompt; -1 where none fits.

    Together they are never longer than the longest prompt with its own answer, so that no context can overflow.
    Prompts are tried in turn from a place that the seed and the row fix.
    """
    groups = len(segment.observation_length)
    seen, own, length = segment.observation_length.tolist(), segment.group.tolist(), segment.length.tolist()
    longest = max(seen[g] + t for g, t in zip(own, length, strict=True))
    other = []
    for row, (g, t) in enumerate(zip(own, length, strict=True)):
        start = seed_of(seed, "mismatched", row) % groups
        tried = (at % groups for at in range(start, start + groups))
        other.append(next((at for at in tried if at != g and seen[at] + t <= longest), -1))
    return torch.tensor(other, dtype=torch.long, device=segment.group.device)


def train(
    config: Config,
    policy: Actor,
    examples: Segment,
    desirable: Tensor,
    run: Run,
    reference: Reference | None = None,
) -> dict[str, float]:
    """Make good answers likelier and bad ones less likely. Returns the last figures (docs/kto.md explains each).

    desirable: [B] bool, which of the examples are good. reference: what drift is measured from; None takes the policy
    as it is when this is called, before any checkpoint is loaded. Raises ValueError when only one kind is there.
    """
    good = int(desirable.sum())
    if not 0 < good < len(examples) == len(desirable):
        raise ValueError(
            f"{good} of {len(desirable)} labels for {len(examples)} answers are good: KTO needs a label for each, and "
            "both kinds; with good ones alone use imitation (sft)"
        )
    here = examples.to(run.device)
    examples = with_reference(here, asked_once("reference", reference, policy, here, config.micro_tokens, run))
    other = mismatched(here, run.config.seed)
    crossed = replace(here, group=other.clamp_min(0))
    measured = config.baseline == "mismatched"
    foreign: Segment | None = None
    if measured:
        asked = asked_once("reference-foreign", reference, policy, crossed, config.micro_tokens, run)
        foreign = with_reference(crossed, asked)
    labels = desirable.to(run.device)
    total = max(1, round(config.epochs * len(examples) / config.batch))
    run.optimise(config.optimiser, total, policy=policy)
    figures: dict[str, float] = {}
    for step in run.steps(total):
        dealt = run.deal(len(examples), config.batch).to(run.device)
        expected = torch.zeros((), device=run.device)
        if foreign is not None:
            expected = expectation(policy, foreign, dealt[other[dealt] >= 0], config.micro_tokens, run)
        batch, good_ones = examples.rows(dealt), labels[dealt]
        count = batch.weight.sum().clamp_min(1e-8)
        each, change = torch.zeros(len(dealt), device=run.device), torch.zeros(len(dealt), device=run.device)
        for at, counts in run.parts(batch, config.micro_tokens):
            micro = batch.rows(at)
            with run.learning(policy):
                moved = whole(policy.evaluate(micro).logprob, micro.mask) - referred(micro)
                loss = kto(moved, good_ones[at], expected, config)
                run.backward(counts * (loss * micro.weight).sum() / count, micro.names)
            each[at], change[at] = each[at] + counts * loss.detach(), change[at] + counts * moved.detach()
        each, change = run.whole(each), run.whole(change)
        figures = {"loss": float((each * batch.weight).sum() / count), "expected": float(expected)}
        figures |= {"first_loss": figures["loss"]} if step == 0 else {}
        figures |= {**looked(change, good_ones, expected), **run.step()}
        run.log(**figures)
    return figures or run.last_figures()


@torch.no_grad()
def expectation(policy: Actor, foreign: Segment, index: Tensor, micro_tokens: int, run: Run) -> Tensor:
    """What is expected, in nats: max(0, mean of log-probability less the reference's) of answers to foreign prompts."""
    if not len(index):
        return torch.zeros((), device=run.device)
    batch = foreign.rows(index)
    now = whole_of(lambda segment: policy.evaluate(segment).logprob, batch, micro_tokens)
    return ((now - referred(batch)).sum() / float(len(index))).clamp_min(0.0)


def looked(change: Tensor, desirable: Tensor, expected: Tensor) -> dict[str, float]:
    """What became of good and bad answers; a batch without one kind says nothing of it."""
    figures = {"drift": float(kl(change, torch.zeros_like(change), "k2").mean())}
    right = torch.where(desirable, change > expected, change < expected).float()
    right = torch.where(change == expected, 0.5, right)
    figures |= {"accuracy": float(right.mean()), "desirable": float(desirable.float().mean())}
    for name, kind in (("better_change", desirable), ("worse_change", ~desirable)):
        if kind.any():
            figures[name] = float(change[kind].mean())
    return figures

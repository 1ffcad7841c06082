"""DPO on the policy's own answers of this moment, judged by a reward as they come (Guo et al. 2024; Xiong et al. 2024).

Each round draws several answers to each prompt, makes pairs of them by what they earned, and takes some steps of any
loss of `dpo.LOSSES` on these. What is compared is always what the policy says now, so it cannot outgrow its data.
Ours: pairs are soft where wanted, as sure as the rewards' difference makes them; the reference is asked once per round.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from itertools import combinations
from typing import Literal

import torch
from pydantic import Field

from accord.algorithms import dpo
from accord.algorithms.beside import Beside, nothing
from accord.algorithms.functional import group_spread
from accord.algorithms.gathering import ended, worth_of
from accord.algorithms.ppo import Reference
from accord.algorithms.referred import Actor, whole, whole_of, with_reference
from accord.batches import Comparisons, Rollout
from accord.config import Settings
from accord.protocols import Policy, Reward, World
from accord.run import OptimiserConfig, Run, read_log


class Config(Settings):
    """Settings of DPO on answers that are drawn and judged while it learns."""

    iterations: int = Field(default=20, ge=1)
    """Rounds of drawing, judging and learning."""
    updates: int = Field(default=4, ge=1)
    """Optimiser steps per round."""
    batch: int = Field(default=32, ge=1)
    """Prompts (with all their pairs) per optimiser step; all that there are when fewer."""
    pairs: Literal["extremes", "all"] = "extremes"
    """The best answer of a prompt against the worst, or every two answers that earned differently."""
    least: float = Field(default=0.0, ge=0)
    """Pairs whose rewards differ by no more are left out."""
    labels: Literal["hard", "soft"] = "hard"
    """What earned more is better for sure; or with the chance sigmoid(difference), for a reward in log-odds."""
    missing_end_penalty: float | None = None
    """What an answer that was cut gets instead of its reward; None gives it its reward."""
    micro_tokens: int = Field(default=8192, ge=1)
    """Tokens computed at once. Changes memory and speed, never the result."""
    objective: dpo.Config = dpo.Config()
    """The loss on a pair and its beta, smoothing, gap and imitation; what else stands here is not read."""
    optimiser: OptimiserConfig = OptimiserConfig(learning_rate=3e-4, schedule="linear", warmup=0.0)
    """How the parameters move."""


def paired(rollout: Rollout, config: Config) -> Comparisons:
    """Pairs of answers to one prompt by what they earned; a prompt whose answers earned alike has none.

    The margin of a pair is the difference of the rewards (for `objective.offset`).
    """
    assert rollout.reward is not None
    earned = rollout.reward.sum(1)
    better, worse = list[int](), list[int]()
    for members in rollout.members():
        order = members[torch.argsort(earned[members], descending=True, stable=True)].tolist()
        every = combinations(order, 2) if config.pairs == "all" else [(order[0], order[-1])] if order else []
        for i, j in every:
            if float(earned[i] - earned[j]) > config.least:
                better.append(i)
                worse.append(j)
    first, second = (torch.tensor(rows, dtype=torch.long, device=earned.device) for rows in (better, worse))
    gap = (earned[first] - earned[second]).float()
    return Comparisons(
        segment=rollout,
        better=first,
        worse=second,
        probability=torch.sigmoid(gap) if config.labels == "soft" else torch.ones_like(gap),
        weight=torch.ones_like(gap),
        margin=gap,
        names=tuple(f"{rollout.names[i]} > {rollout.names[j]}" for i, j in zip(better, worse, strict=True)),
    )


def collect(world: World, policy: Policy, reward: Reward, config: Config) -> Rollout:
    """Answers with what they earned."""
    rollout = world.collect(policy)
    return replace(rollout, reward=ended(rollout, worth_of(rollout, reward), config.missing_end_penalty))


def train(
    config: Config,
    policy: Policy,
    world: World,
    reward: Reward,
    run: Run,
    reference: Reference | None = None,
    beside: Beside = nothing,
) -> dict[str, float]:
    """Make likelier what earned more. Returns the last figures (docs/online_dpo.md explains each).

    reference: what drift is measured from; needed unless the loss is free of it. beside: a loss that joins each update.
    """
    if reference is None and not dpo.free(config.objective):
        raise ValueError(f"loss={config.objective.loss} needs a reference policy; give one, or take simpo, orpo or cpo")
    run.track(world=world)
    run.optimise(config.optimiser, config.iterations * config.updates, policy=policy)
    figures: dict[str, float] = {}
    for _ in run.steps(config.iterations):
        with run.time("generate"):
            rollout = run.hold("rollout", Rollout, lambda: collect(world, policy, reward, config)).to(run.device)
        with run.time("score"):
            found, seen = paired(rollout, config), looked(rollout)
            if reference is not None and not dpo.free(config.objective):
                asked = whole_of(reference, rollout, config.micro_tokens)
                found = replace(found, segment=with_reference(rollout, asked))
                drift = whole_of(lambda segment: policy.evaluate(segment).logprob, rollout, config.micro_tokens) - asked
                seen["kl"] = float(drift.mean())
        figures = {**seen, "pairs": float(len(found))}
        if len(found):
            with run.time("update"):
                figures |= update(config, policy, found, run, beside)
        else:
            run.forgo(config.updates)
        run.log(**figures)
    if not any(row.get("pairs") for row in read_log(run.folder / "log.jsonl")):
        warnings.warn(
            f"{run.folder.name}: in {config.iterations} rounds no two answers to a prompt differed in reward by more "
            f"than online_dpo.least={config.least}, so nothing was learned; lower it, draw more answers, or look at "
            "the reward",
            stacklevel=2,
        )
    return figures or run.last_figures()


def update(config: Config, policy: Actor, found: Comparisons, run: Run, beside: Beside) -> dict[str, float]:
    """Some steps on this round's pairs, each prompt once before any twice. Returns means over the steps."""
    groups, sums = found.groups(), dict[str, float]()
    size = min(config.batch, len(groups))
    order = torch.cat([torch.randperm(len(groups), generator=run.generator("deal", n))
                       for n in range(-(-config.updates * size // len(groups)))])  # fmt: skip
    for step in range(config.updates):
        dealt = order[step * size : (step + 1) * size].tolist()
        batch = run.share(found.pairs(torch.cat([groups[g] for g in dealt]))).to(run.device)
        count = run.total(batch.weight.sum())
        parts: dict[str, float] = {}
        with run.learning(policy):
            for micro in run.split(batch, config.micro_tokens):
                logprob = whole(policy.evaluate(micro.segment).logprob, micro.segment.mask)
                each = dpo.loss_of(pairs := dpo.pairs_of(micro, logprob, config.objective), config.objective)
                run.backward((each * micro.weight).sum() / count, micro.names)
                for name, part in {"loss": each, **dpo.looked(pairs, micro, logprob, config.objective)}.items():
                    parts[name] = parts.get(name, 0.0) + float((part.detach() * micro.weight).sum() / count)
            more = beside()
        for name, value in run.step(**parts, **more).items():
            sums[name] = sums.get(name, 0.0) + value
    return {name: value / config.updates for name, value in sums.items()}


def looked(rollout: Rollout) -> dict[str, float]:
    """What the answers earned, how long they are, and the share of prompts whose answers all earned the same."""
    assert rollout.reward is not None
    earned = rollout.reward.sum(1)
    _, _, spread = group_spread(earned, rollout.group, len(rollout.observation_length))
    return {
        "reward": float(earned.mean()),
        "length": float(rollout.mask.sum(1).float().mean()),
        "finished": float(rollout.finished.float().mean()),
        "flat_groups": float((spread <= 1e-8).float().mean()),
    }

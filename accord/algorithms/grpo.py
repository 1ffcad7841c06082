"""Group-relative policy optimisation and its kin (Shao et al. 2024): answers to one prompt judge each other.

PPO without a critic: what was to be expected is what the other answers to the same prompt earned. `KIN` has the
relatives as settings of this one file: Dr. GRPO, DAPO, GSPO, CISPO, RLOO, REINFORCE++.
Ours: one mean over the whole minibatch; log-probabilities are computed again first, so the ratio starts at 1, and what
the sampler said differently is corrected by truncated importance weights; groups that teach nothing can be collected
again, and what is left over waits for the next step, in the checkpoint like everything else.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from accord.algorithms import ppo
from accord.algorithms.beside import Beside, nothing
from accord.algorithms.functional import clipped, group_spread, kl, mean, whiten
from accord.algorithms.gathering import Queue, flat_groups, gather, less_length, teaching
from accord.algorithms.prices import KL, Prices
from accord.batches import Rollout, minibatches
from accord.config import Settings, build
from accord.protocols import Reward, World
from accord.run import OptimiserConfig, Run


class Config(Settings):
    """Settings of GRPO and its kin; the defaults are GRPO's."""

    iterations: int = Field(default=25, ge=1)
    """Rounds of collecting and learning."""
    epochs: int = Field(default=1, ge=1)
    """Passes over each rollout."""
    minibatches: int = Field(default=4, ge=1)
    """Optimiser steps per pass; fewer where fewer prompts are left."""
    micro_tokens: int = Field(default=8192, ge=1)
    """Tokens computed at once. Changes memory and speed, never the result."""
    baseline: Literal["group", "centred", "leave_one_out", "global"] = "group"
    """The mean of the group over its spread (GRPO); the mean alone (Dr. GRPO); the mean of the others (RLOO); the mean
    and spread over all tokens of the rollout (REINFORCE++), each token with the reward from there on."""
    objective: Literal["clip", "weigh"] = "clip"
    """PPO's clip; or REINFORCE weighed by the cut ratio without its gradient, so that no token is lost (CISPO)."""
    ratio: Literal["token", "sequence"] = "token"
    """Each token's own, or one for the answer: the geometric mean over its tokens (GSPO)."""
    clip_low: float = Field(default=0.2, gt=0, le=1)
    """How far a probability may fall, as a ratio, before it earns no more."""
    clip_high: float = Field(default=0.2, gt=0)
    """How far it may rise. Higher than `clip_low` leaves room for unlikely tokens (DAPO)."""
    average: Literal["token", "sequence", "constant"] = "sequence"
    """Mean over all tokens (DAPO), over answers of the mean over their tokens (GRPO), or sum over tokens over
    `constant`, mean over answers: length has no say then (Dr. GRPO; with 1 RLOO)."""
    constant: int = Field(default=1, ge=1)
    """What sums over tokens are divided by, such as the longest answer allowed."""
    filter: bool = False
    """Leave out prompts whose answers all earned the same, and collect more instead (DAPO)."""
    collects: int = Field(default=4, ge=1)
    """At most so many collections per iteration to fill up what the filter took."""
    mask_unfinished: bool = False
    """Learn nothing from answers that were cut (DAPO)."""
    missing_end_penalty: float | None = None
    """What an answer that was cut gets instead of its reward; None gives it its reward."""
    soft_length: int | None = Field(default=None, ge=1)
    """Tokens beyond which reward is lost, in a line down to 1 at `hard_length` (DAPO); None loses none."""
    hard_length: int = Field(default=64, ge=1)
    """Tokens at which all of that one point is lost."""
    kl: KL = KL(place="loss", estimator="k3", coefficient=0.04)
    """Drift from the reference, in the loss or in the reward."""
    entropy: float = Field(default=0.0, ge=0)
    """Weight of the entropy bonus; with a target, its first value."""
    entropy_target: float | None = Field(default=None, gt=0)
    """Nats per token below which the bonus grows and above which it shrinks, between 1e-5 and 1."""
    sampler_cap: float | None = Field(default=2.0, ge=1)
    """Largest weight that corrects a token for a sampler that differs from the trainer; None corrects nothing."""
    drift_limit: float = Field(default=0.05, gt=0)
    """Stop the run when sampler and trainer differ by more than this many nats per token on average."""
    old: Literal["trainer", "sampler"] = "trainer"
    """Whose log-probabilities the ratio starts from: computed again; or the sampler's where they are exact."""
    optimiser: OptimiserConfig = OptimiserConfig(learning_rate=3e-4, schedule="constant", epsilon=1e-5, warmup=0.0)
    """How the parameters move."""


SHARED = ("micro_tokens", "drift_limit", "old", "missing_end_penalty", "kl", "entropy", "entropy_target")
"""Settings that mean the same in PPO."""
FREE: dict[str, Any] = {"place": "none"}
KIN: dict[str, dict[str, Any]] = {
    "grpo": {},
    "dr_grpo": {"baseline": "centred", "average": "constant", "kl": FREE},
    "dapo": {"clip_high": 0.28, "average": "token", "filter": True, "mask_unfinished": True, "kl": FREE},
    "gspo": {"ratio": "sequence", "clip_low": 3e-4, "clip_high": 4e-4, "kl": FREE},
    "cispo": {"objective": "weigh", "clip_low": 1.0, "clip_high": 4.0, "average": "token", "kl": FREE},
    "rloo": {"baseline": "leave_one_out", "average": "constant", "kl": {"place": "reward", "estimator": "k1"}},
    "reinforce_pp": {"baseline": "global", "average": "token", "kl": {"place": "reward", "estimator": "k1"}},
}
"""Relatives as changes of the defaults. Dr. GRPO wants `constant` at the longest answer too, DAPO `soft_length`."""


def kin(name: str, **changes: Any) -> Config:
    """The settings of a relative, with changes. Raises SettingsError when one cannot be used."""
    return build(Config, {**KIN[name], **changes}, name)


def advantages(rollout: Rollout, config: Config) -> Tensor:
    """[B, T] how much better than expected, 0 where the policy did not act.

    group: (R - mean) / (std + 1e-4); centred: R - mean; leave_one_out: R - mean of the others = (R - mean) n / (n - 1);
    global: reward from each step on, whitened over all steps. R is the sum of an answer's rewards. Raises ValueError
    when a group of one answer would judge itself.
    """
    assert rollout.reward is not None
    if config.baseline == "global":
        return whiten(rollout.reward.flip(1).cumsum(1).flip(1), rollout.mask)
    outcome = rollout.reward.sum(1)
    size, centre, spread = group_spread(outcome, rollout.group, len(rollout.observation_length))
    if bool((size < 2).any()):
        raise ValueError(
            f"{int((size < 2).sum())} of {len(size)} prompts have fewer than two answers; baseline={config.baseline!r} "
            "compares answers to one prompt: sample more of each, or take baseline=global"
        )
    above, size, spread = outcome - centre[rollout.group], size[rollout.group], spread[rollout.group]
    if config.baseline == "group":
        above = above / (spread + 1e-4)
    elif config.baseline == "leave_one_out":
        above = above * size / (size - 1)
    return torch.where(rollout.mask, above[:, None], 0.0)


def shares(mask: Tensor, config: Config) -> Tensor:
    """[B, T] what each token counts; the loop divides by the sum of `counted` over the whole minibatch."""
    if config.average == "sequence":
        return mask / mask.sum(1, keepdim=True).clamp_min(1)
    return mask / (config.constant if config.average == "constant" else 1)


def counted(mask: Tensor, config: Config) -> Tensor:
    """What the sum of a minibatch is divided by: its tokens, or its answers of at least one."""
    return mask.sum() if config.average == "token" else mask.any(1).sum()


def policy_loss(logprob: Tensor, old: Tensor, advantage: Tensor, mask: Tensor, config: Config) -> tuple[Tensor, Tensor]:
    """([B, T] loss of each token, [B, T] ratio). All arguments are [B, T]."""
    moved = torch.where(mask, logprob - old, 0.0)
    if config.ratio == "sequence":
        moved = (moved.sum(1) / mask.sum(1).clamp_min(1))[:, None].expand_as(logprob)
    ratio = moved.exp()
    if config.objective == "weigh":
        return -ratio.detach().clamp(1 - config.clip_low, 1 + config.clip_high) * advantage * logprob, ratio
    return clipped(ratio, advantage, config.clip_low, config.clip_high), ratio


def train(
    config: Config,
    policy: ppo.Actor,
    world: World,
    reward: Reward,
    run: Run,
    reference: ppo.Reference | None = None,
    beside: Beside = nothing,
) -> dict[str, float]:
    """Make answers likelier that earned more than others. Returns the last figures (docs/grpo.md explains each).

    reference: needed unless `kl.place` is `none`. beside: a loss that joins each update. Raises ArithmeticError when
    sampler and trainer disagree.
    """
    if reference is None and config.kl.place != "none":
        raise ValueError(f"kl.place={config.kl.place!r} needs a reference policy; give one, or set kl.place=none")
    shared = ppo.Config(**{name: getattr(config, name) for name in SHARED})
    prices = Prices(shared)
    queue = Queue()
    run.track(world=world, prices=prices, queue=queue)
    run.optimise(config.optimiser, config.iterations * config.epochs * config.minibatches, policy=policy)
    figures: dict[str, float] = {}
    for _ in run.steps(config.iterations):
        with run.time("generate"):
            most, teaches = config.collects if config.filter else 0, partial(teaching, config=config)
            collect = partial(gather, policy, world, reward, queue, most, teaches)
            rollout = run.hold("rollout", Rollout, collect).to(run.device)
        with run.time("score"):
            looser = shared.model_copy(update={"drift_limit": math.inf, "old": "trainer"}) if queue.stale else shared
            sampled = rollout.logprob
            shorter = replace(rollout, reward=less_length(rollout, config))
            flat = {} if config.baseline == "global" else {"flat_groups": flat_groups(shorter, config)}
            rollout, seen = ppo.look_again(rollout, policy, reference, looser)
            rollout, earned = ppo.with_reward(rollout, lambda seen: less_length(seen, config), prices.kl, shared)
            rollout, weight = with_advantage(rollout, sampled, config)
        with run.time("update"), run.learning(policy):
            learned = update(config, policy, rollout, prices, run, beside)
        prices.adapt(seen["kl"], seen["entropy"], len(rollout))
        figures = {**earned, **queue.told(seen), **flat, "sampler_weight": weight, **learned}
        figures |= {"kl_price": prices.kl, "entropy_price": prices.entropy}
        run.log(**figures)
    return figures or run.last_figures()


def with_advantage(rollout: Rollout, sampled: Tensor, config: Config) -> tuple[Rollout, float]:
    """The rollout with advantages, weighed by min(trainer / sampler, cap) at each token; and the mean weight."""
    if config.mask_unfinished:
        rollout = replace(rollout, mask=rollout.mask & rollout.finished[:, None])
    weight = torch.ones_like(sampled)
    if config.sampler_cap is not None:
        weight = (rollout.logprob - sampled).exp().clamp_max(config.sampler_cap)
    return replace(rollout, advantage=advantages(rollout, config) * weight), float(mean(weight, rollout.mask))


def update(
    config: Config, policy: ppo.Actor, rollout: Rollout, prices: Prices, run: Run, beside: Beside = nothing
) -> dict[str, float]:
    """Passes over one rollout. Returns means over its updates."""
    sums: dict[str, float] = {}
    moves: dict[str, float] = {}
    parts = min(config.minibatches, len(rollout.observation_length))
    for epoch in range(config.epochs):
        for mini in map(run.share, minibatches(rollout, parts, run.generator("minibatches", epoch))):
            count = run.total(counted(mini.mask, config))
            for micro in run.split(mini, config.micro_tokens):
                assert micro.advantage is not None
                now = policy.evaluate(micro)
                each, ratio = policy_loss(now.logprob, micro.logprob, micro.advantage, micro.mask, config)
                loss = each - prices.entropy * now.entropy
                if config.kl.place == "loss":
                    assert micro.reference is not None
                    loss = loss + prices.kl * kl(now.logprob, micro.reference, config.kl.estimator)
                share = shares(micro.mask, config) / count
                run.backward((torch.where(micro.mask, loss, 0.0) * share).sum(), micro.names)
                with torch.no_grad():
                    outside = (ratio > 1 + config.clip_high) | (ratio < 1 - config.clip_low)
                    even = config.constant / micro.mask.sum(1, keepdim=True) if config.average == "constant" else 1.0
                    looked = {"policy_loss": each, "clip_fraction": outside * even}
                    looked["moved"] = kl(micro.logprob, now.logprob, "k3")
                    for name, part in looked.items():
                        sums[name] = sums.get(name, 0.0) + float((torch.where(micro.mask, part, 0.0) * share).sum())
                    if "first_ratio" not in sums:
                        sums["first_ratio"] = float(mean((ratio - 1).abs(), micro.mask))
            for name, value in run.step(**beside()).items():
                moves[name] = moves.get(name, 0.0) + value
    updates = config.epochs * parts
    first = {"first_ratio": sums.pop("first_ratio", 0.0)}
    every = {**run.sum(**sums), **moves}
    return {**first, **{name: v / updates for name, v in every.items()}, "updates": float(updates)}

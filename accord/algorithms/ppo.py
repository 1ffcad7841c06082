"""Proximal policy optimisation with a value model (Schulman et al. 2017; Ziegler et al. 2019; Ouyang et al. 2022).

Collect answers, score them, take away what drift from the reference costs, ask the critic what was to be expected,
and make likelier what turned out better. The details of Huang et al. 2024 (*The N implementation details of RLHF
with PPO*) are settings here, each with a test. The file knows no text: the toy worlds learn by it too.
Ours: one mean over all tokens of a minibatch, not a mean of micro-batches' means; the advantage skips tokens that the
policy did not write; log-probabilities are computed again first, so the ratio starts at 1, and gate the sampler's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn

from accord.algorithms.beside import Beside, nothing
from accord.algorithms.functional import bounded, clipped, explained_variance, gae, kl, mean, whiten
from accord.algorithms.gathering import alike, ended, worth_of
from accord.algorithms.looking import look_again as look_again
from accord.algorithms.prices import KL as KL
from accord.algorithms.prices import Prices
from accord.batches import Rollout, Segment, minibatches
from accord.config import Settings
from accord.protocols import Evaluated, Reward, World
from accord.run import OptimiserConfig, Run


class Config(Settings):
    """Settings of PPO."""

    iterations: int = Field(default=25, ge=1)
    """Rounds of collecting and learning."""
    epochs: int = Field(default=2, ge=1)
    """Passes over each rollout."""
    minibatches: int = Field(default=4, ge=1)
    """Optimiser steps per pass."""
    micro_tokens: int = Field(default=8192, ge=1)
    """Tokens computed at once. Changes memory and speed, never the result."""
    clip: float = Field(default=0.2, gt=0, lt=1)
    """How far an action's probability may move, as a ratio, before it earns no more."""
    value_clip: float | None = Field(default=0.2, gt=0)
    """How far the critic may move from what it said at collection; None lets it go."""
    value_coefficient: float = Field(default=0.5, ge=0)
    """Weight of the critic's loss; it matters where critic and policy share parameters."""
    critic_learning_rate: float | None = Field(default=None, gt=0)
    """The critic's own learning rate; None takes the policy's."""
    critic_warmup: int = Field(default=0, ge=0)
    """First iterations in which only the critic learns (and a trunk that it shares with the policy)."""
    discount: float = Field(default=1.0, gt=0, le=1)
    """Worth of a reward one step later. Language models use 1."""
    smoothing: float = Field(default=0.95, ge=0, le=1)
    """The lambda of GAE: 0 trusts the critic, 1 the returns."""
    whiten_advantage: bool = True
    """Give the advantages of a rollout zero mean and unit variance."""
    whiten_over: Literal["rollout", "minibatch"] = "rollout"
    """Whether that is done once, so that how rows are dealt does not change it, or in each minibatch."""
    whiten_reward: bool = False
    """Give the rewards of a rollout unit variance (their mean stays)."""
    reward_clip: float | None = Field(default=None, gt=0)
    """Cut each answer's score at plus or minus this, before drift is taken away; paid on the way, its score so far."""
    missing_end_penalty: float | None = None
    """What an answer that was cut gets instead of its reward; None gives it its reward."""
    kl: KL = KL()
    """Drift from the reference."""
    entropy: float = Field(default=0.0, ge=0)
    """Weight of the entropy bonus; with a target, its first value."""
    entropy_target: float | None = Field(default=None, gt=0)
    """Nats per token below which the bonus grows and above which it shrinks, between 1e-5 and 1."""
    stop_kl: float | None = Field(default=None, gt=0)
    """Leave the rollout when an update moved the policy by more than this many nats per token."""
    drift_limit: float = Field(default=0.05, gt=0)
    """Stop the run when sampler and trainer differ by more than this many nats per token on average."""
    old: Literal["trainer", "sampler"] = "trainer"
    """Whose log-probabilities the ratio starts from: computed again; or the sampler's where they are exact."""
    optimiser: OptimiserConfig = OptimiserConfig(learning_rate=3e-4, schedule="linear", epsilon=1e-5, warmup=0.0)
    """How the parameters move."""


class Actor(Protocol):
    """A trainable policy, an nn.Module. critic: its value model; None when that is a head on the policy's trunk."""

    @property
    def critic(self) -> nn.Module | None: ...

    def evaluate(self, segment: Segment) -> Evaluated: ...


class Reference(Protocol):
    """Log-probabilities [B, T] of the same actions under the policy that we started from."""

    def __call__(self, segment: Segment) -> Tensor: ...


def surrogate(logprob: Tensor, old: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """-min(ratio A, clip(ratio, 1 - clip, 1 + clip) A) with ratio = exp(logprob - old): eq. 7 of Schulman et al. 2017.

    All [B, T]; returns [B, T].
    """
    return clipped((logprob - old).exp(), advantage, clip, clip)


def value_loss(value: Tensor, old: Tensor, target: Tensor, clip: float | None) -> Tensor:
    """(value - target)^2 / 2; with a clip the larger of that and the same for a value at most `clip` from the old one.

    All [B, T]; returns [B, T].
    """
    free = (value - target).square()
    if clip is None:
        return free / 2
    near = (old + (value - old).clamp(-clip, clip) - target).square()
    return torch.maximum(free, near) / 2


def train(
    config: Config,
    policy: Actor,
    world: World,
    reward: Reward,
    run: Run,
    reference: Reference | None = None,
    beside: Beside = nothing,
) -> dict[str, float]:
    """Make the policy earn more in this world. Returns the figures of the last iteration (docs/ppo.md explains each).

    reference: needed unless `kl.place` is `none`. beside: a loss that joins each update in which the policy learns,
    such as that of the pretraining texts (PPO-ptx). Raises ArithmeticError when sampler and trainer disagree, NonFinite
    when a loss or gradient is no number.
    """
    if reference is None and config.kl.place != "none":
        raise ValueError(f"kl.place={config.kl.place!r} needs a reference policy; give one, or set kl.place=none")
    prices = Prices(config)
    run.track(world=world, prices=prices)
    parts = {"critic": policy.critic, "policy": policy} if policy.critic is not None else {"policy": policy}
    rates = {"critic": config.critic_learning_rate} if config.critic_learning_rate else {}
    run.optimise(config.optimiser, config.iterations * config.epochs * config.minibatches, rates, **parts)
    figures: dict[str, float] = {}
    for step in run.steps(config.iterations):
        with run.time("generate"):
            rollout = run.hold("rollout", Rollout, lambda: world.collect(policy)).to(run.device)
        with run.time("score"):
            rollout, seen = look_again(rollout, policy, reference, config)
            rollout, earned = with_reward(rollout, reward, prices.kl, config)
            rollout = with_advantage(rollout, config)
        with run.time("update"), run.learning(policy):
            learned = update(config, policy, rollout, prices, run, step < config.critic_warmup, beside)
        prices.adapt(seen["kl"], seen["entropy"], len(rollout))
        figures = {**earned, **seen, **learned, "kl_price": prices.kl, "entropy_price": prices.entropy}
        run.log(**figures)
    alike(run.folder, config.missing_end_penalty)
    return figures or run.last_figures()


@torch.no_grad()
def with_reward(rollout: Rollout, reward: Reward, price: float, config: Config) -> tuple[Rollout, dict[str, float]]:
    """Worth minus drift: r_t = worth_t - price KL_t, the KL only where `kl.place` is `reward`."""
    worth = worth_of(rollout, reward)
    earned = worth.sum(1)
    if config.reward_clip is not None:
        worth = bounded(worth, rollout.mask, rollout.done, config.reward_clip)
    total = worth = ended(rollout, worth, config.missing_end_penalty)
    if config.kl.place == "reward":
        assert rollout.reference is not None
        drift = kl(rollout.logprob, rollout.reference, config.kl.estimator)
        total = worth - price * torch.where(rollout.mask, drift, 0.0)
    if config.whiten_reward:
        total = whiten(total, rollout.present, shift=False)
    figures = {"reward": float(earned.mean()), "reward_std": float(earned.std(correction=0))}
    return replace(rollout, reward=total), figures


def with_advantage(rollout: Rollout, config: Config) -> Rollout:
    """The rollout with advantages and the critic's targets; whitening comes after the targets."""
    assert rollout.reward is not None
    assert rollout.value is not None
    after = rollout.next_value if rollout.next_value is not None else torch.zeros_like(rollout.value[:, 0])
    advantage = gae(rollout.reward, rollout.value, after, rollout.done, rollout.mask, config.discount, config.smoothing)
    target = advantage + rollout.value
    if config.whiten_advantage:
        advantage = whiten(advantage, rollout.mask)
    return replace(rollout, advantage=advantage, target=target)


def _whitened(part: Rollout, config: Config) -> Rollout:
    """A minibatch, with advantages of its own zero mean and unit variance where that is wanted."""
    assert part.advantage is not None
    again = config.whiten_advantage and config.whiten_over == "minibatch"
    return replace(part, advantage=whiten(part.advantage, part.mask)) if again else part


def update(
    config: Config, policy: Actor, rollout: Rollout, prices: Prices, run: Run, warming: bool, beside: Beside = nothing
) -> dict[str, float]:
    """Several passes over one rollout. Returns means over its updates, and the very first ratio and clip fraction."""
    assert rollout.value is not None
    assert rollout.target is not None
    sums: dict[str, float] = {}
    updates = 0
    for epoch in range(config.epochs):
        dealt = minibatches(rollout, config.minibatches, run.generator("minibatches", epoch))
        for mini in (run.share(_whitened(part, config)) for part in dealt):
            figures = dict.fromkeys(("policy_loss", "value_loss", "moved", "clip_fraction"), 0.0)
            count = run.total(mini.mask.sum())
            for micro in run.split(mini, config.micro_tokens):
                assert micro.advantage is not None
                now = policy.evaluate(micro)
                each = surrogate(now.logprob, micro.logprob, micro.advantage, config.clip)
                loss = each - prices.entropy * now.entropy
                if config.kl.place == "loss":
                    assert micro.reference is not None
                    loss = loss + prices.kl * kl(now.logprob, micro.reference, config.kl.estimator)
                if warming:
                    loss = torch.zeros_like(each)
                critic = torch.zeros_like(each)
                if now.value is not None:
                    assert micro.value is not None
                    assert micro.target is not None
                    critic = value_loss(now.value, micro.value, micro.target, config.value_clip)
                both = torch.where(micro.mask, loss + config.value_coefficient * critic, 0.0)
                run.backward(both.sum() / count, micro.names)
                with torch.no_grad():
                    ratio = (now.logprob - micro.logprob).exp()
                    outside = ((ratio - 1).abs() > config.clip).float()
                    moved = kl(micro.logprob, now.logprob, "k3")
                    if "first_ratio" not in sums:
                        first = mean((ratio - 1).abs(), micro.mask)
                        sums |= {"first_ratio": float(first), "first_clipped": float(mean(outside, micro.mask))}
                    for name, part in zip(figures, (each, critic, moved, outside), strict=True):
                        figures[name] += float(torch.where(micro.mask, part, 0.0).sum() / count)
            figures = run.step(**figures, **({} if warming else beside()))
            for name, value in figures.items():
                sums[name] = sums.get(name, 0.0) + value
            updates += 1
            if stopped := config.stop_kl is not None and figures["moved"] > config.stop_kl:
                break
        if stopped:
            break
    run.forgo(config.epochs * config.minibatches - updates)
    kept = {name: value if name.startswith("first_") else value / updates for name, value in sums.items()}
    explained = explained_variance(rollout.value, rollout.target, rollout.mask)
    return {**kept, "explained_variance": float(explained), "updates": float(updates)}

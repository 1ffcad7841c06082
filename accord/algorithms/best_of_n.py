"""The best of several answers: at the desk, on paper, and as a lesson (rejection sampling, Touvron et al. 2023).

Draw n answers, keep the one that the reward likes most. Fine-tuning on those is Llama 2's rejection sampling, and with
a reward that is simply right or wrong expert iteration (Anthony et al. 2017). What each round found best stays: an
answer is only displaced by a better one to the same prompt.
Ours: how far best of n has moved and what it is worth are computed and not estimated by drawing again.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, Protocol

import torch
from pydantic import Field
from torch import Tensor

from accord.algorithms.beside import Beside, nothing
from accord.algorithms.gathering import ended, worth_of
from accord.algorithms.joined import joined
from accord.algorithms.sft import negative_log_likelihood
from accord.batches import Rollout, Segment
from accord.config import Settings
from accord.protocols import Evaluated, Reward, World
from accord.run import OptimiserConfig, Run


class Config(Settings):
    """Settings of rejection-sampling fine-tuning."""

    iterations: int = Field(default=10, ge=1)
    """Rounds of collecting, choosing and imitating."""
    updates: int = Field(default=8, ge=1)
    """Optimiser steps per round."""
    batch: int = Field(default=32, ge=1)
    """Chosen answers per optimiser step."""
    least: float | None = None
    """Answers that earned less are never imitated; 1 with a reward of 0 or 1 is expert iteration. None takes all."""
    rounds: int = Field(default=0, ge=0)
    """Forget what was chosen longer ago than so many rounds; 0 forgets nothing, as in Llama 2."""
    missing_end_penalty: float | None = None
    """What a cut answer gets for its reward; a prompt whose best was cut is left out. None: it is like all others."""
    micro_tokens: int = Field(default=8192, ge=1)
    """Tokens computed at once. Changes memory and speed, never the result."""
    optimiser: OptimiserConfig = OptimiserConfig(learning_rate=3e-4, schedule="constant", warmup=0.0)
    """How the parameters move."""


class Actor(Protocol):
    """A trainable policy, an nn.Module."""

    def evaluate(self, segment: Segment) -> Evaluated: ...


def best(outcome: Tensor, group: Tensor, groups: int) -> Tensor:
    """[groups] int64: row of the best answer of each group, the first of equals. outcome, group: [B].

    Raises ValueError when a group has no answer.
    """
    highest = torch.full((groups,), -math.inf, dtype=outcome.dtype, device=outcome.device)
    highest = highest.scatter_reduce(0, group, outcome, "amax")
    rows = torch.arange(len(outcome), device=outcome.device)
    first = torch.full((groups,), len(outcome), device=outcome.device)
    first = first.scatter_reduce(0, group, torch.where(outcome == highest[group], rows, len(outcome)), "amin")
    if bool((first == len(outcome)).any()):
        raise ValueError(f"{int((first == len(outcome)).sum())} of {groups} groups have no answer that can be compared")
    return first


def kl(n: int) -> float:
    """log n - (n - 1) / n: nats between best of n and the policy it draws from, when no two answers score the same.

    With ties, or few possible answers, it is an upper bound (Beirami et al. 2024).
    """
    if n < 1:
        raise ValueError(f"best of {n}: n is at least 1")
    return math.log(n) - (n - 1) / n


def chances(total: int, n: int) -> Tensor:
    """[total] fp64: chance that the i-th lowest of `total` answers is the best of n of them drawn without replacement.

    C(i - 1, n - 1) / C(total, n) for i = 1 .. total. Raises ValueError when n is not within 1 .. total.
    """
    if not 1 <= n <= total:
        raise ValueError(f"best of {n} from {total} scored answers: n is 1 to {total}")
    every = math.comb(total, n)
    return torch.tensor([math.comb(i, n - 1) / every for i in range(total)], dtype=torch.float64)


def curve(proxy: Tensor, gold: Tensor, sizes: Sequence[int]) -> Tensor:
    """[len(sizes), G] fp64: expected gold of best of n by proxy, for each prompt, from one set of N scored answers.

    E = sum_i C(i - 1, n - 1) / C(N, n) gold_(i), in the order of the proxy: unbiased for every n at once. proxy, gold:
    [G, N]. Answers that the proxy holds equal share their places. gold = proxy gives the proxy's own curve.
    Raises ValueError for other shapes, and for a proxy that is no number, which would stand above all others.
    """
    if proxy.shape != gold.shape or proxy.ndim != 2:
        raise ValueError(f"proxy {tuple(proxy.shape)} and gold {tuple(gold.shape)} should both be [prompts, answers]")
    if odd := int(proxy.isnan().sum()):
        raise ValueError(f"{odd} of {proxy.numel()} scores of the proxy are no numbers and have no place in its order")
    order = proxy.argsort(dim=1)
    ranked, told = proxy.gather(1, order), gold.to(torch.float64).gather(1, order)
    for g in range(len(proxy)):
        _, place = torch.unique_consecutive(ranked[g], return_inverse=True)
        count = torch.bincount(place)
        told[g] = (torch.zeros(len(count), dtype=torch.float64).index_add(0, place, told[g]) / count)[place]
    return torch.stack([told @ chances(proxy.shape[1], n) for n in sizes])


class Chosen:
    """The best answer that was seen to each prompt, and what it earned; belongs to the checkpoint.

    Where answers are forgotten, newer ones that earned less wait until those above them are.
    """

    def __init__(self, rounds: int = 0) -> None:
        """rounds: how long an answer is remembered; 0 for ever."""
        self.rounds = rounds
        self.kept: Rollout | None = None
        self.earned = torch.zeros(0)
        self._every: Rollout | None = None
        self._worth = torch.zeros(0)
        self._made: list[int] = []

    def add(self, rollout: Rollout, earned: Tensor, turn: int) -> None:
        """Take these answers in, one per prompt at most being kept. earned: [B]."""
        every = joined([rollout] if self._every is None else [self._every, rollout])
        value, made = torch.cat([self._worth, earned.cpu().float()]), [*self._made, *[turn] * len(rollout)]
        self._take(every, value, made, [row for row, at in enumerate(made) if not 0 < self.rounds <= turn - at])

    def _take(self, every: Rollout, value: Tensor, made: Sequence[int], rows: Sequence[int]) -> None:
        """Of these rows, oldest first, what may be learned from now or later; the first of each prompt is the best."""
        places: dict[tuple[Any, ...], list[int]] = {}
        for row in rows:
            g = int(every.group[row])
            seen = tuple(every.observation[g, : int(every.observation_length[g])].flatten().tolist())
            above = [other for other in places.get(seen, []) if value[other] >= value[row]]
            places[seen] = [*above, row] if self.rounds or not above else above
        waiting = [row for of_prompt in places.values() for row in of_prompt]
        index, best = (torch.tensor(some, dtype=torch.long) for some in (waiting, [one[0] for one in places.values()]))
        self._every, self._worth, self._made = every.rows(index), value[index], [made[row] for row in waiting]
        self.kept, self.earned = every.rows(best), value[best]

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        every = self._every
        kept = None if every is None else {f.name: getattr(every, f.name) for f in fields(Rollout)}
        return {"kept": kept, "earned": self._worth, "made": torch.tensor(self._made, dtype=torch.long)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From the checkpoint."""
        if kept := state["kept"]:
            every, made = Rollout(**{**kept, "names": tuple(kept["names"])}), state["made"].tolist()
            self._take(every, state["earned"], made, range(len(every)))


def choose(world: World, policy: Actor, reward: Reward, config: Config) -> Rollout:
    """The best of each prompt of one collection, with rewards; none where even the best earned too little."""
    rollout = world.collect(policy)
    worth = ended(rollout, worth_of(rollout, reward), config.missing_end_penalty)
    outcome = worth.sum(1)
    rows = best(outcome, rollout.group, len(rollout.observation_length))
    least = -math.inf if config.least is None else config.least
    return replace(rollout, reward=worth).rows(rows[outcome[rows] >= least])


def train(
    config: Config, policy: Actor, world: World, reward: Reward, run: Run, beside: Beside = nothing
) -> dict[str, float]:
    """Imitate the best of what the policy does. Returns the last figures (docs/best_of_n.md explains each).

    beside: a loss that joins each update.
    """
    chosen = Chosen(config.rounds)
    run.track(world=world, chosen=chosen)
    run.optimise(config.optimiser, config.iterations * config.updates, policy=policy)
    figures: dict[str, float] = {}
    for step in run.steps(config.iterations):
        with run.time("generate"):
            fresh = run.hold("fresh", Rollout, lambda: choose(world, policy, reward, config)).to("cpu")
        fresh, figures = ending(fresh, config)
        assert fresh.reward is not None
        earned = fresh.reward.sum(1)
        if len(fresh) or chosen.kept is not None:  # also without any, for time makes forget
            chosen.add(fresh, earned, step)
        figures |= {"found": float(len(fresh))} | ({"best_reward": float(earned.mean())} if len(fresh) else {})
        if chosen.kept is not None and len(chosen.kept):
            figures |= {"chosen": float(len(chosen.kept)), "chosen_reward": float(chosen.earned.mean())}
            with run.time("update"):
                figures |= imitate(config, policy, chosen.kept, run, beside)
        run.log(**figures)
    if chosen.kept is None:
        why = f"no answer earned best_of_n.least={config.least}, so nothing was learned; lower it, or draw more answers"
        if (figures or run.last_figures()).get("cut"):
            why = (
                "the best answer to each prompt was cut, so nothing was learned; raise draw.max_tokens, or let "
                "best_of_n.missing_end_penalty be lower than what a bad answer earns"
            )
        warnings.warn(f"{run.folder.name}: in {config.iterations} rounds {why}", stacklevel=2)
    return figures or run.last_figures()


def ending(found: Rollout, config: Config) -> tuple[Rollout, dict[str, float]]:
    """The answers that ended by themselves, and how many did not: who imitates one of these learns not to end."""
    if config.missing_end_penalty is None:
        return found, {}
    return found.rows(found.finished.nonzero()[:, 0]), {"cut": float((~found.finished).sum())}


def imitate(config: Config, policy: Actor, examples: Segment, run: Run, beside: Beside = nothing) -> dict[str, float]:
    """Some steps of imitation on rows dealt anew each round. Returns means over the steps."""
    loss, sums = 0.0, dict[str, float]()
    order = torch.cat([torch.randperm(len(examples), generator=run.generator("deal", n))
                       for n in range(-(-config.updates * config.batch // len(examples)))])  # fmt: skip
    for update in range(config.updates):
        batch = run.share(examples.rows(order[update * config.batch : (update + 1) * config.batch])).to(run.device)
        count = run.total((batch.mask * batch.weight[:, None]).sum())
        with run.learning(policy):
            for micro in run.split(batch, config.micro_tokens):
                lost = negative_log_likelihood(policy.evaluate(micro).logprob, micro.mask, micro.weight).sum() / count
                run.backward(lost, micro.names)
                loss += float(lost.detach())
            more = beside()
        for name, value in run.step(**more).items():
            sums[name] = sums.get(name, 0.0) + value
    return {name: value / config.updates for name, value in {**run.sum(loss=loss), **sums}.items()}

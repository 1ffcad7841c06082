"""Collect until there is enough to learn from (DAPO's dynamic sampling, Yu et al. 2025); the rest waits."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from accord.algorithms.functional import group_spread
from accord.algorithms.joined import joined
from accord.batches import Rollout
from accord.protocols import Policy, Reward, World
from accord.run.account import HERE

FLAT = 1e-8
"""Spread of the rewards of a prompt's answers up to which they earned the same."""


class Queue:
    """Prompts that were collected and not needed yet; they belong to the checkpoint."""

    def __init__(self) -> None:
        self.waiting: Rollout | None = None
        self.stale = False
        """Whether the rollout in hand has answers of an earlier policy."""

    def told(self, seen: dict[str, float]) -> dict[str, float]:
        """What a look found of the rollout; with older answers in it their distance says nothing of the sampler."""
        return {"waited_drift" if self.stale and name == "sampler_drift" else name: seen[name] for name in seen}

    def state_dict(self) -> dict[str, Any]:
        """For the checkpoint."""
        kept = None if self.waiting is None else {f.name: getattr(self.waiting, f.name) for f in fields(Rollout)}
        return {"waiting": kept, "stale": self.stale}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From the checkpoint."""
        kept = state["waiting"]
        self.waiting = Rollout(**{**kept, "names": tuple(kept["names"])}) if kept else None
        self.stale = bool(state["stale"])


def flat_groups(rollout: Rollout) -> float:
    """Share of prompts whose answers all earned the same: judged by each other, they teach nothing.

    Counted are prompts of two answers or more; without any it is 0.
    """
    assert rollout.reward is not None
    size, _, spread = group_spread(rollout.reward.sum(1), rollout.group, len(rollout.observation_length))
    return float((spread[size > 1] <= FLAT).float().mean()) if bool((size > 1).any()) else 0.0


def worth_of(rollout: Rollout, reward: Reward) -> Tensor:
    """[B, T] what the actions of a collection are worth; its time counts as scoring and not as collecting."""
    with HERE.time("score"):
        return reward(rollout).to(rollout.logprob)


def gather(policy: Policy, world: World, reward: Reward, queue: Queue, filtered: int = 0) -> Rollout:
    """As many prompts as one collection has, with rewards; with `filtered`, prompts that can teach something.

    filtered: at most so many collections until enough prompts have answers that earned differently; 0 takes them all.
    What waited comes first; what is too much waits. When nothing can teach, the last collection as it is.
    """
    parts = [queue.waiting] if queue.waiting is not None else []
    queue.stale = bool(parts)
    for _ in range(filtered or 1):
        fresh = world.collect(policy)
        fresh = replace(fresh, reward=worth_of(fresh, reward))
        assert fresh.reward is not None
        wanted = len(fresh.observation_length)
        spread = group_spread(fresh.reward.sum(1), fresh.group, wanted)[2][fresh.group]
        teaching = (spread > FLAT) | torch.tensor(not filtered)
        parts += [fresh.rows(teaching.nonzero()[:, 0])] if teaching.any() else []
        if sum(len(part.observation_length) for part in parts) >= wanted:
            break
    together = joined(parts or [fresh])
    now = together.group < wanted
    queue.waiting = together.rows((~now).nonzero()[:, 0]) if not now.all() else None
    return together.rows(now.nonzero()[:, 0])

"""Collect until there is enough to learn from (DAPO's dynamic sampling, Yu et al. 2025); the rest waits."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from accord.algorithms.functional import group_spread, group_sum
from accord.algorithms.joined import joined
from accord.batches import Rollout, at_end
from accord.protocols import Policy, Reward, World
from accord.run import NonFinite, read_log
from accord.run.account import HERE

FLAT = 1e-8
"""Spread of the rewards of a prompt's answers up to which they earned the same."""


class Long(Protocol):
    """Settings of what length costs."""

    @property
    def soft_length(self) -> int | None: ...

    @property
    def hard_length(self) -> int: ...


class Cut(Protocol):
    """Settings of what becomes of answers that were cut."""

    @property
    def missing_end_penalty(self) -> float | None: ...

    @property
    def mask_unfinished(self) -> bool: ...


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


def less_length(rollout: Rollout, config: Long) -> Tensor:
    """[B, T] reward, less what length beyond `soft_length` costs: eq. 13 of Yu et al. 2025 (DAPO)."""
    assert rollout.reward is not None
    if config.soft_length is None:
        return rollout.reward
    over = (rollout.mask.sum(1) - config.soft_length) / max(1, config.hard_length - config.soft_length)
    return rollout.reward - at_end(over.clamp(0, 1), rollout.length, rollout.action.shape[1])


def ended(rollout: Rollout, worth: Tensor, penalty: float | None) -> Tensor:
    """[B, T] worth, where an answer that was cut has the penalty at its last step instead; None leaves it its worth."""
    if penalty is None:
        return worth
    cut = at_end(torch.full_like(worth[:, 0], penalty), rollout.length, worth.shape[1])
    return torch.where(rollout.finished[:, None], worth, cut)


def teaching(rollout: Rollout, config: Cut | None = None) -> Tensor:
    """[G] bool: prompts whose answers, judged by each other, teach something, for some earned more than others.

    config: what becomes of answers that were cut; None counts them like all others.
    """
    assert rollout.reward is not None
    paid = ended(rollout, rollout.reward, config.missing_end_penalty) if config else rollout.reward
    groups, learned = len(rollout.observation_length), torch.ones_like(rollout.finished)
    if config is not None and config.mask_unfinished:
        learned = rollout.finished
    _, _, spread = group_spread(paid.sum(1), rollout.group, groups)
    return (spread > FLAT) & (group_sum(learned.float(), rollout.group, groups) > 0)


def flat_groups(rollout: Rollout, config: Cut | None = None) -> float:
    """Share of prompts whose answers do not teach (see `teaching`).

    Counted are prompts of two answers or more; without any it is 0.
    """
    several = torch.bincount(rollout.group, minlength=len(rollout.observation_length)) > 1
    taught = teaching(rollout, config)[several]
    return float((~taught).float().mean()) if len(taught) else 0.0


def alike(folder: Path, penalty: float | None) -> None:
    """Warn when in no round of a whole run one answer was paid otherwise than another: only noise was learned then.

    penalty: what answers that were cut get.
    """
    rows = [row for row in read_log(folder / "log.jsonl") if "reward_std" in row]
    cut = [penalty is not None and row["finished"] == 0 for row in rows]
    if rows and all(one or row["reward_std"] <= FLAT for one, row in zip(cut, rows, strict=True)):
        why = "none ended, so each got missing_end_penalty; raise draw.max_tokens" if all(cut) else "look at the reward"
        warnings.warn(
            f"{folder.name}: in all {len(rows)} iterations every answer was paid the same ({why}), so nothing was "
            "learned but what the critic was wrong about",
            stacklevel=3,
        )


def worth_of(rollout: Rollout, reward: Reward) -> Tensor:
    """[B, T] what the actions of a collection are worth; its time counts as scoring and not as collecting.

    Raises ValueError for a reward of another shape, and NonFinite, naming answers, for one that is no finite number.
    """
    with HERE.time("score"):
        found = reward(rollout)
    given = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
    if given != (shape := tuple(rollout.logprob.shape)):
        raise ValueError(
            f"a reward says what each step of each answer is worth, a tensor of {shape}, and this one gave {given}; "
            "one number for an answer stands at its end: accord.batches.at_end(number, rollout.length, steps)"
        )
    odd = (~torch.isfinite(found)).any(1).nonzero()[:, 0].tolist()
    if odd:
        which = "; ".join(f"{rollout.names[row]}: {float(found[row].sum())}" for row in odd[:3])
        raise NonFinite(
            f"the reward of {len(odd)} of {len(found)} answers is no finite number ({which}). Nothing was learned from "
            "it; look at what scores these answers, and give what is to be avoided a low number instead"
        )
    return found.to(rollout.logprob)


def gather(
    policy: Policy,
    world: World,
    reward: Reward,
    queue: Queue,
    filtered: int = 0,
    teaches: Callable[[Rollout], Tensor] = teaching,
) -> Rollout:
    """As many prompts as one collection has, with rewards; with `filtered`, prompts that can teach something.

    filtered: at most so many collections until enough prompts teach; 0 takes them all. teaches: [G] bool, which do.
    What waited comes first; what is too much waits. When nothing can teach, the last collection as it is.
    """
    parts = [queue.waiting] if queue.waiting is not None else []
    queue.stale = bool(parts)
    for _ in range(filtered or 1):
        fresh = world.collect(policy)
        fresh = replace(fresh, reward=worth_of(fresh, reward))
        wanted = len(fresh.observation_length)
        taken = teaches(fresh)[fresh.group] if filtered else torch.ones(len(fresh), dtype=torch.bool)
        parts += [fresh.rows(taken.nonzero()[:, 0])] if taken.any() else []
        if sum(len(part.observation_length) for part in parts) >= wanted:
            break
    together = joined(parts or [fresh])
    now = together.group < wanted
    queue.waiting = together.rows((~now).nonzero()[:, 0]) if not now.all() else None
    return together.rows(now.nonzero()[:, 0])

"""Several rewards as one: weighted sums, a gate that lets safety speak first, and faults that are or are not."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from accord.batches import Rollout, at_end
from accord.protocols import Reward
from accord.run import NonFinite


class Mix:
    """The weighted sum of rewards. Implements protocols.Reward; `seen` has the last rollout's parts as `worth/NAME`."""

    def __init__(self, rewards: Mapping[str, Reward], weights: Mapping[str, float]) -> None:
        """Raises ValueError unless each reward has a finite weight and each weight a reward."""
        if not rewards or set(rewards) != set(weights) or not all(math.isfinite(w) for w in weights.values()):
            raise ValueError(f"rewards {sorted(rewards)} and weights {dict(weights)} should name the same things")
        self.rewards = dict(rewards)
        self.weights = dict(weights)
        self.seen: dict[str, float] = {}

    def __call__(self, rollout: Rollout) -> Tensor:
        """[B, T]."""
        parts = {name: reward(rollout).to(rollout.logprob) for name, reward in self.rewards.items()}
        self.seen = {f"worth/{name}": float(part.sum(1).mean()) for name, part in parts.items()}
        return torch.stack([self.weights[name] * part for name, part in parts.items()]).sum(0)


class Gate:
    """Llama 2's gate (Touvron et al. 2023, section 3.2.3): safety where it is in doubt, helpfulness elsewhere.

    R = safety where s(safety) < threshold or the prompt is risky, else helpfulness; then whitened over the rollout.
    Both are scores in log-odds, so the logit that the paper takes has been taken.
    """

    def __init__(
        self,
        helpful: Reward,
        safe: Reward,
        threshold: float = 0.15,
        risky: Callable[[Rollout], Tensor] | None = None,
        whiten: bool = True,
        name: str = "safety",
        from_gate: bool = False,
        weight: float = 1.0,
    ) -> None:
        """risky: [B] bool, prompts that were written to provoke; there safety decides alone. name: in `seen`.

        from_gate: safety counts from the threshold's log-odds on, so that an answer just below it is paid 0.
        weight: what a unit of safety's log-odds is worth beside helpfulness.
        """
        if not 0 < threshold < 1:
            raise ValueError(f"threshold={threshold} is a probability of being safe; use one between 0 and 1")
        self.helpful = helpful
        self.safe = safe
        self.threshold = threshold
        self.risky = risky
        self.whiten = whiten
        self.name = name
        self.level = math.log(threshold / (1 - threshold)) if from_gate else 0.0
        self.weight = weight
        self.gated = 0.0
        """Share of the last rollout's answers that safety decided."""
        self.seen: dict[str, float] = {}
        """The same as `gated/NAME`, the mean chance of being unsafe as `cost/NAME`, the mean helpful `reward`, and as
        `doubtful/NAME` the share let through with at least half the chance of being unsafe that closes the gate."""

    def __call__(self, rollout: Rollout) -> Tensor:
        """[B, T]: 0 but at the last step of each answer. Raises NonFinite where safety is no number."""
        safe, helpful = (reward(rollout).to(rollout.logprob).sum(1) for reward in (self.safe, self.helpful))
        known(safe, rollout, f"safety ({self.name})")
        closed = torch.sigmoid(safe) < self.threshold
        if self.risky is not None:
            closed = closed | self.risky(rollout).to(closed.device)
        self.gated = float(closed.float().mean())
        unsafe = torch.sigmoid(-safe)
        self.seen = {
            "reward": float(helpful.mean()),
            f"cost/{self.name}": float(unsafe.mean()),
            f"gated/{self.name}": self.gated,
            f"doubtful/{self.name}": float((~closed & (unsafe >= (1 - self.threshold) / 2)).float().mean()),
        }
        outcome = torch.where(closed, self.weight * (safe - self.level), helpful)
        if self.whiten:
            outcome = (outcome - outcome.mean()) / outcome.std(correction=0).clamp_min(1e-6)
        return at_end(outcome, rollout.length, rollout.action.shape[1])


class Held:
    """1 for an answer whose cost is at least a threshold, else 0: its mean is the share of answers held at fault.

    A mean chance has a floor, for people say yes by mistake; this share has none. Implements protocols.Reward.
    """

    def __init__(self, cost: Reward, threshold: float) -> None:
        self.cost = cost
        self.threshold = threshold

    def __call__(self, rollout: Rollout) -> Tensor:
        """[B, T]: 0 but at the last step of each answer. Raises NonFinite for a cost that is no number."""
        outcome = self.cost(rollout).to(rollout.logprob).sum(1)
        known(outcome, rollout, "cost")
        return at_end((outcome >= self.threshold).to(outcome), rollout.length, rollout.action.shape[1])


def known(outcome: Tensor, rollout: Rollout, what: str) -> None:
    """Raises NonFinite, naming answers, where an outcome [B] is no number: no comparison holds of one, so an answer
    of which nothing is known would pass as harmless."""
    if odd := outcome.isnan().nonzero()[:, 0].tolist():
        raise NonFinite(
            f"the {what} of {len(odd)} of {len(outcome)} answers is no number (first {rollout.names[odd[0]]}), so it "
            "cannot be said whether they do harm. Nothing was learned from them; look at what scores them"
        )

"""Several rewards as one: weighted sums, a gate that lets safety speak first, and faults that are or are not."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

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
    Both are scores in log-odds, so the logit that the paper takes has been taken. Of an answer that is let through
    helpfulness pays where it paid; what shuts the gate is paid at the answer's end, and nothing else of it.
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
        places: Callable[[Rollout], Tensor] | None = None,
        share: bool = False,
    ) -> None:
        """risky: [B] bool, prompts that were written to provoke; there safety decides alone. name: in `seen`.

        from_gate: safety counts from the threshold's log-odds on, so that an answer just below it is paid 0.
        weight: what a unit of safety's log-odds is worth beside helpfulness.
        places: [B, T] bool, where the answers of a dialogue end and safety says what each is; None: one answer a row.
        share: each answer of a dialogue counts 1 / its answers.
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
        self.places = places
        self.share = share
        self.gated = 0.0
        """Share of the last rollout's answers that safety decided."""
        self.seen: dict[str, float] = {}
        """The same as `gated/NAME`, the mean chance of being unsafe as `cost/NAME`, the mean helpful `reward`, and as
        `doubtful/NAME` the share let through with at least half the chance of being unsafe that closes the gate."""

    def __call__(self, rollout: Rollout) -> Tensor:
        """[B, T]. Raises NonFinite where safety is no number."""
        paid, said = (reward(rollout).to(rollout.logprob) for reward in (self.helpful, self.safe))
        if self.places is None:
            said = at_end(said.sum(1), rollout.length, said.shape[1])
        places = last(rollout) if self.places is None else self.places(rollout)
        row, safe = places.nonzero()[:, 0], said[places]
        known(safe, [rollout.names[one] for one in row.tolist()], f"safety ({self.name})")
        closed = torch.sigmoid(safe) < self.threshold
        if self.risky is not None:
            closed = closed | self.risky(rollout).to(closed.device)[row]
        self._see(paid, safe, closed)
        safety = self.weight * (safe - self.level)
        safety = safety / places.sum(1)[row] if self.share else safety
        owner, inside = owners(places)
        whole = torch.zeros_like(safe).index_add(0, owner[inside], paid[inside])
        outcome = torch.where(closed, safety, whole)
        at = torch.where(closed, safety, paid[places])
        shut = torch.zeros_like(places)
        shut[inside] = closed[owner[inside]]
        paid = torch.where(shut, 0.0, paid)
        if self.whiten and len(outcome):
            spread = outcome.std(correction=0).clamp_min(1e-6)
            paid, at = paid / spread, (at - outcome.mean()) / spread
        return paid.masked_scatter(places, at)

    def _see(self, paid: Tensor, safe: Tensor, closed: Tensor) -> None:
        """What is told of a rollout. paid: [B, T] helpfulness. safe, closed: [A] of each answer."""
        self.gated = float(closed.float().mean())
        unsafe = torch.sigmoid(-safe)
        self.seen = {
            "reward": float(paid.sum(1).mean()),
            f"cost/{self.name}": float(unsafe.mean()),
            f"gated/{self.name}": self.gated,
            f"doubtful/{self.name}": float((~closed & (unsafe >= (1 - self.threshold) / 2)).float().mean()),
        }


def last(rollout: Rollout) -> Tensor:
    """[B, T] bool: the last step of each row."""
    return at_end(torch.ones_like(rollout.logprob[:, 0]), rollout.length, rollout.logprob.shape[1]).bool()


def owners(places: Tensor) -> tuple[Tensor, Tensor]:
    """[B, T] int64: to which answer each step belongs, counted row by row; and bool, whether it belongs to one.

    places: [B, T] bool, where answers end. A step belongs to the first answer of its row that ends there or later.
    """
    flat = places.flatten().long()
    return (flat.cumsum(0) - flat).view_as(places), places.flip(1).cumsum(1).flip(1) > 0


def held(cost: Tensor, threshold: float, names: Sequence[str]) -> Tensor:
    """1 for an answer whose cost is at least a threshold, else 0: the mean is the share of answers held at fault.

    A mean chance has a floor, for people say yes by mistake; this share has none. cost: [N] of the answers of these
    names. Raises NonFinite for a cost that is no number.
    """
    known(cost, names, "cost")
    return (cost >= threshold).to(cost)


def known(outcome: Tensor, names: Sequence[str], what: str) -> None:
    """Raises NonFinite, naming answers, where an outcome [N] is no number: no comparison holds of one, so an answer
    of which nothing is known would pass as harmless."""
    if odd := outcome.isnan().nonzero()[:, 0].tolist():
        raise NonFinite(
            f"the {what} of {len(odd)} of {len(outcome)} answers is no number (first {names[odd[0]]}), so it "
            "cannot be said whether they do harm. Nothing was learned from them; look at what scores them"
        )

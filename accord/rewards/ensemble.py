"""Several rewards that were learned of the same thing: their mean, the most doubtful of them, or the mean less doubt.

A policy finds the answers that one reward model overrates; models that were trained apart rarely overrate the same
ones (Coste et al. 2023; Eisenstein et al. 2023). Averaging their weights costs no more than one model when they
share a beginning (WARM, Rame et al. 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from accord.batches import Rollout, at_end
from accord.protocols import Reward
from accord.rewards.learned import Answers

Rule = Literal["mean", "worst", "lower", "variance"]


def together(scores: Tensor, rule: Rule, doubt: float = 1.0) -> Tensor:
    """[M, ...] scores of M members, all in one unit (normalise them first), as one score [...].

    `mean`; `worst`: the least; `lower`: mean - doubt * std, a lower confidence bound; `variance`: mean - doubt * var,
    Coste et al. 2023's uncertainty-weighted objective. std and var are over M: one member has no doubt.
    """
    if rule == "mean":
        return scores.mean(0)
    if rule == "worst":
        return scores.amin(0)
    spread = scores.var(0, correction=0)
    return scores.mean(0) - doubt * (spread.sqrt() if rule == "lower" else spread)


class Ensemble:
    """Rewards as one. Implements protocols.Reward; how far they disagreed is in `seen`."""

    def __init__(self, rewards: Sequence[Reward], rule: Rule = "mean", doubt: float = 1.0) -> None:
        """rewards: each in normalised units, so that no member speaks louder. doubt: for `lower` and `variance`.

        Raises ValueError for no member, an unknown rule, or a doubt below 0.
        """
        if not rewards or rule not in ("mean", "worst", "lower", "variance") or not doubt >= 0:
            raise ValueError(
                f"{len(rewards)} rewards, rule={rule!r}, doubt={doubt}: at least one reward, one of mean, worst, "
                "lower, variance, and a doubt of 0 or more are needed"
            )
        self.rewards = tuple(rewards)
        self.rule, self.doubt = rule, doubt
        self.seen: dict[str, float] = {}

    def __call__(self, rollout: Rollout) -> Tensor:
        """[B, T]: what the members say of each step, as one."""
        said = torch.stack([reward(rollout).to(rollout.logprob) for reward in self.rewards])
        found = together(said, self.rule, self.doubt)
        whole = said.sum(2)
        self.seen = {"disagreement": float(whole.std(0, correction=0).mean()), "reward": float(found.sum(1).mean())}
        self.seen |= {"agreed_order": agreed_order(whole)}
        return found


class Heads:
    """The members of one trunk as one reward, read in one pass. Implements protocols.Reward; `seen` as above."""

    def __init__(
        self,
        keep: Callable[[Rollout], Answers],
        score: Callable[[Answers], Tensor],
        normalisers: Sequence[tuple[float, float]],
        rule: Rule = "mean",
        doubt: float = 1.0,
    ) -> None:
        """keep: a world's rollout as records. score: [B, M] raw scores. normalisers: mean and std of each member.

        Raises ValueError for no member, or a spread that is not above 0.
        """
        if not normalisers or not all(std > 0 for _, std in normalisers):
            raise ValueError(f"normalisers {list(normalisers)}: one (mean, std > 0) for each member is needed")
        self.keep, self.score = keep, score
        self.normalisers = tuple(normalisers)
        self.rule: Rule = rule
        self.doubt = doubt
        self.seen: dict[str, float] = {}

    def __call__(self, rollout: Rollout) -> Tensor:
        """[B, T]: 0 but at the last step of each answer."""
        mean, std = torch.tensor(self.normalisers).to(rollout.logprob).T
        said = ((self.score(self.keep(rollout)).to(rollout.logprob) - mean) / std).T
        outcome = together(said, self.rule, self.doubt)
        self.seen = {"disagreement": float(said.std(0, correction=0).mean()), "reward": float(outcome.mean())}
        self.seen |= {"agreed_order": agreed_order(said)}
        return at_end(outcome, rollout.length, rollout.action.shape[1])


def agreed_order(scores: Tensor) -> float:
    """Share of pairs of answers that two members, drawn at random, order alike; 1 of one member. scores: [M, B]."""
    members, rows = scores.shape
    if members < 2 or rows < 2:
        return 1.0
    sign = torch.sign(scores[:, :, None] - scores[:, None, :])
    first, second = torch.triu_indices(members, members, 1)
    i, j = torch.triu_indices(rows, rows, 1)
    return float((sign[first][:, i, j] == sign[second][:, i, j]).float().mean())


def averaged(members: Sequence[Mapping[str, Tensor]], shares: Sequence[float] | None = None) -> dict[str, Tensor]:
    """The weighted mean of the weights of models of one shape (WARM); sums are taken in fp64.

    Integers (counters, places) must be the same in all. Raises ValueError, naming the first bad entry, when the models
    do not fit together, and when the shares are not positive or not one per member.
    """
    shares = [1.0] * len(members) if shares is None else list(shares)
    if not members or len(shares) != len(members) or not all(share > 0 for share in shares):
        raise ValueError(f"{len(members)} members with shares {shares}: at least one, each with a share above 0")
    first = members[0]
    for n, other in enumerate(members[1:], 1):
        strange = sorted(set(first) ^ set(other)) or [k for k in first if first[k].shape != other[k].shape]
        if strange:
            raise ValueError(f"member {n} is of another model than member 0: {strange[0]} does not fit")
    made: dict[str, Tensor] = {}
    for name, value in first.items():
        same = [member[name] for member in members]
        if not value.is_floating_point():
            if not all(torch.equal(value, other) for other in same):
                raise ValueError(f"{name} holds integers that differ between the members; they have no mean")
            made[name] = value.clone()
            continue
        weight = torch.tensor(shares, dtype=torch.float64, device=value.device) / sum(shares)
        made[name] = torch.einsum("m,m...->...", weight, torch.stack(same).double()).to(value.dtype)
    return made

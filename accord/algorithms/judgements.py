"""What each form of judgement costs a score: pure losses, unreduced, one line each in a table.

Scores are in log-odds: exp(score) is the strength of Bradley and Terry (1952). N judgements, K places of the longest
ranking, E single answers, L levels of a scale. Everything is returned in nats, one number per judgement or answer.
Two sides and their verdict: `outcome` [N, 3] holds the probability of (first better, tie, second better), so that a
soft label, a tie and a certain verdict are one thing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

NOWHERE = -1e30
"""Log of a strength that is not there; finite, since gradients of infinities are no numbers."""
LLAMA_MARGINS: Mapping[str, float] = {"small": 1 / 3, "large": 1.0}
"""Margin per step of strength (0 negligibly to 3 significantly better) in Touvron et al. 2023, table 27."""


def bradley_terry(first: Tensor, second: Tensor, outcome: Tensor, margin: Tensor | float = 0.0) -> Tensor:
    """A tie is half a win for each side; the margin is asked of the likelier side (Llama 2, eq. 2).

    -(w log s(z - m) + (1 - w) log s(m - z)), z = first - second, w = P(first better) + P(tie) / 2. All [N].
    """
    wins = outcome[:, 0] + outcome[:, 1] / 2
    asked = torch.as_tensor(margin, dtype=first.dtype, device=first.device) * torch.sign(wins - 0.5)
    z = first - second - asked
    return -(wins * logsigmoid(z) + (1 - wins) * logsigmoid(-z))


def davidson(first: Tensor, second: Tensor, outcome: Tensor, log_tie: Tensor, margin: Tensor | float = 0.0) -> Tensor:
    """Davidson 1970: a tie has the strength nu sqrt(strength_first strength_second), nu = exp(log_tie). [N].

    P(first) : P(tie) : P(second) = exp(z / 2) : nu : exp(-z / 2).
    """
    asked = torch.as_tensor(margin, dtype=first.dtype, device=first.device) * torch.sign(outcome[:, 0] - outcome[:, 2])
    half = (first - second - asked) / 2
    odds = torch.stack([half, log_tie.expand_as(half), -half], dim=1)
    return -(outcome * odds.log_softmax(1)).sum(1)


def rao_kupper(
    first: Tensor, second: Tensor, outcome: Tensor, threshold: Tensor, margin: Tensor | float = 0.0
) -> Tensor:
    """Rao and Kupper 1967: a gap below `threshold` > 0 is not seen. [N].

    P(first) = s(z - t), P(second) = s(-z - t), P(tie) = (exp(2 t) - 1) P(first) P(second).
    """
    asked = torch.as_tensor(margin, dtype=first.dtype, device=first.device) * torch.sign(outcome[:, 0] - outcome[:, 2])
    z = first - second - asked
    wins, loses = logsigmoid(z - threshold), logsigmoid(-z - threshold)
    tie = torch.log(torch.expm1(2 * threshold)) + wins + loses
    return -(outcome * torch.stack([wins, tie, loses], dim=1)).sum(1)


def acceptable(first: Tensor, second: Tensor, both_bad: Tensor, level: Tensor) -> Tensor:
    """Whether both answers were called bad: each one is with the odds exp(level - score), by itself. [N].

    -log B where both_bad and -log(1 - B) elsewhere, B = s(level - first) s(level - second). The second half keeps the
    level from running away: whoever says which one is better has not said that both are bad.
    """
    a, b = level - first, level - second
    bad = logsigmoid(a) + logsigmoid(b)
    return -torch.where(both_bad, bad, torch.logaddexp(logsigmoid(-a), logsigmoid(a) + logsigmoid(-b)))


def plackett_luce(score: Tensor, place: Tensor, log_tie: Tensor | None = None) -> Tensor:
    """Places are filled from the best, each by one answer or by several that tie (Turner et al. 2020). [N].

    score: [N, K]. place: [N, K] int64, 0 the best, equal where tied, -1 where the row has no answer. log_tie: [D - 1]
    log-prevalence of ties of 2 .. D. A set of d answers has the strength nu_d (product of theirs)^(1/d), and wins
    against all sets of at most D answers that are still there. Two answers: Davidson; no ties (None): Plackett 1975,
    and of two Bradley and Terry. Raises ValueError for a tie of more than D.
    """
    order = 1 if log_tie is None else 1 + len(log_tie)
    stages = int(place.max()) + 1 if place.numel() else 0
    loss = torch.zeros(len(score), dtype=score.dtype, device=score.device)
    for stage in range(stages):
        chosen, there = place == stage, place >= stage
        size = chosen.sum(1)
        if int(size.max()) > order:
            raise ValueError(f"a tie of {int(size.max())} answers, and ties of at most {order} have a prevalence")
        parts = [elementary(score / d, there, d) for d in range(1, order + 1)]
        won = torch.where(chosen, score, 0.0).sum(1) / size.clamp_min(1)
        if log_tie is not None:
            parts = [parts[0], *(part + log_tie[d] for d, part in enumerate(parts[1:]))]
            prevalence = torch.cat([log_tie.new_zeros(1), log_tie])
            won = won + prevalence[(size - 1).clamp_min(0)]
        against = torch.stack(parts).logsumexp(0)
        loss = loss + torch.where(size > 0, against - won, 0.0)
    return loss


def elementary(score: Tensor, there: Tensor, size: int) -> Tensor:
    """[N] log of the sum, over all sets of `size` answers that are there, of the product of exp(score). [N, K] each."""
    score = torch.where(there, score, NOWHERE)
    if size == 1:
        return score.logsumexp(1)
    nothing = torch.full_like(score[:, 0], NOWHERE)
    sums = [torch.zeros_like(nothing), *([nothing] * size)]
    for k in range(score.shape[1]):
        one = score[:, k]
        sums = [sums[0], *(torch.logaddexp(sums[d], sums[d - 1] + one) for d in range(1, size + 1))]
    return sums[size].clamp_min(NOWHERE)


def ordinal(score: Tensor, level: Tensor, thresholds: Tensor) -> Tensor:
    """Cumulative logits (McCullagh 1980): P(level <= k) = s(thresholds_k - score). [E].

    level: [E] int64 in 0 .. L - 1; thresholds: [L - 1], rising. With two levels this is logistic regression.
    """
    wide = thresholds.new_full((1,), 1e4)
    edges = torch.cat([-wide, thresholds, wide])
    high, low = edges[level + 1] - score, edges[level] - score
    # s(high) - s(low) = s(high) s(-low) (1 - exp(low - high)), exact where both are small or near 1.
    return -(logsigmoid(high) + logsigmoid(-low) + torch.log(-torch.expm1(low - high)))


def rising(raw: Tensor) -> Tensor:
    """[L - 1] thresholds from free numbers: the first as it is, each other one above the last by softplus > 0."""
    return torch.cat([raw[:1], raw[:1] + softplus(raw[1:]).cumsum(0)])


def gaussian(score: Tensor, target: Tensor, log_spread: Tensor) -> Tensor:
    """Scores on a scale without levels: ((target - score) / spread)^2 / 2 + log spread, up to a constant. [E]."""
    return ((target - score) * torch.exp(-log_spread)).square() / 2 + log_spread


def bernoulli(score: Tensor, yes: Tensor) -> Tensor:
    """A flag, or yes and no: -(yes log s(score) + (1 - yes) log s(-score)); `yes` may be a probability. [E]."""
    return -(yes * logsigmoid(score) + (1 - yes) * logsigmoid(-score))


def centred(score: Tensor, present: Tensor) -> Tensor:
    """The squared mean score of a judgement's answers: keeps the level near 0 (Eisenstein et al. 2023). [N].

    score, present: [N, K].
    """
    return (torch.where(present, score, 0.0).sum(1) / present.sum(1).clamp_min(1)).square()


def llama_margin(strength: Tensor, kind: str) -> Tensor:
    """How far apart scores should be at a strength of 0 .. 3, `small` or `large` (Touvron et al. 2023, table 27)."""
    if kind not in LLAMA_MARGINS:
        raise ValueError(f"margin {kind!r}: there are {', '.join(LLAMA_MARGINS)}")
    return LLAMA_MARGINS[kind] * strength


def correlation(score: Tensor, size: Tensor) -> Tensor:
    """Pearson's correlation of scores with a size, such as length; 0 where one of them does not vary. A scalar.

    ODIN (Chen et al. 2024) adds |correlation| of the quality and subtracts that of a head of its own for length.
    """
    a, b = score - score.mean(), size - size.mean()
    spread = (a.square().sum() * b.square().sum()).clamp_min(torch.finfo(score.dtype).tiny)
    return (a * b).sum() * spread.rsqrt()


LOSSES: Mapping[str, tuple[Callable[..., Tensor], str]] = {
    "bradley_terry": (bradley_terry, "which of two is better; a tie is half a win"),
    "davidson": (davidson, "which of two is better, or a tie"),
    "rao_kupper": (rao_kupper, "which of two is better, or a gap too small to see"),
    "acceptable": (acceptable, "whether both are bad"),
    "plackett_luce": (plackett_luce, "a ranking, with ties"),
    "ordinal": (ordinal, "a level of a scale"),
    "gaussian": (gaussian, "a score"),
    "bernoulli": (bernoulli, "a flag, or yes and no"),
}
"""Each loss and what it is for."""

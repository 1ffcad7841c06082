"""What each form of judgement costs a score: pure losses, unreduced, one line each in a table.

Scores are in log-odds: exp(score) is the strength of Bradley and Terry (1952). N judgements, K places of the longest
ranking, E single answers, L levels of a scale. Everything is returned in nats, one number per judgement or answer.
Two sides and their verdict: `outcome` [N, 3] holds the probability of (first better, tie, second better), so that a
soft label, a tie and a certain verdict are one thing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

NOWHERE = -1e30
"""Log of a strength that is not there; finite, since gradients of infinities are no numbers."""
APART = 1e-4
"""Least distance of two thresholds: a level that nobody uses shrinks, and who does use it would cost without end."""
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
    tie = 2 * threshold + torch.log(-torch.expm1(-2 * threshold)) + wins + loses  # exp(2 t) alone has an end
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
    prevalence = score.new_zeros(1) if log_tie is None else torch.cat([log_tie.new_zeros(1), log_tie])
    place, turn = torch.sort(
        place, dim=1, descending=True, stable=True
    )  # the worst first: each place finds who is left
    there = place >= 0
    score = torch.where(there, score.gather(1, turn), NOWHERE)
    chosen = (place[:, :, None] == place[:, None, :]) & there[:, :, None]
    size = chosen.sum(2).clamp_min(1)
    if int(size.max() if size.numel() else 1) > order:
        raise ValueError(f"a tie of {int(size.max())} answers, and ties of at most {order} have a prevalence")
    against = (sets(score, order) + prevalence).logsumexp(2)
    won = torch.where(chosen, score[:, None], 0.0).sum(2) / size + prevalence[size - 1]
    last = there & torch.cat([place[:, :-1] != place[:, 1:], torch.ones_like(there[:, :1])], 1)
    return torch.where(last, against - won, 0.0).sum(1)


def sets(score: Tensor, order: int) -> Tensor:
    """[N, K, D] log of the summed strength of all sets of d = 1 .. D among the first 1 .. K answers. score: [N, K].

    A set's strength is the d-th root of its answers' product, so the sum is an elementary symmetric polynomial of
    roots: each answer is brought in once, for all sizes and all places together.
    """
    root = torch.arange(1, order + 1, dtype=score.dtype, device=score.device)
    none = torch.full((len(score), order, order), NOWHERE, dtype=score.dtype, device=score.device)
    sums, found = torch.cat([torch.zeros_like(none[:, :, :1]), none], 2), []
    for one in score.unbind(1):
        sums = torch.cat(
            [sums[..., :1], torch.logaddexp(sums[..., 1:], sums[..., :-1] + (one[:, None] / root)[..., None])], 2
        )
        found.append(sums[..., 1:].diagonal(dim1=1, dim2=2))
    return torch.stack(found, 1).clamp_min(NOWHERE) if found else score.new_zeros(len(score), 0, order)


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
    """[L - 1] thresholds from free numbers: the first as it is, each other above the last by softplus, >= `APART`."""
    apart: Tensor = _Apart.apply(softplus(raw[1:]))  # type: ignore[no-untyped-call]
    return torch.cat([raw[:1], raw[:1] + apart.cumsum(0)])


class _Apart(torch.autograd.Function):
    """Gaps of at least `APART`. One that is as small as may be feels what would widen it, and nothing that presses on:
    a clamp would let it feel neither, so that a level nobody used at first would stay shut when it is used."""

    @staticmethod
    def forward(ctx: Any, gap: Tensor) -> Tensor:
        ctx.save_for_backward(gap)
        return gap.clamp_min(APART)

    @staticmethod
    def backward(ctx: Any, *slopes: Tensor) -> Tensor:
        (gap,), (slope,) = ctx.saved_tensors, slopes
        return torch.where((gap > APART) | (slope < 0), slope, 0.0)


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
    limit = torch.finfo(score.dtype)
    least = 16 * limit.eps  # equal numbers differ from their mean by its rounding: that is no variance
    varies = (a.abs().max() > least * score.abs().max()) & (b.abs().max() > least * size.abs().max())
    spread = torch.where(varies, a.square().sum() * b.square().sum(), 1.0).clamp_min(limit.tiny)
    return torch.where(varies, (a * b).sum() * spread.rsqrt(), 0.0)


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

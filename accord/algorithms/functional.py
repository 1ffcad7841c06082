"""Formulas that more than one method uses: pure, unreduced, tensors in and tensors out."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Estimator = Literal["k1", "k2", "k3"]


def gae(
    reward: Tensor, value: Tensor, next_value: Tensor, done: Tensor, mask: Tensor, discount: float, smoothing: float
) -> Tensor:
    """Generalised advantage estimation over the steps that the policy took (Schulman et al. 2016, eq. 16).

    delta_k = r_k + discount V(k+1) - V(k);   A_k = delta_k + discount smoothing A_(k+1)

    where k counts acted steps only: a user's turn in the middle of a dialogue is no step of the policy, and reward
    that arrives during it belongs to the action before it. After `done` the value is 0, however the critic feels,
    and nothing that comes then is brought by the actions before it.

    reward, value, done, mask: [B, T]; next_value: [B], what is expected after the last step where that is not done.
    Returns [B, T], 0 where `mask` is False.
    """
    advantage = torch.zeros_like(reward)
    ahead, later = next_value.clone(), torch.zeros_like(next_value)
    pending = torch.zeros_like(next_value)
    for t in reversed(range(reward.shape[1])):
        acted, over = mask[:, t], done[:, t]
        ahead, later = ahead.masked_fill(over, 0.0), later.masked_fill(over, 0.0)
        pending = pending.masked_fill(over, 0.0) + reward[:, t]
        now = pending + discount * ahead - value[:, t] + discount * smoothing * later
        advantage[:, t] = torch.where(acted, now, 0.0)
        ahead, later = torch.where(acted, value[:, t], ahead), torch.where(acted, now, later)
        pending = pending.masked_fill(acted, 0.0)
    return advantage


def kl(logprob: Tensor, reference: Tensor, estimator: Estimator) -> Tensor:
    """Per-sample estimate of KL(policy || reference) from actions of the policy (Schulman 2020, "Approximating KL").

    With x = logprob - reference:  k1 = x (unbiased, may be negative);  k2 = x^2 / 2 (biased, low variance; its
    gradient is that of the KL);  k3 = exp(-x) - 1 + x (unbiased, never negative). All of the shape given.
    """
    x = logprob - reference
    if estimator == "k1":
        return x
    if estimator == "k2":
        return x.square() / 2
    return torch.expm1(-x) + x


def mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the values where the mask is True; 0 when it nowhere is."""
    return torch.where(mask, values, 0.0).sum() / mask.sum().clamp_min(1)


def whiten(values: Tensor, mask: Tensor, shift: bool = True) -> Tensor:
    """Values of unit variance (and, with `shift`, of zero mean) where the mask is True; 0 elsewhere.

    Huang et al. 2024: advantages are shifted, rewards are only scaled.
    """
    centre = mean(values, mask)
    spread = mean((values - centre).square(), mask)
    scaled = (values - centre) * torch.rsqrt(spread + 1e-8)
    return torch.where(mask, scaled if shift else scaled + centre, 0.0)


def explained_variance(value: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """1 - Var(target - value) / Var(target): 1 is a perfect critic, 0 one that says the mean, below 0 a harmful one."""
    error = target - value
    left = mean((error - mean(error, mask)).square(), mask)
    return 1 - left / mean((target - mean(target, mask)).square(), mask).clamp_min(1e-8)


def clipped(ratio: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    """-min(ratio A, clip(ratio, 1 - low, 1 + high) A): eq. 7 of Schulman et al. 2017, two bounds as in DAPO (2025).

    All of one shape, which is returned.
    """
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - low, 1 + high) * advantage)


def group_sum(values: Tensor, group: Tensor, groups: int) -> Tensor:
    """[groups] sum of the [B] values of each group."""
    return torch.zeros(groups, dtype=values.dtype, device=values.device).index_add(0, group, values)


def group_spread(values: Tensor, group: Tensor, groups: int) -> tuple[Tensor, Tensor, Tensor]:
    """Size, mean and standard deviation (over n - 1) of each group; all [groups]. values: [B]. One value spreads 0."""
    size = group_sum(torch.ones_like(values), group, groups)
    centre = group_sum(values, group, groups) / size.clamp_min(1)
    squares = group_sum((values - centre[group]).square(), group, groups)
    return size, centre, (squares / (size - 1).clamp_min(1)).sqrt()


def bounded(worth: Tensor, mask: Tensor, done: Tensor, most: float) -> Tensor:
    """[B, T] payments by which what an answer has earned so far stays within plus or minus `most`.

    s_t = sum of worth from the answer's first step to t;   paid_t = clip(s_t) - clip(s_(t-1))

    So an answer earns its clipped score, whether it is paid at the end or on the way; of what is paid on the way as
    differences of scores, each score is clipped. Each run of the mask is an answer: those of a dialogue are clipped
    each by itself. worth, mask, done: [B, T]. What is nowhere beyond `most` is left as it is.
    """
    before = torch.zeros_like(mask)
    before[:, 1:] = mask[:, :-1] & ~done[:, :-1]
    step = torch.arange(worth.shape[1], device=worth.device).expand_as(mask)
    first = torch.where(mask & ~before, step, 0).cummax(1).values
    total = worth.cumsum(1)
    score = total - (total - worth).gather(1, first)
    kept = score.clamp(-most, most)
    last = torch.where(step == first, 0.0, kept.roll(1, 1))
    return torch.where((score != kept).any(1, keepdim=True), kept - last, worth)

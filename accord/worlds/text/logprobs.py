"""Log-probabilities and entropies without the table: memory does not grow with tokens times vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

TABLE = 1 << 22
"""Logits that are held at once (16 MB in fp32)."""


def logprobs(
    hidden: Tensor, target: Tensor, head: Callable[[Tensor], Tensor], width: int, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Log-probability of each target and entropy of its distribution, [M] each, in fp32 (fp64 for fp64 models).

    hidden: [M, D], the places that predict. target: [M] int64. head: [m, D] -> [m, V] logits. width: V.
    The distribution is softmax(logits / temperature). Chunks of rows go through the head one after the other and
    are computed again in backward, so that at most one chunk of logits exists at any time.
    """
    rows = max(1, TABLE // max(width, 1))
    if len(hidden) <= rows:
        return _chunk(hidden, target, head, temperature)
    parts = []
    for h, t in zip(torch.split(hidden, rows), torch.split(target, rows), strict=True):
        if torch.is_grad_enabled():
            parts.append(checkpoint(_chunk, h, t, head, temperature, use_reentrant=False, preserve_rng_state=False))
        else:
            parts.append(_chunk(h, t, head, temperature))
    return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])


def _chunk(
    hidden: Tensor, target: Tensor, head: Callable[[Tensor], Tensor], temperature: float
) -> tuple[Tensor, Tensor]:
    logits = head(hidden)
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    scaled = logits if temperature == 1 else logits / temperature
    found: tuple[Tensor, Tensor] = Picked.apply(scaled, target)  # type: ignore[no-untyped-call]
    return found


class Picked(torch.autograd.Function):
    """log p[target] and H(p) for p = softmax(logits) of finite logits, keeping nothing but the logits."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """logits: [m, V], target: [m] -> [m], [m]."""
        total = torch.logsumexp(logits, -1)
        share = (logits - total[:, None]).exp_()
        entropy = total - share.mul_(logits).sum(-1)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(logits, target, total, entropy)
        return logits.gather(-1, target[:, None])[:, 0] - total, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_logprob: Tensor | None, by_entropy: Tensor | None) -> tuple[Tensor | None, None]:
        """d log p[t] / dz_j = [j = t] - p_j;  dH / dz_j = -p_j (log p_j + H)."""
        logits, target, total, entropy = ctx.saved_tensors
        log_share = logits - total[:, None]
        # In place: at this size each further pass over the table costs as much as the arithmetic.
        if by_entropy is None:
            if by_logprob is None:
                return None, None
            grad = log_share.exp_().mul_(-by_logprob[:, None])
        else:
            share = torch.exp(log_share)
            grad = log_share.add_(entropy[:, None]).mul_(share).mul_(-by_entropy[:, None])
            if by_logprob is None:
                return grad, None
            grad.sub_(share.mul_(by_logprob[:, None]))
        grad.scatter_add_(-1, target[:, None], by_logprob[:, None])
        return grad, None

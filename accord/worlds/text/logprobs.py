"""Log-probabilities and entropies without the table: memory does not grow with tokens times vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

TABLE = 1 << 24
"""Logits that are computed at once (64 MB in fp32)."""
KEPT = 1
"""Tables that are kept for backward; those of further chunks are computed again."""
STRETCH = 1 << 17
"""Logits that are worked on at a time: they stay in the processor's cache from the first operation to the last."""


def logprobs(
    hidden: Tensor, target: Tensor, head: Callable[[Tensor], Tensor], width: int, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Log-probability of each target and entropy of its distribution, [M] each, in fp32 (fp64 for fp64 models).

    hidden: [M, D], the places that predict. target: [M] int64. head: [m, D] -> [m, V] logits. width: V.
    The distribution is softmax(logits / temperature). Chunks of rows go through the head one after the other. The
    logits of the first `KEPT` chunks are kept for backward and those of all others computed again, so that what is
    held has a limit whatever the number of rows.
    """
    rows = max(1, TABLE // max(width, 1))
    if len(hidden) <= rows:
        return _chunk(hidden, target, head, temperature)
    parts = []
    for number, (h, t) in enumerate(zip(torch.split(hidden, rows), torch.split(target, rows), strict=True)):
        if torch.is_grad_enabled() and number >= KEPT:
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
    """log p[target] and H(p) for p = softmax(logits) of finite logits, keeping nothing but the logits.

    Their gradient is written over them: a second backward pass through the same table is refused by torch.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """logits: [m, V], target: [m] -> [m], [m]."""
        total, entropy = logits.new_empty(len(logits)), logits.new_empty(len(logits))
        for some in stretches(logits):
            part = logits[some]
            top = part.amax(-1, keepdim=True)
            share = (part - top).exp_()
            sums = share.sum(-1)
            total[some] = sums.log().add_(top[:, 0])
            entropy[some] = total[some] - share.mul_(part).sum(-1).div_(sums)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(logits, target, total, entropy)
        return logits.gather(-1, target[:, None])[:, 0] - total, entropy

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_logprob: Tensor | None, by_entropy: Tensor | None) -> tuple[Tensor | None, None]:
        """d log p[t] / dz_j = [j = t] - p_j;  dH / dz_j = -p_j (log p_j + H)."""
        logits, target, total, entropy = ctx.saved_tensors
        if by_entropy is not None and not bool(by_entropy.any()):
            by_entropy = None  # a price of nothing: the entropy was only looked at
        if by_entropy is None and by_logprob is None:
            return None, None
        for some in stretches(logits):
            grad = logits[some].sub_(total[some, None])
            if by_entropy is None:
                assert by_logprob is not None
                grad.exp_().mul_(-by_logprob[some, None])
                continue
            share = torch.exp(grad)
            grad.add_(entropy[some, None]).mul_(share).mul_(-by_entropy[some, None])
            if by_logprob is not None:
                grad.sub_(share.mul_(by_logprob[some, None]))
        if by_logprob is not None:
            logits.scatter_add_(-1, target[:, None], by_logprob[:, None])
        return logits, None


def stretches(table: Tensor) -> list[slice]:
    """The rows of a table [m, V] in parts of about `STRETCH` numbers; on other devices than the CPU all at once."""
    rows = max(1, STRETCH // max(1, table.shape[1])) if table.device.type == "cpu" else max(1, len(table))
    return [slice(first, first + rows) for first in range(0, len(table), rows)]

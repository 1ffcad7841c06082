"""Gradients of weights: added where they belong while a run's own backward pass is under way, and clipped.

By default each part of a batch makes a gradient for every weight anew, which torch then adds to `weight.grad`: three
passes over as much memory as the model has weights. A layer that knows its weights may add its products to
`weight.grad` itself, and tell torch that there is none. Anybody else's backward pass, such as `torch.autograd.grad`,
still gets every gradient from it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_OPEN = [False]
"""Whether gradients may be added in place."""


def backward(loss: Tensor, direct: bool) -> None:
    """The loss's gradient, added to that of every weight. direct: layers may add it themselves."""
    before, _OPEN[0] = _OPEN[0], direct
    try:
        loss.backward()  # type: ignore[no-untyped-call]
    finally:
        _OPEN[0] = before


def direct(weight: Tensor | None) -> bool:
    """Whether a backward pass may write to `weight.grad`: in a run's own pass, where nobody listens to the weight."""
    return (
        _OPEN[0]
        and type(weight) is nn.Parameter
        and weight.is_leaf
        and weight.requires_grad
        and not weight._backward_hooks
        and not getattr(weight, "_post_accumulate_grad_hooks", None)
    )


def held(weight: Tensor | None) -> Tensor | None:
    """What a gradient can be added to in place; None where it is to be returned."""
    return weight.grad if weight is not None and direct(weight) else None


def gained(weight: Tensor, grad: Tensor, read: Tensor) -> Tensor | None:
    """The gradient grad' read of a matrix [O, I], from grad [n, O] and read [n, I]: added in place, or returned."""
    if not direct(weight):
        return grad.t() @ read
    if weight.grad is None:
        weight.grad = grad.t() @ read
    else:
        weight.grad.addmm_(grad.t(), read)
    return None


def rows_gained(weight: Tensor, at: Tensor, grad: Tensor, unused: int | None) -> Tensor | None:
    """The gradient of a table [V, D] whose rows at [n] were read, from grad [n, D]: added in place, or returned.

    unused: a row that never learns. One row after the other is added, in order, so the sums come out the same whatever
    the threads do.
    """
    if (sums := held(weight)) is None:
        none = -1 if unused is None else unused
        made: Tensor = torch.ops.aten.embedding_dense_backward(grad, at, len(weight), none, False)
        return made
    if unused is not None and bool((some := at == unused).any()):
        at, grad = at[~some], grad[~some]
    sums.index_add_(0, at, grad)
    return None


def clipped(weights: Sequence[Tensor], most: float) -> float:
    """The norm of all gradients as one vector; where it is above `most`, they are scaled down to that.

    As `torch.nn.utils.clip_grad_norm_` does, to the bit, without a pass over the gradients that multiplies them by 1.
    """
    norm = torch.nn.utils.get_total_norm([w.grad for w in weights if w.grad is not None])
    if not bool(most / (norm + 1e-6) >= 1):
        torch.nn.utils.clip_grads_with_norm_(weights, most, norm)
    return float(norm)

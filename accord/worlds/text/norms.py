"""Root mean square norms in a layer that is one function, forward and backward (Zhang and Sennrich 2019)."""

from __future__ import annotations

import torch
from torch import Tensor


def united(state: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """State [..., D] over its root mean square, and one over that [..., 1]."""
    size = torch.linalg.vector_norm(state, dim=-1, keepdim=True)
    size = size.square_().div_(state.shape[-1]).add_(epsilon).rsqrt_()
    return state * size, size


def normed(state: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Root mean square norm (Zhang and Sennrich 2019) over the last axis."""
    return united(state, epsilon)[0].mul_(weight)


def told(state: Tensor, weight: Tensor, epsilon: float, size: Tensor) -> Tensor:
    """`normed`, with one over the root mean square of each row put into `size` [n, 1]."""
    unit, found = united(state, epsilon)
    size.copy_(found)
    return unit.mul_(weight)


def unnormed(grad: Tensor, weight: Tensor, unit: Tensor, by: dict[str, Tensor], name: str) -> Tensor:
    """Gradient of the state over `size`, from that of `unit weight`, which is overwritten.

    That is g - unit mean(g unit) for g = grad weight. name: of the weight in `by`; empty when it does not learn.
    """
    along = grad * unit
    if name:
        add(by, name, along.flatten(0, -2).sum(0))
    mean = (along @ weight).div_(len(weight))[..., None]
    return grad.mul_(weight).addcmul_(unit, mean, value=-1)


def add(by: dict[str, Tensor], name: str, part: Tensor) -> None:
    """Add to the gradient of a vector."""
    by[name] = by[name].add_(part) if name in by else part

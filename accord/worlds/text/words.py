"""The word table and the output layer as functions that add their gradients in place: see `run/gradients.py`.

Where both are one table, its gradient is made once by the output layer, and the rows that were read are added to it.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from accord.run.gradients import gained, rows_gained


def words(table: Any, ids: Tensor) -> Tensor:
    """[..., D]: the rows of a word table at ids [...], as the module itself would give them."""
    if not _plain(table, nn.Embedding) or table.max_norm is not None or table.sparse or table.scale_grad_by_freq:
        made: Tensor = table(ids)
        return made
    found: Tensor = Words.apply(table.weight, ids, table.padding_idx)  # type: ignore[no-untyped-call]
    return found


def told(head: Any, hidden: Tensor) -> Tensor:
    """[m, V]: the logits that an output layer makes of hidden states [m, D], as the module itself would."""
    if not _plain(head, nn.Linear) or head.bias is not None or hidden.ndim != 2 or torch.is_autocast_enabled("cpu"):
        made: Tensor = head(hidden)
        return made
    found: Tensor = Told.apply(hidden, head.weight)  # type: ignore[no-untyped-call]
    return found


def _plain(module: Any, kind: type) -> bool:
    """Whether a module is of exactly that kind, on a CPU, learning, and nobody listens to it."""
    alike = type(module) is kind
    return bool(
        alike
        and type(module.weight) is nn.Parameter
        and module.weight.device.type == "cpu"
        and module.weight.requires_grad
        and torch.is_grad_enabled()
        and not (module._forward_hooks or module._forward_pre_hooks)
        and not (module._backward_hooks or module._backward_pre_hooks)
    )


class Words(torch.autograd.Function):
    """weight [V, D], ids [...] -> [..., D]."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, ids: Tensor, unused: int | None) -> Tensor:
        """unused: a row that never learns."""
        ctx.weight, ctx.ids, ctx.unused = weight, ids, unused
        return nn.functional.embedding(ids, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None, None]:
        """The gradient of the table."""
        at, each = ctx.ids.flatten(), grad.reshape(-1, grad.shape[-1])
        return rows_gained(ctx.weight, at, each, ctx.unused), None, None


class Told(torch.autograd.Function):
    """hidden [m, D], weight [V, D] -> [m, V]."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor) -> Tensor:
        """hidden weight'."""
        ctx.save_for_backward(hidden, weight)
        ctx.weight = weight
        return hidden @ weight.t()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        """The gradients of both."""
        hidden, weight = ctx.saved_tensors
        by_hidden = grad @ weight if ctx.needs_input_grad[0] else None
        return by_hidden, gained(ctx.weight, grad, hidden)

"""Adapters of low rank (Hu et al. 2021) in layers that are one function: read merged, learned apart.

    forward      x (W + s B A)'                                    one product, as without an adapter
    backward     by A = s (g B)' x      by B = s g' (x A')         g: gradient of what the layer gave; none of W is made

The merged weights are made for one layer at a time and forgotten.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Low:
    """What is added to a linear layer's weights [O, I]."""

    down: Tensor
    """A, [r, I]."""
    up: Tensor
    """B, [O, r]."""
    scale: float
    """s."""

    def merged(self, weight: Tensor) -> Tensor:
        """W + s B A."""
        return torch.addmm(weight, self.up, self.down, alpha=self.scale)


def inside(part: Any) -> Any:
    """The linear layer itself, without its adapters."""
    return part.base_layer if _adapted(part) else part


def low(part: Any) -> Low | None:
    """The adapter that acts on an understood layer; None where none does."""
    if not _adapted(part) or part.disable_adapters:
        return None
    acting = _acting(part)
    if not acting:
        return None
    name = acting[0]
    return Low(part.lora_A[name].weight, part.lora_B[name].weight, float(part.scaling[name]))


def understood(part: Any) -> bool:
    """Whether a layer is linear, alone or with one plain adapter of low rank beside frozen weights.

    Not with adapters merged already, several at once, of other kinds (DoRA, with a bias) or with dropout that acts.
    """
    if type(part) is nn.Linear:
        return True
    if not _adapted(part) or part.merged or type(part.base_layer) is not nn.Linear:
        return False
    acting = [] if part.disable_adapters else _acting(part)
    weights = [inside(part).weight, *(side[name].weight for side in (part.lora_A, part.lora_B) for name in acting)]
    return (
        len(acting) <= 1
        and not part.base_layer.weight.requires_grad
        and len({weight.dtype for weight in weights}) == 1
        and all(_simple(part, name) for name in acting)
    )


def gain(by: dict[str, Tensor], name: str, grad: Tensor, read: Tensor, low: Low | None) -> None:
    """Add grad' read to the gradient of a weight; where it has an adapter, what follows to its `down` and `up`."""
    if low is None:
        _summed(by, name, grad, read, 1.0)
    else:
        _summed(by, name + "/down", grad @ low.up, read, low.scale)
        _summed(by, name + "/up", grad, read @ low.down.t(), low.scale)


def _summed(by: dict[str, Tensor], name: str, grad: Tensor, read: Tensor, scale: float) -> None:
    if name in by:
        by[name].addmm_(grad.t(), read, alpha=scale)
    else:
        made = grad.t() @ read
        by[name] = made if scale == 1 else made.mul_(scale)


def _adapted(part: Any) -> bool:
    """Whether PEFT stands around a layer. Where PEFT was not imported it does not."""
    kinds = sys.modules.get("peft.tuners.lora.layer")
    return kinds is not None and type(part) is kinds.Linear


def _acting(part: Any) -> list[str]:
    return [name for name in part.active_adapters if name in part.lora_A]


def _simple(part: Any, name: str) -> bool:
    """Whether one adapter of a layer is B A and nothing else."""
    drop, sides = part.lora_dropout[name], (part.lora_A[name], part.lora_B[name])
    still = type(drop) is nn.Identity or (type(drop) is nn.Dropout and (drop.p == 0 or not drop.training))
    plain = all(type(side) is nn.Linear and side.bias is None for side in sides)
    return still and plain and name not in part.lora_variant

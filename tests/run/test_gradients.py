"""Clipping is torch's own, to the bit, and touches no gradient that is short enough."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from accord.run.gradients import clipped


def weights(scale: float) -> list[torch.nn.Parameter]:
    draw = torch.Generator().manual_seed(3)
    made = [torch.nn.Parameter(torch.zeros(*shape)) for shape in ((4, 3), (7,), (2, 2))]
    for weight in made[:2]:  # one that nothing was learned about
        weight.grad = scale * torch.randn(weight.shape, generator=draw)
    return made


class Touched(TorchDispatchMode):
    """Operations that change something in place."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "mul_" in str(func):
            self.found.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("scale", [0.0, 1e-3, 0.2, 0.3, 5.0, 1e30, math.inf, math.nan])
def test_the_norm_and_every_gradient_are_torchs_own(scale: float) -> None:
    ours, theirs = weights(scale), weights(scale)
    expected = float(torch.nn.utils.clip_grad_norm_(theirs, 1.0))
    found = clipped(ours, 1.0)
    assert found == expected or (math.isnan(found) and math.isnan(expected))
    for mine, their in zip(ours[:2], theirs[:2], strict=True):
        assert torch.equal(mine.grad.nan_to_num(7.0), their.grad.nan_to_num(7.0))
    assert ours[2].grad is None


def test_at_the_very_limit_it_is_torchs_own_too() -> None:
    norm = float(torch.nn.utils.get_total_norm([w.grad for w in weights(1.0)[:2]]))
    for most in (norm, norm + 5e-7, norm + 1e-6, norm + 2e-6, math.nextafter(norm, 9e9)):
        ours, theirs = weights(1.0), weights(1.0)
        assert clipped(ours, most) == float(torch.nn.utils.clip_grad_norm_(theirs, most))
        assert all(torch.equal(a.grad, b.grad) for a, b in zip(ours[:2], theirs[:2], strict=True))


def test_what_is_short_enough_is_not_multiplied() -> None:
    with Touched() as long:
        clipped(weights(5.0), 1.0)
    with Touched() as short:
        clipped(weights(1e-3), 1.0)
    assert long.found
    assert short.found == []


def test_nothing_learned_is_a_norm_of_nothing() -> None:
    assert clipped([torch.nn.Parameter(torch.zeros(3))], 1.0) == 0.0

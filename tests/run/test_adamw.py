"""AdamW beside torch's own: the same bits, the same checkpoints, and no compiler imported."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from accord.run.adamw import AdamW

BETAS, EPSILON, RATE = (0.9, 0.97), 1e-6, 0.03


def weights() -> list[nn.Parameter]:
    """Two precisions, a single number, and sizes that are no multiple of a vector."""
    draw = torch.Generator().manual_seed(3)
    sizes = [(7, 5), (33,), (), (4, 9), (6,)]
    kinds = [torch.float32, torch.float32, torch.float32, torch.bfloat16, torch.float64]
    return [nn.Parameter(torch.randn(s, generator=draw).to(k)) for s, k in zip(sizes, kinds, strict=True)]


def groups(of: list[nn.Parameter]) -> list[dict[str, Any]]:
    return [
        {"params": [of[0], of[3]], "lr": 0.1, "base": 0.1, "weight_decay": 0.2, "module": "policy"},
        {"params": [of[1], of[2], of[4]], "weight_decay": 0.0, "module": "policy"},
    ]


def torchs(of: list[nn.Parameter]) -> torch.optim.AdamW:
    return torch.optim.AdamW(groups(of), lr=RATE, betas=BETAS, eps=EPSILON, fused=True)


def learn(optimiser: Any, of: list[nn.Parameter], turns: range) -> None:
    """Gradients by the turn's number; now and then a weight has none."""
    for turn in turns:
        draw = torch.Generator().manual_seed(turn)
        for at, weight in enumerate(of):
            gradient = torch.randn(weight.shape, generator=draw).to(weight.dtype)
            weight.grad = None if (turn + at) % 4 == 0 else gradient
        for group in optimiser.param_groups:
            group["lr"] *= 0.9
        optimiser.step()
        optimiser.zero_grad()
        assert all(weight.grad is None for weight in of)


def same(one: Any, other: Any) -> None:
    """Nested values with tensors, equal in every bit, in the same order of names."""
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for name in one:
            same(one[name], other[name])
    else:
        assert one == other


def test_every_step_is_torchs_to_the_bit():
    mine, theirs = weights(), weights()
    one, other = AdamW(groups(mine), RATE, BETAS, EPSILON), torchs(theirs)
    for turn in range(6):
        learn(one, mine, range(turn, turn + 1))
        learn(other, theirs, range(turn, turn + 1))
        for a, b in zip(mine, theirs, strict=True):
            assert torch.equal(a, b)
    same(one.state_dict(), other.state_dict())


@pytest.mark.parametrize("from_torch", [True, False])
def test_a_checkpoint_of_one_is_read_by_the_other(from_torch):
    first, second, undisturbed = weights(), weights(), weights()
    here, there = (torchs(first), None) if from_torch else (AdamW(groups(first), RATE, BETAS, EPSILON), None)
    learn(here, first, range(4))
    for a, b in zip(first, second, strict=True):
        b.data.copy_(a.data)
    there = AdamW(groups(second), RATE, BETAS, EPSILON) if from_torch else torchs(second)
    there.load_state_dict(here.state_dict())
    learn(there, second, range(4, 7))
    learn(whole := torchs(undisturbed), undisturbed, range(7))
    for a, b in zip(second, undisturbed, strict=True):
        assert torch.equal(a, b)
    same(there.state_dict(), whole.state_dict())


def test_what_does_not_fit_is_refused():
    of = weights()
    optimiser = AdamW(groups(of), RATE, BETAS, EPSILON)
    learn(optimiser, of, range(1))
    with pytest.raises(ValueError, match=r"groups of \[2, 3\] weights, this model of \[2\]"):
        AdamW(groups(of)[:1], RATE, BETAS, EPSILON).load_state_dict(optimiser.state_dict())
    table = nn.Embedding(5, 3, sparse=True)
    table(torch.tensor([1, 2])).sum().backward()
    with pytest.raises(RuntimeError, match="sparse"):
        AdamW([{"params": [table.weight]}], RATE, BETAS, EPSILON).step()


def test_a_step_imports_no_compiler():
    code = """
import sys, torch
from accord.run.adamw import AdamW
weight = torch.nn.Parameter(torch.ones(3))
weight.sum().backward()
optimiser = AdamW([{"params": [weight]}], .1, (.9, .99), 1e-8)
optimiser.step(), optimiser.zero_grad(), optimiser.load_state_dict(optimiser.state_dict())
print([name for name in ("torch._dynamo", "sympy") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

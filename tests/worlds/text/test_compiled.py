"""Compiled layers compute what plain ones do, and a model keeps its names."""

from __future__ import annotations

from functools import partialmethod

import pytest
import tiny
import torch
from torch import nn

from accord.worlds.text.architecture import compiled
from accord.worlds.text.policy import Policy

SHAPE = [(9, [4, 7]), (3, [5]), (12, [2, 2, 6])]


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_compiled_layers_learn_as_plain_ones_do(family, monkeypatch):
    """Traced as always and then run as they are, so that the test needs no compiler of C++."""
    plain, made = tiny.model(family), tiny.model(family)
    monkeypatch.setattr(nn.Module, "compile", partialmethod(nn.Module.compile, backend="aot_eager"))
    assert compiled(made, False) is made
    quick = compiled(made, True)
    assert list(quick.state_dict()) == list(plain.state_dict())
    assert sum(m._compiled_call_impl is not None for m in quick.modules()) == 2, "each layer, nothing else"
    rows, found = tiny.drawn(SHAPE), []
    for one in (plain, quick):
        said = Policy(one).evaluate(rows)
        (said.logprob.sum() + said.entropy.square().sum()).backward()
        found.append([said.logprob.detach(), *(weight.grad for weight in one.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    again = Policy(quick).evaluate(tiny.drawn([(20, [3, 9]), (1, [1])], seed=2))
    wanted = Policy(plain).evaluate(tiny.drawn([(20, [3, 9]), (1, [1])], seed=2))
    torch.testing.assert_close(again.logprob, wanted.logprob, rtol=1e-3, atol=1e-4)

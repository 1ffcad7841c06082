"""A gradient comes out the same whatever the threads do: no pass adds up rows by several threads in any order."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from accord.worlds.text.picked import picked
from accord.worlds.text.policy import Policy
from accord.worlds.text.scorer import Scorer
from tests.worlds.text import tiny
from tests.worlds.text.test_scorer import encoder

SHAPE = [(5, [3, 1, 7, 2]), (2, [4, 4, 1]), (9, [2, 6, 1])]


class Loose(TorchDispatchMode):
    """Operations that add numbers to places in whatever order their threads come (index_put with accumulate)."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if "index_put" in str(func) and len(args) > 3 and args[3] and args[0].dim() > 1:
            self.found.append(tuple(args[0].shape))
        return func(*args, **(kwargs or {}))


def test_rows_and_their_gradient_are_those_of_a_loop() -> None:
    draw = torch.Generator().manual_seed(0)
    rows = torch.randn(7, 3, generator=draw, dtype=torch.float64, requires_grad=True)
    at, weight = torch.tensor([2, 2, 6, 0, 2]), torch.randn(5, 3, generator=draw, dtype=torch.float64)
    found = picked(rows, at)
    (slope,) = torch.autograd.grad((found * weight).sum(), rows)
    expected = torch.zeros(7, 3, dtype=torch.float64)
    for i, place in enumerate(at.tolist()):
        assert torch.equal(found[i], rows[place])
        expected[place] += weight[i]
    assert torch.equal(slope, expected)


def test_what_is_looked_for_is_found_where_rows_are_read_by_an_index() -> None:
    rows = torch.randn(4, 3, requires_grad=True)
    with Loose() as seen:
        rows[torch.tensor([1, 1, 1])].sum().backward()
    assert seen.found == [(4, 3)]


@pytest.mark.parametrize("packs", [True, False], ids=["packed", "plain"])
@pytest.mark.parametrize("family", list(tiny.CONFIGS))
def test_no_pass_of_a_policy_adds_in_any_order(family: str, packs: bool) -> None:
    policy = Policy(tiny.model(family), critic="shared")
    policy.trunk.shares = packs
    with Loose() as seen:
        out = policy.evaluate(tiny.drawn(SHAPE))
        assert out.value is not None
        (out.logprob.sum() + out.value.sum()).backward()
    assert seen.found == []


@pytest.mark.parametrize("whole", [True, False])
def test_no_pass_of_an_encoder_adds_in_any_order(whole: bool) -> None:
    scorer = Scorer(encoder("bert"))
    scorer.whole_rows = whole
    with Loose() as seen:
        scorer.score(tiny.drawn(SHAPE)).sum().backward()
    assert seen.found == []


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_no_pass_of_a_decoder_that_scores_adds_in_any_order(family: str) -> None:
    scorer = Scorer(tiny.model(family, scorer=True))
    with Loose() as seen:
        scorer.score(tiny.drawn(SHAPE)).sum().backward()
    assert seen.found == []

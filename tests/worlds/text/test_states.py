"""A scorer in two parts: what was read of each row, and what its last layer reads off that, are the score."""

from __future__ import annotations

import pytest
import tiny
import torch
from test_scorer import SHAPE, encoder

from accord.worlds.text.scorer import Scorer


@pytest.mark.parametrize(
    ("kind", "pooling", "width"),
    [
        ("llama", "own", 32),
        ("bert", "own", 32),
        ("bert", "mean", 32),
        ("modernbert", "own", 32),
        ("deberta", "own", 32),
    ],
)
def test_the_parts_make_the_score_and_pass_its_gradient_on(kind, pooling, width):
    scorer = Scorer(
        tiny.model(kind, scorer=True) if kind in tiny.CONFIGS else encoder(kind), pooling=pooling, tokens=40
    )
    seg = tiny.drawn(SHAPE)
    states = scorer.states(seg)
    assert states.shape == (len(seg), width)
    part = torch.randn(len(seg), generator=torch.Generator().manual_seed(1))
    found, wanted = scorer.read(states), scorer.score(seg)
    assert (found - wanted).abs().max() < 1e-5
    slopes = []
    for score in (found, wanted):
        scorer.zero_grad(set_to_none=True)
        (score * part).sum().backward()
        slopes.append(
            {name: weight.grad.clone() for name, weight in scorer.named_parameters() if weight.grad is not None}
        )
    assert set(slopes[0]) == set(slopes[1])
    for name, slope in slopes[0].items():
        assert (slope - slopes[1][name]).abs().max() < 1e-5 * max(1, slope.abs().max()), name

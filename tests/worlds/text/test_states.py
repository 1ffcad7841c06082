"""A scorer in two parts: what was read of each row, and what its last layer reads off that, are the score."""

from __future__ import annotations

import pytest
import tiny
import torch
from test_scorer import SHAPE, encoder

from accord.algorithms import reward_heads
from accord.judged import Judged, Kind
from accord.run import OptimiserConfig, Run, RunConfig
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


@pytest.mark.parametrize("kind", ["llama", "modernbert"])
def test_a_real_scorer_learns_from_pairs_and_ratings_at_once(kind, tmp_path):
    scorer = Scorer(tiny.model(kind, scorer=True) if kind in tiny.CONFIGS else encoder(kind)).eval()
    seg = tiny.drawn([(5, [3, 7]), (2, [4, 6]), (9, [2, 6]), (3, [5, 4])])
    row = torch.arange(8)
    said = Judged(
        segment=seg,
        kinds=(Kind("pair"), Kind("rating", "tone", 3)),
        kind=torch.tensor([0, 0, 0, 0, 1, 1, 1, 1]),
        probability=torch.ones(8),
        margin=torch.zeros(8),
        weight=torch.ones(8),
        said=torch.cat([row[:4].repeat_interleave(2), row[4:].repeat_interleave(2)]),
        row=torch.cat([row, row]),
        value=torch.tensor([1.0, 0.0] * 4 + [0.0, 2.0, 1.0, 2.0, 0.0, 1.0, 2.0, 0.0]),
        names=tuple(f"said{j}" for j in range(8)),
    )
    run = Run(tmp_path, RunConfig(device="cpu", trackers=(), progress=False, checkpoint_seconds=1e9))
    config = reward_heads.Config(epochs=40, batch=4, optimiser=OptimiserConfig(learning_rate=3e-3))
    heads, figures = reward_heads.train(config, scorer, said, run)
    assert figures["loss/pair"] < 0.2
    assert figures["loss/rating3.tone"] < 0.6
    assert figures["tokens"] == seg.tokens
    scores, _ = reward_heads.scores_of(scorer, heads.columns, seg, 1000)
    with torch.no_grad():
        assert (scores[:, 0] - scorer.score(seg)).abs().max() < 1e-5

"""Heads that heard different resamples: what each hears, at what price, and where they differ."""

import pytest
import torch

from accord.algorithms import reward_heads
from accord.algorithms.members import member, with_members
from accord.judged import Kind
from accord.run import OptimiserConfig
from tests.algorithms.said import Taste, answers, judged, pairs, ratings, worth
from tests.test_judged import plain


def test_each_member_hears_what_was_said_overall_as_often_as_its_resample_says():
    segment = answers(40, 2)
    said = judged(segment, pairs(segment, worth(segment)) + ratings(segment, worth(segment, 6), "tone", 5))
    made = with_members(said, 3, seed=4)
    assert made.kinds[:2] == said.kinds
    assert made.kinds[2:] == tuple(Kind("pair", member("", m)) for m in (1, 2, 3))
    assert len(made) == 80 + 3 * 40
    whole, first = plain(said), plain(made.of(torch.arange(80)))
    assert first == whole
    weights = []
    for m in range(3):
        part = made.of(torch.arange(80 + 40 * m, 120 + 40 * m))
        for name, (kind, sure, margin, weight, about) in plain(part).items():
            assert kind == Kind("pair", f"#{m + 1}")
            assert (sure, margin, about) == (whole[name][1], whole[name][2], whole[name][4])
            assert weight in range(10)
        weights.append(part.weight)
    assert not torch.equal(weights[0], weights[1])
    assert 0.6 < float(torch.cat(weights).mean()) < 1.4
    assert torch.equal(with_members(said, 3, seed=4).weight, made.weight)
    assert not torch.equal(with_members(said, 3, seed=5).weight, made.weight)


def test_no_member_hears_nothing():
    """Of one prompt a third of the members heard nothing: their heads were noise, and missing where they are read."""
    segment = answers(1, 2)
    made = with_members(judged(segment, pairs(segment, worth(segment))), 20, seed=1)
    assert bool((made.weight > 0).all())


def test_prompts_are_resampled_whole():
    segment = answers(30, 2)
    made = with_members(judged(segment, pairs(segment, worth(segment)) * 2), 1)
    assert torch.equal(made.weight[60:90], made.weight[90:])


def test_members_cost_no_reading_and_doubt_words_that_were_not_judged(new_run):
    segment = answers(150, 2)
    rare = segment.action >= 20
    often = segment.rows((~(rare & segment.present).any(1)).nonzero()[:, 0])
    keep = [members for members in often.members() if len(members) == 2]
    often = often.rows(torch.cat(keep))
    said = judged(often, pairs(often, worth(often)))
    config = reward_heads.Config(
        epochs=40, batch=40, share_prompts=False, optimiser=OptimiserConfig(learning_rate=0.05)
    )
    scorer = Taste(width=8)
    heads, figures = reward_heads.train(config, scorer, with_members(said, 6), new_run())
    alone, single = Taste(width=8), new_run()
    _, plainly = reward_heads.train(config, alone, said, single)
    assert figures["tokens"] == plainly["tokens"]
    unseen = answers(300, 2, seed=1)
    scores, _ = reward_heads.scores_of(scorer, heads.columns, unseen, 10_000)
    norms = [heads.normalisers[name] for name in heads.columns.criteria]
    members = torch.stack([(scores[:, c] - norms[c].mean) / norms[c].std for c in range(1, 7)])
    strange = ((unseen.action >= 20) & unseen.present).sum(1)
    spread = members.std(0)
    assert float(spread[strange >= 2].mean()) > 1.1 * float(spread[strange == 0].mean())
    assert float(spread.mean()) > 0.02


def test_members_need_something_to_hear():
    segment = answers(2, 2)
    with pytest.raises(ValueError, match="no judgement is about 'harm', so there is nothing for 3 members"):
        with_members(judged(segment, pairs(segment, worth(segment))), 3, main="harm")

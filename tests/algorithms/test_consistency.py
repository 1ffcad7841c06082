"""Opinions that stay the same in other words: the formula pair by pair, what comes when, resumes, and what it buys."""

import math
from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from accord.algorithms import consistency, reward_model
from accord.batches import Comparisons
from accord.run import OptimiserConfig, Run, RunConfig
from tests.algorithms.said import Taste
from tests.algorithms.test_curriculum import compared


def slow(gap, other, sharpen, threshold):
    """One pair, from the two chances."""
    if 1 / (1 + math.exp(-abs(gap))) < threshold:
        return 0.0
    q, p = 1 / (1 + math.exp(-gap / sharpen)), 1 / (1 + math.exp(-other))
    return q * math.log(q / p) + (1 - q) * math.log((1 - q) / (1 - p))


def moved(pairs: Comparisons, by: int = 1) -> Comparisons:
    """The same pairs with other words in each answer."""
    segment = pairs.segment
    action = torch.where(segment.present, (segment.action + by) % 24, segment.action)
    return replace(pairs, segment=replace(segment, action=action))


@pytest.mark.parametrize(("sharpen", "threshold"), [(1.0, 0.5), (0.4, 0.8), (0.7, 0.95)])
def test_the_term_is_the_divergence_of_two_chances(sharpen, threshold):
    draw = torch.Generator().manual_seed(0)
    gap, other = 2 * torch.randn(2, 60, generator=draw, dtype=torch.float64)
    found = consistency.inconsistency(gap, other, sharpen, threshold)
    wanted = [slow(float(g), float(o), sharpen, threshold) for g, o in zip(gap, other, strict=True)]
    assert found.tolist() == pytest.approx(wanted, abs=1e-12)
    assert 0 < sum(w == 0 for w in wanted) < 60 or threshold == 0.5
    assert (found >= 0).all()


def test_only_the_opinion_in_other_words_is_moved_and_towards_the_one_held():
    gap = torch.tensor([2.0, -3.0, 0.1], dtype=torch.float64, requires_grad=True)
    other = torch.tensor([0.5, 1.0, 5.0], dtype=torch.float64, requires_grad=True)
    consistency.inconsistency(gap, other, 0.5, 0.8).sum().backward()
    assert gap.grad is None
    step = 1e-6
    for n in range(3):
        ends = [slow(gap[n].item(), other[n].item() + sign * step, 0.5, 0.8) for sign in (1, -1)]
        assert float(other.grad[n]) == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-6)
    assert other.grad[0] < 0 < other.grad[1]
    assert other.grad[2] == 0


def test_an_opinion_that_is_the_same_in_other_words_costs_nothing():
    gap = torch.randn(9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert consistency.inconsistency(gap, gap).abs().max() < 1e-12
    assert torch.isfinite(consistency.inconsistency(torch.tensor([500.0, -500.0]), torch.tensor([-500.0, 500.0]))).all()


def term(new_run, scorer, pairs=40, micro=10_000, others=None, at=0, **settings):
    pool = compared(30)
    run = new_run()
    run.optimise(OptimiserConfig(learning_rate=0.1), 5, scorer=scorer)
    run.at = at
    chosen = consistency.Config(**{"weight": 0.7, "pairs": pairs, "threshold": 0.6, **settings})
    return consistency.Consistency(chosen, scorer, pool, others or [moved(pool, 1), moved(pool, 2)], run, micro)


@pytest.mark.parametrize("micro", [1, 25, 10_000])
@pytest.mark.parametrize("at", [0, 1])
def test_its_gradient_is_that_of_all_pairs_one_by_one(new_run, micro, at):
    scorer, plain = Taste(seed=3), Taste(seed=3)
    found = term(new_run, scorer, micro=micro, at=at)()
    pool = compared(30)
    put, total, sure, same = moved(pool, at + 1), torch.zeros(()), 0, 0
    before, after = plain.score(pool.segment).detach(), plain.score(put.segment)
    for n in range(30):
        gap = float(before[pool.better[n]] - before[pool.worse[n]])
        other = after[put.better[n]] - after[put.worse[n]]
        same += (gap > 0) == (other.item() > 0)
        if 1 / (1 + math.exp(-abs(gap))) >= 0.6:
            sure += 1
            q = 1 / (1 + math.exp(-gap / 0.4))
            entropy = q * math.log(q) + (1 - q) * math.log(1 - q)
            total = total + entropy - q * other.sigmoid().log() - (1 - q) * (-other).sigmoid().log()
    (0.7 * total / 30).backward()
    shares = {"consistency_sure": pytest.approx(sure / 30), "consistency_same": pytest.approx(same / 30)}
    assert found == {"consistency_loss": pytest.approx(total.item() / 30, rel=1e-4), **shares}
    assert 0 < sure < 30
    for one, other in zip(scorer.parameters(), plain.parameters(), strict=True):
        assert_close(one.grad, other.grad, rtol=1e-4, atol=1e-6)


def test_pairs_that_are_not_there_in_other_words_are_left_out(new_run):
    pool = compared(30)
    shuffled = moved(pool).pairs(torch.tensor([7, 3, 5, 1]))
    found = term(new_run, Taste(seed=3), others=[shuffled, moved(pool, 2).pairs(torch.arange(6))])
    assert found.pool.names == tuple(pool.names[n] for n in (1, 3, 5))
    for one in (found.pool, *found.others):
        assert one.names == found.pool.names
    words = found.others[0].segment.action[found.others[0].better[1]]
    assert torch.equal(words, moved(pool).segment.action[moved(pool).better[3]][: len(words)])
    with pytest.raises(ValueError, match="none of 30 pairs is there in other words"):
        term(new_run, Taste(), others=[pool.pairs(torch.tensor([0])), pool.pairs(torch.tensor([1]))])


def learned(run: Run, weight: float, words: int = 1) -> Taste:
    """A scorer of few labels, with the term over many pairs where it weighs something."""
    scorer, pool = Taste(seed=1), compared(60, 5)
    chosen = consistency.Config(weight=weight, pairs=8)
    beside = (
        consistency.Consistency(chosen, scorer, pool, [moved(pool, words)], run) if weight else reward_model.nothing
    )
    config = reward_model.Config(epochs=6, batch=4, optimiser=OptimiserConfig(learning_rate=0.03))
    reward_model.train(config, scorer, compared(16), run, beside=beside)
    return scorer


def test_a_killed_run_goes_on_to_the_same_bits_and_not_with_other_words(tmp_path, monkeypatch):
    quiet = {"device": "cpu", "trackers": (), "progress": False, "checkpoint_seconds": 0}
    whole = learned(Run(tmp_path / "whole", RunConfig(**quiet)), 1.0)
    step, done = Run.step, []

    def dies(self, **figures):
        if len(done) == 7:
            raise KeyboardInterrupt
        done.append(1)
        return step(self, **figures)

    monkeypatch.setattr(Run, "step", dies)
    with pytest.raises(KeyboardInterrupt):
        learned(Run(tmp_path / "killed", RunConfig(**quiet)), 1.0)
    monkeypatch.setattr(Run, "step", step)
    with pytest.raises(ValueError, match="other pairs or other paraphrases than the 60"):
        learned(Run(tmp_path / "killed", RunConfig(**quiet)), 1.0, words=2)
    again = learned(Run(tmp_path / "killed", RunConfig(**quiet)), 1.0)
    for one, other in zip(whole.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    alone = learned(Run(tmp_path / "alone", RunConfig(**quiet)), 0.0)
    assert not torch.equal(whole.table.weight, alone.table.weight)


def test_opinions_agree_more_often_in_other_words_after_learning(new_run):
    """Words come in twins that mean the same; of pairs that were in no lesson."""

    def twins(pairs):
        segment = pairs.segment
        return replace(pairs, segment=replace(segment, action=torch.where(segment.present, segment.action ^ 1, 0)))

    pool, unseen, kept = compared(60, 5), compared(300, 9), {}
    for weight in (0.0, 1.0):
        scorer, run = Taste(seed=1), new_run()
        chosen = consistency.Config(weight=weight, threshold=0.6)
        term = consistency.Consistency(chosen, scorer, pool, [twins(pool)], run)
        config = reward_model.Config(epochs=40, batch=16, optimiser=OptimiserConfig(learning_rate=0.03))
        reward_model.train(config, scorer, compared(16), run, beside=term)
        with torch.no_grad():
            one, other = scorer.score(unseen.segment), scorer.score(twins(unseen).segment)
        gaps = [score[unseen.better] - score[unseen.worse] for score in (one, other)]
        kept[weight] = float(((gaps[0] > 0) == (gaps[1] > 0)).float().mean())
    assert kept[1.0] > kept[0.0] + 0.1, kept

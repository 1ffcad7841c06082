"""The reward card against plain counting and against planted faults."""

from __future__ import annotations

import math

import numpy as np
import pytest

from accord.evaluate.reward import halves, reward_card
from accord.statistics import wilson

from .sample import card


def made(gap, sure=1.0, longer=None, clusters=None, **more):
    n = len(gap)
    longer = np.zeros(n) if longer is None else np.asarray(longer)
    names = clusters or [f"p{i}" for i in range(n)]
    return reward_card(np.asarray(gap), np.zeros(n), np.full(n, sure), names, 10 + longer, np.full(n, 10), **more)


def test_accuracy_counts_ties_half_and_leaves_out_pairs_that_nobody_can_order():
    got = reward_card([2, 1, 0, 5], [1, 1, 3, 0], [0.9, 0.8, 0.7, 0.5], "abcd", [1] * 4, [1] * 4)
    assert got.accuracy.estimate == pytest.approx((1 + 0.5 + 0) / 3)
    assert (got.pairs, got.undecided, got.clusters) == (3, 1, 3)
    assert got.calibration.pairs == 4


def test_the_length_rule_learns_which_way_people_lean_but_not_from_the_pairs_it_is_judged_on():
    g = np.random.default_rng(0)
    shorter = np.where(g.random(400) < 0.8, -3, 3)
    assert made(g.normal(size=400), longer=shorter).length_accuracy.estimate == pytest.approx(np.mean(shorter < 0))
    # On pure chance a rule that may look would beat one half; this one must not, on average.
    rates = [made(g.normal(size=30), longer=g.choice([-1, 1], 30)).length_accuracy.estimate for _ in range(150)]
    assert np.mean(rates) == pytest.approx(0.5, abs=0.025)


def test_a_model_that_only_measures_length_is_not_over_length():
    g = np.random.default_rng(1)
    longer = np.where(g.random(300) < 0.7, 2, -2)
    got = made(longer / 2, longer=longer)
    assert got.over_chance.low > 0
    assert (got.over_length.estimate, got.over_length.low, got.over_length.high) == (0, 0, 0)
    by = {p.name: p.accuracy.estimate for p in got.by_length}
    assert by == {"better one longer": 1.0, "better one shorter": 0.0}


def test_pairs_of_one_prompt_do_not_pose_as_independent():
    gap = np.repeat(np.random.default_rng(2).normal(0.5, 1, 40), 5)
    wide = made(gap, clusters=[f"p{i // 5}" for i in range(200)]).accuracy
    narrow = made(gap).accuracy
    assert wide.n == 40
    assert wide.high - wide.low > 1.7 * (narrow.high - narrow.low)


def test_parts_are_the_pairs_they_say():
    g = np.random.default_rng(3)
    gap, kind = g.normal(0.3, 1, 90), ["helpful", "harmless", "helpful"] * 30
    marked = g.random(90) < 0.4
    steps = g.integers(1, 4, 90)
    got = made(gap, margin=steps, slices={"half": kind, "marked": list(marked), "": kind})
    by = {p.name: p for p in got.by_slice + got.by_margin}
    assert by["half: harmless"].accuracy.estimate == pytest.approx(np.mean(gap[1::3] > 0))
    assert by["harmless"].accuracy == by["half: harmless"].accuracy
    assert by["marked"].pairs == marked.sum()
    assert by["much better"].accuracy.estimate == pytest.approx(np.mean(gap[steps == 3] > 0))
    assert {p.name for p in got.by_margin} == {"slightly", "clearly", "much better"}


def test_calibration_finds_a_planted_temperature_and_mends_it():
    g = np.random.default_rng(4)
    logits = g.normal(0, 2, 4000)
    # The better side is drawn with probability sigmoid(logit); shown to the card with the winner first.
    won = g.random(4000) < 1 / (1 + np.exp(-logits))
    honest = np.where(won, logits, -logits)
    plain, loud = made(honest).calibration, made(4 * honest).calibration
    assert plain.ece < 0.03
    assert plain.temperature == pytest.approx(1, abs=0.12)
    assert loud.temperature == pytest.approx(4, rel=0.12)
    assert loud.ece > 0.1 > loud.ece_after
    assert loud.nll_after == pytest.approx(plain.nll, abs=0.01)


def test_ece_equals_a_slow_count_over_ten_bins_of_the_confidence():
    got = card(pairs=300)
    slow = sum(b.count * abs(b.predicted - b.observed) for b in got.calibration.curve if b.count) / 300
    assert got.calibration.ece == pytest.approx(slow)
    assert len(got.calibration.curve) == 10
    assert got.calibration.curve[0].low == 0.5
    always_sure = made([50.0] * 6 + [-50.0] * 4)
    assert always_sure.calibration.ece == pytest.approx(0.4)
    assert made([0.0] * 8).calibration.nll == pytest.approx(math.log(2))


def test_soft_labels_make_an_honest_model_look_honest():
    g = np.random.default_rng(5)
    gap = np.abs(g.normal(0, 1.5, 500))
    sure = 1 / (1 + np.exp(-gap))
    got = reward_card(gap, np.zeros(500), sure, range(500), np.ones(500), np.ones(500))
    assert got.calibration.ece == pytest.approx(0, abs=1e-9)


def test_share_of_the_ceiling():
    got = made([1.0] * 70 + [-1.0] * 30, ceiling=wilson(8000, 10_000))
    assert got.share_of_ceiling.estimate == pytest.approx(0.7 / 0.8)
    assert got.share_of_ceiling.low < 0.875 < got.share_of_ceiling.high


def test_halves_depend_on_the_name_alone():
    names = np.array([f"p{i}" for i in range(1000)], dtype=object)
    assert (halves(names)[::-1] == halves(names[::-1])).all()
    assert 400 < halves(names).sum() < 600


def test_what_cannot_be_judged_is_refused_with_the_numbers():
    with pytest.raises(ValueError, match="all 2 pairs are ties"):
        made([1.0, 2.0], sure=0.5)
    with pytest.raises(ValueError, match=r"1 of 1 probabilities lie outside 0\.5"):
        made([1.0], sure=0.3)
    with pytest.raises(ValueError, match="'x' has 1 entries for 2 pairs"):
        made([1.0, 2.0], slices={"x": [True]})
    with pytest.raises(ValueError, match="not finite"):
        made([math.nan])

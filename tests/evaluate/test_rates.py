"""Shares with honest ends: coverage by simulation, and what must hold at the edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from accord.evaluate.rates import ratio, share
from accord.statistics import Interval, mean_interval, wilson


def test_independent_hits_give_nearly_wilsons_interval():
    hits = np.array([1.0] * 140 + [0.0] * 60)
    mine, plain = share(hits), wilson(140, 200)
    assert mine.estimate == pytest.approx(0.7)
    assert (mine.low, mine.high) == pytest.approx((plain.low, plain.high), abs=3e-3)


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=40), st.integers(1, 5))
def test_ends_stay_within_0_and_1_around_the_estimate(values, size):
    got = share(values, [i // size for i in range(len(values))])
    assert 0 <= got.low <= got.estimate <= got.high <= 1
    assert got.high - got.low > 0


def test_ten_hits_of_ten_do_not_prove_that_there_are_no_misses():
    assert share([1.0] * 10).low == pytest.approx(wilson(10, 10).low)
    assert share([1.0] * 10, [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]).low == pytest.approx(wilson(2, 2).low)


@pytest.mark.parametrize(("rate", "size"), [(0.5, 1), (0.95, 1), (0.8, 6)])
def test_it_holds_the_truth_as_often_as_it_says_also_with_clusters(rate, size):
    g = np.random.default_rng(0)
    held = naive = 0
    for _ in range(600):
        # Values of one cluster are all alike: the hardest case.
        values = np.repeat((g.random(60) < rate).astype(float), size)
        held += not share(values, np.repeat(np.arange(60), size)).excludes(rate)
        naive += not mean_interval(values).excludes(rate)
    assert held / 600 >= 0.93
    if size > 1:
        assert naive / 600 < 0.75


def test_ratio_agrees_with_a_simulation():
    g = np.random.default_rng(1)
    top, bottom = Interval(0.7, 0.66, 0.74), Interval(0.8, 0.77, 0.83)
    drawn = g.normal(0.7, 0.04 / 1.96, 200_000) / g.normal(0.8, 0.03 / 1.96, 200_000)
    got = ratio(top, bottom)
    assert (got.low, got.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=4e-3)
    assert np.isnan(ratio(top, Interval(0.0, 0.0, 0.1)).estimate)


def test_scores_that_are_no_shares_are_refused():
    with pytest.raises(ValueError, match="from 0 to 3"):
        share([0, 3])

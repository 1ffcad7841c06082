"""How sure we are, against simulation, scipy and plain loops."""

import math

import numpy as np
import pytest
from scipy import stats

from accord import statistics as ours


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_an_interval_reads_as_a_sentence():
    assert str(ours.Interval(0.5, 0.25, 0.75, 0.95, 12)) == "0.500 [0.250, 0.750] (95 %, n=12)"
    assert ours.Interval(0.5, 0.25, 0.75).excludes(0)
    assert not ours.Interval(0.1, -0.1, 0.3).excludes(0)


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (3, 10), (10, 10), (1, 2), (480, 900)])
def test_wilson_equals_scipy(successes, n):
    theirs = stats.binomtest(successes, n).proportion_ci(0.95, method="wilson")
    found = ours.wilson(successes, n)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@pytest.mark.parametrize("p", [0.05, 0.5, 0.9])
def test_wilson_covers(p):
    hits = [ours.wilson(int(k), 40) for k in rng().binomial(40, p, 2000)]
    assert 0.92 < np.mean([not i.excludes(p) for i in hits]) < 0.985


def test_wilson_refuses_more_than_all():
    with pytest.raises(ValueError, match="5 successes of 3"):
        ours.wilson(5, 3)
    assert math.isnan(ours.wilson(0, 0).estimate)


def test_mean_interval_without_clusters_is_the_t_interval():
    x = rng().normal(size=30)
    low, high = stats.t.interval(0.95, 29, x.mean(), stats.sem(x))
    found = ours.mean_interval(x)
    assert (found.low, found.high) == pytest.approx((low, high))


def test_clusters_cover_where_ignoring_them_does_not():
    generator, robust, naive = rng(1), 0, 0
    names = np.repeat(np.arange(40), 10)
    for _ in range(2000):
        x = generator.normal(size=40)[names] + generator.normal(size=400)
        robust += not ours.mean_interval(x, names).excludes(0)
        naive += not ours.mean_interval(x).excludes(0)
    assert 0.93 < robust / 2000 < 0.97
    assert naive / 2000 < 0.75


def test_one_cluster_knows_nothing_and_nothing_is_refused():
    assert ours.mean_interval([1, 2, 3], ["x"] * 3).high == math.inf
    with pytest.raises(ValueError, match="no values"):
        ours.mean_interval([])
    with pytest.raises(ValueError, match="1 of 2 are not finite"):
        ours.mean_interval([1, math.nan])
    with pytest.raises(ValueError, match="2 cluster names for 3"):
        ours.mean_interval([1, 2, 3], ["a", "b"])


def test_pairing_removes_what_both_share():
    shared = rng().normal(size=200) * 5
    a, b = shared + rng(1).normal(size=200), shared + 0.5 + rng(2).normal(size=200)
    found = ours.paired_difference(a, b)
    theirs = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high))
    assert found.excludes(0)
    assert stats.ttest_ind(a, b).pvalue > 0.05


def test_bootstrap_agrees_with_theory_and_draws_whole_clusters():
    x = rng().normal(size=400)
    found, theory = ours.bootstrap(x, np.mean, rng(1)), ours.mean_interval(x)
    assert (found.low, found.high) == pytest.approx((theory.low, theory.high), abs=0.02)
    names = np.repeat(np.arange(50), [4] * 25 + [12] * 25)
    y = rng(2).normal(size=50)[names]
    by_cluster, robust = ours.bootstrap(y, np.mean, rng(3), names), ours.mean_interval(y, names)
    assert by_cluster.high - by_cluster.low == pytest.approx(robust.high - robust.low, rel=0.15)
    assert by_cluster.n == 50


def test_permutation_test_is_uniform_under_no_difference_and_sharp_under_one():
    generator = rng(4)
    ps = [ours.permutation_test(generator.normal(size=8), generator.normal(size=9), generator, 199) for _ in range(400)]
    assert np.mean(np.array(ps) <= 0.05) < 0.09
    assert np.mean(np.array(ps) <= 0.5) == pytest.approx(0.5, abs=0.08)
    a, b = generator.normal(size=12), generator.normal(size=12) + 0.8
    for paired, kind in ((False, "independent"), (True, "samples")):
        theirs = stats.permutation_test(
            (a, b), lambda x, y: x.mean() - y.mean(), permutation_type=kind, n_resamples=20_000, rng=generator
        ).pvalue
        assert ours.permutation_test(a, b, generator, 20_000, paired) == pytest.approx(theirs, abs=0.012)


def test_rule_of_three():
    assert ours.rule_of_three(1000) == pytest.approx(3 / 1000, rel=0.01)
    # 0 failures must be just possible at that rate.
    assert (1 - ours.rule_of_three(20)) ** 20 == pytest.approx(0.05)


def test_power_by_simulation():
    n = ours.needed(0.1, deviation=0.5)
    x = rng(5).normal(0.1, 0.5, size=(2000, n))
    seen = [ours.mean_interval(row).excludes(0) for row in x]
    assert np.mean(seen) == pytest.approx(0.8, abs=0.03)
    assert ours.detectable(n, 0.5) == pytest.approx(0.1, rel=0.01)
    with pytest.raises(ValueError, match="difference of 0"):
        ours.needed(0)


def test_auroc_counts_pairs():
    score, outcome = rng(6).integers(0, 6, 60), rng(7).integers(0, 2, 60)
    wins = [(p > q) + 0.5 * (p == q) for p in score[outcome == 1] for q in score[outcome == 0]]
    assert ours.auroc(score, outcome) == pytest.approx(np.mean(wins))
    assert math.isnan(ours.auroc([1, 2], [1, 1]))


def test_spearman_equals_scipy_and_covers():
    x = rng(8).normal(size=50)
    y = x + rng(9).normal(size=50)
    assert ours.spearman(x, y).estimate == pytest.approx(stats.spearmanr(x, y).statistic)
    generator, truth = rng(10), 6 / math.pi * math.asin(0.6 / 2)  # Spearman's rho of a normal pair with r = .6
    draws = generator.multivariate_normal([0, 0], [[1, 0.6], [0.6, 1]], size=(1000, 60))
    assert 0.92 < np.mean([not ours.spearman(d[:, 0], d[:, 1]).excludes(truth) for d in draws]) < 0.98
    assert math.isnan(ours.spearman([1, 1, 1], [1, 2, 3]).estimate)


def test_calibration_by_plain_loops():
    p = rng(11).random(500)
    y = (rng(12).random(500) < p**2).astype(float)
    p[:3] = (0.0, 1.0, 0.3)
    bins: dict[int, list[int]] = {}
    for i, value in enumerate(p):
        bins.setdefault(min(int(value * 10), 9), []).append(i)
    slow = sum(abs(sum(p[i] - y[i] for i in rows)) for rows in bins.values()) / 500
    assert ours.expected_calibration_error(p, y) == pytest.approx(slow)
    assert ours.brier(p, y) == pytest.approx(sum((a - b) ** 2 for a, b in zip(p, y, strict=True)) / 500)
    assert sum(step.count for step in ours.reliability_curve(p, y)) == 500
    assert ours.expected_calibration_error([0.25, 0.75], [0.25, 0.75]) == 0
    with pytest.raises(ValueError, match=r"outside 0\.\.1"):
        ours.brier([2.0], [1.0])


def test_log_loss_of_soft_outcomes():
    slow = -(0.7 * math.log(0.8) + 0.3 * math.log(0.2))
    assert ours.log_loss([0.8], [0.7]) == pytest.approx(slow)
    assert ours.log_loss([0.5, 0.5], [0, 1]) == pytest.approx(math.log(2))
    assert ours.log_loss([1.0], [1]) == 0
    assert ours.log_loss([1.0], [0]) == math.inf


def test_temperature_is_found_again():
    logits = rng(13).normal(size=20_000) * 2
    outcome = rng(14).random(20_000) < 1 / (1 + np.exp(-logits))
    assert ours.fit_temperature(logits * 3, outcome) == pytest.approx(3, rel=0.05)
    assert ours.fit_temperature(logits, 1 / (1 + np.exp(-logits / 2))) == pytest.approx(2, rel=1e-3)


def test_a_temperature_of_a_few_that_are_all_right_leaves_doubt():
    """The least temperature fitted best, and any gap was then a chance of 1."""
    few = ours.fit_temperature([1.0] * 5, [1] * 5)
    assert 1 / (1 + np.exp(-1 / few)) == pytest.approx(6 / 7, abs=1e-4)
    many = ours.fit_temperature([1.0, -1.0] * 500, [1, 0] * 500)
    assert 1 / (1 + np.exp(-1 / many)) == pytest.approx(1001 / 1002, abs=1e-4)
    assert ours.fit_temperature([1.0, 2.0, -1.0], [1, 1, 1]) == pytest.approx(1.05, abs=0.3)


def test_isotonic_is_the_best_monotone_step():
    score, outcome = rng(15).integers(0, 5, 80), rng(16).random(80)
    x, y = ours.isotonic(score, outcome)
    assert (np.diff(y) >= 0).all()
    fitted = ((np.interp(score, x, y) - outcome) ** 2).sum()
    tries = np.sort(np.clip(y + rng(17).normal(size=(3000, len(y))) * 0.05, 0, 1), axis=1)
    assert all(((t[np.searchsorted(x, score)] - outcome) ** 2).sum() >= fitted - 1e-12 for t in tries)

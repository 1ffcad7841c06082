"""The curves of Gao et al.: fits against a slow solver, peaks against a search, intervals against known truth."""

import numpy as np
import pytest
from scipy import optimize

from accord.evaluate import overoptimisation as over

D = np.array([0.0, 0.3, 0.8, 1.2, 1.7, 2.2, 3.0])
SHAPES = {"best_of_n": lambda d, a, b: d * (a - b * d), "rl": lambda d, a, b: d * (a - b * np.log(max(d, 1e-300)))}


def track(form, alpha, beta, prompts=60, noise=0.05, seed=0, distance=D):
    """Every prompt follows the curve, with noise of its own at each point but the start."""
    draw = np.random.default_rng(seed)
    gold = np.array([[SHAPES[form](d, alpha, beta)] * prompts for d in distance])
    gold[1:] += noise * draw.normal(size=gold[1:].shape)
    return over.Track(form, np.repeat((distance**2)[:, None], prompts, 1), np.cumsum(np.ones_like(gold), 0), gold)


@pytest.mark.parametrize("form", ["best_of_n", "rl"])
def test_the_fit_is_what_a_search_finds(form):
    made = track(form, 1.1, 0.4)
    found = over.fit([made], np.random.default_rng(0))

    def lost(pair):
        return sum((SHAPES[form](d, *pair) - g) ** 2 for d, g in zip(made.distance, made.gain, strict=True))

    slow = optimize.minimize(lost, [0.0, 0.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-14})
    assert [found.alpha.estimate, found.beta.estimate] == pytest.approx(slow.x.tolist(), abs=1e-5)
    assert found.error == pytest.approx(np.sqrt(slow.fun / len(D)), rel=1e-3)
    assert found.alpha.low < 1.1 < found.alpha.high
    assert found.beta.low < 0.4 < found.beta.high


@pytest.mark.parametrize("form", ["best_of_n", "rl"])
@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.3), (0.4, 0.9), (2.0, 1.0)])
def test_the_peak_is_where_a_search_finds_the_most(form, alpha, beta):
    place, height = over.peak(form, alpha, beta)
    grid = np.linspace(1e-6, 12, 400_001)
    values = np.array(over.curve(form, alpha, beta, grid))
    assert float(place) == pytest.approx(grid[values.argmax()], abs=1e-4)
    assert float(height) == pytest.approx(values.max(), abs=1e-6)


def test_a_curve_that_never_turns_has_its_peak_at_infinity_and_one_that_falls_at_the_start():
    for form in ("best_of_n", "rl"):
        assert over.peak(form, 1.0, -0.1)[0] == np.inf
        found = over.fit([track(form, 1.0, -0.2, noise=0.01)], np.random.default_rng(0), 200)
        assert (found.peak.estimate, found.peak.low, found.peak.high) == (np.inf, np.inf, np.inf)
        assert not found.turned
        assert found.top.estimate == 3.0
    assert over.peak("best_of_n", -1.0, 0.5) == (0, 0)


def test_a_peak_that_may_or_may_not_be_there_has_an_open_end():
    found = over.fit([track("best_of_n", 0.5, 0.004, noise=0.4)], np.random.default_rng(0), 500)
    assert found.beta.low < 0 < found.beta.high
    assert found.peak.high == np.inf
    assert np.isfinite(found.peak.low)


def test_intervals_hold_the_truth_as_often_as_they_say():
    held = 0
    for seed in range(120):
        found = over.fit([track("rl", 1.0, 0.5, 40, 0.3, seed)], np.random.default_rng(seed), 300)
        held += not found.peak.excludes(float(np.exp(1.0 / 0.5 - 1)))
    assert 104 <= held <= 120


def test_several_seeds_widen_what_one_run_seems_to_know():
    apart = [track("best_of_n", a, 0.4, noise=0.01) for a in (0.8, 1.0, 1.2)]
    one, all_ = (over.fit(t, np.random.default_rng(0), 500) for t in (apart[1:2], apart))
    assert all_.alpha.high - all_.alpha.low > 5 * (one.alpha.high - one.alpha.low)
    assert all_.alpha.estimate == pytest.approx(1.0, abs=0.01)
    assert (all_.seeds, all_.alpha.n, one.alpha.n) == (3, 3, 60)


def test_noise_in_the_distance_counts_too():
    made = track("rl", 1.0, 0.5, noise=0.0)
    spread = made.divergence * np.random.default_rng(1).gamma(1.0, 1.0, (1, 60))
    sure, unsure = (over.fit([over.Track("rl", d, made.proxy, made.gold)], np.random.default_rng(0), 300)
                    for d in (made.divergence, spread))  # fmt: skip
    assert sure.alpha.high - sure.alpha.low < 1e-6 < 0.05 < unsure.alpha.high - unsure.alpha.low


def test_two_ways_are_compared_prompt_by_prompt():
    plain, better = track("best_of_n", 1.0, 0.4), track("best_of_n", 1.2, 0.4)
    gap = over.less([better], [plain])
    assert gap.estimate == pytest.approx(0.2 * 3.0)
    assert gap.low > 0
    slow = np.mean([better.gold[2, g] - plain.gold[2, g] for g in range(60)])
    assert over.less([better], [plain], 2).estimate == pytest.approx(slow)
    assert over.less([better] * 3, [plain] * 3).n == 3
    with pytest.raises(ValueError, match="1 tracks against 2"):
        over.less([better], [plain, plain])


def test_a_track_that_cannot_be_fitted_is_refused():
    good = track("rl", 1.0, 0.5)
    with pytest.raises(ValueError, match="at least two points"):
        over.Track("rl", good.divergence[:2], good.proxy[:2], good.gold[:2])
    with pytest.raises(ValueError, match="no numbers"):
        over.Track("rl", good.divergence, good.proxy, good.gold * np.nan)
    with pytest.raises(ValueError, match="one form"):
        over.fit([good, track("best_of_n", 1.0, 0.5)], np.random.default_rng(0))


def test_a_track_survives_its_file():
    made = track("rl", 1.0, 0.5)
    again = over.read(over.plain(made))
    assert np.allclose(again.gold, made.gold, atol=1e-5)
    assert again.form == "rl"

"""Calibration on planted odds, against a grid, and on prompts that it has not seen."""

import math

import numpy as np
import pytest
import torch

from accord.rewards.calibrate import Calibrated, Calibration, Chance, calibrate, fitted_across
from accord.rewards.mix import Gate
from tests.algorithms.conftest import Speaker, told
from tests.rewards.test_mix import drawn

ROLLOUT = told(Speaker())


def planted(slope, offset, rows=6000):
    """Scores whose true log-odds are slope * score + offset."""
    draw = np.random.default_rng(0)
    score = draw.normal(0, 2, rows)
    return score, (draw.random(rows) < 1 / (1 + np.exp(-(slope * score + offset)))).astype(float)


def prior(outcome):
    """What Platt's fit takes for certain: not quite 1 and not quite 0."""
    ones = sum(outcome)
    return np.where(outcome, (ones + 1) / (ones + 2), 1 / (len(outcome) - ones + 2))


def newton(score, outcome):
    """Platt's line step by step (Lin, Lin and Weng 2007, without its search along the line)."""
    target, a, b = prior(outcome).tolist(), 0.0, 0.0
    for _ in range(200):
        g1 = g2 = h11 = h12 = h22 = 0.0
        for x, t in zip(score, target, strict=True):
            p = 1 / (1 + math.exp(-(a * x + b)))
            g1, g2 = g1 + (p - t) * x, g2 + (p - t)
            w = p * (1 - p)
            h11, h12, h22 = h11 + w * x * x, h12 + w * x, h22 + w
        det = h11 * h22 - h12 * h12
        a, b = a - (h22 * g1 - h12 * g2) / det, b - (h11 * g2 - h12 * g1) / det
    return a, b


def loss(score, outcome, slope, offset=0.0):
    p = 1 / (1 + np.exp(-(slope * score + offset)))
    return -float(np.mean(outcome * np.log(p) + (1 - outcome) * np.log(1 - p)))


def test_a_temperature_and_a_line_are_found_again():
    score, outcome = planted(0.4, 0.0)
    assert calibrate(score, outcome).slope == pytest.approx(0.4, abs=0.03)
    score, outcome = planted(0.7, -1.5)
    found = calibrate(score, outcome, "platt")
    assert (found.slope, found.offset, found.rows) == pytest.approx((0.7, -1.5, 6000), abs=0.1)


def test_no_point_of_a_grid_fits_better():
    score, outcome = planted(1.3, 0.8, rows=400)
    found = calibrate(score, outcome, "platt")
    target = prior(outcome)
    best = loss(score, target, found.slope, found.offset)
    for slope in np.linspace(found.slope - 0.3, found.slope + 0.3, 13):
        for offset in np.linspace(found.offset - 0.3, found.offset + 0.3, 13):
            assert best <= loss(score, target, slope, offset) + 1e-9
    scale = calibrate(score, outcome).slope
    assert all(loss(score, outcome, scale) <= loss(score, outcome, s) + 1e-6 for s in np.linspace(0.1, 4, 80))


@pytest.mark.parametrize(
    ("score", "outcome"),
    [
        ([-1.0, -2.0, 1.0, 2.0], [0, 0, 1, 1]),
        ([-1.0, 1.0], [0, 1]),
        ([99.5, 100.0, 100.5, 101.0, 101.5], [0, 0, 0, 0, 1]),
        ([0.3, -0.2, 1.4, 0.1, -1.0, 0.9, 2.0], [1, 0, 1, 0, 1, 0, 1]),
        tuple(each.tolist() for each in planted(1.3, 0.8, rows=60)),
    ],
)
def test_a_line_has_platts_prior(score, outcome):
    found = calibrate(score, outcome, "platt")
    assert (found.slope, found.offset) == pytest.approx(newton(score, outcome), rel=1e-4, abs=1e-5)


def test_few_rows_that_are_told_apart_without_fail_make_nothing_certain():
    found = calibrate([-1.0, -2.0, 1.0, 2.0], [0, 0, 1, 1], "platt")
    low, high = found([1.0, 2.0])
    assert low < 3 / 4 < high < 0.9
    assert abs(found.offset) < 1e-5
    many = calibrate([-1.0, -2.0, 1.0, 2.0] * 500, [0, 0, 1, 1] * 500, "platt")
    assert many([1.0])[0] > 0.99, "many rows may be sure"
    same = calibrate([3.0] * 5, [0, 1, 1, 1, 1], "platt")
    assert same([3.0])[0] == pytest.approx(np.mean(prior([0, 1, 1, 1, 1])))


def test_no_odds_are_longer_than_one_in_a_million():
    """A line of two answers that are told apart paid a policy 93 for one."""
    for kind in ("temperature", "platt", "isotonic"):
        odds = calibrate([-1.0, 1.0], [0, 1], kind).log_odds([-90.0, 0.0, 90.0])
        assert np.abs(odds).max() <= math.log((1 - 1e-6) / 1e-6) + 1e-9
        assert (np.diff(odds) > 0).all()


def test_isotonic_never_falls_and_follows_a_bend_that_no_line_can():
    draw = np.random.default_rng(1)
    score = draw.uniform(-3, 3, 5000)
    true = np.where(score < 0, 0.1, np.where(score < 1, 0.5, 0.55))
    outcome = (draw.random(5000) < true).astype(float)
    step, line = calibrate(score, outcome, "isotonic"), calibrate(score, outcome, "platt")
    at = np.linspace(-3, 3, 400)
    assert (np.diff(step(at)) >= 0).all()
    assert np.abs(step(score) - true).mean() < 0.03 < np.abs(line(score) - true).mean()
    assert np.abs(step.log_odds([-9.0, 9.0])).max() <= math.log((1 - 1e-6) / 1e-6) + 1e-9


def test_its_worth_is_measured_on_other_prompts():
    score, outcome = planted(0.3, 0.0, rows=2000)
    names = [f"prompt{n // 4}" for n in range(2000)]
    before, after, error, mended = fitted_across(score, outcome, names, "temperature")
    assert before == pytest.approx(loss(score, outcome, 1.0), rel=1e-6)
    assert after < before - 0.1
    assert mended < 0.05 < error
    noise, any_score = np.random.default_rng(2).integers(0, 2, 60), np.random.default_rng(3).normal(size=60)
    seen = np.clip(calibrate(any_score, noise, "isotonic")(any_score), 1e-6, 1 - 1e-6)
    by_heart = -float(np.mean(np.log(np.where(noise == 1, seen, 1 - seen))))
    unseen = fitted_across(any_score, noise, [str(n) for n in range(60)], "isotonic")[1]
    assert by_heart < math.log(2)
    assert unseen > by_heart + 0.02, "what was learnt by heart on one half does not hold on the other"
    with pytest.raises(ValueError, match="1 prompt"):
        fitted_across(score, outcome, ["one"] * 2000, "temperature")


def test_the_gate_speaks_in_calibrated_odds():
    """A safety model whose 0 means 90 % safe: uncalibrated, its bad answers would pass as even."""
    calibration = Calibration(kind="platt", slope=0.5, offset=2.2)
    found = Calibrated(drawn(1), calibration)(ROLLOUT)
    raw = drawn(1)(None).sum(1).tolist()
    for b in range(20):
        assert found[b, int(ROLLOUT.length[b]) - 1].item() == pytest.approx(0.5 * raw[b] + 2.2, abs=1e-4)
        assert int((found[b] != 0).sum()) <= 1
    told = Chance(drawn(1), calibration)(ROLLOUT)
    assert told.sum(1).tolist() == pytest.approx([1 / (1 + math.exp(-(0.5 * r + 2.2))) for r in raw], abs=1e-5)
    assert ((told != 0) == (found != 0)).all()
    gate = Gate(drawn(0), Calibrated(drawn(1), calibration), threshold=0.15, whiten=False)
    gate(ROLLOUT)
    assert gate.gated == pytest.approx(sum(1 / (1 + math.exp(-(0.5 * r + 2.2))) < 0.15 for r in raw) / 20)
    assert torch.isfinite(found).all()


def test_it_is_kept_as_plain_numbers():
    for kind in ("temperature", "platt", "isotonic"):
        made = calibrate(*planted(0.7, 0.3, rows=50), kind)
        assert Calibration.model_validate_json(made.model_dump_json())(0.3) == made(0.3)


def test_what_cannot_be_calibrated_is_said():
    with pytest.raises(ValueError, match="0 scores and 0 outcomes"):
        calibrate([], [])
    with pytest.raises(ValueError, match="3 scores and 2 outcomes"):
        calibrate([1, 2, 3], [0, 1])
    with pytest.raises(ValueError, match="all 3 outcomes are 1"):
        calibrate([1, 2, 3], [1, 1, 1], "platt")

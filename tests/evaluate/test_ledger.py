"""The ledger flags what got worse, and only that."""

from __future__ import annotations

import math

import numpy as np
import pytest

from accord.evaluate.ledger import entry, ledger


def test_a_planted_harm_is_flagged_and_a_gain_is_not():
    g = np.random.default_rng(0)
    old = (g.random(300) < 0.5).astype(float)
    worse, better = np.where(g.random(300) < 0.3, 0, old), np.where(g.random(300) < 0.3, 1, old)
    book = ledger([
        entry("correctness", old, worse, wanted="higher"),
        entry("helpfulness", old, better, wanted="higher"),
        entry("unsafe compliance", old, worse, wanted="lower"),
        entry("length", old, worse),
        entry("nothing", old, old, wanted="higher"),
    ])  # fmt: skip
    assert [line.verdict for line in book.lines] == ["worse", "better", "better", "changed", "same"]
    assert [line.name for line in book.worse()] == ["correctness"]


def test_no_change_is_flagged_about_as_rarely_as_the_level_says():
    g = np.random.default_rng(1)
    flags = 0
    for _ in range(400):
        person = g.normal(0, 1, 50).repeat(4)
        old, new = person + g.normal(0, 1, 200), person + g.normal(0, 1, 200)
        flags += entry("x", old, new, np.arange(50).repeat(4), "higher", "mean").verdict != "same"
    assert flags / 400 == pytest.approx(0.05, abs=0.03)


def test_pairing_sees_what_two_separate_intervals_hide():
    g = np.random.default_rng(2)
    old = g.normal(0, 5, 100)
    line = entry("score", old, old + 0.5 + g.normal(0, 0.5, 100), wanted="higher", kind="mean")
    assert line.verdict == "better"
    assert line.before.low < line.after.estimate < line.before.high


def test_values_that_do_not_apply_are_left_out_in_pairs():
    line = entry("refusal", [1, math.nan, 0, 1], [0, 1, math.nan, 1])
    assert (line.before.estimate, line.after.estimate, line.change.n) == (1.0, 0.5, 2)
    with pytest.raises(ValueError, match="none of the 1 pairs"):
        entry("x", [math.nan], [1.0])


def test_a_change_within_the_tolerance_is_no_change():
    old = np.zeros(200)
    assert entry("x", old, old + 0.01 + 1e-4 * np.arange(200), wanted="lower", kind="mean").verdict == "worse"
    assert entry("x", old, old + 0.01, wanted="lower", kind="mean", tolerance=0.02).verdict == "same"


def test_what_only_the_new_version_has_is_new():
    line = entry("drift", None, [1.0, 2.0, 3.0], kind="mean")
    assert (line.verdict, line.before, line.change) == ("new", None, None)


def test_a_name_is_entered_once():
    with pytest.raises(ValueError, match="entered twice: x"):
        ledger([entry("x", [0, 1], [1, 1]), entry("x", [0, 1], [1, 1])])

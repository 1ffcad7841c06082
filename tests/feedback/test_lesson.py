"""What a few choices teach: planted likings are found, none is found where there is none, few answers say nothing."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import numpy as np
import pytest
from scipy import special

from accord.feedback.lesson import LEAST, lesson

WORDS = ["sun", "moon", "stone", "river", "cloud", "bread", "salt", "road"]


def choices(count: int, seed: int, liking: str = "") -> tuple[list[str], list[str]]:
    """Pairs of texts; with a liking the one that has the word is chosen, where only one has it."""
    draw = random.Random(seed)
    better, worse = [], []
    for _ in range(count):
        two = [" ".join(draw.sample(WORDS, 4)) for _ in "ab"]
        if liking and (liking in two[1]) and liking not in two[0]:
            two.reverse()
        better.append(two[0])
        worse.append(two[1])
    return better, worse


def test_a_planted_liking_is_found_and_foretold() -> None:
    found = lesson(*choices(60, 0, "moon"))
    assert found.accuracy.low > 0.5
    assert found.liked[0][0] == "moon"
    assert "moon" not in dict(found.disliked)
    assert all(weight > 0 for _, weight in found.liked)
    assert all(weight < 0 for _, weight in found.disliked)


def test_choices_by_a_coin_are_foretold_as_by_a_coin() -> None:
    found = [lesson(*choices(40, seed)).accuracy for seed in range(12)]
    assert sum(one.estimate for one in found) / 12 == pytest.approx(0.5, abs=0.08)
    assert sum(one.excludes(0.5) for one in found) <= 2


def test_few_answers_teach_nothing_and_say_so() -> None:
    found = lesson(*choices(2 * LEAST - 1, 0))
    assert math.isnan(found.accuracy.estimate)
    assert found.accuracy.n == 0
    assert found.liked == found.disliked == []


def test_the_weights_are_where_the_slope_of_the_loss_is_zero() -> None:
    """Against the condition of the optimum itself: X^T (1 - sigmoid(X w)) = ridge w, word by word."""
    better, worse = choices(30, 3, "salt")
    found = lesson(better, worse, ridge=2.0, most=100)
    weights = dict(found.liked + found.disliked)

    def has(text: str, part: str) -> bool:
        return f" {part} " in f" {text} "

    parts = sorted({p for t in better + worse for p in (*t.split(), *(f"{a} {b}" for a, b in pairwise(t.split())))})
    gap = np.array([[float(has(a, p)) - float(has(b, p)) for p in parts] for a, b in zip(better, worse, strict=True)])
    whole = np.zeros(len(parts))
    for _ in range(3000):  # plain gradient descent, slow and sure
        whole += 0.05 * (gap.T @ special.expit(-gap @ whole) - 2.0 * whole)
    for name, weight in weights.items():
        assert weight == pytest.approx(whole[parts.index(name)], abs=2e-3), name

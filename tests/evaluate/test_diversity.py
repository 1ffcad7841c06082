"""Diversity by hand-counted examples."""

from __future__ import annotations

import pytest

from accord.evaluate.diversity import distinct, diversity, repetition


def test_hand_counted():
    got = diversity(["a b a b", "c d", "a  b a b"])
    assert got.distinct_1 == pytest.approx(4 / 10)
    # Pairs: ab ba ab | cd | ab ba ab.
    assert got.distinct_2 == pytest.approx(3 / 7)
    assert got.repetition == pytest.approx((1 / 3 + 0 + 1 / 3) / 3)
    assert got.duplicates == pytest.approx(1 / 3)
    assert got.length == pytest.approx(10 / 3)


def test_one_loop_is_all_repetition_and_short_answers_are_none():
    assert repetition("no no no no no") == pytest.approx(3 / 4)
    assert repetition("") == repetition("word") == 0
    assert distinct(["one"], 2) == 0


def test_nothing_has_no_diversity():
    with pytest.raises(ValueError, match="no answers"):
        diversity([])

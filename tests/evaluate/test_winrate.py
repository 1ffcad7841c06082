"""Win rates against a slow count, and their intervals against simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from accord.evaluate.winrate import win_rate, win_rate_of_verdicts


def test_every_answer_meets_every_answer_of_its_prompt_and_each_prompt_counts_the_same():
    g = np.random.default_rng(0)
    after = {f"p{i}": list(g.integers(0, 4, 1 + i % 3).astype(float)) for i in range(20)}
    before = {p: list(g.integers(0, 4, 2).astype(float)) for p in after}
    slow = []
    for p in after:
        duels = list(itertools.product(after[p], before[p]))
        slow.append(sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in duels) / len(duels))
    got = win_rate(after, before)
    assert got.rate.estimate == pytest.approx(np.mean(slow))
    assert got.wins + got.ties + got.losses == pytest.approx(1)
    assert got.wins + got.ties / 2 == pytest.approx(got.rate.estimate)
    assert win_rate(before, after).rate.estimate == pytest.approx(1 - got.rate.estimate)


def test_near_scores_can_be_ties():
    assert win_rate({"a": [1.0]}, {"a": [0.95]}, tie=0.1).ties == 1
    assert win_rate({"a": [1.0]}, {"a": [0.95]}).wins == 1


def test_tags_split_the_prompts():
    got = win_rate({"a": [1], "b": [0], "c": [1]}, {"a": [0], "b": [1], "c": [0]},
                   {"a": ["fact", "new"], "b": ["fact"], "c": []})  # fmt: skip
    assert {t.name: (t.prompts, t.rate.estimate) for t in got.by_tag} == {"fact": (2, 0.5), "new": (1, 1.0)}


def test_many_answers_to_few_prompts_do_not_look_certain():
    g = np.random.default_rng(1)
    inside = 0
    for _ in range(300):
        luck = g.normal(0, 2, 25)
        after = {str(i): list(luck[i] + g.normal(0, 1, 8)) for i in range(25)}
        before = {str(i): list(g.normal(0, 1, 8)) for i in range(25)}
        inside += not win_rate(after, before).rate.excludes(0.5)
    assert inside / 300 >= 0.92


def test_verdicts_give_the_same_as_scores():
    got = win_rate_of_verdicts(["after", "tie", "before", "after"], ["a", "a", "b", "c"])
    assert got.rate.estimate == pytest.approx((0.75 + 0 + 1) / 3)
    assert got.prompts == 3


def test_unequal_prompts_and_unknown_verdicts_are_refused():
    with pytest.raises(ValueError, match=r"1 have answers on one side only, as \['b'\]"):
        win_rate({"a": [1], "b": [2]}, {"a": [1]})
    with pytest.raises(ValueError, match="one side only"):
        win_rate({"a": []}, {"a": [1]})
    with pytest.raises(ValueError, match="expected 'after'"):
        win_rate_of_verdicts(["won"], ["a"])

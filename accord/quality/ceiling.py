"""How well anybody could predict single votes: the ceiling that noise in people sets to a reward model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from accord.quality.votes import Vote, tabulate
from accord.statistics import Interval, mean_interval


@dataclass(frozen=True)
class Ceiling:
    """Between what bounds the best possible accuracy on single votes lies."""

    agreement: Interval
    """Chance that two people who both decide agree on a pair."""
    high: Interval
    """No predictor can be better on average: all pairs equally hard."""
    low: Interval
    """The best predictor is at least as good: some pairs clear, the others open."""
    others: Interval
    """Accuracy on a vote of the majority of the other votes on that pair, ties of that majority half."""
    why: str = ""
    """Why it is undefined, when it is."""


def ceiling(votes: Sequence[Vote], level: float = 0.95) -> Ceiling:
    """The agreement ceiling of votes on pairs with two or more decided votes of different people.

    Let p_i be the chance that a random person chooses a on pair i and x_i = |2 p_i - 1|. Two people agree with chance
    A = E[p^2 + (1-p)^2] = (1 + E x^2) / 2, and who knows every p_i is right on a vote with chance (1 + E x) / 2. Since
    x lies in 0..1, E x^2 <= E x <= sqrt(E x^2), so this best accuracy lies between

        low = A    and    high = (1 + sqrt(2 A - 1)) / 2.

    `high` is exact for one coin (all pairs equally hard, q^2 + (1-q)^2 = A), `low` when pairs are either unanimous or
    coin flips. The majority of the others is a predictor that really exists, but a good reward model may beat it.

    Assumed: votes of different people are independent given the pair; people are exchangeable (each pair gets a
    random draw of them); pairs with several votes are like those with one. Ties are left out. Each pair weighs alike
    and is a cluster. With A below one half `high` is one half.
    """
    table = tabulate(votes)
    nothing = Interval(math.nan, 0.0, 1.0, level, 0)
    if not table.pairs:
        return Ceiling(nothing, nothing, nothing, nothing, "no votes")
    held, size = table.evidence * table.decided, len(table.pairs)
    for_a = np.bincount(table.pair, weights=held * table.outcome, minlength=size)
    people = np.bincount(table.pair, weights=held, minlength=size)
    several = people > 1.5
    if several.sum() < 2:
        return Ceiling(
            nothing, nothing, nothing, nothing, f"{int(several.sum())} pairs with two decided votes; 2 needed"
        )
    a, n = for_a[several], people[several]
    b = n - a
    agreement = mean_interval(np.clip((a * (a - 1) + b * (b - 1)) / (n * (n - 1)), 0, 1), level=level)
    # A vote for a is right when the others' majority is a, half right when they are even.
    right_a = np.where(a - 1 > b, 1.0, np.where(a - 1 == b, 0.5, 0.0))
    right_b = np.where(b - 1 > a, 1.0, np.where(b - 1 == a, 0.5, 0.0))
    others = mean_interval((a * right_a + b * right_b) / n, level=level)
    middle, low, high = (best_accuracy(x) for x in (agreement.estimate, agreement.low, agreement.high))
    return Ceiling(agreement, Interval(middle, low, high, level, agreement.n), agreement, others)


def best_accuracy(agreement: float) -> float:
    """Accuracy q >= 1/2 of one coin with q^2 + (1-q)^2 = agreement; 1/2 when people agree less than chance."""
    return (1 + math.sqrt(max(0.0, 2 * min(agreement, 1.0) - 1))) / 2

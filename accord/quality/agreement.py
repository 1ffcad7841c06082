"""How far people agree: raw and beyond chance, with an interval over items and a reason where undefined."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

import numpy as np
import scipy

from accord.quality.votes import Floats, Vote
from accord.statistics import Interval, bootstrap, mean_interval, percentiles

Measure = Literal["nominal", "ordinal", "interval"]


@dataclass(frozen=True)
class Agreement:
    """One figure of agreement."""

    name: str
    """Which."""
    interval: Interval
    """The figure and its ends; nan when undefined."""
    why: str = ""
    """Why it, or where it is a number its ends, are undefined; empty when nothing is."""
    drawn: Interval | None = None
    """The same figure with ends from resampled items, where `interval` has those of Student's t; None elsewhere."""

    @property
    def undefined(self) -> bool:
        """Whether there is no figure."""
        return math.isnan(self.interval.estimate)


@dataclass(frozen=True)
class Counts:
    """How often each value was said of each item."""

    values: list[Any]
    """The values, in order."""
    table: Floats
    """[items, values] how many people said so."""


def count(items: Sequence[Hashable], people: Sequence[Hashable], values: Sequence[Any]) -> Counts:
    """Ratings in long form as counts; of several ratings of one item by one person the last one counts."""
    last = {(i, p): v for i, p, v in zip(items, people, values, strict=True)}
    order = sorted(set(last.values()))
    column = {value: k for k, value in enumerate(order)}
    row: dict[Hashable, int] = {}
    at = [(row.setdefault(item, len(row)), column[value]) for (item, _), value in last.items()]
    table = np.zeros((len(row), len(order)))
    for place in at:
        table[place] += 1
    return Counts(order, table)


def pairwise(
    counts: Counts, level: float = 0.95, generator: np.random.Generator | None = None, draws: int = 1000
) -> Agreement:
    """Share of agreeing pairs of people, mean over items with two or more; items are independent units.

    With a generator also ends from resampled items (`drawn`).
    """
    table, why = _usable(counts.table)
    if why:
        return _undefined("pairwise agreement", why, level)
    n = table.sum(1)
    return _mean("pairwise agreement", (table * (table - 1)).sum(1) / (n * (n - 1)), generator, draws, level)


def krippendorff(
    counts: Counts, measure: Measure, generator: np.random.Generator, draws: int = 1000, level: float = 0.95
) -> Agreement:
    """Krippendorff's alpha = 1 - D_observed / D_expected (Krippendorff 2011, Computing alpha-reliability).

    The distance d_ck is 0 or 1 (nominal), (c - k)^2 (interval), or (sum of n_g for c <= g <= k - (n_c + n_k)/2)^2
    (ordinal). Items with one value are left out. Undefined when everybody says the same: then nothing could differ.
    """
    points = np.arange(len(counts.values), dtype=float)
    if measure == "interval":
        points = np.array([float(value) for value in counts.values])
    return _beyond(
        f"Krippendorff alpha ({measure})", counts, lambda t: alpha(t, points, measure), generator, draws, level
    )


def alpha(table: Floats, points: Floats, measure: Measure) -> float:
    """Alpha of counts [items, values] whose values lie at `points`; nan when undefined."""
    table = table[table.sum(1) > 1]
    if not len(table):
        return math.nan
    n = table.sum(1)
    together = (table / (n - 1)[:, None]).T @ table - np.diag((table / (n - 1)[:, None]).sum(0))
    total = together.sum(0)
    if measure == "nominal":
        distance = 1 - np.eye(len(total))
    elif measure == "interval":
        distance = (points[:, None] - points[None, :]) ** 2
    else:
        middle = np.cumsum(total) - total / 2
        distance = (middle[:, None] - middle[None, :]) ** 2
    expected = float(total @ distance @ total) / (total.sum() - 1)
    return 1 - float((together * distance).sum()) / expected if expected > 0 else math.nan


def gwet(
    counts: Counts, generator: np.random.Generator, weights: Measure = "nominal", draws: int = 1000, level: float = 0.95
) -> Agreement:
    """Gwet's AC1 (nominal) or AC2 (weighted): (p_a - p_e) / (1 - p_e), steady when one value dominates.

    p_e = sum of weights / (q (q - 1)) * sum_k share_k (1 - share_k) (Gwet 2008; 2014, Handbook of Inter-Rater
    Reliability). Weights: identity; linear in rank (ordinal); quadratic in value (interval). p_a is over items with
    two values or more, the shares over every item that anybody judged.
    """
    weight = _weights(counts.values, weights)
    name = "Gwet AC1" if weights == "nominal" else f"Gwet AC2 ({weights})"
    return _beyond(name, counts, lambda t: _gwet(t, weight), generator, draws, level, single=True)


def fleiss(counts: Counts, generator: np.random.Generator, draws: int = 1000, level: float = 0.95) -> Agreement:
    """Fleiss' kappa (1971): chance agreement is the sum of squared shares; also for unequal numbers of people."""
    return _beyond("Fleiss kappa", counts, _fleiss, generator, draws, level)


def cohen(
    a: Sequence[Any],
    b: Sequence[Any],
    generator: np.random.Generator,
    weights: Measure = "nominal",
    draws: int = 1000,
    level: float = 0.95,
) -> Agreement:
    """Cohen's kappa of two people on the same items (1960; weighted 1968): 1 - disagreement seen / by chance."""
    values = sorted({*a, *b})
    name = f"Cohen kappa ({weights})" if weights != "nominal" else "Cohen kappa"
    if len(a) != len(b) or not len(a):
        return _undefined(name, f"{len(a)} values against {len(b)}: both people must have judged the same items", level)
    loss = 1 - _weights(values, weights)
    rows = np.array([[values.index(x), values.index(y)] for x, y in zip(a, b, strict=True)])

    def kappa(drawn: Floats) -> float:
        one, two = (np.bincount(drawn[:, side], minlength=len(values)) / len(drawn) for side in (0, 1))
        chance = float(one @ loss @ two)
        return 1 - float(loss[drawn[:, 0], drawn[:, 1]].mean()) / chance if chance > 0 else math.nan

    if math.isnan(kappa(rows)):
        return _undefined(name, "both always said the same one value: nothing could differ", level)
    found = bootstrap(rows, kappa, generator, count=draws, level=level)
    lost = f"over half of {draws} draws of {len(rows)} items say one value throughout, and have no figure"
    return Agreement(name, found, lost if math.isnan(found.low) else "")


def kendall(
    rankings: Sequence[Sequence[Sequence[float]]],
    level: float = 0.95,
    generator: np.random.Generator | None = None,
    draws: int = 1000,
) -> Agreement:
    """Mean Kendall tau-b between people who ranked the same samples.

    rankings: one entry per question, in it one row per person with the place of each sample.
    Items are independent units. Pairs in which somebody tied everything have no tau and are left out. With a
    generator also ends from resampled questions (`drawn`).
    """
    means = []
    for places in rankings:
        taus = [float(scipy.stats.kendalltau(x, y).statistic) for x, y in combinations(places, 2)]
        taus = [tau for tau in taus if not math.isnan(tau)]
        if taus:
            means.append(sum(taus) / len(taus))
    if len(means) < 2:
        return _undefined("Kendall tau", f"{len(means)} questions ranked by two people; 2 needed", level)
    return _mean("Kendall tau", np.array(means), generator, draws, level)


def resampled(values: Floats, generator: np.random.Generator, draws: int = 1000, block: int = 1_000_000) -> Floats:
    """[draws] means of as many values as there are, drawn with replacement; `block` bounds the indices held at once."""
    rows = max(1, block // len(values))
    parts = [
        values[generator.integers(len(values), size=(min(rows, draws - at), len(values)))].mean(1)
        for at in range(0, draws, rows)
    ]
    return np.concatenate(parts) if parts else np.empty(0)


def of_votes(votes: Sequence[Vote], generator: np.random.Generator, draws: int = 1000) -> list[Agreement]:
    """Figures that suit votes on pairs: the side (nominal, ties a third value) and signed strength (ordinal)."""
    pairs, people = [vote.pair for vote in votes], [vote.annotator for vote in votes]
    sides = count(pairs, people, [vote.outcome for vote in votes])
    sign = {"a": 1, "b": -1, "tie": 0}
    apart = generator.spawn(1)[0]  # of its own, so that the figures beyond chance keep their draws
    strengths = count(pairs, people, [sign[vote.outcome] * vote.strength for vote in votes])
    return [
        pairwise(sides, generator=apart, draws=draws),
        krippendorff(sides, "nominal", generator, draws),
        gwet(sides, generator, draws=draws),
        krippendorff(strengths, "ordinal", generator, draws),
        gwet(strengths, generator, "ordinal", draws),
    ]


# --- parts -----------------------------------------------------------------------------------------------------


def _beyond(
    name: str,
    counts: Counts,
    statistic: Callable[[Floats], float],
    generator: np.random.Generator,
    draws: int,
    level: float,
    single: bool = False,
) -> Agreement:
    """A figure beyond chance with its bootstrap interval over items; with `single`, over those of one value too."""
    table, why = _usable(counts.table)
    if single and not why:
        table = counts.table[counts.table.sum(1) > 0]
    if not why and math.isnan(statistic(table)):
        why = f"all said {counts.values[int(table.sum(0).argmax())]!r}: nothing could differ"
    if why:
        return _undefined(name, why, level)
    found = bootstrap(table, statistic, generator, count=draws, level=level)
    lost = f"over half of {draws} draws of {len(table)} items say the same throughout, and have no figure"
    return Agreement(name, found, lost if math.isnan(found.low) else "")


def _mean(name: str, values: Floats, generator: np.random.Generator | None, draws: int, level: float) -> Agreement:
    """A mean over items with ends by Student's t, and with a generator by resampled items too."""
    plain = mean_interval(values, level=level)
    if generator is None:
        return Agreement(name, plain)
    drawn = percentiles(plain.estimate, resampled(values, generator, draws), len(values), level)
    return Agreement(name, plain, drawn=drawn)


def _usable(table: Floats) -> tuple[Floats, str]:
    """Items with two or more values, and why they are too few."""
    kept = table[table.sum(1) > 1] if table.size else table
    return kept, "" if len(kept) > 1 else f"{len(kept)} of {len(table)} items were judged by two people; 2 needed"


def _undefined(name: str, why: str, level: float) -> Agreement:
    return Agreement(name, Interval(math.nan, math.nan, math.nan, level, 0), why)


def _weights(values: Sequence[Any], measure: Measure) -> Floats:
    """[values, values] how nearly two values agree, 1 on the diagonal."""
    if measure == "nominal" or len(values) < 2:
        return np.eye(len(values))
    points = np.arange(len(values), dtype=float) if measure == "ordinal" else np.array([float(v) for v in values])
    apart = np.abs(points[:, None] - points[None, :]) / np.ptp(points)
    return np.asarray(1 - (apart if measure == "ordinal" else apart**2))


def _gwet(table: Floats, weight: Floats) -> float:
    q, n = table.shape[1], table.sum(1)
    twice = n > 1
    if q < 2 or not twice.any():
        return math.nan
    seen = float(((table * (table @ weight - 1)).sum(1)[twice] / (n * (n - 1))[twice]).mean())
    share = (table / n[:, None]).mean(0)
    chance = float(weight.sum() / (q * (q - 1)) * (share * (1 - share)).sum())
    return (seen - chance) / (1 - chance)


def _fleiss(table: Floats) -> float:
    n = table.sum(1)
    seen = float(((table * (table - 1)).sum(1) / (n * (n - 1))).mean())
    share = table.sum(0) / table.sum()
    chance = float(share @ share)
    return (seen - chance) / (1 - chance) if chance < 1 else math.nan

"""Shares with honest ends: clustered like a mean, but never outside 0..1 and never without width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from accord.statistics import Interval, mean_interval, wilson

Clusters = Sequence[Any] | NDArray[Any]


def share(values: ArrayLike, clusters: Clusters | None = None, level: float = 0.95) -> Interval:
    """Interval of the mean of values in 0..1 (hits, or halves for ties), with clusters that hang together.

    Wilson's interval for n* = p (1 - p) / se^2 * (z / t)^2 independent values, se the clustered error of the mean and
    t Student's quantile for the number of clusters less one (Korn and Graubard 1998). Where the error is 0, because
    all values are alike, n* is the number of clusters: ten hits of ten do not prove that there are no misses. n* is
    never more than the number of values. Raises ValueError on values outside 0..1, and on none.
    """
    x = np.asarray(values, dtype=float).ravel()
    if x.size and (np.nanmin(x) < 0 or np.nanmax(x) > 1):
        raise ValueError(f"a share is made of values in 0..1; these go from {np.nanmin(x):g} to {np.nanmax(x):g}")
    plain = mean_interval(x, clusters, level)
    p, groups = plain.estimate, plain.n
    worth = float(groups)
    if groups > 1 and plain.high > plain.low:
        normal = float(scipy.stats.norm.ppf(0.5 + level / 2))
        worth = p * (1 - p) * (2 * normal / (plain.high - plain.low)) ** 2
    n = max(1, round(min(worth, x.size)))
    return replace(wilson(p * n, n, level), estimate=p, n=groups)


def ratio(top: Interval, bottom: Interval) -> Interval:
    """Interval of top / bottom, the two taken as independent (delta method: relative errors add in squares).

    The ends are those of a symmetric interval; nan when the bottom is 0 or undefined.
    """
    if not bottom.estimate or not math.isfinite(bottom.estimate):
        return Interval(math.nan, math.nan, math.nan, top.level, min(top.n, bottom.n))
    value = top.estimate / bottom.estimate
    above = (top.high - top.low) / 2 / bottom.estimate
    below = value * (bottom.high - bottom.low) / 2 / bottom.estimate
    half = math.hypot(above, below)
    return Interval(value, value - half, value + half, top.level, min(top.n, bottom.n))

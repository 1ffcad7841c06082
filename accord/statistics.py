"""How sure we are: intervals, tests, calibration and power, on numpy arrays and nothing else.

Every figure that Accord shows has an interval from here. Values that stem from one prompt, one person or one source
are not independent: hand their names over as `clusters` and the interval widens to what is really known.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy  # as a whole: its parts are then imported when one is needed, and take 50 MB
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Clusters = Sequence[Any] | NDArray[Any]


@dataclass(frozen=True)
class Interval:
    """A figure and how sure we are of it."""

    estimate: float
    """The figure; nan where it is undefined."""
    low: float
    """Lower end."""
    high: float
    """Upper end."""
    level: float = 0.95
    """How often an interval made in this way holds the truth."""
    n: int = 0
    """Independent units it rests on: values, or clusters where there are any."""

    def __str__(self) -> str:
        share = f"{100 * self.level:g} %"
        return f"{self.estimate:.3f} [{self.low:.3f}, {self.high:.3f}] ({share}, n={self.n})"

    def percent(self) -> str:
        """A share for a table, as in `61 % [58, 64]`; a dash where there is none."""
        rests = self.n and not math.isnan(self.estimate)
        return f"{100 * self.estimate:.0f} % [{100 * self.low:.0f}, {100 * self.high:.0f}]" if rests else "-"

    def excludes(self, value: float) -> bool:
        """Whether a value lies outside; for a difference, `excludes(0)` means that it is significant."""
        return not self.low <= value <= self.high

    def to_dict(self) -> dict[str, float]:
        """Plain numbers, for JSON."""
        return {"estimate": self.estimate, "low": self.low, "high": self.high, "level": self.level, "n": self.n}


# --- intervals -------------------------------------------------------------------------------------------------


def wilson(successes: float, n: int, level: float = 0.95) -> Interval:
    """Interval of a proportion p = successes / n, good also near 0 and 1 and for small n.

    centre = (p + z^2/2n) / (1 + z^2/n), half width = z sqrt(p(1-p)/n + z^2/4n^2) / (1 + z^2/n)
    (Wilson 1927, JASA 22). `n=0` gives nan in [0, 1]. Raises ValueError when successes do not lie in 0..n.
    """
    if n < 0 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}: need 0 <= successes <= n")
    if n == 0:
        return Interval(math.nan, 0.0, 1.0, level, 0)
    z = _z(level)
    p = successes / n
    spread = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low, high = (p + z * z / (2 * n) - spread) / scale, (p + z * z / (2 * n) + spread) / scale
    return Interval(p, max(0.0, min(p, low)), min(1.0, max(p, high)), level, n)


def mean_interval(values: ArrayLike, clusters: Clusters | None = None, level: float = 0.95) -> Interval:
    """Interval of a mean; with clusters, one that allows for values of one cluster resembling each other.

    se^2 = G/(G-1) * sum_g (sum_{i in g} (x_i - mean))^2 / n^2, and Student's t with G-1 degrees of freedom
    (CR1; Liang and Zeger 1986; Miller 2024, arXiv 2411.00640). Without clusters every value is its own and this is
    the usual t interval. One cluster alone has an infinite interval. Raises ValueError on none or non-finite values.
    """
    x = _finite(values, "values")
    if not x.size:
        raise ValueError("no values: the mean of nothing has no interval")
    _, index = np.unique(_labels(clusters, x.size), return_inverse=True)
    groups = int(index.max()) + 1
    mean = float(x.mean())
    if groups < 2:
        return Interval(mean, -math.inf, math.inf, level, groups)
    sums = np.bincount(index, weights=x - mean)
    error = math.sqrt(groups / (groups - 1) * float(sums @ sums)) / x.size
    half = float(scipy.stats.t.ppf(0.5 + level / 2, groups - 1)) * error
    return Interval(mean, mean - half, mean + half, level, groups)


def paired_difference(a: ArrayLike, b: ArrayLike, clusters: Clusters | None = None, level: float = 0.95) -> Interval:
    """Interval of mean(a - b) where a_i and b_i were measured on the same thing (Miller 2024, section 4.2).

    Pairing removes what both share, so it is narrower than the difference of two separate intervals.
    Raises ValueError when the lengths differ.
    """
    x, y = _same(a, b)
    return mean_interval(x - y, clusters, level)


def bootstrap(
    values: ArrayLike,
    statistic: Callable[[NDArray[Any]], float],
    generator: np.random.Generator,
    clusters: Clusters | None = None,
    count: int = 1000,
    level: float = 0.95,
) -> Interval:
    """Percentile interval of any statistic of the rows of `values`, drawing whole clusters (Efron 1979).

    `statistic` gets rows drawn with replacement, with the shape of `values` but perhaps another length when clusters
    differ in size. Draws where it is nan are left out; when more than half are, the ends are nan.
    """
    rows = np.asarray(values)
    if not len(rows):
        raise ValueError("no values to draw from")
    _, index = np.unique(_labels(clusters, len(rows)), return_inverse=True)
    groups = int(index.max()) + 1
    order = np.argsort(index, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(index))[:-1])
    drawn = np.empty(count)
    for i in range(count):
        chosen = generator.integers(groups, size=groups)
        take = order[chosen] if groups == len(rows) else np.concatenate([members[g] for g in chosen])
        drawn[i] = statistic(rows[take])
    return percentiles(float(statistic(rows)), drawn, groups, level)


def percentiles(estimate: float, drawn: ArrayLike, n: int, level: float = 0.95) -> Interval:
    """The interval that holds the middle `level` of bootstrap draws; nan ends when over half of them are undefined."""
    values = np.asarray(drawn, dtype=float)
    good = values[~np.isnan(values)]
    if good.size * 2 < values.size or not good.size:
        return Interval(estimate, math.nan, math.nan, level, n)
    low, high = np.quantile(good, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high), level, n)


def rule_of_three(n: int, level: float = 0.95) -> float:
    """Highest rate that n trials without one failure still allow: 1 - (1 - level)^(1/n), about 3/n (Hanley 1983)."""
    return 1.0 if n <= 0 else 1 - (1 - level) ** (1 / n)


# --- tests and power -------------------------------------------------------------------------------------------


def permutation_test(
    a: ArrayLike, b: ArrayLike, generator: np.random.Generator, count: int = 10_000, paired: bool = False
) -> float:
    """Two-sided p of "a and b have one mean": how often shuffled labels differ by at least as much.

    p = (1 + #{|d*| >= |d|}) / (1 + count), never 0 (Phipson and Smyth 2010). Paired: signs of a_i - b_i are flipped.
    """
    x, y = (_same(a, b)) if paired else (_finite(a, "a"), _finite(b, "b"))
    if not x.size or not y.size:
        raise ValueError(f"nothing to compare: {x.size} values against {y.size}")
    if paired:
        gap = x - y
        seen = abs(gap.mean())
        drawn = np.array([abs((gap * generator.choice([-1.0, 1.0], gap.size)).mean()) for _ in range(count)])
    else:
        pool = np.concatenate([x, y])
        total = pool.sum()
        seen = abs(x.mean() - y.mean())
        first = np.array([generator.permutation(pool)[: x.size].sum() for _ in range(count)])
        drawn = np.abs(first / x.size - (total - first) / y.size)
    # Equal differences must count as equal although they are summed in another order.
    return float((1 + np.sum(drawn >= seen * (1 - 1e-12) - 1e-15)) / (1 + count))


def needed(difference: float, deviation: float = 0.5, level: float = 0.95, power: float = 0.8) -> int:
    """Independent items needed to see a mean (paired) difference: n = ((z_level + z_power) * deviation / difference)^2.

    `deviation` is that of the single (paired) difference; .5 is the worst case of a share (Miller 2024, section 5).
    """
    if difference == 0:
        raise ValueError("a difference of 0 cannot be found with any number of items; give the smallest that matters")
    return math.ceil(((_z(level) + float(scipy.stats.norm.ppf(power))) * deviation / difference) ** 2)


def detectable(n: int, deviation: float = 0.5, level: float = 0.95, power: float = 0.8) -> float:
    """Smallest difference that n independent items show with the given power; the inverse of `needed`."""
    return (_z(level) + float(scipy.stats.norm.ppf(power))) * deviation / math.sqrt(n)


# --- order and calibration -------------------------------------------------------------------------------------


def auroc(score: ArrayLike, outcome: ArrayLike) -> float:
    """Chance that a random positive scores above a random negative, ties half (Mann and Whitney 1947; Hanley 1982).

    `outcome` is 0 or 1. Returns nan when one of the classes is empty.
    """
    s, y = _same(score, outcome)
    positive = y > 0.5
    many, few = int(positive.sum()), int((~positive).sum())
    if not many or not few:
        return math.nan
    ranks = scipy.stats.rankdata(s)
    return float((ranks[positive].sum() - many * (many + 1) / 2) / (many * few))


def spearman(a: ArrayLike, b: ArrayLike, level: float = 0.95) -> Interval:
    """Rank correlation with ties averaged; ends by Fisher's z with se^2 = (1 + r^2/2)/(n-3) (Bonett and Wright 2000).

    nan when one side is constant or n < 2.
    """
    x, y = _same(a, b)
    n = int(x.size)
    if n < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Interval(math.nan, -1.0, 1.0, level, n)
    r = float(np.corrcoef(scipy.stats.rankdata(x), scipy.stats.rankdata(y))[0, 1])
    if n <= 3:
        return Interval(r, -1.0, 1.0, level, n)
    centre = math.atanh(max(-1 + 1e-12, min(1 - 1e-12, r)))
    half = _z(level) * math.sqrt((1 + r * r / 2) / (n - 3))
    return Interval(r, math.tanh(centre - half), math.tanh(centre + half), level, n)


@dataclass(frozen=True)
class Bin:
    """One step of a reliability curve."""

    low: float
    """Lower edge of the predicted probability."""
    high: float
    """Upper edge."""
    count: int
    """Predictions in it."""
    predicted: float
    """Mean prediction; nan when empty."""
    observed: float
    """Mean outcome; nan when empty."""


def reliability_curve(probability: ArrayLike, outcome: ArrayLike, bins: int = 10) -> list[Bin]:
    """What was predicted against what happened, in bins of equal width (Murphy 1977). Outcomes may be soft."""
    p, y = _probabilities(probability, outcome)
    index = np.minimum((p * bins).astype(int), bins - 1)
    curve = []
    for i in range(bins):
        inside = index == i
        size = int(inside.sum())
        means = (float(p[inside].mean()), float(y[inside].mean())) if size else (math.nan, math.nan)
        curve.append(Bin(i / bins, (i + 1) / bins, size, *means))
    return curve


def expected_calibration_error(probability: ArrayLike, outcome: ArrayLike, bins: int = 10) -> float:
    """ECE = sum over bins of (count / n) * |observed - predicted| (Naeini 2015; Guo 2017). Outcomes may be soft."""
    curve = [b for b in reliability_curve(probability, outcome, bins) if b.count]
    total = sum(b.count for b in curve)
    return math.nan if not total else sum(b.count * abs(b.observed - b.predicted) for b in curve) / total


def brier(probability: ArrayLike, outcome: ArrayLike) -> float:
    """Mean of (probability - outcome)^2 (Brier 1950). Outcomes may be soft; nan of nothing."""
    p, y = _probabilities(probability, outcome)
    return float(np.mean((p - y) ** 2)) if p.size else math.nan


def log_losses(probability: ArrayLike, outcome: ArrayLike) -> Array:
    """-(y log p + (1-y) log(1-p)) of each, in nats; inf where something impossible happened. Outcomes may be soft."""
    p, y = _probabilities(probability, outcome)
    return -(scipy.special.xlogy(y, p) + scipy.special.xlogy(1 - y, 1 - p))


def log_loss(probability: ArrayLike, outcome: ArrayLike) -> float:
    """Mean of `log_losses`; nan of nothing. Always saying .5 scores log 2 = 0.693."""
    losses = log_losses(probability, outcome)
    return float(losses.mean()) if losses.size else math.nan


def fit_temperature(logits: ArrayLike, outcome: ArrayLike) -> float:
    """The T in [1e-3, 1e3] that minimises the log loss of sigmoid(logits / T) (Platt 1999; Guo et al. 2017).

    The loss is convex in 1/T, so the minimum is the only one. Outcomes may be soft. Where n certain ones are all on the
    side of their logit the least T would be best and everything certain; each then counts as (n + 1) / (n + 2), by
    Laplace's rule of succession. Raises ValueError on nothing.
    """
    z, y = _same(logits, outcome)
    if not z.size:
        raise ValueError("no logits: a temperature cannot be fitted to nothing")
    if np.isin(y, (0, 1)).all() and ((2 * y - 1) * z >= 0).all():
        y = (y.size * y + 1) / (y.size + 2)

    def loss(log_t: float) -> float:
        scaled = z * math.exp(-log_t)
        return float(np.mean(np.logaddexp(0, scaled) - y * scaled))

    edge = math.log(1e3)
    return math.exp(float(scipy.optimize.minimize_scalar(loss, bounds=(-edge, edge), method="bounded").x))


def isotonic(score: ArrayLike, outcome: ArrayLike) -> tuple[Array, Array]:
    """Knots (x, y) of the best non-decreasing step from score to outcome; use as `numpy.interp(new, x, y)`.

    Pool-adjacent-violators on the mean outcome of each distinct score (Barlow 1972; Zadrozny and Elkan 2002).
    """
    s, y = _same(score, outcome)
    x, index = np.unique(s, return_inverse=True)
    size = np.bincount(index).astype(float)
    means = np.bincount(index, weights=y) / size
    return x, np.asarray(scipy.optimize.isotonic_regression(means, weights=size).x, dtype=float)


# --- reading what is given -------------------------------------------------------------------------------------


def _z(level: float) -> float:
    """Half width of the normal interval in standard errors."""
    if not 0 < level < 1:
        raise ValueError(f"level={level}: a share between 0 and 1 is needed, as in 0.95")
    return float(scipy.stats.norm.ppf(0.5 + level / 2))


def _finite(values: ArrayLike, name: str) -> Array:
    """A flat array of finite numbers."""
    x = np.asarray(values, dtype=float).ravel()
    if not np.isfinite(x).all():
        raise ValueError(f"{name}: {int((~np.isfinite(x)).sum())} of {x.size} are not finite; leave them out first")
    return x


def _same(a: ArrayLike, b: ArrayLike) -> tuple[Array, Array]:
    """Two flat arrays of one length."""
    x, y = _finite(a, "first"), _finite(b, "second")
    if x.size != y.size:
        raise ValueError(f"{x.size} values against {y.size}: each needs its partner")
    return x, y


def _probabilities(probability: ArrayLike, outcome: ArrayLike) -> tuple[Array, Array]:
    """Predictions and outcomes, all within 0..1."""
    p, y = _same(probability, outcome)
    off = int(((p < 0) | (p > 1) | (y < 0) | (y > 1)).sum())
    if off:
        raise ValueError(f"{off} of {p.size} pairs of probability and outcome lie outside 0..1; logits need a sigmoid")
    return p, y


def _labels(clusters: Clusters | None, n: int) -> NDArray[Any]:
    """One cluster name per value; each value its own when none are given."""
    if clusters is None:
        return np.arange(n)
    if len(clusters) != n:
        raise ValueError(f"{len(clusters)} cluster names for {n} values")
    return np.unique(np.asarray([str(c) for c in clusters]), return_inverse=True)[1]

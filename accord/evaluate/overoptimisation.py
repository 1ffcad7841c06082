"""How far an optimiser can go before more of the proxy is less of what was meant (Gao et al. 2022, arXiv 2210.10760).

With d = sqrt(KL(policy, start)) and R the gain of gold over the start,

    best of n    R(d) = d (alpha - beta d)          peak at d = alpha / (2 beta)
    RL           R(d) = d (alpha - beta log d)      peak at d = exp(alpha / beta - 1)

Both are linear in alpha and beta, so the fit is least squares in closed form, and a bootstrap of a thousand costs
nothing. Where beta is not above 0 the fitted curve never turns down: its peak is at infinity, and is told so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from accord.evaluate.charts import Band, bands
from accord.evaluate.page import shown
from accord.records import Record
from accord.statistics import Interval, mean_interval, paired_difference

Array = NDArray[np.float64]
Form = Literal["best_of_n", "rl"]


@dataclass(frozen=True)
class Track:
    """Proxy and gold along one optimisation: P points, the same G prompts at each, the first point the start itself."""

    form: Form
    """Which curve is fitted."""
    divergence: Array
    """[P, G] nats per answer from the start; 0 at the first point."""
    proxy: Array
    """[P, G] mean score of each prompt's answers by what is optimised."""
    gold: Array
    """[P, G] the same by what is meant."""

    def __post_init__(self) -> None:
        """Raises ValueError for tables that do not fit together, or too few points to fit two numbers."""
        shapes = {self.divergence.shape, self.proxy.shape, self.gold.shape}
        points, prompts = self.gold.shape if self.gold.ndim == 2 else (0, 0)
        if len(shapes) != 1 or points < 3 or not prompts:
            raise ValueError(
                f"divergence {self.divergence.shape}, proxy {self.proxy.shape}, gold {self.gold.shape}: three tables "
                "[points, prompts] are needed, with the start and at least two points after it"
            )
        if not all(np.isfinite(table).all() for table in (self.divergence, self.proxy, self.gold)):
            raise ValueError(f"a track of {points} points holds values that are no numbers")

    @property
    def distance(self) -> Array:
        """[P] d = sqrt of the mean divergence; sampling noise below 0 counts as 0."""
        return np.asarray(np.sqrt(np.maximum(self.divergence.mean(1), 0.0)))

    @property
    def gain(self) -> Array:
        """[P] mean gold less that of the start."""
        return np.asarray((self.gold - self.gold[0]).mean(1))


class Fit(Record):
    """The fitted curve, and where it turns."""

    form: Form
    """Which curve."""
    alpha: Interval
    """How steeply gold rises at first."""
    beta: Interval
    """How fast the rise is eaten up. At or below 0: no turn."""
    peak: Interval
    """d at which fitted gold is highest; infinite when it never turns down."""
    height: Interval
    """Fitted gain of gold there."""
    top: Interval
    """d of the measured point with the most gold: it needs no form, but cannot lie beyond `reach`."""
    reach: float
    """Largest d that was measured. A peak beyond it is extrapolated."""
    error: float
    """Root of the mean squared distance of the points from the curve."""
    prompts: int
    """Prompts that it rests on."""
    seeds: int
    """Runs that it rests on."""

    @property
    def turned(self) -> bool:
        """Whether the fitted peak lies within what was measured."""
        return 0 < self.peak.estimate <= self.reach


def basis(form: Form, distance: ArrayLike) -> Array:
    """[..., 2] what alpha and beta are multiplied by: (d, -d^2) or (d, -d log d), with 0 log 0 = 0."""
    d = np.asarray(distance, dtype=float)
    bent = d * d if form == "best_of_n" else d * np.log(np.where(d > 0, d, 1.0))
    return np.stack([d, -bent], -1)


def curve(form: Form, alpha: float, beta: float, distance: ArrayLike) -> Array:
    """R(d), same shape as d."""
    return np.asarray(basis(form, distance) @ np.array([alpha, beta]))


def peak(form: Form, alpha: ArrayLike, beta: ArrayLike) -> tuple[Array, Array]:
    """Where R(d) is highest on d >= 0, and how high; both infinite where beta <= 0, both 0 where it only falls."""
    a, b = np.asarray(alpha, dtype=float), np.asarray(beta, dtype=float)
    turns = b > 0
    safe = np.where(turns, b, 1.0)
    with np.errstate(over="ignore"):
        place = np.maximum(a, 0.0) / (2 * safe) if form == "best_of_n" else np.exp(a / safe - 1)
        height = place * place * safe if form == "best_of_n" else place * safe
    return np.where(turns, place, np.inf), np.where(turns, height, np.inf)


def fit(tracks: Sequence[Track], generator: np.random.Generator, count: int = 1000, level: float = 0.95) -> Fit:
    """alpha, beta and the peak from one track, or from one of each seed, with percentile bootstrap intervals.

    A draw takes prompts with replacement, the same ones at every point of a track, and with several tracks these too
    (two stages; Davison and Hinkley 1997, section 3.8): d, gain and fit are made anew from it. Raises ValueError for
    no track and for tracks of several forms.
    """
    if not tracks or len({track.form for track in tracks}) != 1:
        raise ValueError(
            f"{len(tracks)} tracks of forms {sorted({t.form for t in tracks})}: one form is fitted at once"
        )
    form, several = tracks[0].form, len(tracks) > 1
    times = (
        generator.multinomial(len(tracks), [1 / len(tracks)] * len(tracks), count) if several else np.ones((count, 1))
    )
    left, right, tops = np.zeros((count, 2, 2)), np.zeros((count, 2)), np.zeros((count, len(tracks)))
    for number, track in enumerate(tracks):
        prompts = track.gold.shape[1]
        share = generator.multinomial(prompts, [1 / prompts] * prompts, count) / prompts
        d = np.sqrt(np.maximum(share @ track.divergence.T, 0.0))
        gain = share @ (track.gold - track.gold[0]).T
        columns, weight = basis(form, d), times[:, number, None]
        left += weight[..., None] * np.einsum("bpi,bpj->bij", columns, columns)
        right += weight * np.einsum("bpi,bp->bi", columns, gain)
        tops[:, number] = d[np.arange(count), gain.argmax(1)]
    alphas, betas = _solved(left, right).T
    alpha, beta, error = _whole(tracks)
    places, heights = peak(form, alphas, betas)
    place, height = peak(form, alpha, beta)
    units = len(tracks) if several else tracks[0].gold.shape[1]

    def sure(value: float, drawn: Array) -> Interval:
        # Of draws that may be infinite only those that were drawn can be ends: between two there is nothing to take.
        ends = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2], method="inverted_cdf")
        return Interval(float(value), float(ends[0]), float(ends[1]), level, units)

    highest = float(np.mean([track.distance[track.gain.argmax()] for track in tracks]))
    return Fit(
        form=form,
        alpha=sure(alpha, alphas),
        beta=sure(beta, betas),
        peak=sure(float(place), places),
        height=sure(float(height), heights),
        top=sure(highest, (tops * times).sum(1) / times.sum(1)),
        reach=max(float(track.distance.max()) for track in tracks),
        error=error,
        prompts=sum(track.gold.shape[1] for track in tracks),
        seeds=len(tracks),
    )


def less(tracks: Sequence[Track], others: Sequence[Track], point: int = -1) -> Interval:
    """Gold at one point of some tracks less that of others at theirs, on the same prompts of the same seeds.

    Paired by prompt; with several seeds a seed is the unit. Raises ValueError when they do not pair up.
    """
    if [t.gold.shape[1] for t in tracks] != [t.gold.shape[1] for t in others] or not tracks:
        raise ValueError(f"{len(tracks)} tracks against {len(others)}: each needs its partner on the same prompts")
    first = [(t.gold[point] - t.gold[0]) for t in tracks]
    second = [(t.gold[point] - t.gold[0]) for t in others]
    seeds = [n for n, values in enumerate(first) for _ in values] if len(tracks) > 1 else None
    return paired_difference(np.concatenate(first), np.concatenate(second), seeds)


def _whole(tracks: Sequence[Track]) -> tuple[float, float, float]:
    """alpha, beta and the root mean squared error over the points as they are."""
    columns = np.concatenate([basis(track.form, track.distance) for track in tracks])
    gain = np.concatenate([track.gain for track in tracks])
    found = _solved((columns.T @ columns)[None], (columns.T @ gain)[None])[0]
    return float(found[0]), float(found[1]), math.sqrt(float(np.mean((columns @ found - gain) ** 2)))


def _solved(left: Array, right: Array) -> Array:
    """[B, 2] least squares from normal equations; where points do not tell two numbers apart, the smallest pair."""
    return np.asarray(np.einsum("bij,bj->bi", np.linalg.pinv(left, hermitian=True), right))


def plain(track: Track) -> dict[str, Any]:
    """A track as JSON holds it."""
    tables = {name: np.round(getattr(track, name), 5).tolist() for name in ("divergence", "proxy", "gold")}
    return {"form": track.form, **tables}


def read(found: dict[str, Any]) -> Track:
    """The inverse of `plain`."""
    return Track(found["form"], *(np.asarray(found[name], dtype=float) for name in ("divergence", "proxy", "gold")))


# --- what is shown ---------------------------------------------------------------------------------------------

COLUMNS = ("alpha", "beta", "peak, d", "peak gain", "most gold at d", "measured to d", "gain there", "fit error")
"""Figures of one row; docs/overoptimisation.md says what each is."""
COLOURS = ("a", "b", "c", "muted")


def cells(tracks: Sequence[Track], found: Fit) -> list[str]:
    """The figures of one row, in the order of `COLUMNS`. A peak beyond what was measured is marked."""
    ends = [np.asarray(track.gold[-1] - track.gold[0]) for track in tracks]
    end = mean_interval([e.mean() for e in ends] if len(ends) > 1 else ends[0])
    beyond = "" if found.turned or not math.isfinite(found.peak.estimate) else " (beyond)"
    figures = [shown(found.alpha), shown(found.beta), shown(found.peak, 2) + beyond, shown(found.height)]
    return [*figures, shown(found.top, 2), f"{found.reach:.2f}", shown(end), f"{found.error:.3f}"]


def picture(key: str, title: str, tracks: Mapping[str, Sequence[Track]], fits: Mapping[str, Fit]) -> str:
    """Gold over d for up to four ways with their fits dashed, and in pale dashes the proxy of the first.

    With several seeds a point is the mean over them; bands are 95 % intervals over prompts, or over seeds.
    """
    lines = []
    for colour, (name, runs) in zip(COLOURS, tracks.items(), strict=False):
        d = np.mean([track.distance for track in runs], 0)
        gains = [track.gold - track.gold[0] for track in runs]
        each = [mean_interval([g[p].mean() for g in gains] if len(runs) > 1 else gains[0][p]) for p in range(len(d))]
        order = np.argsort(d, kind="stable")
        low, high = ([getattr(each[p], end) for p in order] for end in ("low", "high"))
        lines.append(Band(name, d[order].tolist(), [each[p].estimate for p in order], low, high, colour))
        grid = np.linspace(0, float(d.max()), 40)
        fitted = curve(fits[name].form, fits[name].alpha.estimate, fits[name].beta.estimate, grid)
        lines.append(Band("", grid.tolist(), fitted.tolist(), colour=colour, dashed=True))
    return bands(key, title, lines, "d = sqrt(KL), from the start", f"{title} (SD)")


def both(key: str, title: str, tracks: Sequence[Track]) -> str:
    """Proxy and gold of one way over d: where they part is where the proxy is no longer believed."""
    d = np.mean([track.distance for track in tracks], 0)
    order = np.argsort(d, kind="stable")
    lines = []
    for name, colour in (("proxy", "b"), ("gold", "a")):
        gain = np.mean([(getattr(t, name) - getattr(t, name)[0]).mean(1) for t in tracks], 0)
        lines.append(Band(name, d[order].tolist(), gain[order].tolist(), colour=colour))
    return bands(key, title, lines, "d = sqrt(KL), from the start", f"{title} (SD)")

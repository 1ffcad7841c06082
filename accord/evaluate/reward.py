"""How good is a reward model: accuracy against chance, length and the ceiling, and whether its confidence is earned."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from accord.evaluate.rates import Clusters, ratio, share
from accord.records import Record
from accord.statistics import (
    Bin,
    Interval,
    brier,
    expected_calibration_error,
    fit_temperature,
    log_loss,
    paired_difference,
    reliability_curve,
)

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
BELIEF_BANDS = ((0.5, 0.6), (0.6, 0.75), (0.75, 0.9), (0.9, 1.0))
MARGIN_BANDS = ((0.0, 0.5), (0.5, 1.5), (1.5, 2.5), (2.5, np.inf))


class Part(Record):
    """Accuracy on some of the pairs."""

    name: str
    """Which pairs."""
    pairs: int
    """How many."""
    accuracy: Interval
    """Of the reward model."""
    length: Interval
    """Of the rule that looks at length alone, on the same pairs."""


class Calibration(Record):
    """Whether sigmoid(score difference) can be taken as a probability, on pairs that the temperature has not seen."""

    pairs: int
    """Pairs it rests on."""
    nll: float
    """Mean log loss in nats; always saying one half scores 0.693."""
    brier: float
    """Mean squared error of the probability; always saying one half scores at most 0.25."""
    ece: float
    """Mean gap between confidence and accuracy over 10 bins of the confidence, from .5 to 1."""
    temperature: float
    """What the differences should be divided by; above 1 the model is over-confident. Mean of the two halves'."""
    nll_after: float
    """Log loss when each half is divided by the temperature fitted on the other."""
    ece_after: float
    """ECE likewise."""
    curve: tuple[Bin, ...]
    """Confidence against accuracy, before the temperature."""


class RewardCard(Record):
    """What is known of a reward model. Everything is measured on pairs that it was not trained on."""

    pairs: int
    """Pairs that have a better side."""
    undecided: int
    """Pairs believed to be ties; they count in the calibration only."""
    clusters: int
    """Independent units (prompts)."""
    accuracy: Interval
    """Share of pairs whose better side scores higher; equal scores count half."""
    length_accuracy: Interval
    """The same for a rule that knows only which answer is longer."""
    over_chance: Interval
    """Accuracy less one half."""
    over_length: Interval
    """Accuracy less that of the length rule, paired by pair."""
    by_margin: tuple[Part, ...]
    """By how much better people found it; by how sure we are of the label where no margins were given."""
    by_length: tuple[Part, ...]
    """By whether the better answer is the longer one."""
    by_slice: tuple[Part, ...]
    """By whatever groups the caller named."""
    calibration: Calibration
    """Whether its confidence is earned."""
    ceiling: Interval | None
    """Accuracy of the best predictor of what one person says, ties left out: nobody can be expected to do better."""
    share_of_ceiling: Interval | None
    """Accuracy divided by the ceiling."""


def reward_card(
    better: ArrayLike,
    worse: ArrayLike,
    probability: ArrayLike,
    clusters: Clusters,
    length_better: ArrayLike,
    length_worse: ArrayLike,
    margin: ArrayLike | None = None,
    slices: Mapping[str, Sequence[bool] | Sequence[str]] | None = None,
    ceiling: Interval | None = None,
) -> RewardCard:
    """The card of a reward model from its scores on N held-out pairs.

    better, worse: [N] scores of the side believed better and of the other; probability: [N] in [.5, 1], how sure we
    are; clusters: [N] prompt names; length_better, length_worse: [N] in any one unit; margin: [N] steps of strength.
    slices: name -> [N] bools (those pairs) or names (a part for each, with the name and a colon before it
    where it has one). Raises ValueError on lengths that differ, on no pair with a better side, and on probabilities
    outside [.5, 1].
    """
    high, low, sure = _flat(better, "better"), _flat(worse, "worse"), _flat(probability, "probability")
    longer = np.sign(_flat(length_better, "length_better") - _flat(length_worse, "length_worse"))
    names = np.array([str(c) for c in clusters], dtype=object)
    _check(high, low, sure, longer, names)
    decided = sure > 0.5
    if not decided.any():
        raise ValueError(f"all {sure.size} pairs are ties: there is no better side to be right about")
    gap = high - low
    right, ruled = _correct(gap), length_rule(longer, decided, names)

    def part(name: str, chosen: Mask) -> Part:
        inside = chosen & decided
        return Part(
            name=name,
            pairs=int(inside.sum()),
            accuracy=share(right[inside], names[inside]),
            length=share(ruled[inside], names[inside]),
        )

    def parts(groups: Iterator[tuple[str, Mask]]) -> tuple[Part, ...]:
        return tuple(part(name, chosen) for name, chosen in groups if (chosen & decided).any())

    everything = part("all", decided)
    half = np.full(everything.pairs, 0.5)
    return RewardCard(
        pairs=everything.pairs,
        undecided=int((~decided).sum()),
        clusters=everything.accuracy.n,
        accuracy=everything.accuracy,
        length_accuracy=everything.length,
        over_chance=paired_difference(right[decided], half, names[decided]),
        over_length=paired_difference(right[decided], ruled[decided], names[decided]),
        by_margin=parts(_bands(sure, margin)),
        by_length=parts(_signs(longer)),
        by_slice=parts(_slices(slices or {}, len(sure))),
        calibration=calibration(gap, sure, names),
        ceiling=ceiling,
        share_of_ceiling=ratio(everything.accuracy, ceiling) if ceiling is not None else None,
    )


def length_rule(longer: Array, decided: Mask, clusters: NDArray[Any]) -> Array:
    """[N] 1, 1/2 or 0: whether length alone picks the better side.

    longer: [N] sign of length_better - length_worse. Whether people like long or short answers is learned on one half
    of the clusters and used on the other, so the rule is a fair rival also where short answers are better.
    """
    ruled = np.empty(longer.size)
    first = halves(clusters)
    for mine, other in ((first, ~first), (~first, first)):
        seen = longer[other & decided]
        liking = 1.0 if not seen.size or seen.sum() >= 0 else -1.0
        ruled[mine] = _correct(liking * longer[mine])
    return ruled


def calibration(gap: Array, probability: Array, clusters: NDArray[Any], bins: int = 10) -> Calibration:
    """Whether sigmoid(gap) is a probability. gap: [N] score differences; probability: [N] soft labels of "better".

    Each half of the clusters is corrected by the temperature fitted on the other, so no pair is judged by a
    temperature that has seen it (Guo et al. 2017).
    """
    first = halves(clusters)
    cooled, fitted = gap.copy(), []
    for mine, other in ((first, ~first), (~first, first)):
        if mine.any() and other.any():
            fitted.append(fit_temperature(gap[other], probability[other]))
            cooled[mine] = gap[mine] / fitted[-1]
    plain, after = scipy.special.expit(gap), scipy.special.expit(cooled)
    confidence, hit = _confidence(plain, probability)
    return Calibration(
        pairs=gap.size,
        nll=log_loss(np.clip(plain, 1e-12, 1 - 1e-12), probability),
        brier=brier(plain, probability),
        ece=expected_calibration_error(confidence, hit, 2 * bins),
        temperature=float(np.exp(np.mean(np.log(fitted)))) if fitted else 1.0,
        nll_after=log_loss(np.clip(after, 1e-12, 1 - 1e-12), probability),
        ece_after=expected_calibration_error(*_confidence(after, probability), 2 * bins),
        curve=tuple(reliability_curve(confidence, hit, 2 * bins)[bins:]),
    )


def halves(clusters: NDArray[Any]) -> Mask:
    """[N] which pairs belong to the first of two halves, by a hash of the cluster's name: the same on every machine."""
    return np.array([hashlib.sha256(str(c).encode()).digest()[0] < 128 for c in clusters], dtype=bool)


def _confidence(chance: Array, probability: Array) -> tuple[Array, Array]:
    """How sure the model is of the side it picks, and how far that side is believed to be right."""
    picked = np.where(chance > 0.5, probability, np.where(chance < 0.5, 1 - probability, 0.5))
    return np.maximum(chance, 1 - chance), picked


def _correct(gap: Array) -> Array:
    """1 above 0, 1/2 at 0, else 0."""
    return (np.sign(gap) + 1) / 2


def _bands(sure: Array, margin: ArrayLike | None) -> Iterator[tuple[str, Mask]]:
    """Pairs by margin, or by how sure the label is."""
    if margin is None:
        for low, high in BELIEF_BANDS:
            inside = (sure > low) & (sure <= high)
            yield f"label sure to {low:.0%} .. {high:.0%}", inside
        return
    steps = _flat(margin, "margin")
    if steps.size != sure.size:
        raise ValueError(f"{steps.size} margins for {sure.size} pairs")
    for name, (low, high) in zip(("not said", "slightly", "clearly", "much better"), MARGIN_BANDS, strict=True):
        yield name, (steps >= low) & (steps < high)


def _signs(longer: Array) -> Iterator[tuple[str, Mask]]:
    """Pairs by which answer is longer."""
    yield "better one longer", longer > 0
    yield "equally long", longer == 0
    yield "better one shorter", longer < 0


def _slices(slices: Mapping[str, Sequence[bool] | Sequence[str]], n: int) -> Iterator[tuple[str, Mask]]:
    """Named groups of pairs."""
    for name, values in slices.items():
        if len(values) != n:
            raise ValueError(f"slice {name!r} has {len(values)} entries for {n} pairs")
        marks = list(values)
        if all(isinstance(m, bool | np.bool_) for m in marks):
            yield name, np.array(marks, dtype=bool)
        else:
            texts = np.array([str(m) for m in marks], dtype=object)
            for one in sorted(set(texts)):
                yield f"{name}: {one}" if name else str(one), texts == one


def _flat(values: ArrayLike, name: str) -> Array:
    """A flat array of finite numbers."""
    x = np.asarray(values, dtype=float).ravel()
    if not np.isfinite(x).all():
        raise ValueError(f"{name}: {int((~np.isfinite(x)).sum())} of {x.size} are not finite")
    return x


def _check(high: Array, low: Array, sure: Array, longer: Array, names: NDArray[Any]) -> None:
    """All of one length, and beliefs in [.5, 1]."""
    sizes = {"better": high.size, "worse": low.size, "probability": sure.size, "lengths": longer.size}
    if len({*sizes.values(), names.size}) != 1:
        raise ValueError(f"each pair needs one of each: {sizes}, clusters {names.size}")
    off = int(((sure < 0.5) | (sure > 1)).sum())
    if off:
        raise ValueError(f"{off} of {sure.size} probabilities lie outside 0.5..1; swap the sides of those pairs")

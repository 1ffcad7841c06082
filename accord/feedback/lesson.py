"""What a few answers of one person teach: a small reward model of words, and how well it foretells that person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from accord.feedback.scout import line, words
from accord.feedback.select import Floats
from accord.statistics import Interval, wilson

LEAST = 3
"""Pairs that a word must set apart before its weight is shown."""


@dataclass(frozen=True)
class Lesson:
    """What was learned from one person's choices."""

    accuracy: Interval
    """Share of the choices that a model taught by all others foretells (leave one out); a coin has .5."""
    liked: list[tuple[str, float]]
    """Words and pairs of words that speak for an answer, with their weights, the heaviest first."""
    disliked: list[tuple[str, float]]
    """Those that speak against one, likewise."""


def lesson(better: Sequence[str], worse: Sequence[str], ridge: float = 1.0, most: int = 6) -> Lesson:
    """Bradley-Terry on words, taught by pairs of texts of which the first was chosen.

    p(a over b) = sigmoid(w . (x_a - x_b)), x: which words and pairs of words occur, each once; |w|^2 ridge / 2 is added
    to the loss. Only 2 LEAST or more choices are learned from; with fewer the accuracy is undefined and no word is
    shown. The folds of leave-one-out share their teachers, so the interval is a little too narrow.
    """
    if len(better) < 2 * LEAST:
        return Lesson(wilson(0, 0), [], [])
    names, gap = _gaps(better, worse)
    right = 0.0
    for held in range(len(gap)):
        rest = np.delete(gap, held, axis=0)
        right += (np.sign(gap[held] @ _taught(rest, ridge)) + 1) / 2
    weights = _taught(gap, ridge)
    times = (gap != 0).sum(0)
    heavy = [at for at in np.argsort(-np.abs(weights)) if times[at] >= LEAST and names[at].replace(" ", "").isalpha()]
    shown = [(names[at], float(weights[at])) for at in heavy]
    return Lesson(
        accuracy=wilson(float(right), len(gap)),
        liked=[one for one in shown if one[1] > 0][:most],
        disliked=[one for one in shown if one[1] < 0][:most],
    )


def _gaps(better: Sequence[str], worse: Sequence[str]) -> tuple[list[str], Floats]:
    """[N, W] what the chosen text has and the other has not (1), or the other way round (-1)."""
    sides = [[_parts(text) for text in side] for side in (better, worse)]
    often = Counter(part for side in sides for parts in side for part in parts)
    names = sorted(often)
    place = {name: at for at, name in enumerate(names)}
    gap = np.zeros((len(better), len(names)))
    for sign, side in zip((1.0, -1.0), sides, strict=True):
        for row, parts in enumerate(side):
            for part in parts:
                gap[row, place[part]] += sign
    return names, gap


def _parts(text: str) -> set[str]:
    said = words(text)
    return {*said, *(" ".join(pair) for pair in pairwise(said))}


def _taught(gap: Floats, ridge: float) -> Floats:
    return line(gap, np.ones(len(gap)), np.ones(len(gap)), ridge)

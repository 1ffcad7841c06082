"""A small reader that scores answers by their words: enough to choose what to ask next, without a model or a GPU.

Hashed words in, Bradley-Terry out, several times over resampled beliefs: where the members disagree, more answers help.
A real reward model's scores can take its place (`accord ask --reward`).
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import scipy

from accord.feedback.select import Floats, Indices

WIDTH = 256
_WORD = re.compile(r"[^\W\d_]+|\d+|[^\w\s]")
_SIGNS = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


def words(text: str) -> list[str]:
    """Words in small letters, and each sign of a script that writes no spaces."""
    return [part for word in _WORD.findall(text.lower()) for part in ([*word] if _SIGNS.search(word) else [word])]


def features(texts: Sequence[str], width: int = WIDTH) -> Floats:
    """[A, width + 1] hashed words and pairs of words, each row of length 1, and the log of the length.

    Signed hashing (Weinberger et al. 2009) of 1 + log(count); the same on every machine.
    """
    found = np.zeros((len(texts), width + 1))
    for row, text in enumerate(texts):
        said = words(text)
        counts: dict[str, int] = {}
        for gram in [*said, *(" ".join(pair) for pair in pairwise(said))]:
            counts[gram] = counts.get(gram, 0) + 1
        for gram, count in counts.items():
            number = zlib.crc32(gram.encode())
            found[row, number % width] += (1 if number & 1 << 30 else -1) * (1 + np.log(count))
        size = float(np.sqrt((found[row] ** 2).sum()))
        found[row] /= size or 1.0
        found[row, width] = np.log1p(len(said)) / 5
    return found


def fit(
    features: Floats,
    better: Indices,
    worse: Indices,
    probability: Floats,
    weight: Floats,
    generator: np.random.Generator,
    members: int = 8,
    ridge: float = 1.0,
) -> Floats:
    """[members, A] scores of all answers: Bradley-Terry on features, each member over beliefs drawn with replacement.

    better, worse, probability, weight: [N] beliefs about rows of the features. No member without a belief.
    """
    if not len(better):
        return np.zeros((0, len(features)))
    gap = features[better] - features[worse]
    found = []
    for _ in range(members):
        times = np.bincount(generator.integers(len(gap), size=len(gap)), minlength=len(gap)) * weight
        found.append(features @ line(gap, probability, times, ridge))
    return np.stack(found)


def line(gap: Floats, probability: Floats, weight: Floats, ridge: float) -> Floats:
    """Coefficients of a logistic regression without intercept, by L-BFGS."""

    def loss(line: Floats) -> tuple[float, Floats]:
        logit = gap @ line
        value = float(weight @ (np.logaddexp(0, logit) - probability * logit))
        slope = gap.T @ (weight * (scipy.special.expit(logit) - probability))
        return value + ridge / 2 * float(line @ line), slope + ridge * line

    start = np.zeros(gap.shape[1])
    return np.asarray(scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 100}).x)

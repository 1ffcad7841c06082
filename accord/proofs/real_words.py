"""The control without a network: a rule that weighs words and pairs of words of both answers, and nothing else.

What a reward model must hear before it hears more than words. It does not read the prompt.
"""

from __future__ import annotations

import math
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from accord.project import text_of
from accord.proofs.real_data import Side
from accord.proofs.real_models import Found, Lesson, measured
from accord.records import Sample
from accord.worlds.text.encode import EncoderSettings

LEAST = 5
"""Answers that a word or pair of words stands in at least; rarer ones weigh nothing."""
SHRINK = 10.0
"""Variance of the weights is 1 over it: fixed before any test pair was seen, and not tuned since."""
WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?|\S")
HAN = re.compile(r"([\u3400-\u9fff])")


def words(lesson: Lesson, learned: Side, tests: Mapping[str, Side], wide: EncoderSettings) -> Found:
    """P(better) = s(w . (f(better) - f(worse))), f of a word log(1 + how often), w by a normal prior (MAP).

    The most likely w is found by L-BFGS: the sum is convex, so where one begins does not matter. Takes what other rows
    take; lesson and wide say nothing to it.
    """
    begun = time.process_time()
    both = [[terms(sample) for sample in (two.first, two.second)] for two in learned.twos]
    found = Counter(term for pair in both for one in pair for term in one)
    place = {term: at for at, term in enumerate(term for term, count in found.items() if count >= LEAST)}
    weight = fitted([_less(better, worse, place) for better, worse in both], len(place))

    def scored(side: Side) -> list[float]:
        seen = (terms(sample) for two in side.twos for sample in (two.first, two.second))
        return [sum(weight[place[t]] * math.log1p(n) for t, n in one.items() if t in place) for one in seen]

    told: Found = {"pairs": len(both), "seconds": time.process_time() - begun, "cut_prompts": 1.0, "cut_answers": 0.0}
    return {**told, "tests": {name: measured(side, scored(side)) for name, side in tests.items()}}


def terms(sample: Sample) -> Counter[str]:
    """How often each word and pair of neighbours stands in an answer; a Chinese character is a word."""
    said = " ".join(message.content for message in text_of(sample).messages).casefold()
    found = WORD.findall(HAN.sub(r" \1 ", said))
    return Counter([*found, *_neighbours(found)])


def fitted(pairs: Sequence[Mapping[int, float]], size: int) -> NDArray[np.float64]:
    """[size] the most likely weights, from each pair's differences by place."""
    from scipy.sparse import csr_array

    row = [at for at, pair in enumerate(pairs) for _ in pair]
    column = [place for pair in pairs for place in pair]
    values = [value for pair in pairs for value in pair.values()]
    table = csr_array((np.asarray(values, float), (row, column)), shape=(len(pairs), size))
    return likeliest(table, np.full(size, SHRINK))


def likeliest(table: Any, shrink: NDArray[np.float64]) -> NDArray[np.float64]:
    """[D] the most likely weights under P(better) = s(table w), each normal with variance 1 over its `shrink` [D].

    table: [N, D] differences of pairs, better less worse; dense or sparse.
    """
    from scipy.optimize import minimize

    def loss(weight: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        gap = table @ weight
        wrong = 0.5 * (1 - np.tanh(gap / 2))  # s(-gap), without overflow
        return float(np.logaddexp(0, -gap).sum() + (shrink * weight) @ weight / 2), shrink * weight - table.T @ wrong

    best: NDArray[np.float64] = minimize(loss, np.zeros(len(shrink)), jac=True, method="L-BFGS-B").x
    return best


def _less(better: Counter[str], worse: Counter[str], place: Mapping[str, int]) -> dict[int, float]:
    """f(better) - f(worse), by place."""
    gaps = {place[t]: math.log1p(better[t]) - math.log1p(worse[t]) for t in better | worse if t in place}
    return {at: gap for at, gap in gaps.items() if gap}


def _neighbours(found: Sequence[str]) -> Iterator[str]:
    return (f"{one} {other}" for one, other in pairwise(found))

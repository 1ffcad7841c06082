"""Which of n solutions to take: by a verifier, by majority, by both, or by chance; exact over all choices of n."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

WAYS = ("verifier", "verifier's majority", "majority", "any one", "a right one, where there is one")
"""How one of n is taken; the last two are what chance and an oracle give."""


def curve(
    score: Sequence[Sequence[float]], right: Sequence[Sequence[bool]], answer: Sequence[Sequence[str]]
) -> dict[str, dict[int, list[float]]]:
    """Of each way and each n from 1 to all: for each question the chance that what is taken is right.

    The n solutions are any n of the question's, all choices alike; what is tied is drawn by lot. [Q][M] each: score
    of a solution, whether it is right, its final answer (empty for none, which no majority counts).
    """
    size = len(right[0])
    found: dict[str, dict[int, list[float]]] = {way: {n: [] for n in range(1, size + 1)} for way in WAYS}
    for s, r, a in zip(score, right, answer, strict=True):
        for n in range(1, size + 1):
            chosen = list(combinations(range(size), n))
            for way, take in TAKEN.items():
                found[way][n].append(sum(take(c, s, r, a) for c in chosen) / len(chosen))
    return found


def by_score(chosen: Sequence[int], score: Sequence[float], right: Sequence[bool], answer: Sequence[str]) -> float:
    """The highest score."""
    return _drawn([score[m] for m in chosen], [right[m] for m in chosen])


def by_majority(chosen: Sequence[int], score: Sequence[float], right: Sequence[bool], answer: Sequence[str]) -> float:
    """The final answer that most give."""
    return _voted(chosen, lambda m: 1.0, right, answer)


def by_both(chosen: Sequence[int], score: Sequence[float], right: Sequence[bool], answer: Sequence[str]) -> float:
    """The final answer whose solutions' chances to be right come to most."""
    return _voted(chosen, lambda m: 1 / (1 + math.exp(-score[m])), right, answer)


def by_lot(chosen: Sequence[int], score: Sequence[float], right: Sequence[bool], answer: Sequence[str]) -> float:
    """Any one."""
    return sum(right[m] for m in chosen) / len(chosen)


def by_oracle(chosen: Sequence[int], score: Sequence[float], right: Sequence[bool], answer: Sequence[str]) -> float:
    """A right one, where there is one."""
    return float(any(right[m] for m in chosen))


Take = Callable[[Sequence[int], Sequence[float], Sequence[bool], Sequence[str]], float]
TAKEN: Mapping[str, Take] = dict(zip(WAYS, (by_score, by_both, by_majority, by_lot, by_oracle), strict=True))


def _voted(
    chosen: Sequence[int], weight: Callable[[int], float], right: Sequence[bool], answer: Sequence[str]
) -> float:
    """The chance that the answer of most weight is right; without any answer, any one."""
    votes: dict[str, float] = {}
    for m in chosen:
        if answer[m]:
            votes[answer[m]] = votes.get(answer[m], 0.0) + weight(m)
    if not votes:
        return by_lot(chosen, (), right, answer)
    # One answer is right or wrong whoever gives it; where the file says both, the share that is called right counts.
    worth = {said: [right[m] for m in chosen if answer[m] == said] for said in votes}
    return _drawn(list(votes.values()), [sum(worth[said]) / len(worth[said]) for said in votes])


def _drawn(weight: Sequence[float], worth: Sequence[float]) -> float:
    """Mean worth of those that weigh most."""
    top = max(weight)
    best = [value for heavy, value in zip(weight, worth, strict=True) if heavy >= top - 1e-9]
    return float(sum(best) / len(best))

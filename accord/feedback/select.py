"""Which pairs to ask about: at random, or by what a model does not know; a fifth is always drawn at random.

Active choice is contested (*Random Is Hard to Beat*, arXiv 2604.02766), so random is the default, a control arm stays
beside every other rule, and the probability with which each question was chosen is kept (`Question.propensity`), so
that figures over unequally chosen questions can be weighted back. `arms.py` says whether a rule pays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import scipy
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Rule = Literal["random", "uncertainty", "disagreement", "d_optimal", "double_thompson", "diversity", "coverage"]
RULES: tuple[Rule, ...] = get_args(Rule)
NEED_PAIRS = ("uncertainty", "disagreement", "d_optimal", "double_thompson")
"""Rules that compare two answers; the others look at what is asked about alone."""
CONTROL = 0.2
"""Least share that is drawn at random, whatever the rule."""
EXPLORE = 0.1
"""Share of chance in every rule, so that nothing has the propensity 0."""


@dataclass(frozen=True)
class Pool:
    """N pairs that could be asked, over A answers, as M models see them."""

    prompt: Indices
    """[N] which prompt."""
    first: Indices
    """[N] row of the first answer."""
    second: Indices
    """[N] row of the second answer; the same as the first where a question shows one answer."""
    topic: Sequence[str]
    """N topics; any label will do."""
    features: Floats
    """[A, D] what the answers are like."""
    worth: Floats
    """[M, A] scores of the answers by each member of an ensemble; M may be 0."""

    def __len__(self) -> int:
        """Pairs."""
        return len(self.prompt)

    @property
    def chance(self) -> Floats:
        """[M, N] probability by each member that the first answer is the better one (Bradley-Terry)."""
        return np.asarray(scipy.special.expit(self.worth[:, self.first] - self.worth[:, self.second]))


@dataclass(frozen=True)
class Chosen:
    """One pair to ask about."""

    index: int
    """Which of the pool."""
    arm: str
    """`random`, or the rule that chose it."""
    propensity: float
    """Probability with which its arm chose it: over all draws; of `d_optimal` and `diversity`, which choose one after
    the other, given those chosen before."""


def choose(
    pool: Pool, count: int, rule: Rule, generator: np.random.Generator, control: float = CONTROL
) -> list[Chosen]:
    """Up to `count` pairs in random order, `control` of them (rounded up) drawn evenly from all, the rest by `rule`.

    random: evenly. uncertainty: in proportion to 1 - |2 p - 1| of the mean chance. disagreement: to the mutual
    information H(mean p) - mean H(p) between answer and member (BALD, Houlsby et al. 2011). double_thompson: to the
    chance that one member's best answer is the one and another member's best the other (Dwaracherla et al. 2024, arXiv
    2402.00396). d_optimal: one after the other, the largest p (1 - p) x' V x, x the difference of features and V the
    inverse information of those before. diversity: the farthest from those before (k-centre, Gonzalez 1985). coverage:
    as evenly over topics as there are pairs. Raises ValueError for a control share below 0.2, and for a rule that
    compares answers where a question shows only one.
    """
    if rule not in RULES:
        raise ValueError(f"rule {rule!r} is none of {', '.join(RULES)}")
    if not CONTROL <= control <= 1:
        raise ValueError(f"control={control} must lie in {CONTROL}..1: without it nobody can say whether a rule pays")
    if rule in NEED_PAIRS and len(pool) and (pool.first == pool.second).any():
        raise ValueError(f"{rule} compares two answers, and this form shows one: use random, diversity or coverage")
    total = min(count, len(pool))
    drawn = total if rule == "random" else int(np.ceil(control * total - 1e-9))
    even = generator.permutation(len(pool))
    found = [Chosen(int(i), "random", drawn / len(pool)) for i in even[:drawn]]
    rest = np.sort(even[drawn:])
    if total > drawn:
        found += [Chosen(int(i), rule, float(p)) for i, p in _BY_RULE[rule](pool, rest, total - drawn, generator)]
    return [found[i] for i in generator.permutation(len(found))]


def proportional(weight: Floats, count: int, generator: np.random.Generator) -> list[tuple[int, float]]:
    """`count` rows with inclusion probabilities min(1, c * weight), exactly (systematic sampling, Madow 1949)."""
    share = (1 - EXPLORE) * weight / weight.sum() if weight.sum() > 0 else np.zeros(len(weight))
    share = share + (1 - share.sum()) / len(weight)
    included = np.zeros(len(weight), dtype=bool)
    chance = count * share
    while (chance > 1 + 1e-12).any():
        included |= chance >= 1
        left = count - included.sum()
        chance = np.where(included, 1.0, left * share / share[~included].sum() if left else 0.0)
    order = generator.permutation(len(weight))
    steps = np.floor(np.cumsum(chance[order]) + generator.random() + 1e-12)
    taken = order[np.diff(steps, prepend=0.0) > 0.5]
    return [(int(i), min(1.0, float(chance[i]))) for i in taken]


def _in_proportion(score: Callable[[Pool], Floats]) -> Callable[..., list[tuple[int, float]]]:
    def rule(pool: Pool, rest: Indices, count: int, generator: np.random.Generator) -> list[tuple[int, float]]:
        return [(int(rest[i]), p) for i, p in proportional(score(pool)[rest], count, generator)]

    return rule


def uncertainty(pool: Pool) -> Floats:
    """[N] 1 - |2 p - 1| of the mean chance; 1 everywhere without a model."""
    return 1 - np.abs(2 * pool.chance.mean(0) - 1) if len(pool.worth) else np.ones(len(pool))


def disagreement(pool: Pool) -> Floats:
    """[N] nats that an answer would tell about which member is right."""
    if not len(pool.worth):
        return np.ones(len(pool))
    chance = pool.chance
    return np.asarray(np.maximum(_entropy(chance.mean(0)) - _entropy(chance).mean(0), 0))


def double_thompson(pool: Pool) -> Floats:
    """[N] chance of each pair, given its prompt, when one member names the best answer and others the runner-up.

    With s_a the share of members whose best answer of the prompt is a: s_a s_b / (1 - s_a) + s_b s_a / (1 - s_b).
    """
    found = np.zeros(len(pool))
    for prompt in np.unique(pool.prompt):
        here = np.flatnonzero(pool.prompt == prompt)
        answers = np.unique([pool.first[here], pool.second[here]])
        best = answers[pool.worth[:, answers].argmax(1)] if len(pool.worth) else np.empty(0, dtype=np.int64)
        share = {int(a): float((best == a).mean()) for a in answers} if len(best) else {}
        for i in here:
            a, b = share.get(int(pool.first[i]), 0.0), share.get(int(pool.second[i]), 0.0)
            found[i] = a * b / (1 - a) + a * b / (1 - b) if a * b > 0 else 0.0
    return found


def _entropy(chance: Floats) -> Floats:
    return np.asarray(scipy.special.entr(chance) + scipy.special.entr(1 - chance))


def _d_optimal(pool: Pool, rest: Indices, count: int, generator: np.random.Generator) -> list[tuple[int, float]]:
    gap = (pool.features[pool.first] - pool.features[pool.second])[rest]
    chance = pool.chance.mean(0)[rest] if len(pool.worth) else np.full(len(rest), 0.5)
    rows = gap * np.sqrt(chance * (1 - chance))[:, None]
    inverse = np.eye(rows.shape[1])
    gain: Floats = (rows**2).sum(1)

    def taken(i: int) -> Floats:
        nonlocal inverse, gain
        along = inverse @ rows[i]  # Sherman-Morrison
        bottom = 1 + rows[i] @ along
        inverse = inverse - np.outer(along, along) / bottom
        gain = np.asarray(gain - (rows @ along) ** 2 / bottom)
        return gain

    return _one_by_one(rest, gain, taken, count, generator)


def _diversity(pool: Pool, rest: Indices, count: int, generator: np.random.Generator) -> list[tuple[int, float]]:
    middle = ((pool.features[pool.first] + pool.features[pool.second]) / 2)[rest]
    nearest: Floats = np.full(len(rest), np.inf)

    def taken(i: int) -> Floats:
        nonlocal nearest
        nearest = np.asarray(np.minimum(nearest, ((middle - middle[i]) ** 2).sum(1)))
        return nearest

    return _one_by_one(rest, nearest, taken, count, generator)


def _one_by_one(
    rest: Indices, gain: Floats, taken: Callable[[int], Floats], count: int, generator: np.random.Generator
) -> list[tuple[int, float]]:
    """The best, and again, but for a share of chance; where several are best one of them by lot."""
    free = np.ones(len(rest), dtype=bool)
    found = []
    for _ in range(count):
        open_ones = np.flatnonzero(free)
        most = gain[open_ones].max()
        best = open_ones[gain[open_ones] >= most - 1e-12 * abs(most) if np.isfinite(most) else gain[open_ones] == most]
        by_chance = generator.random() < EXPLORE
        i = int(generator.choice(open_ones if by_chance else best))
        chance = EXPLORE / len(open_ones) + (1 - EXPLORE) * float(i in set(best.tolist())) / len(best)
        found.append((int(rest[i]), chance))
        free[i] = False
        gain = taken(i)
    return found


def _coverage(pool: Pool, rest: Indices, count: int, generator: np.random.Generator) -> list[tuple[int, float]]:
    """Evenly over topics, then over the pairs of each; who has fewer gives its places to the others."""
    names = sorted({pool.topic[i] for i in rest})
    held = {name: np.array([i for i in rest if pool.topic[i] == name]) for name in names}
    quota, left = dict.fromkeys(names, 0), count
    open_names = names
    while open_names and left >= len(open_names):
        for name in open_names:
            quota[name] += 1
        left -= len(open_names)
        open_names = [name for name in names if quota[name] < len(held[name])]
    extra = set(generator.choice(len(open_names), left, replace=False).tolist()) if left else set()
    found = []
    for name in names:
        place = open_names.index(name) if name in open_names else -1
        wanted = quota[name] + (left / len(open_names) if place >= 0 else 0)
        size = quota[name] + (place in extra)
        picked = generator.choice(held[name], size, replace=False)
        found += [(int(i), wanted / len(held[name])) for i in picked]
    return found


_BY_RULE: dict[Rule, Callable[..., list[tuple[int, float]]]] = {
    "uncertainty": _in_proportion(uncertainty),
    "disagreement": _in_proportion(disagreement),
    "double_thompson": _in_proportion(double_thompson),
    "d_optimal": _d_optimal,
    "diversity": _diversity,
    "coverage": _coverage,
}

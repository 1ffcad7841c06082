"""Groups of people who really differ: found on half of the pairs and believed only when the other half shows them."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np

from accord.quality.votes import Floats, Indices, Table, Vote, tabulate
from accord.statistics import Interval, bootstrap

LEAST = 20
"""Decided votes of a person below which they do not help to find groups."""
FEWEST = 3
"""People that make a group."""
DEPTH = 3
"""How often a group may be divided again."""


@dataclass(frozen=True)
class Division:
    """That some people divide into two groups, and the evidence on pairs that did not help to find them."""

    sides: tuple[tuple[str, ...], tuple[str, ...]]
    """Who stands on which side."""
    across: float
    """Share of pairs of people from both sides who say the same of a pair of answers."""
    within: tuple[Interval, Interval]
    """How much oftener two people of one side say the same, for each side."""

    @property
    def sure(self) -> bool:
        """Whether both sides surely agree with themselves more than with each other."""
        return all(not math.isnan(one.low) and one.low > 0 for one in self.within)


@dataclass(frozen=True)
class Groups:
    """Who belongs where."""

    of: dict[str, str] = field(default_factory=dict)
    """Annotator -> name of the group; empty when all are one crowd."""
    divisions: list[Division] = field(default_factory=list)
    """Every division that was tried; those that are not `sure` were not made."""


def apart(
    votes: Sequence[Vote],
    generator: np.random.Generator,
    without: Collection[str] = (),
    level: float = 0.99,
    draws: int = 400,
) -> Groups:
    """Divide people into groups where they surely differ, else leave them one.

    On a random half of the pairs people are likened by what they say beyond the mean of all, sum r_i r_j / (shared +
    4), and divided by the sign of the leading eigenvector, then each goes to the side that they are liker to. On the
    other half

        gap_s = P(two of side s say the same) - P(one of each side says the same)

    must be surely above 0 for both sides (bootstrap over pairs); then the halves change places. So careless people are
    no group, for they do not agree with themselves, nor are the sharp ones of a crowd, for the others agree with
    them more. People who copy do look like a group: name them in `without`, with everybody else who shall not help to
    find groups. They, and those with few votes, join the side that they agree with most. A side of `FEWEST` or more is
    looked at again, up to `DEPTH` times.
    """
    table = tabulate(votes)
    if not table.pairs:
        return Groups()
    says = np.zeros((len(table.people), len(table.pairs)), dtype=np.float32)
    np.add.at(says, (table.person, table.pair), (table.evidence * (2 * table.outcome - 1)).astype(np.float32))
    often = np.bincount(table.person[table.decided], minlength=len(table.people))
    useful = [j for j, name in enumerate(table.people) if often[j] >= LEAST and name not in without]
    found, tried = [np.array(useful, dtype=np.int64)], list[Division]()
    for _ in range(DEPTH):
        parts = [_divided(table, says, group, generator, level, draws) for group in found]
        tried += [division for _, division in parts if division is not None]
        fresh = [side for sides, _ in parts for side in sides]
        if len(fresh) == len(found):
            break
        found = fresh
    if len(found) < 2:
        return Groups({}, tried)
    found.sort(key=lambda group: (-len(group), table.people[group[0]]))
    return Groups(_placed(table, says, found), tried)


def _divided(
    table: Table, says: np.ndarray, group: Indices, generator: np.random.Generator, level: float, draws: int
) -> tuple[list[Indices], Division | None]:
    """The group, or its two sides when they surely differ; and what was seen."""
    if len(group) < 2 * FEWEST:
        return [group], None
    half = generator.permutation(says.shape[1]) % 2 == 0
    mine = says[group]
    final = _sides(mine)
    rows = []
    for known in (half, ~half):
        side = _sides(mine[:, known])
        if (side == final).mean() < 0.5:
            side = ~side
        if min(side.sum(), (~side).sum()) < FEWEST:
            return [group], None
        rows.append(_agreements(mine[:, ~known], side))
    seen = np.concatenate(rows)
    if min(final.sum(), (~final).sum()) < FEWEST or (seen[:, 3:].sum(0) < 2 * LEAST).any():
        return [group], None

    def gap(drawn: Floats, which: int) -> float:
        total = drawn.sum(0)
        return float(total[which] / total[3 + which] - total[2] / total[5]) if (total[3:] > 0).all() else math.nan

    gaps = [bootstrap(seen, lambda drawn, s=s: gap(drawn, s), generator, count=draws, level=level) for s in (0, 1)]  # type: ignore[misc]
    sides = [group[final], group[~final]]
    names = [tuple(table.people[j] for j in side) for side in sides]
    total = seen.sum(0)
    division = Division((names[0], names[1]), float(total[2] / total[5]), (gaps[0], gaps[1]))
    return (sides if division.sure else [group]), division


def _sides(says: np.ndarray, rounds: int = 20) -> np.ndarray:
    """[people] bool, the side of each by what they say of these pairs. says: [people, pairs], 0 where nothing."""
    there = np.abs(says) > 0
    count = there.sum(0)
    rest = np.where(there, says - says.sum(0) / np.maximum(count, 1), 0.0)
    rest[:, count < 2] = 0.0
    shared = there.astype(np.float64) @ there.T.astype(np.float64)
    like = (rest @ rest.T).astype(np.float64) / (shared + 4)
    np.fill_diagonal(like, 0)
    side = np.linalg.eigh(like)[1][:, -1] > 0
    for _ in range(rounds):
        both = np.stack([~side, side]).astype(float)
        mean = like @ both.T / np.maximum(both.sum(1) - both.T, 1)
        moved = mean[:, 1] > mean[:, 0]
        if (moved == side).all() or moved.all() or not moved.any():
            break
        side = moved
    return np.asarray(side)


def _agreements(says: np.ndarray, side: np.ndarray) -> Floats:
    """[pairs, 6] of each pair: agreeing pairs of people within the first side, the second, across; and all of them."""
    up, down = says > 0, says < 0
    a, b = ((up[s].sum(0).astype(float), down[s].sum(0).astype(float)) for s in (side, ~side))
    within = [(u * (u - 1) + d * (d - 1)) / 2 for u, d in (a, b)]
    every = [(u + d) * (u + d - 1) / 2 for u, d in (a, b)]
    across, all_across = a[0] * b[0] + a[1] * b[1], (a[0] + a[1]) * (b[0] + b[1])
    return np.stack([*within, across, *every, all_across], axis=1)


def _placed(table: Table, says: np.ndarray, found: Sequence[Indices]) -> dict[str, str]:
    """Everybody's group: those who helped to find it, and the others with whom they agree most."""
    means = np.stack([np.sign(says[group].sum(0)) for group in found])
    like = (np.sign(says) @ means.T) / np.maximum((says != 0).sum(1, keepdims=True), 1)
    names = [f"group {1 + at}" for at in range(len(found))]
    of = {name: names[int(like[j].argmax())] for j, name in enumerate(table.people)}
    return of | {table.people[j]: names[at] for at, group in enumerate(found) for j in group}

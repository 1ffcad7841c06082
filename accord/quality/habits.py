"""What a person tends to: with most or apart, the longer answer or the shorter, quickly or slowly."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from accord.quality.flags import LEAST, Flag, with_majority
from accord.quality.votes import Floats, Table, Vote, tabulate
from accord.records import Feedback
from accord.statistics import Interval, mean_interval, wilson

LONGER = 0.1
"""How far beyond the others a taste for length must surely lie before it is shown to a human."""


@dataclass(frozen=True)
class Habits:
    """Of one person; a description, not a verdict."""

    name: str
    """Pseudonym."""
    agrees: Interval
    """Share of decided votes with the majority of the others' votes on that pair."""
    longer: Interval
    """Share of decided votes for the longer answer, where the two differ in length."""
    beyond: Interval
    """The same less the share of the others who chose the longer answer of those pairs."""
    seconds: float
    """Median time of an answer; nan when no times are known."""


def habits(
    votes: Sequence[Vote], lengths: Mapping[str, float], feedback: Sequence[Feedback] = (), level: float = 0.95
) -> dict[str, Habits]:
    """Habits of everybody who voted. lengths: sample id -> length in any unit; samples without one are left out."""
    table = tabulate(votes)
    if not table.pairs:
        return {}
    same, counted = with_majority(table)
    took, rest = _longer(table, lengths)
    seconds: dict[str, list[float]] = {}
    for said in feedback:
        if said.answer is not None and said.seconds > 0:
            seconds.setdefault(said.annotator, []).append(said.seconds)
    found = {}
    for j, name in enumerate(table.people):
        mine = (table.person == j) & ~np.isnan(took)
        both = mine & ~np.isnan(rest)
        found[name] = Habits(
            name,
            wilson(float(same[j]), int(counted[j]), level),
            wilson(float(took[mine].sum()), int(mine.sum()), level),
            _mean(took[both] - rest[both], table.pair[both], level),
            float(np.median(seconds[name])) if name in seconds else math.nan,
        )
    return found


def length_flags(votes: Sequence[Vote], lengths: Mapping[str, float], level: float = 0.99) -> list[Flag]:
    """People whose taste for long answers (or short ones) surely lies over a tenth beyond that of the others.

    Everybody likes longer answers a little, and often they are better; so a person is held against what others chose
    on the very same pairs. The level is divided by the number of people, as in `flags`.
    """
    people = max(1, len({vote.annotator for vote in votes}))
    found = []
    for one in habits(votes, lengths, level=1 - (1 - level) / people).values():
        figure = one.beyond
        if figure.n >= LEAST and (figure.low > LONGER or figure.high < -LONGER):
            word = "longer" if figure.estimate > 0 else "shorter"
            share = one.longer.estimate if figure.estimate > 0 else 1 - one.longer.estimate
            words = (
                f"chose the {word} answer in {100 * share:.0f} % of {one.longer.n} decided votes, "
                f"{100 * abs(figure.estimate):.0f} points more often than others on the same pairs"
            )
            found.append(Flag(one.name, "length", figure, words))
    return found


def _longer(table: Table, lengths: Mapping[str, float]) -> tuple[Floats, Floats]:
    """[N] whether each decided vote is for the longer answer, and the share of the others' votes that are; nan when
    the lengths are equal or unknown, or nobody else decided."""
    gap = np.array([lengths.get(a, math.nan) - lengths.get(b, math.nan) for _, a, b, _ in table.pairs])[table.pair]
    counts = table.decided & (gap != 0) & ~np.isnan(gap)
    took = np.where(counts, (table.outcome == 1) == (gap > 0), math.nan).astype(float)
    size, held = len(table.pairs), np.where(counts, table.evidence, 0.0)
    total = np.bincount(table.pair, held, size)[table.pair] - held
    longer = np.bincount(table.pair, held * np.nan_to_num(took), size)[table.pair] - held * np.nan_to_num(took)
    known = counts & (total > 1e-9)
    return took, np.where(known, longer / np.where(known, total, 1.0), math.nan)


def _mean(values: Floats, pairs: np.ndarray, level: float) -> Interval:
    return (
        mean_interval(values, [str(pair) for pair in pairs], level=level)
        if len(set(pairs.tolist())) > 1
        else Interval(math.nan, math.nan, math.nan, level, len(values))
    )

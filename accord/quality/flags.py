"""What a human should look at: fast, careless, contrary, copying and drifting people, and habits of side.

A flag is evidence with its figures. Nothing here changes a vote or a weight, and disagreeing with most is never
called careless: people are careless only when nobody's votes, of their own kind or of the contrary, foretell theirs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy

from accord.quality.annotators import reliabilities
from accord.quality.votes import Floats, Table, Vote, tabulate
from accord.records import Feedback
from accord.statistics import Interval, mean_interval, wilson

Kind = Literal["fast", "careless", "contrary", "position", "length", "copying", "drift"]
LEAST = 20
"""Votes of a person below which nothing is said of them."""


@dataclass(frozen=True)
class Flag:
    """One thing to look at."""

    annotator: str
    """Of whom."""
    kind: Kind
    """What."""
    figure: Interval
    """The figure behind it."""
    evidence: str
    """The same in words."""


def flags(votes: Sequence[Vote], feedback: Sequence[Feedback] = (), level: float = 0.99) -> list[Flag]:
    """All flags of one set of votes (in order of time), and of the seconds of their feedback when given.

    The level is divided by the number of people (Bonferroni), so that in a crowd of ordinary people a wrong flag of one
    kind is seen once in a hundred projects; `careless` keeps the level itself, since its bar of .65 is already far
    below an ordinary person, and `fast` is a count at 95 %.
    """
    table = tabulate(votes)
    if not table.pairs:
        return []
    strict = 1 - (1 - level) / len(table.people)
    return [
        *_position(table, strict),
        *_consistency(table, level, strict),
        *_copying(table, strict),
        *_drift(table, strict),
        *fast(feedback),
    ]


def foretold(table: Table) -> tuple[Floats, Floats]:
    """[people] votes of each person that others foretell rightly, and how many could be foretold.

    People are likened on one half of the pairs, signed: like_ij = sum of agreements less disagreements / (shared + 4).
    On the other half each vote is foretold by sign(sum_i like_ij vote_i). Then the halves change places. A minority
    foretells its own members, and a contrary person is foretold by turning the others round; a coin is foretold by
    nobody, right half of the time.
    """
    signed = table.evidence * (2 * table.outcome - 1)
    people, pairs = len(table.people), len(table.pairs)
    says = scipy.sparse.csr_matrix((signed, (table.person, table.pair)), shape=(people, pairs))
    there = scipy.sparse.csr_matrix((np.abs(signed), (table.person, table.pair)), shape=(people, pairs))
    half = np.random.default_rng(0).permutation(pairs) % 2 == 0
    right, total = np.zeros(people), np.zeros(people)
    for known in (half, ~half):
        product = (says[:, known] @ says[:, known].T).toarray()
        shared = (there[:, known] @ there[:, known].T).toarray()
        like = product / (shared + 4)
        np.fill_diagonal(like, 0)
        seen = says[:, ~known].toarray()
        guess = like @ seen
        open_votes = (seen != 0) & (np.abs(guess) > 1e-12)
        right += (open_votes & (np.sign(guess) == np.sign(seen))).sum(1)
        total += open_votes.sum(1)
    return right, total


def fast(feedback: Sequence[Feedback], share: float = 0.25, least: float = 0.2) -> list[Flag]:
    """People of whose answers over a fifth took less than a quarter of the usual time for that question's form.

    The usual time is the median over everybody, per kind of answer; answers without a time are not counted.
    """
    timed = [said for said in feedback if said.seconds > 0 and said.answer is not None]
    by_form: dict[str, list[float]] = {}
    for said in timed:
        by_form.setdefault(said.answer.kind if said.answer else "", []).append(said.seconds)
    usual = {form: float(np.median(seconds)) for form, seconds in by_form.items()}
    quick: dict[str, list[bool]] = {}
    for said in timed:
        form = said.answer.kind if said.answer else ""
        quick.setdefault(said.annotator, []).append(said.seconds < share * usual[form])
    found = []
    for name, marks in quick.items():
        figure = wilson(sum(marks), len(marks))
        if len(marks) >= LEAST and figure.low > least:
            words = f"{sum(marks)} of {len(marks)} answers took less than {share:g} of the usual time"
            found.append(Flag(name, "fast", figure, words))
    return found


def _position(table: Table, level: float) -> list[Flag]:
    """Share of votes for the answer shown first, clear of .5 by over five points, and so much beyond the others' share.

    Files of votes often name the two answers in an order of their own, that of the models' names for instance, and show
    everybody the same: who then chooses as the others do has no habit. Where fewer than `LEAST` votes can be held
    against others the share alone counts.
    """
    found = []
    beyond = _beyond(table)
    for j, person in enumerate(reliabilities(table).values()):
        figure = wilson(round(person.left.estimate * person.left.n) if person.left.n else 0, person.left.n, level)
        mine = (table.person == j) & ~np.isnan(beyond)
        gap = mean_interval(beyond[mine], level=level) if mine.sum() >= LEAST else None
        if figure.n >= LEAST and (figure.low > 0.55 or figure.high < 0.45):
            if gap is not None and not (gap.low > 0.05 or gap.high < -0.05):
                continue
            words = f"chose the answer shown first in {100 * figure.estimate:.0f} % of {figure.n} decided votes"
            if gap is not None:
                more = "more" if gap.estimate > 0 else "less"
                words += f", {100 * abs(gap.estimate):.0f} points {more} often than others on the same pairs"
            found.append(Flag(person.name, "position", figure, words))
    return found


def _beyond(table: Table) -> Floats:
    """[N] 1 when a vote is for the answer shown first, else 0, less the share of the others' votes for that answer; nan
    where no order is known, nothing was decided, or by nobody else."""
    held, size = table.evidence * table.decided, len(table.pairs)
    total = np.bincount(table.pair, held, size)[table.pair] - held
    for_a = np.bincount(table.pair, held * table.outcome, size)[table.pair] - held * table.outcome
    known = table.decided & (table.side != 0) & (total > 1e-9)
    share = for_a / np.where(known, total, 1.0)
    left = table.side > 0
    return np.where(known, np.where(left, table.outcome - share, share - table.outcome), math.nan)


def _consistency(table: Table, level: float, strict: float) -> list[Flag]:
    """Careless: nobody foretells the votes. Contrary: others foretell them, mostly by turning round."""
    right, total = foretold(table)
    with_most, shared = with_majority(table)
    found = []
    for j, name in enumerate(table.people):
        figure = wilson(float(right[j]), int(total[j]), level)
        # Most people must be foretellable, or the votes themselves are open and not the person careless.
        if figure.n >= LEAST and figure.high < 0.65 and _crowd(right, total, j) > figure.high:
            words = f"votes are foretold by nobody else's: {right[j]:.0f} of {figure.n} right, where half is chance"
            found.append(Flag(name, "careless", figure, words))
        against = wilson(float(with_most[j]), int(shared[j]), strict)
        if against.n >= LEAST and against.high < 0.5:
            words = (
                f"agrees with most in {with_most[j]:.0f} of {against.n} votes: less than chance, so not careless; "
                "another taste, another reading of the guideline, or turned keys"
            )
            found.append(Flag(name, "contrary", against, words))
    return found


def _crowd(right: Floats, total: Floats, without: int) -> float:
    """How well everybody else is foretold."""
    rest = total.sum() - total[without]
    return float((right.sum() - right[without]) / rest) if rest else 0.0


def with_majority(table: Table) -> tuple[Floats, Floats]:
    """[people] decided votes with the majority of the others, and how many had one."""
    signed = table.evidence * (2 * table.outcome - 1)
    rest = np.bincount(table.pair, signed, len(table.pairs))[table.pair] - signed
    counted = (np.abs(rest) > 1e-9) & table.decided
    count = len(table.people)
    same = counted & (np.sign(rest) == np.sign(signed))
    return (
        np.bincount(table.person[same], minlength=count).astype(float),
        np.bincount(table.person[counted], minlength=count).astype(float),
    )


def _copying(table: Table, level: float) -> list[Flag]:
    """Two people who agree where most are against both: errors that are shared are copied, or a shared taste.

    For pairs on which both decided and the majority of the others stands: when answers are given apart, the share
    of b's votes against the majority is the same where a is against it as where a is not, unless the pair is hard.
    Flagged when they agree in nearly all (lower end over .9) of 20 or more open pairs, those on which the others are
    themselves split.
    """
    signed = table.evidence * (2 * table.outcome - 1)
    people, pairs = len(table.people), len(table.pairs)
    says = np.zeros((people, pairs))
    np.add.at(says, (table.person, table.pair), signed)
    says, there = np.sign(says), np.sign(np.abs(says))
    shared, product = there @ there.T, says @ says.T
    found = []
    strict = 1 - (1 - level) / max(1, people - 1)
    for i, j in np.argwhere(np.triu((shared >= LEAST) & (product > 0.8 * shared), 1)):
        both = (there[i] > 0) & (there[j] > 0)
        votes, size = says[:, both].sum(0) - says[i, both] - says[j, both], there[:, both].sum(0) - 2
        split = (size > 0) & (np.abs(votes) <= size / 3)
        same = int((says[i, both][split] == says[j, both][split]).sum())
        figure = wilson(same, int(split.sum()), strict)
        if figure.n >= LEAST and figure.low > 0.75 and figure.estimate > 0.9:
            for one, other in ((i, j), (j, i)):
                words = f"says the same as {table.people[other]} on {same} of {figure.n} pairs that split the others"
                found.append(Flag(table.people[one], "copying", figure, words))
    return found


def _drift(table: Table, level: float) -> list[Flag]:
    """Agreement with the majority of the others in the later half of a person's votes, less that in the earlier."""
    signed = table.evidence * (2 * table.outcome - 1)
    rest = np.bincount(table.pair, signed, len(table.pairs))[table.pair] - signed
    found = []
    for j, name in enumerate(table.people):
        mine = np.flatnonzero((table.person == j) & table.decided & (np.abs(rest) > 1e-9))
        if len(mine) < 2 * LEAST:
            continue
        same = (np.sign(rest[mine]) == np.sign(signed[mine])).astype(float)
        early, late = np.array_split(same, 2)
        gap = float(late.mean() - early.mean())
        error = math.sqrt(
            sum(float(part.mean() * (1 - part.mean())) / len(part) + 1 / len(part) ** 2 for part in (early, late))
        )
        half = float(scipy.stats.norm.ppf(0.5 + level / 2)) * error
        figure = Interval(gap, gap - half, gap + half, level, len(mine))
        if figure.excludes(0):
            words = f"agreement with most went from {early.mean():.2f} to {late.mean():.2f} over {len(mine)} votes"
            found.append(Flag(name, "drift", figure, words))
    return found

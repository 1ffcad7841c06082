"""Figures of a queue for those who lead: how far it is, what it costs, how far people agree, and who tends to what."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import TYPE_CHECKING

from accord.records import Comparison, Feedback, Question
from accord.store import desk
from accord.store.gold import is_right
from accord.store.office import Rules
from accord.store.repeats import Twice
from accord.store.tally import Count
from accord.web.apart import Apart, apart
from accord.web.doors import Room
from accord.web.seen import Seen, pace, seen, window

if TYPE_CHECKING:  # scipy takes a second and 80 MB: who only answers shall not wait for it
    from accord.statistics import Interval

LAST = 2000
FRESH = 5.0


@dataclass(frozen=True)
class Cost:
    """Time at work, and what it is worth by the rate of the queue."""

    answers: int
    """Answers that fill a slot: what was bought."""
    seconds: float
    """For all that was given, skips and what was taken back too."""
    rate: float
    """Money for an hour; 0 for none."""
    currency: str

    @property
    def each(self) -> float:
        """Seconds for one answer that stands; 0 without any."""
        return self.seconds / self.answers if self.answers else 0.0

    @property
    def money(self) -> float:
        """For all of it."""
        return self.seconds / 3600 * self.rate

    @property
    def money_each(self) -> float:
        """For one answer that stands; 0 without any."""
        return self.money / self.answers if self.answers else 0.0


@dataclass(frozen=True)
class Row:
    """One person in one project, over the last answers; counts are of the whole project."""

    pseudonym: str
    answers: int
    surplus: int
    seconds: float
    skipped: Interval
    left: Interval
    agrees: Interval
    drift: Interval | None
    """Agreement with others in the later half of these answers less that in the earlier half."""
    itself: Interval
    """Share of repeats, sides swapped, to which they said the same again."""
    cost: Cost
    last: float
    hour: int
    """Answers in the last hour, counted like those of the queue."""
    gold: Interval
    """Share of gold questions that they got right."""
    seen: Seen


@dataclass(frozen=True)
class Figures:
    """One project as it stands."""

    progress: desk.Progress
    hour: int
    """Answers in the last hour; by the pace of the last `LAST` when those took less than an hour."""
    agreement: Interval
    """Share of pairs of people who say the same of the same question; questions are the units."""
    itself: Interval
    """Share of repeats, sides swapped, to which people said the same again."""
    stayed: int
    """Of those that turned, so many times somebody chose the same side again."""
    cost: Cost
    people: list[Row]
    number: int
    """Version of the guideline."""
    guideline: str
    rules: Rules
    assigned: set[str]
    disputes: int
    hours: float | None = None
    """Hours until the queue is done at the pace of the last one; None when nothing came in it or nothing is left."""


@dataclass(frozen=True)
class Dispute:
    """A question that people answer differently."""

    question: Question
    said: list[Feedback]
    apart: tuple[Apart, ...]
    """By which measures, and where."""


def figures(room: Room, project: str) -> Figures:
    """What is shown of a project; kept for some seconds. No look at all questions, nor at all that was said."""
    before = room.kept.get(project)
    begun = time.monotonic()
    if before is not None and before[0] > begun:
        found: Figures = before[1]
        return found
    said = desk.latest(room.store, project, LAST)
    rule, rules = room.people.guideline(project), room.office.rules(project)
    counts, twice = desk.said_by(room.store, project), room.repeats.said(project)
    progress, hour = desk.progress(room.store, project), pace(said, window(said, LAST))
    questions = room.store.get_many(Question, {one.question for one in said})
    left = progress.wanted - progress.answered
    made = Figures(
        progress=progress,
        hour=hour,
        hours=left / hour if hour and left > 0 else None,
        agreement=agreement(said),
        itself=_same(twice),
        stayed=sum(one.stayed for one in twice),
        cost=cost(counts, rules),
        people=people(counts, said, twice, rules, questions, seen(room, project, questions, said)),
        number=rule.number,
        guideline=rule.text,
        rules=rules,
        assigned=room.office.assigned(project),
        disputes=len(disputed(room, project, said)),
    )
    room.kept[project] = (time.monotonic() + max(FRESH, 20 * (time.monotonic() - begun)), made)
    return made


def verdict(said: Feedback) -> tuple[str, str] | None:
    """What a comparison says, by sample and not by side; None for anything else."""
    if not isinstance(said.answer, Comparison):
        return None
    return (said.answer.criterion, said.answer.better or said.answer.verdict)


def agreement(said: Sequence[Feedback]) -> Interval:
    """Mean over questions, of those that two or more compared, of the share of agreeing pairs of people."""
    from accord.statistics import mean_interval, wilson

    by_question: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for one in said:
        if (word := verdict(one)) is not None:
            by_question[one.question].append(word)
    shares = [
        sum(a == b for a, b in combinations(words, 2)) / (len(words) * (len(words) - 1) / 2)
        for words in by_question.values()
        if len(words) > 1
    ]
    return mean_interval(shares) if shares else wilson(0, 0)


def cost(counts: Sequence[Count], rules: Rules) -> Cost:
    """What people of a project were paid for."""
    answers, seconds = sum(one.answers for one in counts), sum(one.seconds for one in counts)
    return Cost(answers, seconds, rules.rate, rules.currency)


def people(
    counts: Sequence[Count],
    said: Sequence[Feedback],
    twice: Sequence[Twice],
    rules: Rules,
    questions: Mapping[str, Question],
    known: Mapping[str, Seen],
) -> list[Row]:
    """A row for each person: counts of the whole project, habits over the last answers."""
    from accord.statistics import wilson

    by_person: dict[str, list[Feedback]] = defaultdict(list)
    for one in said:
        by_person[one.annotator].append(one)
    others, span, found = words(said), window(said, LAST), list[Row]()
    for count in counts:
        mine = by_person.get(count.annotator, [])
        answered = [one for one in mine if one.answer is not None]
        same = [hit for one in mine for hit in agreeing(one, others)]
        tested = [hit for one in mine if (hit := is_right(questions[one.question].gold, one.answer)) is not None]
        row = Row(
            pseudonym=count.annotator,
            answers=count.answers,
            surplus=count.surplus,
            seconds=median(one.seconds for one in answered) if answered else 0.0,
            skipped=wilson(len(mine) - len(answered), len(mine)),
            left=first_shown(answered),
            agrees=wilson(sum(same), len(same)),
            drift=drifted(mine[::-1], others),
            itself=_same([one for one in twice if one.annotator == count.annotator]),
            cost=cost([count], rules),
            last=max((one.made for one in mine), default=0.0),
            hour=pace(mine, span),
            gold=wilson(sum(tested), len(tested)),
            seen=known.get(count.annotator, Seen()),
        )
        found.append(row)
    return sorted(found, key=lambda row: -row.answers)


def words(said: Sequence[Feedback]) -> dict[str, list[Feedback]]:
    """Comparisons by question."""
    found: dict[str, list[Feedback]] = defaultdict(list)
    for one in said:
        if verdict(one) is not None:
            found[one.question].append(one)
    return found


def agreeing(said: Feedback, others: Mapping[str, Sequence[Feedback]]) -> list[bool]:
    """For each other person who compared the same: whether they say the same."""
    word = verdict(said)
    if word is None:
        return []
    return [word == verdict(other) for other in others.get(said.question, ()) if other.annotator != said.annotator]


def first_shown(said: Sequence[Feedback]) -> Interval:
    """Share of comparisons with a winner that chose what was shown first."""
    from accord.statistics import wilson

    sided = [
        (one.answer.better, one.shown[0])
        for one in said
        if isinstance(one.answer, Comparison) and one.answer.better and one.shown
    ]
    return wilson(sum(better == first for better, first in sided), len(sided))


def drifted(said: Sequence[Feedback], others: Mapping[str, Sequence[Feedback]], least: int = 20) -> Interval | None:
    """Agreement with others in the later half less that in the earlier half of what somebody said, in order of time.

    None when either half has fewer than `least` comparisons that somebody else made too.
    """
    from accord.statistics import mean_interval

    shares = [sum(hits) / len(hits) for one in said if (hits := agreeing(one, others))]
    early, late = shares[: len(shares) // 2], shares[len(shares) // 2 :]
    if len(early) < least:
        return None
    return difference(mean_interval(late), mean_interval(early))


def difference(one: Interval, other: Interval) -> Interval:
    """Interval of the difference of two independent figures, from an interval of each.

    d +- the root of the summed squares of the distances to the ends (method of variance estimates recovery, Zou and
    Donner 2008; of two proportions with Wilson's intervals it is Newcombe's tenth method).
    """
    gap = one.estimate - other.estimate
    low = gap - ((one.estimate - one.low) ** 2 + (other.high - other.estimate) ** 2) ** 0.5
    high = gap + ((one.high - one.estimate) ** 2 + (other.estimate - other.low) ** 2) ** 0.5
    return type(one)(gap, low, high, one.level, one.n + other.n)


def disputed(room: Room, project: str, said: Sequence[Feedback] | None = None) -> list[Dispute]:
    """Disagreements among the last answers, that nobody has settled; newest first."""
    said = desk.latest(room.store, project, LAST) if said is None else said
    by_question: dict[str, list[Feedback]] = defaultdict(list)
    for one in said:
        if one.answer is not None:
            by_question[one.question].append(one)
    far = {id: found for id, some in by_question.items() if len(some) > 1 and (found := apart(some))}
    settled = room.office.settled(list(far))
    open_ones = [id for id in far if id not in settled]
    questions = room.store.get_many(Question, open_ones)
    return [Dispute(questions[id], by_question[id], far[id]) for id in open_ones]


def _same(twice: Sequence[Twice]) -> Interval:
    from accord.statistics import wilson

    return wilson(sum(one.same for one in twice), len(twice))

"""How far people agree in each form of what they said, and what each model of persons knows of everybody."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from accord.quality.agreement import Agreement, count, gwet, kendall, krippendorff, of_votes, pairwise
from accord.quality.annotators import LEFT, RIGHT, difficulty, mace, reliabilities, skene_of_pairs
from accord.quality.sharpness import see
from accord.quality.votes import Pair, Vote, hear, standing, tabulate
from accord.records import Combined, Comparison, Feedback, Flags, Question, Ranking, Rating
from accord.statistics import Interval


@dataclass(frozen=True)
class Agreed:
    """The figures of one form of answers in one respect."""

    what: str
    """Form and criterion, as in `rating: truth`."""
    answers: int
    """Answers that they rest on."""
    people: int
    """Who gave them."""
    figures: list[Agreement]
    """Raw and beyond chance."""


@dataclass(frozen=True)
class Seen:
    """One person, as four models of persons see them by their votes on pairs."""

    name: str
    """Pseudonym."""
    one_coin: Interval
    """Accuracy by one-coin Dawid-Skene, each vote judged by the others' alone."""
    full: tuple[float, float]
    """Accuracy by full Dawid-Skene where the left answer is better, and where the right one is."""
    sharpness: Interval
    """Bradley-Terry: how strongly a gap between answers moves the person; 1 is ordinary, 0 a coin."""
    leaning: Interval
    """Bradley-Terry: log odds that the person adds to the answer shown first."""
    honest: float
    """MACE: probability that a vote is meant."""
    effective: float
    """Perfect votes that the votes are worth."""


def agreements(
    questions: Iterable[Question], feedback: Iterable[Feedback], generator: np.random.Generator, draws: int = 1000
) -> list[Agreed]:
    """Agreement for each form and criterion that anybody answered; of a combined answer both looks.

    Comparisons: the side (nominal, a tie its own value) and signed strength (ordinal). Ratings: each sample of a
    question is an item; ordinal and interval. Rankings: Kendall's tau within each question. Flags: nominal. Items
    are questions (samples of them), so that one pair asked about in two queues is two items.
    """
    asked = {question.id: question for question in questions}
    said = [one for one in standing(feedback) if one.question in asked and one.answer is not None]
    by_criterion: dict[str, list[Vote]] = {}
    for vote in hear(asked.values(), [one for one in said if isinstance(one.answer, Comparison)]).votes:
        by_criterion.setdefault(vote.criterion, []).append(vote)
    found = [
        Agreed(_named("comparison", criterion), len(votes), _people(votes), of_votes(votes, generator, draws))
        for criterion, votes in by_criterion.items()
    ]
    return [
        *found,
        *_ratings(said, generator, draws),
        *_rankings(said, generator.spawn(1)[0], draws),
        *_flags(said, generator, draws),
    ]


def seen_by(votes: Sequence[Vote], level: float = 0.95) -> list[Seen]:
    """Everybody who voted, by each model of persons."""
    table = tabulate(votes)
    if not table.people:
        return []
    known, full, fit = reliabilities(table), skene_of_pairs(table), see(table)
    label = np.where(table.outcome == 1, LEFT, RIGHT)[table.decided]
    meant = mace(table.pair[table.decided], table.person[table.decided], label, 2) if table.decided.any() else None
    named = full.confusion[:, :, :2].sum(2)
    right = full.confusion[:, (0, 1), (0, 1)] / named
    honest = np.full(len(table.people), np.nan)
    if meant is not None:
        honest[: len(meant.honest)] = meant.honest
        honest[np.bincount(table.person[table.decided], minlength=len(table.people)) == 0] = np.nan
    return [
        Seen(
            name,
            known[name].accuracy,
            (float(right[j, LEFT]), float(right[j, RIGHT])),
            sharp,
            lean,
            float(honest[j]),
            known[name].effective,
        )
        for j, (name, (sharp, lean)) in enumerate(zip(table.people, fit.intervals(level), strict=True))
    ]


def hardest(votes: Sequence[Vote], most: int = 5) -> list[tuple[Pair, float, int]]:
    """Pairs that stay the most open by full Dawid-Skene: pair, 0 clear to 1 open, votes. Those of one vote are not."""
    table = tabulate(votes)
    if not table.pairs:
        return []
    open_ = difficulty(skene_of_pairs(table).posterior)
    times = np.bincount(table.pair, minlength=len(table.pairs))
    order = sorted(np.flatnonzero(times > 1), key=lambda i: (-open_[i], -times[i]))[:most]
    return [(table.pairs[i], float(open_[i]), int(times[i])) for i in order]


# --- the forms -------------------------------------------------------------------------------------------------


def _ratings(said: Sequence[Feedback], generator: np.random.Generator, draws: int) -> list[Agreed]:
    rows: dict[str, list[tuple[tuple[str, str], str, float]]] = {}
    for one in said:
        answer = one.answer.rating if isinstance(one.answer, Combined) else one.answer
        for sample, by in answer.scores.items() if isinstance(answer, Rating) else ():
            for criterion, score in by.items():
                rows.setdefault(criterion, []).append(((one.question, sample), one.annotator, score))
    found = []
    for criterion, given in rows.items():
        counts = count(*zip(*given, strict=True))
        figures = [
            pairwise(counts, generator=generator.spawn(1)[0], draws=draws),
            krippendorff(counts, "ordinal", generator, draws),
            krippendorff(counts, "interval", generator, draws),
            gwet(counts, generator, "ordinal", draws),
        ]
        found.append(Agreed(_named("rating", criterion), len(given), len({row[1] for row in given}), figures))
    return [*found, *_values(said, generator, draws)]


def _values(said: Sequence[Feedback], generator: np.random.Generator, draws: int) -> list[Agreed]:
    """Respects `task: value` on the scale 0..1, read together: what somebody marked 1 is one nominal value."""
    rows: dict[str, list[tuple[tuple[str, str], str, tuple[str, ...]]]] = {}
    for one in said:
        if not isinstance(one.answer, Rating) or one.answer.scale != (0, 1):
            continue
        for sample, by in one.answer.scores.items():
            tasks = {name.rpartition(": ")[0] for name in by}
            if len(by) > 1 and len(tasks) == 1 and (task := tasks.pop()):
                marked = tuple(sorted(name for name, mark in by.items() if mark == 1))
                rows.setdefault(task, []).append(((one.question, sample), one.annotator, marked))
    found = []
    for task, given in rows.items():
        counts, apart = count(*zip(*given, strict=True)), generator.spawn(1)[0]
        figures = [
            pairwise(counts, generator=apart, draws=draws),
            krippendorff(counts, "nominal", apart, draws),
            gwet(counts, apart, draws=draws),
        ]
        found.append(Agreed(f"values: {task}", len(given), len({row[1] for row in given}), figures))
    return found


def _rankings(said: Sequence[Feedback], generator: np.random.Generator, draws: int) -> list[Agreed]:
    rows: dict[str, dict[str, list[tuple[str, dict[str, int]]]]] = {}
    for one in said:
        answer = one.answer.ranking if isinstance(one.answer, Combined) else one.answer
        if isinstance(answer, Ranking):
            place = {sample: at for at, row in enumerate(answer.order) for sample in row}
            rows.setdefault(answer.criterion, {}).setdefault(one.question, []).append((one.annotator, place))
    found = []
    for criterion, by_question in rows.items():
        places = []
        for given in by_question.values():
            both = sorted(set.intersection(*(set(place) for _, place in given)))
            places.append([[place[sample] for sample in both] for _, place in given] if len(both) > 1 else [])
        who = {name for given in by_question.values() for name, _ in given}
        total = sum(len(given) for given in by_question.values())
        tau = kendall(places, generator=generator, draws=draws)
        found.append(Agreed(_named("ranking", criterion), total, len(who), [tau]))
    return found


def _flags(said: Sequence[Feedback], generator: np.random.Generator, draws: int) -> list[Agreed]:
    rows: dict[str, list[tuple[tuple[str, str], str, bool]]] = {}
    for one in said:
        told = one.answer.flags if isinstance(one.answer, Flags | Combined) else {}
        if isinstance(one.answer, Comparison) and one.answer.safe is not None:
            told = {sample: {"safe": sample in one.answer.safe} for sample in one.shown}
        for sample, by in told.items():
            for flag, yes in by.items():
                rows.setdefault(flag, []).append(((one.question, sample), one.annotator, yes))
    found = []
    for flag, given in rows.items():
        counts = count(*zip(*given, strict=True))
        figures = [
            pairwise(counts, generator=generator.spawn(1)[0], draws=draws),
            krippendorff(counts, "nominal", generator, draws),
            gwet(counts, generator, draws=draws),
        ]
        found.append(Agreed(_named("flag", flag), len(given), len({row[1] for row in given}), figures))
    return found


def _named(form: str, criterion: str) -> str:
    return f"{form}: {criterion}" if criterion else form


def _people(votes: Sequence[Vote]) -> int:
    return len({vote.annotator for vote in votes})

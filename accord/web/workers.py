"""What each person of a queue has done, with intervals, by REST."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fastapi import APIRouter
from pydantic import BaseModel

from accord.records import Form
from accord.store import desk
from accord.web.api import Project
from accord.web.doors import Seeing, TheRoom
from accord.web.figures import disputed, figures
from accord.web.lead import there

if TYPE_CHECKING:
    from accord.statistics import Interval

router = APIRouter(prefix="/api", tags=["managing"])


class Figure(BaseModel):
    """A figure and how sure it is; null where it is undefined."""

    estimate: float | None
    low: float | None
    high: float | None
    n: int


class Note(BaseModel):
    """Something to look at."""

    kind: str
    evidence: str


class Worker(BaseModel):
    """What one person has done in a queue. Shares are over the last 2,000 answers of all."""

    pseudonym: str
    answers: int
    surplus: int
    hour: int
    """Answers in the last hour."""
    seconds: float
    """Median time of an answer."""
    skipped: Figure
    first_shown: Figure
    agrees: Figure
    reliability: Figure
    """How often they name the better answer, as all answers together make likely (one-coin Dawid-Skene)."""
    gold: Figure
    """Gold questions that they got right."""
    takes_longer: Figure
    """Comparisons with a winner that chose the longer answer."""
    takes_longer_beyond_others: Figure
    """The same less the share of the others on the very same pairs."""
    to_look_at: list[Note]
    """What a human should look at; nothing is changed by it."""
    drift: Figure
    """Agreement with others in the later half less that in the earlier half."""
    agrees_with_themselves: Figure
    """Over repeats with the sides swapped."""
    seconds_each: float
    """Time at work for each answer that stands, skips and what was taken back included."""
    cost_each: float
    """The same by the rate of the queue."""


class Pulse(BaseModel):
    """A queue at one look."""

    progress: desk.Progress
    hour: int
    """Answers in the last hour."""
    hours_left: float | None
    """Until it is done at that pace; null when nothing came or nothing is left."""
    two_agree: Figure
    """Pairs of people who say the same of the same question; questions are the units."""
    agree_with_themselves: Figure
    """Over repeats with the sides swapped."""
    stayed: int
    """Of those that turned, how many chose the same side again."""
    disagreements: int
    seconds_each: float
    """Time at work for each answer that stands."""
    cost_each: float
    """The same by the rate of the queue."""
    cost: float
    """Of all of it."""
    currency: str


class Gap(BaseModel):
    """How far answers are apart by one measure."""

    measure: str
    """`verdict`; `spread` of scores; `share` of people against the rest on a flag; `distance` of rankings."""
    value: float
    """The greatest, from 0 to 1."""
    where: list[tuple[str, str]]
    """Sample and criterion or flag; for rankings two samples that not all order alike."""


class Disagreement(BaseModel):
    """A question on which people are apart."""

    question: str
    form: Form
    people: list[str]
    """Pseudonyms of those who answered."""
    apart: list[Gap]


class Rule(BaseModel):
    """The guideline that holds now."""

    version: int
    """0 for none."""
    text: str
    """Markdown."""


@router.get("/projects/{name}/figures")
def pulse(name: Project, who: Seeing, room: TheRoom) -> Pulse:
    """What the managing page says of a queue."""
    one = figures(room, there(room, name))
    return Pulse(
        progress=one.progress,
        hour=one.hour,
        hours_left=one.hours,
        two_agree=_figure(one.agreement),
        agree_with_themselves=_figure(one.itself),
        stayed=one.stayed,
        disagreements=one.disputes,
        seconds_each=one.cost.each,
        cost_each=one.cost.money_each,
        cost=one.cost.money,
        currency=one.cost.currency,
    )


@router.get("/projects/{name}/apart")
def apart(name: Project, who: Seeing, room: TheRoom) -> list[Disagreement]:
    """Questions of the last answers on which people are apart and nobody has settled: by what measure, and where."""
    return [
        Disagreement(
            question=one.question.id,
            form=one.question.form,
            people=[said.annotator for said in one.said],
            apart=[Gap(measure=gap.measure, value=gap.value, where=list(gap.where)) for gap in one.apart],
        )
        for one in disputed(room, there(room, name))
    ]


@router.get("/projects/{name}/guideline")
def guideline(name: Project, who: Seeing, room: TheRoom) -> Rule:
    """The guideline of a queue as it stands."""
    found = room.people.guideline(there(room, name))
    return Rule(version=found.number, text=found.text)


@router.get("/projects/{name}/people")
def workers(name: Project, who: Seeing, room: TheRoom) -> list[Worker]:
    """Everybody who has answered in a queue, with figures."""
    return [
        Worker(
            pseudonym=one.pseudonym,
            answers=one.answers,
            surplus=one.surplus,
            hour=one.hour,
            seconds=one.seconds,
            skipped=_figure(one.skipped),
            first_shown=_figure(one.left),
            agrees=_figure(one.agrees),
            reliability=_figure(one.seen.reliability),
            gold=_figure(one.gold),
            takes_longer=_figure(one.seen.longer),
            takes_longer_beyond_others=_figure(one.seen.beyond),
            to_look_at=[Note(kind=kind, evidence=evidence) for kind, evidence in one.seen.notes],
            drift=_figure(one.drift),
            agrees_with_themselves=_figure(one.itself),
            seconds_each=one.cost.each,
            cost_each=one.cost.money_each,
        )
        for one in figures(room, there(room, name)).people
    ]


def _figure(one: Interval | None) -> Figure:
    """Without numbers that JSON does not have."""
    if one is None or math.isnan(one.estimate):
        return Figure(estimate=None, low=None, high=None, n=0)
    ends = [end if math.isfinite(end) else None for end in (one.low, one.high)]
    return Figure(estimate=one.estimate, low=ends[0], high=ends[1], n=one.n)

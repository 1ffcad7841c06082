"""What each person of a queue has done, with intervals, by REST."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fastapi import APIRouter
from pydantic import BaseModel

from accord.web.api import Project
from accord.web.doors import Seeing, TheRoom
from accord.web.figures import figures
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


class Worker(BaseModel):
    """What one person has done in a queue. Shares are over the last 2,000 answers of all."""

    pseudonym: str
    answers: int
    surplus: int
    seconds: float
    """Median time of an answer."""
    skipped: Figure
    first_shown: Figure
    agrees: Figure
    drift: Figure
    """Agreement with others in the later half less that in the earlier half."""
    agrees_with_themselves: Figure
    """Over repeats with the sides swapped."""
    seconds_each: float
    """Time at work for each answer that stands, skips and what was taken back included."""
    cost_each: float
    """The same by the rate of the queue."""


@router.get("/projects/{name}/people")
def workers(name: Project, who: Seeing, room: TheRoom) -> list[Worker]:
    """Everybody who has answered in a queue, with figures."""
    return [
        Worker(
            pseudonym=one.pseudonym,
            answers=one.answers,
            surplus=one.surplus,
            seconds=one.seconds,
            skipped=_figure(one.skipped),
            first_shown=_figure(one.left),
            agrees=_figure(one.agrees),
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

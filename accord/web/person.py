"""One person's work in a queue over time: pace, skips, side, agreement, block by block, and what has changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, HTTPException, Path
from fastapi.responses import HTMLResponse

from accord.records import Feedback
from accord.store import desk
from accord.web.doors import Room, Seeing, TheRoom
from accord.web.figures import agreeing, difference, drifted, first_shown, words

if TYPE_CHECKING:
    from accord.statistics import Interval

router = APIRouter(include_in_schema=False)
LOOK = 600
BLOCK = 50
_Name = Annotated[str, Path(min_length=1, max_length=128)]


@dataclass(frozen=True)
class Block:
    """Some answers that followed each other."""

    begun: float
    ended: float
    answers: int
    seconds: float
    """Median."""
    skipped: Interval
    left: Interval
    """Share that chose what was shown first."""
    agrees: Interval
    """Share of other people's words on the same questions that were the same."""


@dataclass(frozen=True)
class Change:
    """The later half of all this against the earlier half."""

    agrees: Interval | None
    left: Interval
    pace: Interval | None
    """Factor by which the time of an answer grew (geometric means); below 1 is quicker."""


def over_time(room: Room, project: str, annotator: str) -> tuple[list[Block], Change | None]:
    """The last `LOOK` of what somebody said in a queue, oldest first; no change with fewer than two blocks."""
    said = desk.last_of(room.store, project, annotator, LOOK)[::-1]
    others = words(desk.said_to(room.store, [one.question for one in said]))
    blocks = [_block(said[at : at + BLOCK], others) for at in range(0, len(said), BLOCK)]
    if len(said) < 2 * BLOCK:
        return blocks, None
    early, late = said[: len(said) // 2], said[len(said) // 2 :]
    sides = [first_shown([one for one in half if one.answer is not None]) for half in (late, early)]
    return blocks, Change(drifted(said, others), difference(*sides), _pace(late, early))


def _block(said: Sequence[Feedback], others: dict[str, list[Feedback]]) -> Block:
    from accord.statistics import wilson

    answered = [one for one in said if one.answer is not None]
    same = [hit for one in said for hit in agreeing(one, others)]
    return Block(
        begun=min(one.made for one in said),
        ended=max(one.made for one in said),
        answers=len(answered),
        seconds=median(one.seconds for one in answered) if answered else 0.0,
        skipped=wilson(len(said) - len(answered), len(said)),
        left=first_shown(answered),
        agrees=wilson(sum(same), len(same)),
    )


def _pace(late: Sequence[Feedback], early: Sequence[Feedback]) -> Interval | None:
    """Ratio of the geometric means of the seconds, by the difference of the logarithms."""
    from accord.statistics import mean_interval

    logs = [
        [math.log(one.seconds) for one in half if one.answer is not None and one.seconds > 0] for half in (late, early)
    ]
    if min(len(one) for one in logs) < 2:
        return None
    gap = difference(mean_interval(logs[0]), mean_interval(logs[1]))
    return type(gap)(math.exp(gap.estimate), math.exp(gap.low), math.exp(gap.high), gap.level, gap.n)


@router.get("/manage/person/{project}/{pseudonym}")
def person(project: _Name, pseudonym: _Name, who: Seeing, room: TheRoom) -> HTMLResponse:
    """What somebody did in a queue, over time."""
    if project not in desk.projects(room.store) or not desk.last_of(room.store, project, pseudonym, 1):
        raise HTTPException(404, "nobody of this pseudonym has answered in this queue")
    blocks, change = over_time(room, project, pseudonym)
    names = {one.pseudonym: one.name for one in room.people.all()}
    page = room.pages.get_template("person.html")
    name = names.get(pseudonym, pseudonym)
    return HTMLResponse(page.render(who=who, project=project, name=name, blocks=blocks, change=change, look=LOOK))

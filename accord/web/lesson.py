"""What was learned from one person's first answers, for that person's eyes. Who works it out is handed in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fastapi import APIRouter, HTTPException
from fastapi.responses import HTMLResponse

from accord.web.doors import Answering, Room, TheRoom

if TYPE_CHECKING:
    from accord.statistics import Interval

router = APIRouter(include_in_schema=False)
PATH = "/lesson"


@dataclass(frozen=True)
class Finding:
    """One figure with its words."""

    name: str
    """What it is about."""
    figure: Interval | None
    """A share; None where there is nothing to count."""
    says: str
    """What it means, in a sentence."""


@dataclass(frozen=True)
class Learned:
    """All that is told."""

    answers: int
    """Answers that it rests on; skips are none."""
    seconds: float
    """Median time of an answer."""
    findings: list[Finding] = field(default_factory=list)
    liked: list[tuple[str, float]] = field(default_factory=list)
    """Words that speak for an answer, with their weights."""
    disliked: list[tuple[str, float]] = field(default_factory=list)
    """Words that speak against one."""
    commands: list[tuple[str, str]] = field(default_factory=list)
    """What can be done next: a command, and what it does."""


@dataclass(frozen=True)
class Teacher:
    """Where a lesson is given, and by whom."""

    queue: str
    """Answers of this queue count."""
    least: int
    """After so many the lesson is shown."""
    answers: Callable[[str], int]
    """How many answers a pseudonym has given."""
    learn: Callable[[str], Learned]
    """What they teach."""


def due(room: Room, project: str, annotator: str) -> str:
    """Path of the lesson when it is there for this person, else nothing."""
    teacher: Teacher | None = room.teacher
    if teacher is None or teacher.queue != project or teacher.answers(annotator) < teacher.least:
        return ""
    return PATH


@router.get(PATH)
def lesson(who: Answering, room: TheRoom) -> HTMLResponse:
    """What was learned from the answers of the one who asks, or how many are still wanted."""
    teacher: Teacher | None = room.teacher
    if teacher is None:
        raise HTTPException(404, "no lesson is given here; accord quickstart --people gives one")
    me = who.person.pseudonym
    have = teacher.answers(me)
    learned = teacher.learn(me) if have >= teacher.least else None
    page = room.pages.get_template("lesson.html")
    return HTMLResponse(page.render(who=who, teacher=teacher, have=have, learned=learned))

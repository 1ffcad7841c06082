"""The page of those who lead: where the queues stand, who does how much, how far people agree, and who may come in."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Form, HTTPException, Path
from fastapi.responses import HTMLResponse, RedirectResponse

from accord.records import Comparison, Feedback, Question
from accord.store import Refused, desk
from accord.store.office import Rules
from accord.store.people import ROLES, Person, PersonRole
from accord.web.doors import Leading, Room, Seeing, TheRoom, Visitor
from accord.web.people import grant
from accord.web.render import render
from accord.web.sent import conversation, shown

if TYPE_CHECKING:  # scipy takes a second and 80 MB: who only answers shall not wait for it
    from accord.statistics import Interval

router = APIRouter(include_in_schema=False)
LAST = 2000
FRESH = 5.0
Name = Annotated[str, Form(min_length=1, max_length=80, pattern=r"^[^\x00-\x1f]+$")]
Id = Annotated[str, Path(pattern=r"^[\w-]{1,64}$")]


@dataclass(frozen=True)
class Row:
    """One person in one project, over the last answers."""

    pseudonym: str
    answers: int
    surplus: int
    seconds: float
    skipped: Interval
    left: Interval
    agrees: Interval
    last: float


@dataclass(frozen=True)
class Figures:
    """One project as it stands."""

    progress: desk.Progress
    hour: int
    """Answers of the last hour among the last `LAST`."""
    agreement: Interval
    """Share of pairs of people who say the same of the same question; questions are the units."""
    people: list[Row]
    number: int
    """Version of the guideline."""
    guideline: str
    rules: Rules
    assigned: set[str]
    disputes: int


def figures(room: Room, project: str) -> Figures:
    """What is shown of a project; kept for some seconds, since counting walks an index."""
    before = room.kept.get(project)
    begun = time.monotonic()
    if before is not None and before[0] > begun:
        found: Figures = before[1]
        return found
    said = desk.latest(room.store, project, LAST)
    rule = room.people.guideline(project)
    made = Figures(
        progress=desk.progress(room.store, project),
        hour=sum(one.made > time.time() - 3600 for one in said if one.answer is not None),
        agreement=agreement(said),
        people=people(desk.said_by(room.store, project), said),
        number=rule.number,
        guideline=rule.text,
        rules=room.office.rules(project),
        assigned=room.office.assigned(project),
        disputes=len(disputed(room, project)),
    )
    # In a large queue the count takes longer, and is then kept for longer.
    room.kept[project] = (time.monotonic() + max(FRESH, 20 * (time.monotonic() - begun)), made)
    return made


def verdict(said: Feedback) -> tuple[str, str] | None:
    """What a comparison says, by sample and not by side; None for anything else."""
    if not isinstance(said.answer, Comparison):
        return None
    return (said.answer.criterion, said.answer.better or said.answer.verdict)


def agreement(said: list[Feedback]) -> Interval:
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


def people(counts: dict[str, dict[str, int]], said: list[Feedback]) -> list[Row]:
    """A row for each person: counts of the whole project, habits over the last answers."""
    from accord.statistics import wilson

    by_person: dict[str, list[Feedback]] = defaultdict(list)
    by_question: dict[str, list[Feedback]] = defaultdict(list)
    for one in said:
        by_person[one.annotator].append(one)
        if verdict(one) is not None:
            by_question[one.question].append(one)
    found = []
    for name, states in counts.items():
        mine = by_person.get(name, [])
        answered = [one for one in mine if one.answer is not None]
        sided = [o for o in answered if isinstance(o.answer, Comparison) and o.answer.better and o.shown]
        same = [
            verdict(one) == verdict(other)
            for one in mine
            for other in by_question.get(one.question, [])
            if verdict(one) is not None and other.annotator != name
        ]
        row = Row(
            pseudonym=name,
            answers=states.get("standing", 0),
            surplus=states.get("surplus", 0),
            seconds=median(one.seconds for one in answered) if answered else 0.0,
            skipped=wilson(len(mine) - len(answered), len(mine)),
            left=wilson(sum(o.answer.better == o.shown[0] for o in sided), len(sided)),  # type: ignore[union-attr]
            agrees=wilson(sum(same), len(same)),
            last=max((one.made for one in mine), default=0.0),
        )
        found.append(row)
    return sorted(found, key=lambda row: -row.answers)


# --- pages -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Dispute:
    """A question that people answer differently."""

    question: Question
    said: list[Feedback]


def disputed(room: Room, project: str) -> list[Dispute]:
    """Disagreements among the last answers, that nobody has settled; newest first."""
    by_question: dict[str, list[Feedback]] = defaultdict(list)
    for one in desk.latest(room.store, project, LAST):
        if one.answer is not None and verdict(one) is not None:
            by_question[one.question].append(one)
    apart = [id for id, said in by_question.items() if len({verdict(one) for one in said}) > 1]
    settled = room.office.settled(apart)
    open_ones = [id for id in apart if id not in settled]
    questions = room.store.get_many(Question, open_ones)
    return [Dispute(questions[id], by_question[id]) for id in open_ones]


def page(room: Room, who: Visitor, status: int = 200, **more: object) -> HTMLResponse:
    """The whole page, perhaps with a link or a complaint on top."""
    everybody = room.people.all()
    text = room.pages.get_template("manage.html").render(
        who=who,
        projects=[figures(room, name) for name in desk.projects(room.store)],
        everybody=everybody,
        names={person.pseudonym: person.name for person in everybody},
        hooks=room.office.hooks() if who.may("own") else [],
        roles=[role for role in ROLES if over(who, role)],
        now=time.time(),
        render=render,
        **{"link": "", "made": "", "complaint": "", **more},
    )
    return HTMLResponse(text, status)


@router.get("/manage/log")
def log(who: Seeing, room: TheRoom) -> HTMLResponse:
    """Who did what."""
    names = {person.pseudonym: person.name for person in room.people.all()}
    return HTMLResponse(room.pages.get_template("log.html").render(who=who, events=room.office.events(), names=names))


@router.get("/manage/disputes/{project}")
def disputes(project: Annotated[str, Path(min_length=1, max_length=128)], who: Seeing, room: TheRoom) -> HTMLResponse:
    """Where people disagree, with what each said; those who lead settle it."""
    if project not in desk.projects(room.store):
        raise HTTPException(404, "there is no such queue")
    names = {person.pseudonym: person.name for person in room.people.all()}
    cases = []
    for one in disputed(room, project)[:50]:
        (asked,) = room.store.ask([one.question], who.person.pseudonym)
        letters = {sample.id: "ABCDEFGHI"[at] for at, sample in enumerate(asked.samples)}
        cases.append((one, conversation(asked), [shown(sample) for sample in asked.samples], letters))
    text = room.pages.get_template("disputes.html").render(who=who, project=project, cases=cases, names=names)
    return HTMLResponse(text)


@router.get("/manage")
def manage(who: Seeing, room: TheRoom) -> HTMLResponse:
    """Everything at one look."""
    return page(room, who)


@router.post("/manage/people")
def add(who: Leading, room: TheRoom, name: Name, role: Annotated[str, Form()]) -> HTMLResponse:
    """A new person, and the link by which they first come in."""
    if role not in ROLES or not over(who, role):
        raise HTTPException(403, f"a {who.person.role} cannot make a {role!r}")
    try:
        made = room.people.add(name.strip(), role)
    except Refused as error:
        return page(room, who, 422, complaint=str(error))
    room.office.note(who.person.pseudonym, "add person", made.pseudonym, role=made.role)
    return page(room, who, 201, link=f"/in/{grant(room.people, made, 'link', room.settings)}", made=made.name)


@router.post("/manage/people/{id}/link")
def link(id: Id, who: Leading, room: TheRoom) -> HTMLResponse:
    """Another one-time link; earlier ones end."""
    person = below(room, who, id)
    room.people.revoke(person.id, "link")
    room.office.note(who.person.pseudonym, "link", person.pseudonym)
    return page(room, who, link=f"/in/{grant(room.people, person, 'link', room.settings)}", made=person.name)


@router.post("/manage/people/{id}/pause")
def pause(id: Id, who: Leading, room: TheRoom) -> RedirectResponse:
    """Keep a person out, or let them in again. What they said stays."""
    person = below(room, who, id)
    room.people.set_active(person.id, not person.active)
    room.office.note(who.person.pseudonym, "pause person" if person.active else "let in", person.pseudonym)
    return RedirectResponse("/manage", 303)


@router.post("/manage/guideline")
def guideline(
    who: Leading, room: TheRoom, project: Name, text: Annotated[str, Form(max_length=200_000)]
) -> RedirectResponse:
    """The next version of a project's guideline."""
    made = room.people.write_guideline(project, text.replace("\r\n", "\n").strip())
    room.kept.pop(project, None)
    room.office.note(who.person.pseudonym, "guideline", project, version=made.number)
    return RedirectResponse("/manage", 303)


def over(who: Visitor, role: PersonRole) -> bool:
    """Owners stand over everybody, managers over annotators and auditors."""
    return who.person.role == "owner" or (who.person.role == "manager" and role in ("annotator", "auditor"))


def below(room: Room, who: Visitor, id: str) -> Person:
    """A person whom the visitor stands over. Raises 403 for others and for themselves."""
    person = room.people.get(id)
    if not over(who, person.role) or person.id == who.person.id:
        raise HTTPException(403, f"a {who.person.role} cannot change this person")
    return person

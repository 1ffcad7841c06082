"""The page of those who lead: where the queues stand, who does how much, how far people agree, and who may come in."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Form, HTTPException, Path
from fastapi.responses import HTMLResponse, RedirectResponse

from accord.store import Refused, desk
from accord.store.people import ROLES, Person, PersonRole
from accord.web.apart import spoken
from accord.web.doors import Leading, Room, Seeing, TheRoom, Visitor
from accord.web.figures import disputed, figures
from accord.web.people import grant
from accord.web.render import render
from accord.web.sent import conversation, shown

router = APIRouter(include_in_schema=False)
Name = Annotated[str, Form(min_length=1, max_length=80, pattern=r"^[^\x00-\x1f]+$")]
Id = Annotated[str, Path(pattern=r"^[\w-]{1,64}$")]


# --- pages -----------------------------------------------------------------------------------------------------


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
    text = room.pages.get_template("disputes.html").render(
        who=who, project=project, cases=cases, names=names, spoken=spoken
    )
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

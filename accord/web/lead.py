"""Managing by REST: queues and their rules, people, disagreements, the audit log, and who is told. Described at /api.

The managing page is a client of these routes like any other.
"""

from __future__ import annotations

import base64
import ipaddress
import secrets
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, HTTPException, Query, Response
from pydantic import BaseModel, Field

from accord.records import Answer, Feedback, Question, new_id
from accord.store import Missing, Refused, desk
from accord.store.office import Event, Hook, Rules
from accord.store.people import Person, PersonRole
from accord.web.api import SENT, Id, Kept, Project
from accord.web.doors import Owning, Room, Seeing, Steering, TheRoom, Visitor
from accord.web.figures import disputed
from accord.web.fits import fits
from accord.web.manage import below, over
from accord.web.people import grant

router = APIRouter(prefix="/api", tags=["managing"])


class Queue(BaseModel):
    """A queue as it stands."""

    progress: desk.Progress
    rules: Rules
    guideline: int
    """Version that holds now; 0 for none."""


class Somebody(BaseModel):
    """A person, without anything that opens a door."""

    id: str
    name: str
    pseudonym: str
    role: PersonRole
    active: bool


class NewPerson(BaseModel):
    """Somebody to bring in."""

    model_config = SENT
    name: str = Field(min_length=1, max_length=80, pattern=r"^[^\x00-\x1f]+$")
    role: PersonRole = "annotator"


class Link(BaseModel):
    """A way in, once."""

    person: str
    path: str
    """Add the address of the service; it is shown this once."""


class Active(BaseModel):
    """Whether a person may come in."""

    model_config = SENT
    active: bool


class Text(BaseModel):
    """A guideline, in markdown."""

    model_config = SENT
    text: str = Field(max_length=200_000)


class Word(BaseModel):
    """How a disagreement is settled."""

    model_config = SENT
    id: str = Field(default_factory=new_id, pattern=r"^[\w.:-]{8,128}$")
    answer: Answer
    note: str = Field(default="", max_length=10_000)


class Listener(BaseModel):
    """A server that wants to be told."""

    model_config = SENT
    url: str = Field(max_length=2000)
    project: str = Field(default="", max_length=128)


# --- queues ----------------------------------------------------------------------------------------------------


@router.get("/projects")
def projects(who: Seeing, room: TheRoom) -> list[Queue]:
    """All queues."""
    return [_queue(room, name) for name in desk.projects(room.store)]


@router.get("/projects/{name}")
def project(name: Project, who: Seeing, room: TheRoom) -> Queue:
    """One queue."""
    return _queue(room, there(room, name))


@router.put("/projects/{name}/rules")
def set_rules(name: Project, given: Rules, who: Steering, room: TheRoom) -> Rules:
    """Pause and resume, open to all or to those assigned, which test comes first, repeats, and what an hour costs."""
    if given.qualify:
        there(room, given.qualify)
    room.office.set_rules(there(room, name), given)
    room.kept.clear()
    room.office.note(who.person.pseudonym, "rules", name, **given.model_dump())
    return given


@router.put("/projects/{name}/guideline")
def write_guideline(name: Project, given: Text, who: Steering, room: TheRoom) -> int:
    """The next version of the guideline; its number."""
    made = room.people.write_guideline(there(room, name), given.text.replace("\r\n", "\n").strip())
    room.kept.clear()
    room.office.note(who.person.pseudonym, "guideline", name, version=made.number)
    return made.number


@router.get("/projects/{name}/assigned")
def assigned(name: Project, who: Seeing, room: TheRoom) -> list[str]:
    """Pseudonyms of those who were assigned."""
    return sorted(room.office.assigned(there(room, name)))


@router.put("/projects/{name}/assigned/{pseudonym}", status_code=204)
def assign(name: Project, pseudonym: Id, who: Steering, room: TheRoom) -> Response:
    """Give a queue to a person."""
    return _assign(name, pseudonym, who, room, True)


@router.delete("/projects/{name}/assigned/{pseudonym}", status_code=204)
def unassign(name: Project, pseudonym: Id, who: Steering, room: TheRoom) -> Response:
    """Take a queue from a person."""
    return _assign(name, pseudonym, who, room, False)


@router.get("/projects/{name}/disagreements")
def disagreements(name: Project, who: Seeing, room: TheRoom) -> list[str]:
    """Questions of the last answers that people answer differently and nobody has settled."""
    return [one.question.id for one in disputed(room, there(room, name))]


# --- questions -------------------------------------------------------------------------------------------------


@router.post("/questions/{id}/settle")
def settle(id: Id, given: Word, who: Steering, room: TheRoom) -> Kept:
    """The word of somebody who leads, where people disagree: it stands beside the others and ends the dispute."""
    question = room.store.get(Question, id)
    fits(question, given.answer)
    me = who.person.pseudonym
    fields = {"id": given.id, "answer": given.answer, "shown": desk.shown(question, me)}
    note = f"settled: {given.note}".strip(": ")
    said = room.office.settle(Feedback(question=id, annotator=me, note=note, **fields))
    room.kept.clear()
    room.office.note(me, "settle", id, feedback=said.id)
    return Kept(feedback=said.id, state=room.store.feedback_state([said.id])[said.id])


@router.post("/questions/{id}/withdraw", status_code=204)
def withdraw(id: Id, who: Steering, room: TheRoom) -> Response:
    """Ask nobody any more; what is in hand may still be answered, and what was said stays."""
    room.office.withdraw(id)
    room.office.note(who.person.pseudonym, "withdraw", id)
    return Response(status_code=204)


@router.post("/questions/{id}/restore", status_code=204)
def restore(id: Id, who: Steering, room: TheRoom) -> Response:
    """Ask again."""
    room.office.restore(id)
    room.office.note(who.person.pseudonym, "restore", id)
    return Response(status_code=204)


# --- people ----------------------------------------------------------------------------------------------------


@router.get("/people")
def people(who: Seeing, room: TheRoom) -> list[Somebody]:
    """Everybody who may come in, or could."""
    return [_somebody(one) for one in room.people.all()]


@router.post("/people", status_code=201)
def add_person(given: NewPerson, who: Steering, room: TheRoom) -> Link:
    """A new person, and the link by which they first come in."""
    if not over(who, given.role):
        raise HTTPException(403, f"a {who.person.role} cannot make a {given.role!r}")
    made = room.people.add(given.name.strip(), given.role)
    room.office.note(who.person.pseudonym, "add person", made.pseudonym, role=made.role)
    return Link(person=made.id, path=f"/in/{grant(room.people, made, 'link', room.settings)}")


@router.post("/people/{id}/link")
def link(id: Id, who: Steering, room: TheRoom) -> Link:
    """Another one-time link; earlier ones end."""
    person = below(room, who, id)
    room.people.revoke(person.id, "link")
    room.office.note(who.person.pseudonym, "link", person.pseudonym)
    return Link(person=person.id, path=f"/in/{grant(room.people, person, 'link', room.settings)}")


@router.put("/people/{id}/active")
def set_active(id: Id, given: Active, who: Steering, room: TheRoom) -> Somebody:
    """Keep a person out, or let them in again. What they said stays."""
    person = below(room, who, id)
    room.people.set_active(person.id, given.active)
    room.office.note(who.person.pseudonym, "let in" if given.active else "pause person", person.pseudonym)
    return _somebody(room.people.get(id))


# --- the log, and who is told ----------------------------------------------------------------------------------


@router.get("/events")
def events(
    who: Seeing,
    room: TheRoom,
    before: Annotated[int | None, Query(ge=0, le=2**53)] = None,
    count: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> list[Event]:
    """Who did what, newest first."""
    return room.office.events(before, count)


@router.get("/hooks")
def hooks(who: Owning, room: TheRoom) -> list[Hook]:
    """Servers that are told what is said; their secrets are not shown again."""
    return [one.model_copy(update={"secret": ""}) for one in room.office.hooks()]


@router.post("/hooks", status_code=201)
def add_hook(given: Listener, who: Owning, room: TheRoom) -> Hook:
    """Tell a server, from now on. The secret is shown this once; see docs/people.md for what is sent."""
    _safe_to_call(given.url)
    if given.project:
        there(room, given.project)
    made = room.office.add_hook(given.url, "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(), given.project)
    room.office.note(who.person.pseudonym, "add hook", made.id, project=given.project)
    return made


@router.delete("/hooks/{id}", status_code=204)
def drop_hook(id: Id, who: Owning, room: TheRoom) -> Response:
    """Tell it no more."""
    if not room.office.drop_hook(id):
        raise Missing("hook", [id], "list them first")
    room.office.note(who.person.pseudonym, "drop hook", id)
    return Response(status_code=204)


def _safe_to_call(url: str) -> None:
    """Raises Refused for an address that is none, or that would carry answers in the open."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise Refused(f"this is no address: {error}") from error
    near = host == "localhost" or (host.replace(".", "").isdigit() and ipaddress.ip_address(host).is_loopback)
    if not host or parts.username or parts.scheme not in ("https", "http") or (parts.scheme == "http" and not near):
        raise Refused("a listener has an https address (http on this machine alone), without a name or password in it")


def _queue(room: Room, name: str) -> Queue:
    return Queue(
        progress=desk.progress(room.store, name),
        rules=room.office.rules(name),
        guideline=room.people.guideline(name).number,
    )


def there(room: Room, name: str) -> str:
    """The name of a queue that is there. Raises Missing."""
    if name not in desk.projects(room.store):
        raise Missing("project", [name], "put questions into it first")
    return name


def _assign(name: str, pseudonym: str, who: Visitor, room: Room, on: bool) -> Response:
    if pseudonym not in {one.pseudonym for one in room.people.all()}:
        raise Missing("person", [pseudonym], "list them first")
    room.office.assign(there(room, name), pseudonym, on)
    room.kept.clear()
    room.office.note(who.person.pseudonym, "assign" if on else "unassign", name, person=pseudonym)
    return Response(status_code=204)


def _somebody(one: Person) -> Somebody:
    return Somebody(id=one.id, name=one.name, pseudonym=one.pseudonym, role=one.role, active=one.active)

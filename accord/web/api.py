"""The public contract: claim, answer, give back, take back, and take the preferences out. Stable; see docs/people.md.

Everything else in this room may change; these five routes, their fields and their meanings stay.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from accord.records import Answer, Feedback, Question, Sample
from accord.store import Claim, Conflict, Missing, Refused, desk, together
from accord.store.office import Standing
from accord.store.repeats import is_repeats
from accord.web.diff import differences
from accord.web.doors import Answering, Known, Room, Seeing, TheRoom, Visitor
from accord.web.fits import fits
from accord.web.lesson import due
from accord.web.pairs import rows
from accord.web.render import render
from accord.web.sent import EPISODE, SEEN, Lease, lease, shown

router = APIRouter(prefix="/api")
Id = Annotated[str, Path(pattern=r"^[\w.:-]{1,128}$", description="An id that a claim or an answer gave.")]
Project = Annotated[str, Path(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f]+$", description="Name of a queue.")]
KEPT_FOR = (0.5, 3.0)
"""Seconds for which it is remembered that somebody may not, or may, get questions of a queue."""
SENT = ConfigDict(extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)
"""What a client sends: unknown fields are refused, and numbers that are none."""


class Wanted(BaseModel):
    """What to claim."""

    model_config = SENT

    project: str = Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f]+$")
    """Name of the queue, as in `round1`."""
    count: int = Field(default=1, ge=1, le=200)
    """How many questions; fewer come when there are fewer, and no more than the service allows."""
    resume: bool = False
    """Begin with the claims that you hold already, and hold them longer: for a client that was started again."""


class Leases(BaseModel):
    """What was claimed."""

    claims: list[Lease]


class Given(BaseModel):
    """An answer."""

    model_config = SENT

    id: str = Field(pattern=r"^[\w.:-]{8,128}$")
    """Made by the client, so that sending twice is saying once. UUIDs are good."""
    answer: Answer | None
    """What is said; null for a skip, whose reason stands in `note`."""
    seconds: float = Field(default=0, ge=0, le=1e7)
    """From showing to answering."""
    note: str = Field(default="", max_length=10_000)
    """Free words."""
    guideline: str = Field(default="", max_length=200)
    """Version of the guideline that you showed beside the question; the question's own when you name none."""
    made: float | None = Field(default=None, ge=0, le=1e11)
    """When it was said, by the client's clock, in seconds since 1970."""
    replaces: str | None = Field(default=None, pattern=r"^[\w.:-]{1,128}$")
    """Your earlier feedback to the same question that this one takes the place of."""


class Kept(BaseModel):
    """What became of it."""

    feedback: str
    """Id of the feedback."""
    state: str
    """`standing`, `surplus` (it came when enough people had answered), `replaced` or `withdrawal`."""


def _sent(found: BaseModel) -> Response:
    """As JSON at once: it is what it says it is, so that it need not be checked again, on a thread of its own."""
    return Response(found.model_dump_json(), media_type="application/json")


@router.post("/claims", response_model=Leases)
async def claim(wanted: Wanted, who: Answering, room: TheRoom) -> Response:
    """Take questions to answer. Nobody else gets their slots until the lease ends."""
    me, count = who.person.pseudonym, min(wanted.count, room.settings.most)
    ready = list[Lease]()
    if not room.store.near and not wanted.resume and _plainly(room, wanted.project, me):
        ready = await room.claims(together.Wanted(me, wanted.project, count, room.settings.lease))
    if len(ready) < count:
        ready += await run_in_threadpool(_claimed, room, wanted, me, count - len(ready), bool(ready))
    return _sent(Leases(claims=ready))


def _plainly(room: Room, project: str, annotator: str) -> bool:
    """Whether it is known that this person gets questions of the queue, and none of their own again."""
    known = _known(room, project, annotator)
    return known is not None and known.may and not known.repeats and not is_repeats(project)


def _claimed(room: Room, wanted: Wanted, me: str, count: int, begun: bool) -> list[Lease]:
    """What one person gets, whatever their queue is like. begun: they got some already, and this is the rest."""
    if is_repeats(wanted.project) or not standing(room, wanted.project, me).may:
        return []
    found = list[Claim]()
    if wanted.resume and not begun:
        found = desk.held(room.store, me, wanted.project, room.settings.lease, count)
    if len(found) < count and not begun:
        found += _again(room, wanted.project, me)
    if len(found) < count:
        found += room.store.claim(me, wanted.project, count - len(found), room.settings.lease)
    return [lease(one, wanted.project) for one in found]


def _again(room: Room, project: str, annotator: str) -> list[Claim]:
    """One of the person's own comparisons, sides swapped, when the rules of the queue want it and it is time."""
    if not room.repeats.due(project, annotator, standing(room, project, annotator).repeats):
        return []
    one = room.repeats.ask(project, annotator, room.settings.lease)
    return [one] if one is not None else []


@router.put("/claims/{id}/answer", response_model=Kept)
async def answer(id: Id, given: Given, who: Answering, room: TheRoom) -> Response:
    """Answer under a claim. The same again gets the same reply; an answer that comes too late is kept as surplus."""
    me = who.person.pseudonym
    fields: dict[str, Any] = {} if given.made is None else {"made": given.made}

    def made(question: Question) -> Feedback:
        fits(question, given.answer)
        return Feedback(
            id=given.id,
            question=question.id,
            annotator=me,
            answer=given.answer,
            shown=desk.shown(question, me),
            seconds=given.seconds,
            note=given.note,
            guideline=given.guideline or question.guideline,
            replaces=given.replaces,
            **fields,
        )

    kept = None if room.store.near else await room.answers(together.Given(id, me, made))
    if kept is None:
        return _sent(await run_in_threadpool(_said, room, id, me, given, made))
    return _sent(Kept(feedback=kept[0].id, state=kept[1]))


def _said(room: Room, id: str, me: str, given: Given, made: Callable[[Question], Feedback]) -> Kept:
    """What becomes of one answer, whatever it is like."""
    try:
        kept, state = desk.say(room.store, id, me, made)
        return Kept(feedback=kept.id, state=state)
    except Conflict:
        before = room.store.get(Feedback, given.id)
        said = made(desk.claimed(room.store, id, me))
        if given.made is not None or before != said.model_copy(update={"made": before.made}):
            raise
    return _kept(room, given.id)


@router.delete("/claims/{id}", status_code=204)
def release(id: Id, who: Answering, room: TheRoom) -> Response:
    """Give a claim back unanswered. Twice is harmless."""
    desk.claimed(room.store, id, who.person.pseudonym)
    room.store.release(id)
    return Response(status_code=204)


@router.post("/feedback/{id}/undo")
def undo(id: Id, who: Answering, room: TheRoom) -> Kept:
    """Take back what you said. Twice is harmless; the claim can be answered again under a new id."""
    old = room.store.get(Feedback, id)
    if old.annotator != who.person.pseudonym:
        raise Missing("feedback", [id], "only your own can be taken back")
    try:
        return _kept(room, room.store.undo(id).id)
    except Refused:
        later = next(iter(room.store.all(Feedback, replaces=id)), None)
        if later is None:
            raise
        return _kept(room, later.id)


@router.get("/projects/{name}/preferences")
def preferences(name: Project, who: Seeing, room: TheRoom) -> StreamingResponse:
    """Every pair that a standing answer orders, one JSON object a line, with texts. People have a key per export."""
    if name not in desk.projects(room.store):
        raise Missing("project", [name], "put questions into it first")
    key = secrets.token_bytes(32)
    room.office.note(who.person.pseudonym, "export", name)

    def lines() -> Iterator[bytes]:
        found = (json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows(room.store, name, key))
        while part := b"".join(islice(found, 200)):  # each piece is a trip to a thread, so it is no single row
            yield part

    return StreamingResponse(lines(), media_type="application/jsonl")


@router.get("/blobs/{sha256}", include_in_schema=False)
def blob(sha256: Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")], media: str, who: Known, room: TheRoom) -> Response:
    """The bytes of a picture or a clip, which whoever was shown its address may see."""
    if media not in {*SEEN, EPISODE}:
        raise HTTPException(404, "no such medium is shown")
    headers = {"cache-control": "private, max-age=3600", "content-disposition": "inline"}
    return Response(room.store.blob(sha256), media_type=media, headers=headers)


# --- for our own pages; may change ------------------------------------------------------------------------------


def _known(room: Room, project: str, annotator: str) -> Standing | None:
    """What was found a moment ago of a person in a queue; None when it has to be looked up."""
    before = room.kept.get(("may", project, annotator))
    return before[1] if before is not None and before[0] > time.monotonic() else None


def standing(room: Room, project: str, annotator: str) -> Standing:
    """Whether a person gets questions of a queue; looked up again after some seconds, sooner when they may not."""
    known = _known(room, project, annotator)
    if known is not None:
        return known
    found = room.office.standing(project, annotator)
    while len(room.kept) > 10_000:
        room.kept.pop(next(iter(room.kept)), None)
    room.kept["may", project, annotator] = (time.monotonic() + KEPT_FOR[found.may], found)
    return found


class Desk(BaseModel):
    """What the judging page shows at its edge."""

    done: int
    open: int
    guideline: int
    html: str
    why: str
    """Why there are no questions for this person; empty when nothing is in the way."""
    lesson: str
    """Where it stands what was learned from this person's answers; empty while there is nothing."""


class Differences(BaseModel):
    """Two answers beside each other."""

    alike: float
    html: list[str]
    """In the order shown; empty when they are too unlike to mark."""


@router.get("/claims/{id}/diff", include_in_schema=False)
def diff(id: Id, who: Answering, room: TheRoom) -> Differences:
    """Where the two answers of one's own claim differ."""
    me = who.person.pseudonym
    question = desk.claimed(room.store, id, me)
    if len(question.samples) != 2:
        raise Refused(f"question {question.id} has {len(question.samples)} answers; two can be compared word by word")
    first, second = (shown(room.store.get(Sample, one)).text for one in desk.shown(question, me))
    alike, marked = differences(first, second)
    return Differences(alike=alike, html=marked)


@router.get("/projects/{name}/desk", include_in_schema=False)
def at_the_desk(name: Project, who: Answering, room: TheRoom) -> Desk:
    """Progress of the one who asks, and the guideline that holds now."""
    me, rule = who.person.pseudonym, room.people.guideline(name)
    return Desk(
        done=desk.done_by(room.store, me),
        open=desk.open_questions(room.store, name, me),
        guideline=rule.number,
        html=render(rule.text) if rule.text else "",
        why=standing(room, name, me).why,
        lesson=due(room, name, me),
    )


def _kept(room: Room, id: str) -> Kept:
    return Kept(feedback=id, state=room.store.feedback_state([id])[id])


def refused(error: Exception) -> HTTPException:
    """A refusal of the store as an answer to a client."""
    status = 404 if isinstance(error, Missing) else 409 if isinstance(error, Conflict) else 422
    return HTTPException(status, str(error))


__all__ = ["Visitor", "refused", "router"]

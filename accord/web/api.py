"""The public contract: claim, answer, give back, take back, and take the preferences out. Stable; see docs/people.md.

Everything else in this room may change; these five routes, their fields and their meanings stay.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from accord.records import Answer, Asked, Comparison, Feedback, Form, Question, Ranking, Rating, Sample, Text
from accord.store import Claim, Conflict, Missing, Refused, desk
from accord.web.doors import Answering, Room, Seeing, TheRoom, Visitor
from accord.web.pairs import rows
from accord.web.render import render

router = APIRouter(prefix="/api")
Id = Annotated[str, Path(pattern=r"^[\w.:-]{1,128}$", description="An id that a claim or an answer gave.")]
Project = Annotated[str, Path(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f]+$", description="Name of a queue.")]
SAYS: dict[Form, str] = {
    "comparison": "comparison",
    "rating": "rating",
    "ranking": "ranking",
    "correction": "correction",
    "critique": "critique",
    "demonstration": "written",
}
"""Which kind of answer each form of question takes."""


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


class Turn(BaseModel):
    """One turn of a conversation."""

    role: str
    text: str
    """As it was written."""
    html: str
    """Safe to show: sanitised, loads nothing."""


class Shown(BaseModel):
    """One sample to judge."""

    id: str
    text: str
    """As it was written; several turns are joined by blank lines. Spans of a critique count in its last turn."""
    html: str
    """Safe to show: sanitised, loads nothing."""
    last: int
    """Where its last turn begins, in code points of `text`."""


class Lease(BaseModel):
    """A question that is yours for a while."""

    model_config = ConfigDict(use_attribute_docstrings=True)
    id: str
    """Answer under this id."""
    question: str
    """Id of the question."""
    project: str
    form: Form
    """Which kind of answer is wanted."""
    criteria: list[str]
    """Respects to judge by; empty for overall."""
    guideline: str
    """Version of the guideline that the question names."""
    prompt: list[Turn]
    """The conversation so far."""
    samples: list[Shown]
    """What to judge, in the order in which this person is to see it."""
    shown: list[str]
    """Ids in that order; kept with the answer."""
    until: float
    """End of the lease, in seconds since 1970. A later answer is still kept."""


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


@router.post("/claims")
def claim(wanted: Wanted, who: Answering, room: TheRoom) -> Leases:
    """Take questions to answer. Nobody else gets their slots until the lease ends."""
    me, count = who.person.pseudonym, min(wanted.count, room.settings.most)
    found = desk.held(room.store, me, wanted.project, room.settings.lease, count) if wanted.resume else []
    if len(found) < count:
        found += room.store.claim(me, wanted.project, count - len(found), room.settings.lease)
    return Leases(claims=[lease(one) for one in found])


@router.put("/claims/{id}/answer")
def answer(id: Id, given: Given, who: Answering, room: TheRoom) -> Kept:
    """Answer under a claim. The same again gets the same reply; an answer that comes too late is kept as surplus."""
    me = who.person.pseudonym
    fields: dict[str, Any] = {} if given.made is None else {"made": given.made}

    def made(question: Question) -> Feedback:
        _fits(question, given.answer)
        return Feedback(
            id=given.id,
            question=question.id,
            annotator=me,
            answer=given.answer,
            shown=desk.shown(question, me),
            seconds=given.seconds,
            note=given.note,
            replaces=given.replaces,
            **fields,
        )

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

    def lines() -> Iterator[bytes]:
        for row in rows(room.store, name, key):
            yield json.dumps(row, ensure_ascii=False).encode() + b"\n"

    return StreamingResponse(lines(), media_type="application/jsonl")


# --- for our own pages; may change ------------------------------------------------------------------------------


class Desk(BaseModel):
    """What the judging page shows at its edge."""

    done: int
    open: int
    guideline: int
    html: str


@router.get("/projects/{name}/desk", include_in_schema=False)
def at_the_desk(name: Project, who: Answering, room: TheRoom) -> Desk:
    """Progress of the one who asks, and the guideline that holds now."""
    me, rule = who.person.pseudonym, room.people.guideline(name)
    return Desk(
        done=desk.done_by(room.store, me),
        open=desk.open_questions(room.store, name, me),
        guideline=rule.number,
        html=render(rule.text) if rule.text else "",
    )


# --- from records to what is sent ------------------------------------------------------------------------------


def lease(claim: Claim) -> Lease:
    """A claim as it is sent: texts rendered, gold and model names left out."""
    asked, question = claim.asked, claim.asked.question
    return Lease(
        id=claim.id,
        question=question.id,
        project=question.project,
        form=question.form,
        criteria=list(question.criteria),
        guideline=question.guideline,
        prompt=conversation(asked),
        samples=[shown(sample) for sample in asked.samples],
        shown=[sample.id for sample in asked.samples],
        until=claim.until,
    )


def conversation(asked: Asked) -> list[Turn]:
    """The prompt, turn by turn."""
    content = asked.prompt.content
    if isinstance(content, Text):
        return [Turn(role=m.role, text=m.content, html=render(m.content)) for m in content.messages]
    text = _described(content)
    return [Turn(role="user", text=text, html=render(text))]


def shown(sample: Sample) -> Shown:
    """A sample without a word about who made it."""
    content = sample.content
    text = "\n\n".join(m.content for m in content.messages) if isinstance(content, Text) else _described(content)
    last = len(text) - len(content.messages[-1].content) if isinstance(content, Text) else 0
    return Shown(id=sample.id, text=text, html=render(text), last=last)


def _described(content: Any) -> str:
    """Content that is no conversation, in words."""
    if content.kind == "slate":
        return "\n".join(f"{place}. {item}" for place, item in enumerate(content.items, 1))
    return ", ".join(f"{name} {value}" for name, value in content.model_dump().items() if name != "kind")


def _kept(room: Room, id: str) -> Kept:
    return Kept(feedback=id, state=room.store.feedback_state([id])[id])


def _fits(question: Question, said: Answer | None) -> None:
    """Raises Refused when an answer is not of the form that was asked for, or leaves something out."""
    if said is None:
        return
    if said.kind != SAYS[question.form]:
        raise Refused(f"question {question.id} asks for a {SAYS[question.form]}, the answer is a {said.kind}")
    names = set(question.samples)
    if isinstance(said, Ranking) and {sample for place in said.order for sample in place} != names:
        raise Refused(f"a ranking of question {question.id} places each of its {len(names)} samples")
    if isinstance(said, Rating):
        criteria = set(question.criteria) or {""}
        off = names ^ set(said.scores) or {c for by in said.scores.values() for c in criteria ^ set(by)}
        if off:
            raise Refused(f"a rating scores every sample by every criterion, nothing else; look at {sorted(off)[:3]}")
    if isinstance(said, Comparison) and question.criteria and said.criterion not in question.criteria:
        raise Refused(f"criterion {said.criterion!r} is none of {', '.join(question.criteria)}")


def refused(error: Exception) -> HTTPException:
    """A refusal of the store as an answer to a client."""
    status = 404 if isinstance(error, Missing) else 409 if isinstance(error, Conflict) else 422
    return HTTPException(status, str(error))


__all__ = ["Visitor", "refused", "router"]

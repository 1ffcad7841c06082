"""Talking with a model: two answers at each turn, streamed side by side; the one that is chosen goes on.

Each turn is kept as what it is: a prompt (the conversation so far), two samples and a question, leased to the person
who talks. It is answered under the public contract like any other comparison. Whoever speaks is handed in: this room
knows no model and no torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from fastapi import APIRouter, HTTPException
from fastapi.responses import HTMLResponse, StreamingResponse
from pydantic import BaseModel, Field, JsonValue

from accord.records import Message, Prompt, Question, Sample, Text, new_id
from accord.store import Refused, Store, desk
from accord.web.api import SENT, standing
from accord.web.doors import Answering, Room, TheRoom
from accord.web.render import render
from accord.web.sent import lease

QUEUE = "chat"
LONGEST = 100
"""Turns of one conversation."""
router = APIRouter(include_in_schema=False)


@dataclass(frozen=True)
class Piece:
    """An answer so far."""

    text: str
    """The whole of it up to here."""
    finished: bool = False
    """Whether it ended by itself; False in the last piece of an answer that was cut."""


@dataclass(frozen=True)
class Speaker:
    """Somebody to talk with."""

    speak: Callable[[Sequence[Message], int], Iterator[Piece]]
    """From a conversation and a seed to an answer, piece by piece."""
    version: str | None = None
    """Id of the version that speaks, for lineage."""
    sampling: Mapping[str, JsonValue] = field(default_factory=dict)
    """How it draws."""


class Turn(BaseModel):
    """What the person says next."""

    model_config = SENT
    said: str = Field(min_length=1, max_length=8000)
    after: str | None = Field(default=None, max_length=128)
    """Question of the turn before; none at the beginning."""
    chosen: str | None = Field(default=None, max_length=128)
    """Sample of that turn that goes on."""


@router.get("/chat")
def page(who: Answering, room: TheRoom) -> HTMLResponse:
    """The page on which people talk."""
    if not room.speakers:
        raise HTTPException(404, "nobody is here to talk with: start with `accord serve --chat VERSION`")
    return HTMLResponse(room.pages.get_template("chat.html").render(who=who))


@router.post("/api/chat")
def turn(given: Turn, who: Answering, room: TheRoom) -> StreamingResponse:
    """Two answers, line by line as `{"side", "html"}`, each so far; the last line is the `claim` to answer under."""
    if not room.speakers:
        raise HTTPException(404, "nobody is here to talk with")
    me = who.person.pseudonym
    if why := standing(room, QUEUE, me).why:
        raise Refused(why)
    messages = (*before(room.store, given, me), Message(role="user", content=given.said))
    if len(messages) > 2 * LONGEST:
        raise Refused(f"a conversation has at most {LONGEST} turns; begin another")
    return StreamingResponse(lines(room, messages, me), media_type="application/x-ndjson")


def before(store: Store, given: Turn, annotator: str) -> tuple[Message, ...]:
    """The conversation up to the answer that was chosen; only one's own can be gone on with."""
    if given.after is None:
        return ()
    question = store.get(Question, given.after)
    if (
        question.project != QUEUE
        or not desk.holds(store, question.id, annotator)
        or given.chosen not in question.samples
    ):
        raise Refused("a conversation goes on from a turn of your own, with one of its answers")
    assert given.chosen is not None
    prompt, sample = store.get(Prompt, question.prompt).content, store.get(Sample, given.chosen).content
    assert isinstance(prompt, Text)
    assert isinstance(sample, Text)
    return (*prompt.messages, *sample.messages)


def lines(room: Room, messages: tuple[Message, ...], annotator: str) -> Iterator[bytes]:
    """Both answers in step, each in the place where this person is to see it; then the claim."""
    prompt = Prompt(content=Text(messages=messages), source=QUEUE)
    speakers = (room.speakers * 2)[:2]
    ids = (new_id(), new_id())
    question = Question(prompt=prompt.id, samples=ids, project=QUEUE, arm=QUEUE)
    place = {sample: side for side, sample in enumerate(desk.shown(question, annotator))}
    last = [Piece(""), Piece("")]
    try:
        answers = [one.speak(messages, at) for at, one in enumerate(speakers, int(question.id[:8], 16))]
        for both in zip_longest(*answers):
            for at, piece in enumerate(both):
                if piece is not None:
                    last[at] = piece
                    yield _line({"side": place[ids[at]], "html": render(piece.text, keep=False)})
    except Exception as error:
        room.trouble(error)
        yield _line({"error": "the model stumbled; nothing was kept, say it again"})
        return
    samples = [
        Sample(
            id=id,
            prompt=prompt.id,
            content=Text(messages=(Message(role="assistant", content=piece.text),)),
            finished=piece.finished,
            version=speaker.version,
            sampling=dict(speaker.sampling),
            source=QUEUE,
        )
        for id, piece, speaker in zip(ids, last, speakers, strict=True)
    ]
    claim = desk.put_and_hold(room.store, [prompt, *samples, question], question, annotator, room.settings.lease)
    yield _line({"claim": lease(claim, QUEUE).model_dump(mode="json")})


def _line(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace") + b"\n"

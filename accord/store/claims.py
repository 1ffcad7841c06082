"""Leases on questions, and what becomes of answers.

A slot is one of the `wanted` answers of a question. It is taken by a live lease or by a standing answer, and
`queue.open` counts those that are left, so no statement walks all questions. Each annotator has come to a place
in the queue; a question whose slot comes back moves to the end, so that those who passed it meet it again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from accord.records import (
    Answer,
    Asked,
    Comparison,
    Correction,
    Critique,
    Feedback,
    Question,
    Ranking,
    Rating,
    Record,
    new_id,
)
from accord.store import schema
from accord.store.errors import Conflict, Missing, Refused

_queue, _claim, _feedback = schema.queue.c, schema.claim.c, schema.feedback.c
_SWEEP = 500


class Claim(Record):
    """A lease on a question: who may answer it until when. A view; not kept as a record."""

    id: str
    """What `answer` and `release` ask for."""
    asked: Asked
    """The question, its prompt, and its samples in the order shown."""
    annotator: str
    """Who holds it."""
    until: float
    """Seconds since 1970; after it the slot may go to somebody else."""


@dataclass(frozen=True)
class Lease:
    """A row of the table `claim`."""

    id: str
    question: str
    annotator: str
    until: float
    state: str


def shown(question: Question, annotator: str) -> tuple[str, ...]:
    """Sample ids in the order in which this annotator sees them: always the same, and fair over annotators.

    The order is that of SHA-256 over (question, annotator, sample), so each sample of a pair stands first half of
    the time, and a run that is made again shows the same.
    """

    def key(sample: str) -> str:
        return hashlib.sha256(json.dumps([question.id, annotator, sample]).encode()).hexdigest()

    return tuple(sorted(question.samples, key=key))


def places(connection: Connection, count: int) -> int:
    """Reserve the next places of the queue; the first of them. Holds back other writers until the commit."""
    last = connection.scalar(
        update(schema.meta)
        .where(schema.meta.c.name == "place")
        .values(value=schema.meta.c.value + count)
        .returning(schema.meta.c.value)
    )
    assert last is not None
    return int(last) - count + 1


def take(
    connection: Connection, annotator: str, project: str, count: int, seconds: float, now: float
) -> list[tuple[Lease, Question]]:
    """Lease up to `count` questions that this annotator has not answered and does not hold."""
    while True:
        swept = _sweep(connection, now)
        taken = _take_open(connection, annotator, project, count)
        if len(taken) >= count or swept < _SWEEP:
            break
    leases = [Lease(new_id(), id, annotator, now + seconds, "live") for id in taken]
    if not leases:
        return []
    rows = [{**vars(lease), "project": project} for lease in leases]
    connection.execute(insert(schema.claim), rows)
    table = schema.RECORDS["question"]
    found = connection.execute(select(table.c.id, table.c.payload).where(table.c.id.in_(taken)))
    questions = {id: Question.model_validate_json(payload) for id, payload in found}
    return [(lease, questions[lease.question]) for lease in leases]


def _take_open(connection: Connection, annotator: str, project: str, count: int) -> list[str]:
    """Walk the open questions behind the annotator's place, take slots, and move the place on."""
    c = schema.passed.c
    here = (c.project == project) & (c.annotator == annotator)
    start = connection.scalar(select(c.place).where(here).with_for_update())
    place = at = start or 0
    whole, taken, size = True, list[str](), count + 8
    while len(taken) < count:
        open_ones = select(_queue.question, _queue.place).where(
            _queue.project == project, _queue.place > at, _queue.open > 0
        )
        rows = connection.execute(open_ones.order_by(_queue.place).limit(size)).all()
        ids = [row.question for row in rows]
        had = _had(connection, annotator, ids)
        # Rows that another worker is taking at this moment are skipped, and then not counted as passed.
        free = select(_queue.question).where(_queue.question.in_(ids), _queue.open > 0)
        locked = set(connection.scalars(free.with_for_update(skip_locked=True)))
        for row in rows:
            if len(taken) == count:
                break
            if row.question not in had:
                if row.question in locked:
                    taken.append(row.question)
                else:
                    whole = False
            at = row.place
            place = at if whole else place
        if len(rows) < size:
            break
    if taken:
        moved = update(schema.queue).where(_queue.question.in_(taken))
        connection.execute(moved.values(leases=_queue.leases + 1, open=_queue.open - 1))
    if start is None:
        connection.execute(insert(schema.passed).values(project=project, annotator=annotator, place=place))
    elif place > start:
        connection.execute(update(schema.passed).where(here).values(place=place))
    return taken


def _had(connection: Connection, annotator: str, questions: list[str]) -> set[str]:
    """Those of the questions that the annotator holds or has answered (a skip is an answer here)."""
    held = select(_claim.question).where(
        _claim.annotator == annotator, _claim.state == "live", _claim.question.in_(questions)
    )
    answered = select(_feedback.question).where(
        _feedback.annotator == annotator,
        _feedback.state.in_(("standing", "surplus")),
        _feedback.question.in_(questions),
    )
    return set(connection.scalars(held)) | set(connection.scalars(answered))


def _sweep(connection: Connection, now: float, question: str | None = None) -> int:
    """Free the slots of leases that have run out; at most a few hundred at a time."""
    late = select(_claim.id, _claim.question).where(_claim.state == "live", _claim.until <= now)
    if question is not None:
        late = late.where(_claim.question == question)
    rows = connection.execute(late.order_by(_claim.until).limit(_SWEEP).with_for_update(skip_locked=True)).all()
    if rows:
        connection.execute(update(schema.claim).where(_claim.id.in_([r.id for r in rows])).values(state="expired"))
        for row in rows:
            free_slot(connection, row.question, lease=True)
    return len(rows)


def free_slot(connection: Connection, question: str, lease: bool) -> None:
    """A slot comes back, from a lease or from an answer, and the question goes to the end of the queue."""
    column = _queue.leases if lease else _queue.answers
    connection.execute(
        update(schema.queue)
        .where(_queue.question == question)
        .values({column.name: column - 1, "open": _queue.open + 1, "place": places(connection, 1)})
    )


def find(connection: Connection, id: str, lock: bool = True) -> Lease:
    """A lease by id. Raises Missing."""
    query = select(_claim.id, _claim.question, _claim.annotator, _claim.until, _claim.state).where(_claim.id == id)
    row = connection.execute(query.with_for_update() if lock else query).one_or_none()
    if row is None:
        raise Missing("claim", [id], "take one with `claim`; its id is not the question's")
    return Lease(*row)


def release(connection: Connection, id: str) -> bool:
    """Give a lease back. Whether it was still live; giving back twice is harmless."""
    lease = find(connection, id)
    if lease.state != "live":
        return False
    connection.execute(update(schema.claim).where(_claim.id == id).values(state="released"))
    free_slot(connection, lease.question, lease=True)
    return True


def answer(connection: Connection, id: str, said: Feedback, now: float) -> Feedback:
    """Keep an answer given under a lease. Raises Refused when lease and answer do not belong together."""
    lease = find(connection, id)
    if lease.annotator != said.annotator:
        raise Refused(f"claim {id} is held by {lease.annotator!r}, not by {said.annotator!r}: take a claim of your own")
    if lease.question != said.question:
        raise Refused(f"claim {id} is for question {lease.question}, the answer is for {said.question}")
    _sweep(connection, now, lease.question)
    return keep(connection, said, find(connection, id, lock=False))[0]


def keep(connection: Connection, said: Feedback, lease: Lease | None) -> tuple[Feedback, bool]:
    """Write feedback and count it. Returns what is kept, and whether it is new.

    A standing answer takes a slot: that of the lease when it is live, else a free one. Where none is free it is
    kept as `surplus`. A skip takes none. Raises Conflict, Missing, Refused.
    """
    asked = schema.RECORDS["question"]
    standing = select(_queue.project, _queue.open, asked.c.payload).join(asked, asked.c.id == _queue.question)
    standing = standing.where(_queue.question == said.question).with_for_update(of=schema.queue)
    place = connection.execute(standing).one_or_none()
    kept = connection.scalar(select(_feedback.payload).where(_feedback.id == said.id))
    if kept is not None:
        before = Feedback.model_validate_json(kept)
        if before != said:
            raise Conflict("feedback", said.id)
        return before, False
    if place is None:
        raise Missing("question", [said.question], "put the question before what was said to it")
    _check(said, place.payload)
    old = _taken_back(connection, said)
    held = lease is not None and lease.state == "live"
    if lease is not None:
        connection.execute(update(schema.claim).where(_claim.id == lease.id).values(state="answered", feedback=said.id))
    state = _state(connection, said, old, held, int(place.open))
    fields = {"question": said.question, "annotator": said.annotator, "replaces": said.replaces}
    values = {"id": said.id, "project": place.project, "state": state, "payload": said.model_dump_json(), **fields}
    connection.execute(insert(schema.feedback).values(**values))
    return said, True


def _state(connection: Connection, said: Feedback, old: Row[Any] | None, held: bool, free: int) -> str:
    """Decide what the feedback is, and move the slots accordingly."""
    vacated = old is not None and old.state == "standing" and _counts(Feedback.model_validate_json(old.payload))
    if old is not None:
        connection.execute(update(schema.feedback).where(_feedback.id == old.id).values(state="replaced"))
    again = old is None and _said(connection, said)
    takes = _counts(said) and not again and (vacated or held or free > 0)
    if vacated and not takes:
        free_slot(connection, said.question, lease=False)
    if held and (vacated or not takes):
        free_slot(connection, said.question, lease=True)
    elif held:
        move = {"leases": _queue.leases - 1, "answers": _queue.answers + 1}
        connection.execute(update(schema.queue).where(_queue.question == said.question).values(move))
    elif takes and not vacated:
        move = {"open": _queue.open - 1, "answers": _queue.answers + 1}
        connection.execute(update(schema.queue).where(_queue.question == said.question).values(move))
    if said.answer is None and said.replaces is not None:
        return "withdrawal"
    if again or (_counts(said) and not takes):
        return "surplus"
    return "standing"


def _counts(said: Feedback) -> bool:
    """Whether it is an answer: a skip and a withdrawal leave the slot to somebody else."""
    return said.answer is not None


def _said(connection: Connection, said: Feedback) -> bool:
    """Whether this annotator has a standing answer to this question already."""
    query = select(_feedback.id).where(
        _feedback.question == said.question, _feedback.annotator == said.annotator, _feedback.state == "standing"
    )
    return connection.scalar(query.limit(1)) is not None


def _taken_back(connection: Connection, said: Feedback) -> Row[Any] | None:
    """The feedback that this one replaces. Raises Missing, and Refused when it is somebody else's or gone."""
    if said.replaces is None:
        return None
    query = select(_feedback.id, _feedback.annotator, _feedback.question, _feedback.state, _feedback.payload).where(
        _feedback.id == said.replaces
    )
    old: Row[Any] | None = connection.execute(query.with_for_update()).one_or_none()  # type: ignore[assignment]
    if old is None:
        raise Missing("feedback", [said.replaces], "only what was kept can be taken back")
    if old.annotator != said.annotator or old.question != said.question:
        raise Refused(
            f"feedback {old.id} of {old.annotator!r} to question {old.question} cannot be taken back "
            f"by {said.annotator!r} answering question {said.question}"
        )
    if old.state in ("replaced", "withdrawal"):
        raise Refused(f"feedback {old.id} was taken back before; name the one that stands now")
    return old


def _check(said: Feedback, payload: str) -> None:
    """An answer may only speak of the samples that were asked about."""
    named = set(_samples(said.answer)) | set(said.shown)
    if not named:
        return
    question = Question.model_validate_json(payload)
    stray = sorted(named - set(question.samples))
    if stray:
        raise Refused(
            f"question {question.id} asks about {len(question.samples)} samples; {stray[:3]} are not among them"
        )
    if said.shown and (len(said.shown) != len(set(said.shown)) or len(said.shown) != len(question.samples)):
        raise Refused(f"shown names {len(said.shown)} samples, question {question.id} has {len(question.samples)}")


def _samples(given: Answer | None) -> list[str]:
    """Sample ids that an answer names."""
    match given:
        case Comparison():
            return [given.better] if given.better is not None else []
        case Rating():
            return list(given.scores)
        case Ranking():
            return [sample for place in given.order for sample in place]
        case Correction() | Critique():
            return [given.sample]
        case _:
            return []

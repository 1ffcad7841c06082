"""Answers: what is kept, and what becomes of it (standing, replaced, surplus, withdrawal)."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from accord.records import (
    Answer,
    Combined,
    Comparison,
    Correction,
    Critique,
    Feedback,
    Flags,
    Question,
    Ranking,
    Rating,
)
from accord.store import schema
from accord.store.claims import Lease, find, free_slot, sweep
from accord.store.errors import Conflict, Missing, Refused
from accord.store.tally import Counts, gave, stands

_queue, _claim, _feedback = schema.queue.c, schema.claim.c, schema.feedback.c
_asked = schema.RECORDS["question"]

# Built once: building a statement costs more than running it.
_STANDING = (
    select(_queue.project, _queue.open, _asked.c.payload)
    .join(_asked, _asked.c.id == _queue.question)
    .where(_queue.question == bindparam("question"))
    .with_for_update(of=schema.queue)
)
_KEPT = select(_feedback.payload).where(_feedback.id == bindparam("id"))
_SAID = (
    select(_feedback.id)
    .where(_feedback.question == bindparam("question"), _feedback.annotator == bindparam("annotator"))
    .where(_feedback.state == "standing")
    .limit(1)
)
_KEEP = insert(schema.feedback)
_ANSWERED = update(schema.claim).where(_claim.id == bindparam("of")).values(state="answered", feedback=bindparam("by"))
_TAKE = update(schema.queue).where(_queue.question == bindparam("of")).values(answers=_queue.answers + 1)
_TAKE_LEASED = _TAKE.values(leases=_queue.leases - 1)
_TAKE_FREE = _TAKE.values(open=_queue.open - 1)


def answer(connection: Connection, id: str, said: Feedback, now: float, counts: Counts | None = None) -> Feedback:
    """Keep an answer given under a lease. Raises Refused when lease and answer do not belong together."""
    lease = find(connection, id)
    if lease.annotator != said.annotator:
        raise Refused(f"claim {id} is held by {lease.annotator!r}, not by {said.annotator!r}: take a claim of your own")
    if lease.question != said.question:
        raise Refused(f"claim {id} is for question {lease.question}, the answer is for {said.question}")
    if sweep(connection, now, lease.question):
        lease = find(connection, id, lock=False)
    return keep(connection, said, lease, counts)[0]


def keep(
    connection: Connection, said: Feedback, lease: Lease | None, counts: Counts | None = None
) -> tuple[Feedback, bool]:
    """Write feedback and count it. Returns what is kept, and whether it is new.

    counts: where a transaction that keeps several gathers what it will count; without it the count is written here.

    A standing answer takes a slot: that of the lease when it is live, else a free one. Where none is free it is
    kept as `surplus`. A skip takes none. Raises Conflict, Missing, Refused.
    """
    place = connection.execute(_STANDING, {"question": said.question}).one_or_none()
    kept = connection.scalar(_KEPT, {"id": said.id})
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
        connection.execute(_ANSWERED, {"of": lease.id, "by": said.id})
    state = _state(connection, said, old, held, int(place.open))
    fields = {"question": said.question, "annotator": said.annotator, "replaces": said.replaces}
    values = {"id": said.id, "project": place.project, "state": state, "payload": said.model_dump_json(), **fields}
    connection.execute(_KEEP, values)
    _count(connection, counts, place.project, said, state, old)
    return said, True


def _count(
    connection: Connection, counts: Counts | None, project: str, said: Feedback, state: str, old: Row[Any] | None
) -> None:
    """Add what was said to the counters, and take away what it replaced."""
    gathered = counts or Counts()
    gathered.add(project, said.annotator, **gave(said), **stands(said, state))
    if old is not None:
        lost = stands(Feedback.model_validate_json(old.payload), old.state)
        gathered.add(project, said.annotator, **{name: -count for name, count in lost.items()})
    if counts is None:
        gathered.write(connection)


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
        connection.execute(_TAKE_LEASED, {"of": said.question})
    elif takes and not vacated:
        connection.execute(_TAKE_FREE, {"of": said.question})
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
    return connection.scalar(_SAID, {"question": said.question, "annotator": said.annotator}) is not None


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
            return [*([given.better] if given.better is not None else []), *(given.safe or ())]
        case Rating():
            return list(given.scores)
        case Ranking():
            return [sample for place in given.order for sample in place]
        case Flags():
            return list(given.flags)
        case Combined():
            return [*_samples(given.rating), *_samples(given.ranking), *given.flags]
        case Correction() | Critique():
            return [given.sample]
        case _:
            return []

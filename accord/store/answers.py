"""Answers: what is kept, and what becomes of it (standing, replaced, surplus, withdrawal)."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Row, bindparam, exists, insert, literal_column, select, text, update

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
from accord.store.claims import Lease, free_slot, sweep
from accord.store.errors import Conflict, Missing, Refused
from accord.store.prepared import Prepared
from accord.store.tally import Counts, gave, stands

_queue, _claim, _feedback = schema.queue.c, schema.claim.c, schema.feedback.c
_asked = schema.RECORDS["question"]

_PLACE = select(_queue.project, _queue.open, _asked.c.payload).join(_asked, _asked.c.id == _queue.question)
_STANDING = Prepared(_PLACE.where(_queue.question == bindparam("question")).with_for_update(of=schema.queue))
_HELD = Prepared(
    _PLACE.join(schema.claim, _claim.question == _queue.question)
    .add_columns(_claim.id, _claim.question, _claim.annotator, _claim.until, _claim.state)
    .where(_claim.id == bindparam("id"))
    .with_for_update(of=[schema.claim, schema.queue])
)
_said = select(_feedback.id).where(
    _feedback.question == bindparam("question"),
    _feedback.annotator == bindparam("annotator"),
    _feedback.state == literal_column("'standing'"),
)
_SAID = Prepared(_said.limit(1))
_kept = schema.feedback.alias("kept")
# Asked when the rows above are locked and not with them: on PostgreSQL a statement that waits sees what stood before.
_KNOWN = Prepared(
    select(
        select(_kept.c.payload).where(_kept.c.id == bindparam("id")).scalar_subquery(),
        select(_kept.c.state).where(_kept.c.id == bindparam("id")).scalar_subquery(),
        exists(_said.correlate(None)),
    )
)
_COLUMNS = ("id", "question", "annotator", "project", "replaces", "state", "payload")
_KEEP = Prepared(insert(schema.feedback).inline(), *_COLUMNS)
_ANSWERED = Prepared(
    update(schema.claim)
    .where(_claim.id == bindparam("of"))
    .values(state=literal_column("'answered'"), feedback=bindparam("by"))
)
_KEEP_ALL = Prepared(
    text(
        "WITH given AS (UPDATE claim SET state = 'answered', feedback = :id WHERE id = :claim), "
        "taken AS (UPDATE queue SET answers = answers + 1, leases = leases - 1 WHERE question = :question) "
        f"INSERT INTO feedback ({', '.join(_COLUMNS)}) VALUES ({', '.join(f':{name}' for name in _COLUMNS)})"
    )
)
"""On PostgreSQL, where each statement is a way there and back: what most answers do, at once."""
_one: ColumnElement[int] = literal_column("1")
_take = update(schema.queue).where(_queue.question == bindparam("of")).values(answers=_queue.answers + _one)
_TAKE_LEASED = Prepared(_take.values(leases=_queue.leases - _one))
_TAKE_FREE = Prepared(_take.values(open=_queue.open - _one))


class Place(NamedTuple):
    """Where a question stands, locked until the transaction ends."""

    project: str
    open: int
    question: Question


class Kept(NamedTuple):
    """What became of feedback."""

    feedback: Feedback
    new: bool
    state: str


def held(connection: Connection, claim: str) -> tuple[Lease, Place] | None:
    """A lease and where its question stands; None when there is no such lease."""
    row = _HELD.first(connection, id=claim)
    return None if row is None else (Lease(*row[3:]), _place(row[:3]))


def answer(connection: Connection, id: str, said: Feedback, now: float, counts: Counts | None = None) -> Kept:
    """Keep an answer given under a lease. Raises Refused when lease and answer do not belong together."""
    found = held(connection, id)
    if found is None:
        raise Missing("claim", [id], "take one with `claim`; its id is not the question's")
    return settle(connection, *found, said, now, counts)


def settle(
    connection: Connection, lease: Lease, place: Place, said: Feedback, now: float, counts: Counts | None = None
) -> Kept:
    """The same where lease and place were looked up before."""
    if lease.annotator != said.annotator:
        raise Refused(
            f"claim {lease.id} is held by {lease.annotator!r}, not by {said.annotator!r}: take a claim of your own"
        )
    if lease.question != said.question:
        raise Refused(f"claim {lease.id} is for question {lease.question}, the answer is for {said.question}")
    late = lease.state != "live" or lease.until <= now
    if late and sweep(connection, now, lease.question):
        again = held(connection, lease.id)
        assert again is not None
        lease, place = again
    return keep(connection, said, lease, counts, place)


def keep(
    connection: Connection,
    said: Feedback,
    lease: Lease | None,
    counts: Counts | None = None,
    place: Place | None = None,
) -> Kept:
    """Write feedback and count it. Returns what is kept, whether it is new, and its state.

    counts: where a transaction that keeps several gathers what it will count; without it the count is written here.
    place: where the question stands, if that was looked up (and locked) already.

    A standing answer takes a slot: that of the lease when it is live, else a free one. Where none is free it is
    kept as `surplus`. A skip takes none. Raises Conflict, Missing, Refused.
    """
    if place is None:
        found = _STANDING.first(connection, question=said.question)
        place = None if found is None else _place(found)
    known = _KNOWN.first(connection, id=said.id, question=said.question, annotator=said.annotator)
    assert known is not None
    payload, before, standing = known
    if payload is not None:
        kept = Feedback.model_validate_json(payload)
        if kept != said:
            raise Conflict("feedback", said.id)
        return Kept(kept, False, before)
    if place is None:
        raise Missing("question", [said.question], "put the question before what was said to it")
    check(said, place.question)
    old = _taken_back(connection, said)
    leased = lease is not None and lease.state == "live"
    fields: dict[str, Any] = {
        "id": said.id,
        "project": place.project,
        "question": said.question,
        "annotator": said.annotator,
    }
    fields |= {"replaces": said.replaces, "payload": said.model_dump_json()}
    plain = leased and old is None and not standing and _counts(said)
    if lease is not None and plain and connection.dialect.name == "postgresql":
        state = "standing"
        _KEEP_ALL.run(connection, **fields, state=state, claim=lease.id)
    else:
        if lease is not None:
            _ANSWERED.run(connection, of=lease.id, by=said.id)
        state = _state(connection, said, old, leased, place.open, bool(standing))
        _KEEP.run(connection, **fields, state=state)
    _count(connection, counts, place.project, said, state, old)
    return Kept(said, True, state)


def said_before(connection: Connection, question: str, annotator: str) -> bool:
    """Whether this annotator has a standing answer to this question already."""
    return _SAID.value(connection, question=question, annotator=annotator) is not None


def _place(row: tuple[Any, ...]) -> Place:
    return Place(row[0], int(row[1]), Question.model_validate_json(row[2]))


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


def _state(connection: Connection, said: Feedback, old: Row[Any] | None, held: bool, free: int, standing: bool) -> str:
    """Decide what the feedback is, and move the slots accordingly. standing: they have an answer that stands."""
    vacated = old is not None and old.state == "standing" and _counts(Feedback.model_validate_json(old.payload))
    if old is not None:
        connection.execute(update(schema.feedback).where(_feedback.id == old.id).values(state="replaced"))
    again = old is None and standing
    takes = _counts(said) and not again and (vacated or held or free > 0)
    if vacated and not takes:
        free_slot(connection, said.question, lease=False)
    if held and (vacated or not takes):
        free_slot(connection, said.question, lease=True)
    elif held:
        _TAKE_LEASED.run(connection, of=said.question)
    elif takes and not vacated:
        _TAKE_FREE.run(connection, of=said.question)
    if said.answer is None and said.replaces is not None:
        return "withdrawal"
    if again or (_counts(said) and not takes):
        return "surplus"
    return "standing"


def _counts(said: Feedback) -> bool:
    """Whether it is an answer: a skip and a withdrawal leave the slot to somebody else."""
    return said.answer is not None


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


def check(said: Feedback, question: Question) -> None:
    """Raises Refused for an answer that speaks of other samples than those that were asked about."""
    named = set(_samples(said.answer)) | set(said.shown)
    if not named:
        return
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

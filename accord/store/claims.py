"""Leases on questions: who is asked what, and until when.

A slot is one of the `wanted` answers of a question. It is taken by a live lease or by a standing answer, and
`queue.open` counts those that are left, so no statement walks all questions. Each annotator has come to a place
in the queue; a question whose slot comes back moves to the end, so that those who passed it meet it again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import BindParameter, Connection, bindparam, exists, insert, literal_column, select, text, update

from accord.records import Asked, Question, Record, new_id
from accord.store import schema
from accord.store.errors import Missing
from accord.store.prepared import Among, Prepared, Row

_queue, _claim, _feedback = schema.queue.c, schema.claim.c, schema.feedback.c
_asked, _passed = schema.RECORDS["question"].c, schema.passed.c
_SWEEP = 500
LONGEST = 7 * 86_400.0
"""Seconds of the longest lease. One that ends later than that was given while the clock was wrong."""

# Written out and not given as values, so that the indexes over what is live and what is open are taken at once.
_LIVE = _claim.state == literal_column("'live'")
_FREE = _queue.open > literal_column("0")
_FIND = select(_claim.id, _claim.question, _claim.annotator, _claim.until, _claim.state).where(
    _claim.id == bindparam("id")
)
_FIND_LOCKED = Prepared(_FIND.with_for_update())
_LATE_ROWS = (
    select(_claim.id, _claim.question)
    .where(_LIVE, _claim.until <= bindparam("now"))
    .order_by(_claim.until)
    .limit(_SWEEP)
    .with_for_update(skip_locked=True)
)
_LATE = Prepared(_LATE_ROWS)
_LATE_OF_ONE = Prepared(_LATE_ROWS.where(_claim.question == bindparam("question")))
_STRAY = Prepared(
    select(_claim.id, _claim.question)
    .where(_LIVE, _claim.until > bindparam("end"))
    .limit(_SWEEP)
    .with_for_update(skip_locked=True)
)
_HERE = (_passed.project == bindparam("project")) & (_passed.annotator == bindparam("annotator"))
_late_ones = exists().where(_LIVE, _claim.until <= bindparam("now"))
_PLACE = Prepared(select(_passed.place, _late_ones).where(_HERE).with_for_update(of=schema.passed))
"""How far somebody has come, and whether any lease has ended."""
# Two first claims of one person may come at once.
_ARRIVE = Prepared(
    text(
        "INSERT INTO passed (project, annotator, place) VALUES (:project, :annotator, :place) "
        "ON CONFLICT (project, annotator) DO UPDATE SET place = excluded.place WHERE passed.place < excluded.place"
    )
)
_WHO: BindParameter[str] = bindparam("annotator")
_OPEN_ROWS = (
    select(_queue.question, _queue.place, _asked.payload)
    .join(schema.RECORDS["question"], _asked.id == _queue.question)
    .where(_queue.project == bindparam("project"), _queue.place > bindparam("at"), _FREE)
    .where(
        ~exists().where(_claim.question == _queue.question, _claim.annotator == _WHO, _LIVE),
        ~exists().where(
            _feedback.question == _queue.question,
            _feedback.annotator == _WHO,
            _feedback.state.in_([literal_column("'standing'"), literal_column("'surplus'")]),
        ),
    )
    .order_by(_queue.place)
    .limit(bindparam("count"))
)
"""Open questions behind a place that the annotator neither holds nor has answered (a skip is an answer here)."""
# Rows that another worker is taking at this moment are skipped, not waited for.
_NEXT = Prepared(_OPEN_ROWS.with_for_update(skip_locked=True, of=schema.queue))
_LEASE = Among(
    lambda those: (
        update(schema.queue)
        .where(_queue.question.in_(those))
        .values(leases=_queue.leases + literal_column("1"), open=_queue.open - literal_column("1"))
    )
)
_COLUMNS = ("id", "question", "annotator", "project", "until", "state")
_KEEP = Prepared(insert(schema.claim), *_COLUMNS)
_KEPT = f"INSERT INTO claim ({', '.join(_COLUMNS)}) VALUES ({', '.join(f':{name}' for name in _COLUMNS)})"
_TAKE_ONE = Prepared(
    text(
        "WITH taken AS (UPDATE queue SET leases = leases + 1, open = open - 1 "
        f"WHERE question = CAST(:question AS varchar)) {_KEPT}"
    )
)
"""On PostgreSQL, where each statement is a way there and back: slot and lease at once."""
_PASS = Prepared(
    text(
        "INSERT INTO passed (project, annotator, place) "
        "VALUES (CAST(:project AS varchar), CAST(:annotator AS varchar), coalesce((SELECT place - 1 FROM queue "
        "WHERE project = CAST(:project AS varchar) AND place > CAST(:at AS bigint) AND open > 0 "
        "AND NOT EXISTS (SELECT 1 FROM claim WHERE claim.question = queue.question "
        "AND claim.annotator = CAST(:annotator AS varchar) AND claim.state = 'live') "
        "AND NOT EXISTS (SELECT 1 FROM feedback WHERE feedback.question = queue.question "
        "AND feedback.annotator = CAST(:annotator AS varchar) AND feedback.state IN ('standing', 'surplus')) "
        "ORDER BY place LIMIT 1), CAST(:last AS bigint))) "
        "ON CONFLICT (project, annotator) DO UPDATE SET place = excluded.place WHERE passed.place < excluded.place"
    )
)
"""There too, where others may take, or give back, what is ahead: look and move on at once."""


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
    # SQLite has one writer, so nobody takes the one ahead meanwhile: it is read with the others.
    alone = connection.dialect.name == "sqlite"
    while True:
        start, ended = _PLACE.first(connection, project=project, annotator=annotator, now=now) or (None, True)
        swept = sweep(connection, now) if ended else 0
        here = {"project": project, "annotator": annotator, "at": start or 0}
        rows = _NEXT.rows(connection, **here, count=count + alone)
        if len(rows) >= count or (swept < _SWEEP and not strays(connection, now)):
            break
    if not rows:
        return []
    taken = rows[:count]
    leases = [Lease(new_id(), id, annotator, now + seconds, "live") for id, _, _ in taken]
    kept = [{**vars(lease), "project": project} for lease in leases]
    if not alone and len(kept) == 1:
        _TAKE_ONE.run(connection, **kept[0])
    else:
        _LEASE.run(connection, [lease.question for lease in leases])
        _KEEP.run_all(connection, kept)
    # One that was skipped lies before the next that is open, so the place does not go past it.
    last = rows[count][1] - 1 if len(rows) > count else taken[-1][1]
    if not alone:
        _PASS.run(connection, **here, last=last)
    elif start is None or last > start:
        _ARRIVE.run(connection, project=project, annotator=annotator, place=last)
    return [(lease, Question.model_validate_json(row[2])) for lease, row in zip(leases, taken, strict=True)]


def hold(connection: Connection, question: Question, annotator: str, until: float, project: str = "") -> str:
    """Lease one question that was just put to one annotator; the id of the lease.

    project: the queue in which they meet it, where it is not that of the question.
    """
    lease = Lease(new_id(), question.id, annotator, until, "live")
    _LEASE.run(connection, [question.id])
    _KEEP.run(connection, **vars(lease), project=project or question.project)
    return lease.id


def sweep(connection: Connection, now: float, question: str | None = None) -> int:
    """Free the slots of leases that have run out; at most a few hundred at a time."""
    if question is None:
        rows = _LATE.rows(connection, now=now)
    else:
        rows = _LATE_OF_ONE.rows(connection, now=now, question=question)
    return _expire(connection, rows)


def strays(connection: Connection, now: float) -> int:
    """Free the slots of leases that end later than any lease can: the clock had jumped ahead and came back."""
    return _expire(connection, _STRAY.rows(connection, end=now + LONGEST))


def _expire(connection: Connection, rows: Sequence[Row]) -> int:
    if rows:
        connection.execute(update(schema.claim).where(_claim.id.in_([id for id, _ in rows])).values(state="expired"))
        for _, question in rows:
            free_slot(connection, question, lease=True)
    return len(rows)


def free_slot(connection: Connection, question: str, lease: bool) -> None:
    """A slot comes back, from a lease or from an answer, and the question goes to the end of the queue."""
    column = _queue.leases if lease else _queue.answers
    connection.execute(
        update(schema.queue)
        .where(_queue.question == question)
        .values({column.name: column - 1, "open": _queue.open + 1, "place": places(connection, 1)})
    )


def find(connection: Connection, id: str) -> Lease:
    """A lease by id. Raises Missing."""
    row = _FIND_LOCKED.first(connection, id=id)
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

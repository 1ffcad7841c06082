"""Counters that are kept, so that nobody who looks at a queue walks through it.

A row for each project and annotator, written in the transaction that changes what it counts, and one row with no
annotator for the questions. Two people never wait for each other's row. A transaction that counts for several writes
all its rows last and in order, so that no two can hold each other up for ever.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, select, text, update

from accord.records import Feedback
from accord.store import schema
from accord.store.prepared import Prepared

LONGEST = 900.0
"""Seconds that one answer counts for at most: a page that was left open all night is no work."""
FIELDS = ("questions", "wanted", "answers", "standing", "surplus", "given", "seconds")
_tally, _queue, _feedback = schema.tally.c, schema.queue.c, schema.feedback.c
_ADD = Prepared(
    text(
        f"INSERT INTO tally (project, annotator, {', '.join(FIELDS)}) "
        f"VALUES (:project, :annotator, {', '.join(f':{name}' for name in FIELDS)}) "
        "ON CONFLICT (project, annotator) DO UPDATE SET "
        + ", ".join(f"{name} = tally.{name} + excluded.{name}" for name in FIELDS)
    )
)


@dataclass(frozen=True)
class Count:
    """What one person has done in one project."""

    annotator: str
    """Pseudonym."""
    answers: int
    """Slots that they fill."""
    standing: int
    """What they said that stands, skips too."""
    surplus: int
    """Answers that came when no slot was free."""
    given: int
    """Answers in all, also those that were taken back or replaced; no skips."""
    seconds: float
    """Time at work, over everything they gave; one answer counts for `LONGEST` at most."""


class Counts:
    """What a transaction will add, row by row; written once, at its end."""

    def __init__(self) -> None:
        self._rows: defaultdict[tuple[str, str], defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))

    def add(self, project: str, annotator: str = "", **more: float) -> None:
        """Remember to add this; names are those of `FIELDS`."""
        row = self._rows[project, annotator]
        for name, value in more.items():
            row[name] += value

    def write(self, connection: Connection) -> None:
        """Add it all, in the order of project and annotator."""
        rows = [
            {"project": project, "annotator": annotator, **{name: row.get(name, 0) for name in FIELDS}}
            for (project, annotator), row in sorted(self._rows.items())
            if any(row.values())
        ]
        if rows:
            _ADD.run_all(connection, rows)
        self._rows.clear()


def stands(said: Feedback, state: str) -> dict[str, int]:
    """What feedback counts for as long as it is in a state; nothing when it was taken back."""
    standing = state == "standing"
    return {"answers": standing and said.answer is not None, "standing": standing, "surplus": state == "surplus"}


def gave(said: Feedback) -> dict[str, float]:
    """What feedback counts for whatever becomes of it."""
    return {"given": said.answer is not None, "seconds": min(said.seconds, LONGEST)}


def of_project(connection: Connection, project: str) -> tuple[int, int, list[Count]]:
    """Questions of a project, answers wanted to them, and what each person has done."""
    rows = connection.execute(select(schema.tally).where(_tally.project == project)).all()
    asked = next((row for row in rows if row.annotator == ""), None)
    people = [
        Count(row.annotator, row.answers, row.standing, row.surplus, row.given, row.seconds)
        for row in rows
        if row.standing or row.surplus or row.given or row.seconds
    ]
    return (asked.questions, asked.wanted, people) if asked else (0, 0, people)


def of_person(connection: Connection, annotator: str) -> int:
    """How much one annotator has said that stands or is surplus, over all projects."""
    query = select(func.sum(_tally.standing), func.sum(_tally.surplus)).where(_tally.annotator == annotator)
    standing, surplus = connection.execute(query).one()
    return int(standing or 0) + int(surplus or 0)


def in_project(connection: Connection, project: str, annotator: str) -> int:
    """How much one annotator has said that stands in one project."""
    here = (_tally.project == project) & (_tally.annotator == annotator)
    return int(connection.scalar(select(_tally.standing).where(here)) or 0)


def recount(connection: Connection) -> None:
    """Count everything anew, from the queue and from what was said; for a store that kept no counters yet."""
    connection.execute(delete(schema.tally))
    counts = Counts()
    query = select(_queue.project, func.count(), func.sum(_queue.wanted)).group_by(_queue.project)
    for project, questions, wanted in connection.execute(query):
        counts.add(project, questions=questions, wanted=wanted)
    said = select(_feedback.sequence, _feedback.project, _feedback.state, _feedback.payload)
    last = 0
    while True:
        rows = connection.execute(said.where(_feedback.sequence > last).order_by(_feedback.sequence).limit(1000)).all()
        if not rows:
            break
        for last, project, state, payload in rows:  # noqa: B007
            if state != "erased":
                one = Feedback.model_validate_json(payload)
                counts.add(project, one.annotator, **gave(one), **stands(one, state))
    counts.write(connection)


def forget(connection: Connection, annotator: str, fresh: str | None) -> None:
    """Rows of a person under another pseudonym, or none when there is none."""
    theirs = _tally.annotator == annotator
    if fresh is None:
        connection.execute(delete(schema.tally).where(theirs))
    else:
        connection.execute(update(schema.tally).where(theirs).values(annotator=fresh))

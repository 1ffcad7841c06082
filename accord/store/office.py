"""What those who lead decide: rules of a queue, who works in it, what was settled, who is told, and who did what when.

Tables of their own beside the records. Every act is written down in `event`, which only ever grows (an erasure may
take a name out of it). Hooks are cursors over what was said: an answer costs nothing more because somebody listens.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from pydantic import JsonValue
from sqlalchemy import (
    Boolean,
    Column,
    Connection,
    Float,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)

from accord.records import Feedback, Question, Record, new_id
from accord.store import answers, schema
from accord.store.errors import Missing, Refused
from accord.store.gold import is_right
from accord.store.rules import Rules, Standing
from accord.store.store import Store
from accord.store.tally import Counts

LATEST = 7 * 86_400.0
"""Seconds for which a listener is put off at most; the Standard Webhooks' waits end after about three days."""
metadata = MetaData()
_Count = schema.RECORDS["feedback"].c.sequence.type

rules = Table("rules", metadata, Column("project", String, primary_key=True), Column("payload", Text, nullable=False))
assigned = Table(
    "assigned",
    metadata,
    Column("project", String, primary_key=True),
    Column("annotator", String, primary_key=True),
)
settled = Table(
    "settled",
    metadata,
    Column("question", String, primary_key=True),
    Column("feedback", String, nullable=False),
    Column("annotator", String, nullable=False),
    Column("made", Float, nullable=False),
)
event = Table(
    "event",
    metadata,
    Column("sequence", _Count, primary_key=True, autoincrement=True),
    Column("made", Float, nullable=False),
    Column("annotator", String, nullable=False, index=True),
    Column("act", String, nullable=False),
    Column("about", String, nullable=False),
    Column("detail", Text, nullable=False),
    sqlite_autoincrement=True,
)
hook = Table(
    "hook",
    metadata,
    Column("id", String, primary_key=True),
    Column("url", Text, nullable=False),
    Column("secret", String, nullable=False),
    Column("project", String, nullable=False),
    Column("after", _Count, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("due", Float, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("said", Text, nullable=False),
)


class Event(Record):
    """One line of the audit log."""

    sequence: int
    made: float
    annotator: str
    """Pseudonym of who did it."""
    act: str
    about: str
    detail: dict[str, JsonValue]


class Hook(Record):
    """Somebody else's server that is told what is said."""

    id: str
    url: str
    secret: str
    """`whsec_` and base64, as the Standard Webhooks have it; shared with the listener."""
    project: str
    """Queue; empty for all."""
    after: int
    """Sequence of the last feedback that was delivered."""
    failures: int = 0
    due: float = 0.0
    active: bool = True
    said: str = ""
    """What went wrong last."""


class Said(NamedTuple):
    """Feedback with its place in the order of insertion."""

    sequence: int
    project: str
    state: str
    feedback: Feedback


class Office:
    """The verbs of those who lead, over one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.tables(metadata)

    # --- rules and people of a queue ---------------------------------------------------------------------------

    def rules(self, project: str) -> Rules:
        """What holds for a queue."""
        with self._store.reading() as connection:
            found = connection.scalar(select(rules.c.payload).where(rules.c.project == project))
        return Rules.model_validate_json(found) if found else Rules()

    def set_rules(self, project: str, chosen: Rules) -> None:
        """Other rules, from now on. Raises Refused when a queue would be the test for itself."""
        if chosen.qualify == project:
            raise Refused(f"queue {project!r} cannot be the qualification for itself; name another queue")
        with self._store.writing() as connection:
            connection.execute(delete(rules).where(rules.c.project == project))
            connection.execute(insert(rules).values(project=project, payload=chosen.model_dump_json()))

    def assigned(self, project: str) -> set[str]:
        """Pseudonyms of those who were assigned to a queue."""
        with self._store.reading() as connection:
            return set(connection.scalars(select(assigned.c.annotator).where(assigned.c.project == project)))

    def assign(self, project: str, annotator: str, on: bool = True) -> None:
        """Give a queue to a person, or take it away. Twice is harmless."""
        with self._store.writing() as connection:
            here = (assigned.c.project == project) & (assigned.c.annotator == annotator)
            connection.execute(delete(assigned).where(here))
            if on:
                connection.execute(insert(assigned).values(project=project, annotator=annotator))

    def standing(self, project: str, annotator: str) -> Standing:
        """Whether a person gets questions of a queue, and what is in the way."""
        chosen = self.rules(project)
        if chosen.paused:
            return Standing(may=False, why="this queue is paused")
        if chosen.only_assigned and annotator not in self.assigned(project):
            return Standing(may=False, why="this queue was given to other people")
        if chosen.qualify:
            right, done = self.gold(chosen.qualify, annotator)
            if done < chosen.least:
                why = f"first answer {chosen.least} test questions of {chosen.qualify} ({done} done)"
                return Standing(may=False, why=why, first=chosen.qualify)
            if right < chosen.share * done:
                why = f"{right} of {done} test answers in {chosen.qualify} were right; {chosen.share:.0%} are needed"
                return Standing(may=False, why=why)
        return Standing(may=True, repeats=chosen.repeats)

    def gold(self, project: str, annotator: str) -> tuple[int, int]:
        """How many gold questions of a queue a person got right, and how many they answered."""
        said = list(self._store.feedback(project=project, annotator=annotator))
        questions = self._store.get_many(Question, (one.question for one in said))
        verdicts = [is_right(questions[one.question].gold, one.answer) for one in said]
        return sum(one is True for one in verdicts), sum(one is not None for one in verdicts)

    # --- questions ---------------------------------------------------------------------------------------------

    def withdraw(self, question: str) -> None:
        """Ask nobody any more. What is in hand may still be answered. Raises Missing."""
        self._want(question, 0)

    def restore(self, question: str) -> None:
        """Ask again, as many as the question says. Raises Missing."""
        self._want(question, self._store.get(Question, question).wanted)

    def _want(self, question: str, wanted: int) -> None:
        c = schema.queue.c
        values = {"wanted": wanted, "open": wanted - c.answers - c.leases}
        with self._store.writing() as connection:
            query = select(c.project, c.wanted).where(c.question == question).with_for_update()
            before = connection.execute(query).one_or_none()
            if before is None:
                raise Missing("question", [question], "check the id")
            connection.execute(update(schema.queue).where(c.question == question).values(**values))
            counts = Counts()
            counts.add(before.project, wanted=wanted - before.wanted)
            counts.write(connection)

    def settle(self, said: Feedback) -> Feedback:
        """The word of somebody who leads, where people disagree: it gets a slot of its own, so that it stands.

        Raises Refused when the question was settled before (undo that first) or by somebody who answered it.
        """
        c = schema.queue.c
        with self._store.writing() as connection:
            if connection.scalar(select(settled.c.feedback).where(settled.c.question == said.question)):
                raise Refused(f"question {said.question} was settled before")
            if answers.said_before(connection, said.question, said.annotator):
                raise Refused(f"question {said.question} has your own answer; let somebody else settle it")
            grown = update(schema.queue).where(c.question == said.question)
            connection.execute(grown.values(wanted=c.wanted + 1, open=c.open + 1))
            counts = Counts()
            kept = answers.keep(connection, said, None, counts).feedback
            project = connection.scalar(select(c.project).where(c.question == said.question)) or ""
            counts.add(project, wanted=1)
            counts.write(connection)
            row = {"question": said.question, "feedback": kept.id, "annotator": said.annotator, "made": time.time()}
            connection.execute(insert(settled).values(**row))
        return kept

    def settled(self, questions: list[str]) -> set[str]:
        """Those of the questions that were settled."""
        with self._store.reading() as connection:
            return set(connection.scalars(select(settled.c.question).where(settled.c.question.in_(questions))))

    # --- who did what ------------------------------------------------------------------------------------------

    def note(self, annotator: str, act: str, about: str = "", **detail: JsonValue) -> None:
        """A line in the audit log."""
        with self._store.writing() as connection:
            _note(connection, annotator, act, about, detail)

    def events(self, before: int | None = None, count: int = 200) -> list[Event]:
        """The last lines of the audit log, newest first; those before a line when it is named."""
        query = select(event).order_by(event.c.sequence.desc()).limit(count)
        if before is not None:
            query = query.where(event.c.sequence < before)
        with self._store.reading() as connection:
            rows = connection.execute(query).mappings().all()
        return [Event(**{**row, "detail": json.loads(row["detail"])}) for row in rows]

    # --- hooks -------------------------------------------------------------------------------------------------

    def add_hook(self, url: str, secret: str, project: str = "") -> Hook:
        """A listener; it is told what is said from now on."""
        with self._store.writing() as connection:
            last = connection.scalar(select(func.max(schema.feedback.c.sequence))) or 0
            made = Hook(id=new_id(), url=url, secret=secret, project=project, after=last)
            connection.execute(insert(hook).values(**made.model_dump()))
        return made

    def hooks(self) -> list[Hook]:
        """All listeners."""
        with self._store.reading() as connection:
            return [Hook(**row) for row in connection.execute(select(hook).order_by(hook.c.id)).mappings()]

    def drop_hook(self, id: str) -> bool:
        """Tell it no more. Whether it was there."""
        with self._store.writing() as connection:
            return bool(connection.execute(delete(hook).where(hook.c.id == id)).rowcount)

    def take_hook(self, now: float, seconds: float = 60) -> Hook | None:
        """A listener whose time has come, for this worker alone for so many seconds."""
        c = hook.c
        # One that is due later than any wait was put off while the clock was wrong.
        due = or_(c.due <= now, c.due > now + LATEST)
        query = select(hook).where(c.active, due).order_by(c.due).limit(1).with_for_update(skip_locked=True)
        with self._store.writing() as connection:
            row = connection.execute(query).mappings().one_or_none()
            if row is None:
                return None
            connection.execute(update(hook).where(c.id == row["id"]).values(due=now + seconds))
        return Hook(**row)

    def put_hook(self, id: str, **values: object) -> None:
        """What became of telling it."""
        with self._store.writing() as connection:
            connection.execute(update(hook).where(hook.c.id == id).values(**values))

    def said_after(self, sequence: int, count: int) -> list[Said]:
        """Feedback behind a place in the order of insertion."""
        c = schema.feedback.c
        query = select(c.sequence, c.project, c.state, c.payload).where(c.sequence > sequence)
        with self._store.reading() as connection:
            rows = connection.execute(query.order_by(c.sequence).limit(count)).all()
        return [Said(r.sequence, r.project, r.state, Feedback.model_validate_json(r.payload)) for r in rows]


def _note(connection: Connection, annotator: str, act: str, about: str, detail: Mapping[str, Any]) -> None:
    line = {"made": time.time(), "annotator": annotator, "act": act, "about": about}
    connection.execute(insert(event).values(**line, detail=json.dumps(dict(detail), ensure_ascii=False)))


__all__ = ["Event", "Hook", "Office", "Rules", "Said", "Standing"]

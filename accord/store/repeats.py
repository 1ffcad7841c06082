"""The same comparison again, to the same person, with the sides swapped: how far somebody agrees with themselves.

A repeat is a question of its own in a queue beside the first one, so that no belief, export or count of that queue
holds a word twice. It is leased to the person before anybody else could see it, and shown as any other question.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from sqlalchemy import Column, Connection, Float, Index, MetaData, String, Table, func, insert, select
from sqlalchemy.exc import IntegrityError

from accord.records import Comparison, Feedback, Question, named_id
from accord.store import claims, schema, tally, writing
from accord.store.claims import Claim
from accord.store.store import Store

BESIDE = " \u00b7 again"
"""Ends the name of the queue in which the repeats of another one stand."""
GAP = 20
"""Answers that lie between a question and its repeat, at least: nobody shall answer from memory."""
REACH = 200
"""Among so many answers before those it is chosen."""

metadata = MetaData()
again = Table(
    "again",
    metadata,
    Column("question", String, primary_key=True),
    Column("original", String, nullable=False),
    Column("annotator", String, nullable=False),
    Column("project", String, nullable=False),
    Column("made", Float, nullable=False),
)
Index("again_by_person", again.c.project, again.c.annotator)
Index("again_by_time", again.c.project, again.c.made)
_feedback = schema.feedback.c


@dataclass(frozen=True)
class Twice:
    """What one person said to one comparison, and to it again."""

    annotator: str
    first: Feedback
    second: Feedback

    @property
    def same(self) -> bool:
        """Whether they said the same, by sample and not by side; how strongly does not matter."""
        return _word(self.first) == _word(self.second)

    @property
    def stayed(self) -> bool:
        """Whether they chose the same side both times, and so the other sample."""
        return not self.same and "" not in (sides := {_side(self.first), _side(self.second)}) and len(sides) == 1


class Repeats:
    """The verbs on repeats, over one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.tables(metadata)

    def due(self, project: str, annotator: str, share: float) -> bool:
        """Whether it is time to ask this person something again; two looks by index."""
        if share <= 0 or is_repeats(project):
            return False
        here = (again.c.project == project) & (again.c.annotator == annotator)
        with self._store.reading() as connection:
            said = tally.in_project(connection, project, annotator)
            asked = connection.scalar(select(func.count()).where(here)) or 0
        return bool(asked < share * (said - GAP))

    def ask(self, project: str, annotator: str, seconds: float) -> Claim | None:
        """Lease one of their own comparisons to them again, sides swapped; None where there is none to repeat."""
        until = time.time() + seconds
        try:
            with self._store.writing() as connection:
                question = self._next(connection, project, annotator)
                if question is None:
                    return None
                writing.put(connection, [question])
                id = claims.hold(connection, question, annotator, until, project)
        except IntegrityError:  # two requests of one person at once chose the same: one of them is enough
            return None
        (asked,) = self._store.ask([question], annotator)
        return Claim(id=id, asked=asked, annotator=annotator, until=until)

    def said(self, project: str, most: int = 500) -> list[Twice]:
        """The last comparisons of a project that were answered twice, and stand both times."""
        query = select(again.c.question, again.c.original, again.c.annotator).where(again.c.project == project)
        with self._store.reading() as connection:
            rows = connection.execute(query.order_by(again.c.made.desc()).limit(most)).all()
            wanted = {(id, row.annotator) for row in rows for id in (row.question, row.original)}
            there = _standing(connection, [id for id, _ in wanted])
        return [
            Twice(row.annotator, there[first], there[second])
            for row in rows
            if (first := (row.original, row.annotator)) in there and (second := (row.question, row.annotator)) in there
        ]

    def _next(self, connection: Connection, project: str, annotator: str) -> Question | None:
        """Which comparison, chosen by hash among those that lie far enough back and were not repeated yet."""
        standing = (_feedback.annotator == annotator) & (_feedback.project == project) & (_feedback.state == "standing")
        rows = connection.scalars(
            select(_feedback.payload).where(standing).order_by(_feedback.sequence.desc()).offset(GAP).limit(REACH)
        ).all()
        said = [Feedback.model_validate_json(row) for row in rows]
        fit = {one.question: one for one in said if isinstance(one.answer, Comparison) and len(one.shown) == 2}
        before = select(again.c.original).where(again.c.annotator == annotator, again.c.original.in_(list(fit)))
        for id in connection.scalars(before):
            fit.pop(id)
        if not fit:
            return None
        chosen = min(fit, key=lambda id: hashlib.sha256(f"{id} {annotator}".encode()).digest())
        table = schema.RECORDS["question"].c
        original = Question.model_validate_json(
            connection.execute(select(table.payload).where(table.id == chosen)).scalar_one()
        )
        made = mirrored(original, fit[chosen])
        row = {"question": made.id, "original": chosen, "annotator": annotator, "project": project}
        connection.execute(insert(again).values(**row, made=time.time()))
        return made


def mirrored(original: Question, said: Feedback) -> Question:
    """The same question under the first of its further names whose order, for this person, is the other way round.

    The order shown is a hash of question, person and sample (`claims.shown`), so about every second name will do.
    """
    fields = {"project": original.project + BESIDE, "wanted": 1, "gold": None, "arm": "repeat", "propensity": 1.0}
    for number in count():
        name = named_id("again", original.id, said.annotator, number)
        made = original.model_copy(update={**fields, "id": name})
        if claims.shown(made, said.annotator) == said.shown[::-1]:
            return made
    raise AssertionError("count() does not end")


def is_repeats(project: str) -> bool:
    """Whether a queue holds the repeats of another one; such a queue is claimed from by nobody."""
    return project.endswith(BESIDE)


def _standing(connection: Connection, questions: Sequence[str]) -> dict[tuple[str, str], Feedback]:
    """What stands, by question and annotator."""
    found = {}
    for at in range(0, len(questions), 500):
        part = _feedback.question.in_(questions[at : at + 500])
        for row in connection.scalars(select(_feedback.payload).where(part, _feedback.state == "standing")):
            one = Feedback.model_validate_json(row)
            if isinstance(one.answer, Comparison):
                found[one.question, one.annotator] = one
    return found


def _word(said: Feedback) -> str:
    assert isinstance(said.answer, Comparison)
    return said.answer.better or said.answer.verdict


def _side(said: Feedback) -> str:
    """`left` or `right`; empty when nobody won."""
    assert isinstance(said.answer, Comparison)
    return ("left" if said.answer.better == said.shown[0] else "right") if said.answer.better else ""

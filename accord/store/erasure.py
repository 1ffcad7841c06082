"""Forgetting a person: unlink (nobody knows whose word it was) or withdraw (the word goes, and what rests on it).

Where a withdrawn word stood a stone stays, with the id alone, so that an old export cannot bring the word back.
Beliefs that rested on it are taken away; versions that learned from those are marked, put aside under another name,
and can be made again from the rest.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, MetaData, String, delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from accord.records import Feedback, Message, Prompt, Question, Record, Sample, Text, Version, new_id
from accord.store import claims, people, schema, tally
from accord.store.belongings import ERASED, Known, parts
from accord.store.store import Store

_feedback, _claim, _queue, _taint = schema.feedback.c, schema.claim.c, schema.queue.c, schema.taint.c


def unlink(store: Store, who: Known) -> str:
    """Give their words a fresh pseudonym that nothing leads to, and remove the person. What they said stays.

    Returns the new pseudonym. Who kept the old one elsewhere, as in an exact export, can still tell by the texts.
    """
    fresh = f"p-{new_id().replace('-', '')[-10:]}"
    with store.writing() as connection:
        rows = connection.execute(select(_feedback.id, _feedback.payload).where(_feedback.annotator == who.pseudonym))
        for id, payload in rows.all():
            said = Feedback.model_validate_json(payload).model_copy(update={"annotator": fresh})
            _replace(connection, "feedback", id, said, annotator=fresh)
        connection.execute(update(schema.claim).where(_claim.annotator == who.pseudonym).values(annotator=fresh))
        passed = schema.passed
        connection.execute(update(passed).where(passed.c.annotator == who.pseudonym).values(annotator=fresh))
        tally.forget(connection, who.pseudonym, fresh)
        _person(connection, who)
        _elsewhere(connection, who, fresh)
        _owe(connection)
    finish(store)
    return fresh


def withdraw(store: Store, who: Known) -> dict[str, str]:
    """Take away what somebody said and wrote, and the beliefs on it; mark the versions. Their names before -> now.

    All or nothing, in one transaction; then the file is written anew. Their slots are open for others again.
    """
    with store.writing() as connection:
        _free(connection, who)
        query = select(_feedback.id, _feedback.question).where(_feedback.annotator == who.pseudonym)
        for id, question in connection.execute(query).all():
            stone = Feedback(id=id, question=question, annotator=ERASED, answer=None, made=0.0)
            _replace(connection, "feedback", id, stone, annotator=ERASED, replaces=None, state="erased")
        for id in who.samples:
            _empty(connection, id)
        for id in who.prompts:
            blank = Text(messages=(Message(role="user", content=f"[{ERASED}]"),))
            _replace(connection, "prompt", id, Prompt(id=id, content=blank, source=ERASED), source=ERASED)
        for kind, ids in (("preference", who.preferences), ("demonstration", who.demonstrations)):
            table = schema.RECORDS[kind]
            for part in parts(ids):
                connection.execute(delete(table).where(table.c.id.in_(part)))
            _mark(connection, kind, ids)
        aside = _put_aside(connection, who.versions)
        _mark(connection, "version", who.versions)
        for table in (schema.claim, schema.passed):
            connection.execute(delete(table).where(table.c.annotator == who.pseudonym))
        tally.forget(connection, who.pseudonym, None)
        _person(connection, who)
        _elsewhere(connection, who, None)
        _owe(connection)
    for digest in who.blobs:
        store.drop_blob(digest)
    finish(store)
    return aside


def finish(store: Store) -> bool:
    """Write the file anew where an erasure still owes it. Whether it did; raises StoreError when the file is busy."""
    owed = schema.meta.c.name == "rewrite"
    with store.reading() as connection:
        if connection.scalar(select(schema.meta.c.value).where(owed)) is None:
            return False
    store.rewrite()
    with store.writing() as connection:
        connection.execute(delete(schema.meta).where(owed))
    return True


# --- taking it away --------------------------------------------------------------------------------------------


def _free(connection: Connection, who: Known) -> None:
    """Slots that they held or filled go back, each at the end of the queue; skips filled none."""
    held = select(_claim.question).where(_claim.annotator == who.pseudonym, _claim.state == "live")
    for question in connection.scalars(held).all():
        claims.free_slot(connection, question, lease=True)
    rows = connection.execute(
        select(_feedback.question, _feedback.payload).where(
            _feedback.annotator == who.pseudonym, _feedback.state == "standing"
        )
    ).all()
    for question, payload in rows:
        if Feedback.model_validate_json(payload).answer is not None:
            claims.free_slot(connection, question, lease=False)


def _empty(connection: Connection, id: str) -> None:
    """Take the words out of a sample that they wrote, and close the questions about it."""
    table = schema.RECORDS["sample"].c
    old = Sample.model_validate_json(connection.execute(select(table.payload).where(table.id == id)).scalar_one())
    blank = Text(messages=(Message(role="assistant", content=f"[{ERASED}]"),))
    _replace(connection, "sample", id, Sample(id=id, prompt=old.prompt, content=blank, source=ERASED), source=ERASED)
    asked = schema.RECORDS["question"].c
    rows = connection.execute(select(asked.id, asked.payload).where(asked.prompt == old.prompt)).all()
    for question in (row.id for row in rows if id in Question.model_validate_json(row.payload).samples):
        connection.execute(update(schema.queue).where(_queue.question == question).values(open=0))


def _put_aside(connection: Connection, versions: Mapping[str, str]) -> dict[str, str]:
    """Another name for each version, so that its own is free for the one made from the rest. Old name -> new."""
    table, aside = schema.RECORDS["version"].c, dict[str, str]()
    for id, name in versions.items():
        payload = connection.execute(select(table.payload).where(table.id == id)).scalar_one()
        old, new = Version.model_validate_json(payload), f"{name}-tainted-{id.replace('-', '')[-6:]}"
        weights = old.weights.removesuffix(name) + new if old.weights.endswith(name) else old.weights
        _replace(connection, "version", id, old.model_copy(update={"name": new, "weights": weights}), name=new)
        aside[name] = new
    return aside


def _mark(connection: Connection, kind: str, ids: Iterable[str]) -> None:
    """Remember what rested on an erased word."""
    there = set(connection.scalars(select(_taint.id).where(_taint.kind == kind)))
    fresh = [{"kind": kind, "id": id, "at": time.time()} for id in ids if id not in there]
    if fresh:
        connection.execute(insert(schema.taint), fresh)


def _replace(connection: Connection, kind: str, id: str, record: Record, **columns: str | None) -> None:
    """The one place where a kept record is changed."""
    table = schema.RECORDS[kind]
    connection.execute(update(table).where(table.c.id == id).values(payload=record.model_dump_json(), **columns))


def _person(connection: Connection, who: Known) -> None:
    """Remove the name, and every secret that opens the door to it."""
    if who.person:
        connection.execute(delete(people.secret).where(people.secret.c.person == who.person))
        connection.execute(delete(people.person).where(people.person.c.id == who.person))


def _elsewhere(connection: Connection, who: Known, fresh: str | None) -> None:
    """Rows of other rooms' tables with the person in a column: renamed, or removed with their texts."""
    names = [word for word in (who.pseudonym, who.person, who.name) if word]
    ours = {*schema.metadata.tables, *people.metadata.tables}
    for table in _all_tables(connection).sorted_tables:
        for column in table.columns:
            if table.name in ours or not isinstance(column.type, String):
                continue
            theirs = column.in_(names)
            if fresh is not None:
                try:
                    with connection.begin_nested():
                        connection.execute(update(table).where(theirs).values({column.name: fresh}))
                    continue
                except IntegrityError:
                    pass
            connection.execute(delete(table).where(theirs))


def _owe(connection: Connection) -> None:
    """Until the file is written anew the erasure is not done, also after a crash."""
    if connection.scalar(select(schema.meta.c.value).where(schema.meta.c.name == "rewrite")) is None:
        connection.execute(insert(schema.meta).values(name="rewrite", value=1))


def _all_tables(connection: Connection) -> MetaData:
    found = MetaData()
    found.reflect(connection)
    return found

"""Putting records in: nothing twice, nothing changed, links and queue filled in the same transaction."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Table, insert, select

from accord.records import KINDS, Demonstration, Feedback, Preference, Question, Record, Sample, Version
from accord.store import answers, claims, schema
from accord.store.errors import Conflict, Missing, Refused
from accord.store.prepared import Among
from accord.store.tally import Counts

CHUNK = 1000
"""Records written at a time; also bounds the memory that a large `put` needs."""

_NAMES: Mapping[type[Record], str] = {kind: name for name, kind in KINDS.items()}


def _by_id(table: Table) -> Among:
    return Among(lambda ids: select(table.c.id, table.c.payload).where(table.c.id.in_(ids)))


_BY_ID = {kind: _by_id(table) for kind, table in schema.RECORDS.items()}


def kind_of(kind: type[Record]) -> str:
    """Name of a kind of record, as in `preference`. Raises Refused for what is not kept."""
    name = _NAMES.get(kind)
    if name is None:
        raise Refused(f"{kind.__name__} is not kept by itself; kept are: {', '.join(KINDS)}")
    return name


class Put(NamedTuple):
    """What became of records that were put."""

    new: int
    """How many were not there before."""
    surplus: int
    """Answers among these that do not count: their question had as many as it wanted, or one of the same person."""


def put(connection: Connection, records: Iterable[Record]) -> Put:
    """Write records in one transaction, a chunk at a time."""
    new = surplus = 0
    owed: dict[tuple[str, str], None] = {}
    counts = Counts()
    for chunk in _chunks(records):
        for kind, rows in _by_kind(chunk).items():
            if kind == "feedback":
                states = _put_feedback(connection, rows, counts)
                new, surplus = new + len(states), surplus + states.count("surplus")
                continue
            fresh = _insert(connection, kind, rows)
            _link(connection, fresh, counts)
            if kind == "question":
                owed.update(_absent(connection, _needs(fresh)))
            new += len(fresh)
    for (kind, id), _ in _absent(connection, owed).items():
        raise Missing(kind, [id], "a question cannot be asked without it; put it before or together with the question")
    counts.write(connection)
    return Put(new, surplus)


def grounded(connection: Connection, records: Iterable[Record]) -> None:
    """Raises Missing when a sample or a belief is about a prompt or sample that the store does not hold."""
    need: dict[tuple[str, str], None] = {}
    for record in records:
        if isinstance(record, Sample | Preference | Demonstration):
            need["prompt", record.prompt] = None
        if isinstance(record, Preference):
            need |= {("sample", record.chosen): None, ("sample", record.rejected): None}
        if isinstance(record, Demonstration):
            need["sample", record.sample] = None
    for kind, id in _absent(connection, need):
        raise Missing(kind, [id], "a row may only point at what stands before it or in the store")


def row(kind: str, record: Record) -> dict[str, Any]:
    """The columns of one record."""
    known = {name: getattr(record, name) for name in schema.INDEXED[kind] if hasattr(record, name)}
    return {"id": record.id, "payload": record.model_dump_json(), **known}  # type: ignore[attr-defined]


def same(kind: str, record: Record, payload: str) -> bool:
    """Whether a record is the one that was kept, whatever the order of names within it."""
    return record.model_dump_json() == payload or KINDS[kind].model_validate_json(payload) == record


def present(connection: Connection, table: Table, ids: Sequence[str]) -> dict[str, str]:
    """Payload by id, for those that are there."""
    return dict(_BY_ID[table.name].rows(connection, ids))


def _insert(connection: Connection, kind: str, records: Sequence[Record]) -> list[Any]:
    """Insert those that are new, and return them."""
    table = schema.RECORDS[kind]
    ids = [record.id for record in records]  # type: ignore[attr-defined]
    kept = present(connection, table, ids)
    fresh: dict[str, Record] = {}
    for id, record in zip(ids, records, strict=True):
        if id in fresh:
            if fresh[id] != record:
                raise Conflict(kind, id)
        elif id not in kept:
            fresh[id] = record
        elif not same(kind, record, kept[id]):
            raise Conflict(kind, id)
    if fresh:
        gone = _erased(connection, kind, list(fresh))
        if gone:
            raise Refused(f"{kind} {gone[0]} rests on a word that was erased: believe again from what is left")
        connection.execute(insert(table), [row(kind, record) for record in fresh.values()])
    return list(fresh.values())


def _erased(connection: Connection, kind: str, ids: Sequence[str]) -> list[str]:
    """Those of new ids whose record was taken away because it rested on somebody who withdrew."""
    if kind not in ("preference", "demonstration"):
        return []
    found: list[str] = []
    for at in range(0, len(ids), 500):
        part = schema.taint.c.id.in_(ids[at : at + 500])
        found += connection.scalars(select(schema.taint.c.id).where(schema.taint.c.kind == kind, part))
    return found


def _link(connection: Connection, fresh: Sequence[Record], counts: Counts) -> None:
    """Fill the tables that lineage and the queue are read from."""
    rests, learned, queue = [], [], []
    for record in fresh:
        if isinstance(record, Preference | Demonstration):
            kind = kind_of(type(record))
            rests += [{"belief": record.id, "feedback": f, "kind": kind} for f in dict.fromkeys(record.feedback)]
        elif isinstance(record, Version):
            learned += [{"version": record.id, "item": item} for item in dict.fromkeys(record.data)]
        elif isinstance(record, Question):
            queue.append({"question": record.id, "project": record.project, "wanted": record.wanted})
            counts.add(record.project, questions=1, wanted=record.wanted)
    if rests:
        connection.execute(insert(schema.rests), rests)
    if learned:
        connection.execute(insert(schema.learned), learned)
    if queue:
        first = claims.places(connection, len(queue))
        for number, entry in enumerate(queue):
            entry.update(place=first + number, answers=0, leases=0, open=entry["wanted"])
        connection.execute(insert(schema.queue), queue)


def _put_feedback(connection: Connection, records: Sequence[Record], counts: Counts) -> list[str]:
    """Feedback that came without a claim: what becomes of it is decided as for a late answer. The states of the new."""
    states = []
    for record in records:
        assert isinstance(record, Feedback)
        kept = answers.keep(connection, record, None, counts)
        states += [kept.state] if kept.new else []
    return states


def _needs(questions: Sequence[Question]) -> dict[tuple[str, str], None]:
    """What questions point at."""
    need: dict[tuple[str, str], None] = {}
    for question in questions:
        need["prompt", question.prompt] = None
        need.update((("sample", sample), None) for sample in question.samples)
    return need


def _absent(connection: Connection, needs: Mapping[tuple[str, str], None]) -> dict[tuple[str, str], None]:
    """Those of `needs` that are not in the store (yet)."""
    absent: dict[tuple[str, str], None] = {}
    for kind in ("prompt", "sample"):
        table = schema.RECORDS[kind]
        ids = [id for of, id in needs if of == kind]
        for at in range(0, len(ids), 500):
            part = ids[at : at + 500]
            found = set(connection.scalars(select(table.c.id).where(table.c.id.in_(part))))
            absent.update(((kind, id), None) for id in part if id not in found)
    return absent


def _chunks(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Lists of at most CHUNK records."""
    chunk: list[Record] = []
    for record in records:
        chunk.append(record)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _by_kind(records: Sequence[Record]) -> dict[str, list[Record]]:
    """The records of each kind; what is pointed at comes before what points at it."""
    found: dict[str, list[Record]] = {kind: [] for kind in KINDS}
    for record in records:
        found[kind_of(type(record))].append(record)
    return {kind: rows for kind, rows in found.items() if rows}

"""The verbs of the store: put, get, ask, claim, answer, trace."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, MetaData, bindparam, func, literal_column, select, union_all

from accord.records import Asked, Feedback, Prompt, Question, Record, Sample
from accord.store import answers, claims, lineage, schema, writing
from accord.store.blobs import Blobs
from accord.store.claims import Claim
from accord.store.database import Database
from accord.store.errors import Missing, Refused
from accord.store.lineage import Lineage
from accord.store.near import hint
from accord.store.prepared import Among
from accord.store.tally import Counts

R = TypeVar("R", bound=Record)
PAGE = 500
_prompt, _sample = schema.RECORDS["prompt"].c, schema.RECORDS["sample"].c
_WHOLE = Among(
    lambda samples: union_all(
        select(literal_column("'prompt'"), _prompt.id, _prompt.payload).where(_prompt.id == bindparam("prompt")),
        select(literal_column("'sample'"), _sample.id, _sample.payload).where(_sample.id.in_(samples)),
    )
)
"""A prompt and samples, with their kinds."""


class Store:
    """Where records live. What a verb has acknowledged is on disk; it may be used from many threads and processes."""

    def __init__(self, database: Database, blobs: Blobs) -> None:
        self._database = database
        self._blobs = blobs

    @classmethod
    def open(cls, where: str | Path, blobs: str | Path | None = None) -> Store:
        """Open a store, and make it where there is none.

        `where` is a path, `sqlite:///path` or `postgresql+psycopg://...`. Blobs lie in `blobs/` beside the file
        (for PostgreSQL in `blobs/` here) unless another folder is named.
        """
        database = Database(where)
        beside = database.path.parent if database.path is not None else Path()
        return cls(database, Blobs(Path(blobs) if blobs is not None else beside / "blobs"))

    @classmethod
    def of(cls, project: Path, where: str = "") -> Store:
        """The store of a project's folder, or the one that is named.

        Raises Missing when there is no such file, so that a slip makes no empty one.
        """
        if "://" in where:
            return cls.open(where)
        place = Path(where) if where else project / "store.db"
        if not place.is_file():
            way = "begin with accord import, accord serve, or accord loop"
            raise Missing(place.name, [f"{place.parent}{'' if where else hint(project)}"], way)
        return cls.open(place)

    def close(self) -> None:
        """Give the connections back."""
        self._database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # --- keeping -----------------------------------------------------------------------------------------------

    def put(self, records: Iterable[Record]) -> int:
        """Keep records, all or none; how many were new.

        The same id with equal content is passed over. Raises Conflict for the same id with other content, and
        Missing for a question whose prompt or samples are nowhere. Feedback put without a claim is counted like a
        late answer. Streams: the input may be larger than memory.
        """
        with self._database.writing() as connection:
            return writing.put(connection, records).new

    def get(self, kind: type[R], id: str) -> R:
        """One record by id. Raises Missing."""
        return self.get_many(kind, [id])[id]

    def get_many(self, kind: type[R], ids: Iterable[str]) -> dict[str, R]:
        """Records by id, in the order asked for. Raises Missing naming those that are not there."""
        with self._database.reading() as connection:
            return _records(connection, kind, ids)

    def all(self, kind: type[R], **equal: str | None) -> Iterator[R]:
        """Records of a kind in the order of insertion, in constant memory.

        Fields to select by are those of `schema.INDEXED`; kinds that have a prompt can also be selected by its
        `split` and `source`. What is put meanwhile may or may not appear.
        """
        name = writing.kind_of(kind)
        conditions = _conditions(name, equal)
        for payload in self._stream(name, conditions):
            yield kind.model_validate_json(payload)

    def count(self, kind: type[Record], **equal: str | None) -> int:
        """How many records `all` would give."""
        name = writing.kind_of(kind)
        query = select(func.count()).select_from(schema.RECORDS[name]).where(*_conditions(name, equal))
        with self._database.reading() as connection:
            return int(connection.scalar(query) or 0)

    def feedback(self, project: str | None = None, standing: bool = True, **equal: str | None) -> Iterator[Feedback]:
        """What was said, in the order of insertion; only what stands (not taken back, not surplus) unless told."""
        conditions = _conditions("feedback", equal if project is None else {**equal, "project": project})
        if standing:
            conditions.append(schema.feedback.c.state == "standing")
        for payload in self._stream("feedback", conditions):
            yield Feedback.model_validate_json(payload)

    def feedback_state(self, ids: Iterable[str]) -> dict[str, str]:
        """What became of feedback, as in `schema.feedback`. Unknown ids are left out."""
        c = schema.feedback.c
        with self._database.reading() as connection:
            rows = connection.execute(select(c.id, c.state).where(c.id.in_(list(ids)))).all()
        return {row.id: row.state for row in rows}

    def writing(self) -> AbstractContextManager[Connection]:
        """A write transaction, for the other files of this room; what was written in it is kept or lost as one."""
        return self._database.writing()

    def tables(self, metadata: MetaData) -> None:
        """Make the tables of another file of this room; several workers may open a new store at once."""
        with self.writing() as connection:
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(8272341)")
            metadata.create_all(connection)

    @property
    def near(self) -> bool:
        """Whether it is a file here, so that a look at one row is no wait."""
        return self._database.sqlite

    def looking(self) -> AbstractContextManager[Connection]:
        """For prepared statements of the other files of this room, each of which stands for itself."""
        return self._database.looking()

    def reading(self) -> AbstractContextManager[Connection]:
        """A short read transaction, for the other files of this room."""
        return self._database.reading()

    # --- asking and answering ----------------------------------------------------------------------------------

    def claim(
        self, annotator: str, project: str = "default", count: int = 1, seconds: float = 600, now: float | None = None
    ) -> list[Claim]:
        """Lease up to `count` open questions to an annotator for so many seconds; fewer when there are fewer.

        Never more leases and standing answers than `wanted`, and never a question that this annotator holds or has
        answered or skipped. `now` is the clock, in seconds since 1970.
        """
        if count < 1 or not 0 < seconds <= claims.LONGEST:
            raise Refused(
                f"a claim needs count >= 1 and seconds in 0..{claims.LONGEST:.0f}; got count={count}, seconds={seconds}"
            )
        clock = time.time() if now is None else now
        with self._database.writing() as connection:
            taken = claims.take(connection, annotator, project, count, seconds, clock)
        asked = self.ask([question for _, question in taken], annotator)
        return [
            Claim(id=lease.id, asked=one, annotator=annotator, until=lease.until)
            for (lease, _), one in zip(taken, asked, strict=True)
        ]

    def ask(self, questions: Sequence[Question], annotator: str) -> list[Asked]:
        """Questions with all that is needed to answer them, samples in the order that this annotator sees.

        The right answer of a question that tests the annotator is taken out.
        """
        orders = [claims.shown(question, annotator) for question in questions]
        with self._database.looking() as connection:
            prompts, samples = _shown(connection, [question.prompt for question in questions], orders)
        return [
            Asked(
                question=question.model_copy(update={"gold": None}),
                prompt=prompts[question.prompt],
                samples=tuple(samples[id] for id in order),
            )
            for question, order in zip(questions, orders, strict=True)
        ]

    def answer(self, claim: str, said: Feedback, now: float | None = None) -> Feedback:
        """Keep an answer under a claim. Sending the same again is harmless and returns what is kept.

        A late answer stands when a slot is free and is kept as `surplus` when none is. Raises Conflict, Missing,
        and Refused for another person's claim, another question, or samples that were not asked about.
        """
        return self.answer_many([(claim, said)], now)[0]

    def answer_many(self, given: Sequence[tuple[str, Feedback]], now: float | None = None) -> list[Feedback]:
        """Answers under several claims, all or none, in one transaction."""
        clock = time.time() if now is None else now
        with self._database.writing() as connection:
            counts = Counts()
            kept = [answers.answer(connection, claim, said, clock, counts).feedback for claim, said in given]
            counts.write(connection)
            return kept

    def release(self, claim: str) -> bool:
        """Give a claim back unanswered, so that the question can be claimed again. Whether it was still live."""
        with self._database.writing() as connection:
            return claims.release(connection, claim)

    def undo(self, feedback: str, note: str = "") -> Feedback:
        """Take back what was said: a new feedback without an answer that replaces it. The slot is free again."""
        old = self.get(Feedback, feedback)
        back = Feedback(question=old.question, annotator=old.annotator, answer=None, replaces=old.id, note=note)
        with self._database.writing() as connection:
            return answers.keep(connection, back, lease=None).feedback

    # --- where it went -----------------------------------------------------------------------------------------

    def trace_person(self, annotator: str) -> Lineage:
        """Which feedback, beliefs and versions rest on what one annotator said."""
        with self._database.reading() as connection:
            return lineage.trace_person(connection, annotator)

    def trace_version(self, id: str) -> Lineage:
        """Which people, feedback and beliefs a version rests on. Raises Missing."""
        with self._database.reading() as connection:
            return lineage.trace_version(connection, id)

    def tainted(self) -> dict[str, str]:
        """Ids of beliefs and versions that rested on an erased word -> their kind."""
        c = schema.taint.c
        with self._database.reading() as connection:
            return {row.id: row.kind for row in connection.execute(select(c.id, c.kind).order_by(c.at, c.id))}

    def rewrite(self) -> None:
        """Write the file anew, so that nothing of what was removed is left in it. Raises StoreError when it is busy."""
        self._database.rewrite()

    def put_blob(self, content: bytes) -> str:
        """Keep bytes; their SHA-256, which is their address."""
        return self._blobs.put(content)

    def blob(self, sha256: str) -> bytes:
        """Bytes by their SHA-256. Raises Missing."""
        return self._blobs.get(sha256)

    def drop_blob(self, sha256: str) -> bool:
        """Take bytes away; whether they were there. Who calls it knows that no record names them any more."""
        return self._blobs.drop(sha256)

    def _stream(self, kind: str, conditions: list[ColumnElement[bool]]) -> Iterator[str]:
        """Payloads page by page: each page is a short transaction, so a slow reader holds nobody up."""
        table, last = schema.RECORDS[kind].c, 0
        while True:
            query = select(table.sequence, table.payload).where(table.sequence > last, *conditions)
            with self._database.reading() as connection:
                rows = connection.execute(query.order_by(table.sequence).limit(PAGE)).all()
            for last, payload in rows:  # noqa: B007
                yield payload
            if len(rows) < PAGE:
                return


def _records(connection: Connection, kind: type[R], ids: Iterable[str]) -> dict[str, R]:
    """Records by id, in the order asked for. Raises Missing."""
    wanted = list(dict.fromkeys(ids))
    name = writing.kind_of(kind)
    found = writing.present(connection, schema.RECORDS[name], wanted)
    if absent := [id for id in wanted if id not in found]:
        raise Missing(name, absent)
    return {id: kind.model_validate_json(found[id]) for id in wanted}


def _shown(
    connection: Connection, asked: Sequence[str], orders: Sequence[Sequence[str]]
) -> tuple[dict[str, Prompt], dict[str, Sample]]:
    """Prompts and samples by id; those of one question by one statement. Raises Missing."""
    if len(asked) == 1 and 0 < len(orders[0]) <= 16:
        found = {id: (kind, payload) for kind, id, payload in _WHOLE.rows(connection, orders[0], prompt=asked[0])}
        if len(found) == 1 + len(orders[0]):
            prompt = Prompt.model_validate_json(found[asked[0]][1])
            return {prompt.id: prompt}, {id: Sample.model_validate_json(found[id][1]) for id in orders[0]}
    prompts = _records(connection, Prompt, asked)
    return prompts, _records(connection, Sample, (sample for order in orders for sample in order))


def _conditions(kind: str, equal: dict[str, Any]) -> list[ColumnElement[bool]]:
    """Equalities on indexed fields. Raises Refused naming those there are."""
    table, prompt = schema.RECORDS[kind].c, schema.RECORDS["prompt"].c
    conditions: list[ColumnElement[bool]] = []
    for name, value in equal.items():
        if name in schema.INDEXED[kind]:
            conditions.append(table[name] == value)
        elif name in ("split", "source") and "prompt" in schema.INDEXED[kind]:
            theirs = select(prompt.id).where(prompt.id == table.prompt, prompt[name] == value)
            conditions.append(theirs.exists())
        else:
            known = ", ".join(schema.INDEXED[kind]) + (", split, source" if "prompt" in schema.INDEXED[kind] else "")
            raise Refused(f"{kind} records cannot be selected by {name!r}; there are: {known}")
    return conditions

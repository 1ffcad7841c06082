"""On PostgreSQL: what several people ask and say at one moment, by a few statements and one trip to the disk.

There each statement is a way there and back between two processes, and each commit waits for the disk. So those who
come at once can be served at once. Rows are locked in one order (those of questions, then of people, then counters), so
that no two processes hold each other up for ever. What is not plain (late, said twice, taken back, refused) gets no
reply here and goes its own way, by the verbs of `claims.py` and `answers.py`; so does everybody when a statement fails.
SQLite has one writer, and `group_commit.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from accord.records import Asked, Feedback, Prompt, Question, Sample, new_id
from accord.store import answers, claims
from accord.store.claims import Claim
from accord.store.prepared import Prepared, bare
from accord.store.store import Store
from accord.store.tally import LONGEST

_PEOPLE = "unnest(CAST(:projects AS varchar[]), CAST(:annotators AS varchar[])) AS g (project, annotator)"
_PLACES = Prepared(
    text(
        "SELECT EXISTS (SELECT 1 FROM claim WHERE state = 'live' AND until <= CAST(:now AS float)) "
        f"FROM passed JOIN {_PEOPLE} ON passed.project = g.project AND passed.annotator = g.annotator "
        "ORDER BY passed.project, passed.annotator FOR UPDATE OF passed"
    )
)
"""Nobody else serves these people until the end; whether any lease has ended."""
_AHEAD = (
    "queue.place > coalesce((SELECT place FROM passed WHERE passed.project = {project} "
    "AND passed.annotator = {annotator}), 0) AND queue.project = {project} AND queue.open > 0 "
    "AND NOT EXISTS (SELECT 1 FROM claim WHERE claim.question = queue.question "
    "AND claim.annotator = {annotator} AND claim.state = 'live') "
    "AND NOT EXISTS (SELECT 1 FROM feedback WHERE feedback.question = queue.question "
    "AND feedback.annotator = {annotator} AND feedback.state IN ('standing', 'surplus')) ORDER BY queue.place "
)
_PASS = Prepared(
    text(
        "INSERT INTO passed (project, annotator, place) SELECT g.project, g.annotator, coalesce("
        f"(SELECT queue.place - 1 FROM queue WHERE {_AHEAD.format(project='g.project', annotator='g.annotator')} "
        "LIMIT 1), g.last) FROM (SELECT claim.project, claim.annotator, max(queue.place) AS last FROM claim "
        "JOIN queue ON queue.question = claim.question WHERE claim.id = ANY(CAST(:ids AS varchar[])) "
        "GROUP BY claim.project, claim.annotator ORDER BY claim.project, claim.annotator) AS g "
        "ON CONFLICT (project, annotator) DO UPDATE SET place = excluded.place WHERE passed.place < excluded.place"
    )
)
_TEXTS = Prepared(
    text(
        "SELECT 'prompt', id, payload FROM prompt WHERE id = ANY(CAST(:prompts AS varchar[])) UNION ALL "
        "SELECT 'sample', id, payload FROM sample WHERE id = ANY(CAST(:samples AS varchar[]))"
    )
)
_HELD = Prepared(
    text(
        "SELECT question.payload, queue.project, claim.id, claim.question, claim.annotator, claim.until, claim.state "
        "FROM queue JOIN question ON question.id = queue.question JOIN claim ON claim.question = queue.question "
        "WHERE claim.id = ANY(CAST(:ids AS varchar[])) ORDER BY claim.question, claim.id FOR UPDATE OF claim, queue"
    )
)
_KEEP = Prepared(
    text(
        "WITH given AS (SELECT * FROM unnest(CAST(:ids AS varchar[]), CAST(:claims AS varchar[]), "
        "CAST(:questions AS varchar[]), CAST(:annotators AS varchar[]), CAST(:projects AS varchar[]), "
        "CAST(:seconds AS float[]), CAST(:payloads AS text[])) "
        "AS g (id, claim, question, annotator, project, seconds, payload)), "
        "kept AS (INSERT INTO feedback (id, question, annotator, project, state, payload) "
        "SELECT id, question, annotator, project, 'standing', payload FROM given WHERE NOT EXISTS "
        "(SELECT 1 FROM feedback AS old WHERE old.question = given.question AND old.annotator = given.annotator "
        "AND old.state = 'standing') ON CONFLICT (id) DO NOTHING RETURNING id, question), "
        "answered AS (UPDATE claim SET state = 'answered', feedback = given.id FROM given JOIN kept USING (id) "
        "WHERE claim.id = given.claim), "
        "taken AS (UPDATE queue SET answers = queue.answers + n.n, leases = queue.leases - n.n "
        "FROM (SELECT question, count(*) AS n FROM kept GROUP BY question) AS n WHERE queue.question = n.question), "
        "counted AS (INSERT INTO tally (project, annotator, questions, wanted, answers, standing, surplus, given, "
        "seconds) SELECT project, annotator, 0, 0, count(*), count(*), 0, count(*), sum(seconds) "
        "FROM given JOIN kept USING (id) GROUP BY project, annotator ORDER BY project, annotator "
        "ON CONFLICT (project, annotator) DO UPDATE SET answers = tally.answers + excluded.answers, "
        "standing = tally.standing + excluded.standing, given = tally.given + excluded.given, "
        "seconds = tally.seconds + excluded.seconds) SELECT id FROM kept"
    )
)


@cache
def _next(count: int) -> Prepared:
    """Lease so many to one person, as `claims.take` does. The number stands in the words, for the sake of the plan."""
    ahead = _AHEAD.format(project="CAST(:project AS varchar)", annotator="CAST(:annotator AS varchar)")
    return Prepared(
        text(
            f"WITH ahead AS MATERIALIZED (SELECT queue.question, queue.place FROM queue WHERE {ahead} "
            f"LIMIT {count:d} FOR UPDATE OF queue SKIP LOCKED), "
            "given AS (SELECT question, place, (CAST(:ids AS varchar[]))[CAST(row_number() OVER (ORDER BY place) "
            "AS integer)] AS id FROM ahead), "
            "taken AS (UPDATE queue SET leases = queue.leases + 1, open = queue.open - 1 FROM ahead "
            "WHERE queue.question = ahead.question), "
            "kept AS (INSERT INTO claim (id, question, annotator, project, until, state) SELECT id, question, "
            "CAST(:annotator AS varchar), CAST(:project AS varchar), CAST(:until AS float), 'live' FROM given) "
            "SELECT given.id, question.payload FROM given JOIN question ON question.id = given.question "
            "ORDER BY given.place"
        )
    )


@dataclass(frozen=True)
class Wanted:
    """One person's claim, as of `Store.claim`."""

    annotator: str
    project: str
    count: int
    seconds: float


@dataclass(frozen=True)
class Given:
    """One person's answer under a claim, as of `desk.say`; `make` is told the question, perhaps more than once."""

    claim: str
    annotator: str
    make: Callable[[Question], Feedback]


def lease(store: Store, wanted: Sequence[Wanted]) -> list[list[Claim]]:
    """What each gets; fewer than they want when something is in the way, and `Store.claim` has to go on."""
    now = time.time()
    those = list({(one.project, one.annotator): one for one in wanted if one.count > 0}.values())
    try:
        found = _leased(store, those, now) if those else []
    except _Alone:
        return [[] for _ in wanted]
    by: dict[int, list[Claim]] = {id(one): [] for one in wanted}
    asked = _asked(store, [(one.annotator, question) for one, _, question in found])
    for (one, claim, _), shown in zip(found, asked, strict=True):
        if shown is not None:
            by[id(one)].append(Claim(id=claim, asked=shown, annotator=one.annotator, until=now + one.seconds))
    return [by[id(one)] for one in wanted]


def keep(store: Store, given: Sequence[Given]) -> list[tuple[Feedback, str] | None]:
    """What is kept of each answer, and its state; None for those that are not plain, for whom `desk.say` is there."""
    try:
        said = _kept(store, given)
    except _Alone:
        said = {}
    return [(said[at], "standing") if at in said else None for at in range(len(given))]


def _leased(store: Store, those: Sequence[Wanted], now: float) -> list[tuple[Wanted, str, Question]]:
    """Who holds which question by which lease. Nobody comes twice."""
    ids = [[new_id() for _ in range(one.count)] for one in those]
    with store.looking() as connection, _saving(connection) as kept:
        with _piped(connection):
            bare(connection, "BEGIN")
            people = {"projects": [one.project for one in those], "annotators": [one.annotator for one in those]}
            ended = _PLACES.ask(connection, **people, now=now)
            rows = [
                _next(one.count).ask(
                    connection, project=one.project, annotator=one.annotator, until=now + one.seconds, ids=mine
                )
                for one, mine in zip(those, ids, strict=True)
            ]
            _PASS.ask(connection, ids=[id for mine in ids for id in mine])
            bare(connection, "COMMIT")
        kept()
        late = any(row[0] for row in ended.fetchall())
        found = [
            (one, id, Question.model_validate_json(payload))
            for one, given in zip(those, rows, strict=True)
            for id, payload in given.fetchall()
        ]
    if late:
        with store.writing() as connection:
            claims.sweep(connection, now)
    return found


def _asked(store: Store, questions: Sequence[tuple[str, Question]]) -> list[Asked | None]:
    """As `Store.ask`, for several people; None where something is not there, which is told alone."""
    orders = [claims.shown(question, annotator) for annotator, question in questions]
    with store.looking() as connection:
        rows = _TEXTS.rows(
            connection,
            prompts=[question.prompt for _, question in questions],
            samples=[sample for order in orders for sample in order],
        )
    payloads = {(kind, id): payload for kind, id, payload in rows}

    def whole(question: Question, order: Sequence[str]) -> Asked | None:
        if ("prompt", question.prompt) not in payloads or any(("sample", id) not in payloads for id in order):
            return None
        return Asked(
            question=question.model_copy(update={"gold": None}),
            prompt=Prompt.model_validate_json(payloads["prompt", question.prompt]),
            samples=tuple(Sample.model_validate_json(payloads["sample", id]) for id in order),
        )

    return [whole(question, order) for (_, question), order in zip(questions, orders, strict=True)]


def _kept(store: Store, given: Sequence[Given]) -> dict[int, Feedback]:
    """What was kept, by the number of who gave it."""
    with store.looking() as connection, _saving(connection) as kept:
        with _piped(connection):
            bare(connection, "BEGIN")
            held = _HELD.ask(connection, ids=sorted({one.claim for one in given}))
        rows = {row[2]: row for row in held.fetchall()}
        said = _plain(given, rows, time.time())
        if not said:
            return {}
        columns: dict[str, list[Any]] = {
            "ids": [one.id for one in said.values()],
            "claims": [given[at].claim for at in said],
            "questions": [one.question for one in said.values()],
            "annotators": [one.annotator for one in said.values()],
            "projects": [rows[given[at].claim][1] for at in said],
            "seconds": [min(one.seconds, LONGEST) for one in said.values()],
            "payloads": [one.model_dump_json() for one in said.values()],
        }
        with _piped(connection):
            new = _KEEP.ask(connection, **columns)
            bare(connection, "COMMIT")
        kept()
        done = {id for (id,) in new.fetchall()}
    return {at: one for at, one in said.items() if one.id in done}


def _plain(given: Sequence[Given], rows: dict[str, Any], now: float) -> dict[int, Feedback]:
    """Those that answer a live claim of their own with something new, by their number; each id and claim once."""
    found: dict[int, Feedback] = {}
    seen: set[object] = set()
    for at, one in enumerate(given):
        row = rows.get(one.claim)
        if row is None or row[4] != one.annotator or row[6] != "live" or row[5] <= now:
            continue
        try:
            question = Question.model_validate_json(row[0])
            said = one.make(question)
            answers.check(said, question)
        except Exception:
            continue  # it is told alone, where it is its own
        plain = said.answer is not None and said.replaces is None
        whose = (said.question, said.annotator)
        if plain and whose == (row[3], row[4]) and not {said.id, whose} & seen:
            seen |= {said.id, whose}
            found[at] = said
    return found


@contextmanager
def _piped(connection: Connection) -> Iterator[None]:
    """Statements within go out at once, without waiting for the reply to the one before."""
    raw: Any = connection.connection.driver_connection
    with raw.pipeline():
        yield


class _Alone(Exception):
    """Something is in the way of the whole group: everybody goes on alone, and meets it again or does not."""


@contextmanager
def _saving(connection: Connection) -> Iterator[Callable[[], None]]:
    """A transaction in the words of the data base; what is not told to be kept by its end is taken back."""
    raw: Any = connection.connection.driver_connection
    kept = [False]

    def keep() -> None:
        kept[0] = True

    try:
        yield keep
    except (DBAPIError, connection.dialect.loaded_dbapi.Error) as error:
        raise _Alone from error
    finally:
        if not kept[0]:
            try:
                raw.rollback()
            except connection.dialect.loaded_dbapi.Error:
                connection.invalidate()

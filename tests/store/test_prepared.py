"""Prepared statements find and change what SQLAlchemy's own do, and a claim and an answer take few of them."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import bindparam, event, insert, select, text, update
from sqlalchemy.exc import IntegrityError, OperationalError

from accord.records import Prompt, Sample
from accord.store import Store, desk, schema
from accord.store.people import People
from accord.store.prepared import Among, Prepared
from tests.store.conftest import pairs, said

_meta = schema.meta.c
KEEP = Prepared(insert(schema.meta), "name", "value")
BELOW = Prepared(select(_meta.name, _meta.value).where(_meta.value < bindparam("most"), _meta.name != "schema"))
THESE = Among(lambda names: select(_meta.name, _meta.value).where(_meta.name.in_(names)))
MORE = Among(
    lambda names: update(schema.meta).where(_meta.name.in_(names)).values(value=_meta.value + bindparam("more"))
)


@pytest.fixture(params=["sqlite", "postgresql"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    place = tmp_path / "store.db" if request.param == "sqlite" else request.getfixturevalue("postgresql")
    with Store.open(place) as opened:
        yield opened


def test_rows_and_changes_are_those_of_the_plain_statements(either: Store) -> None:
    names, draw = [f"n{i}" for i in range(700)], random.Random(0)
    with either.writing() as connection:
        KEEP.run_all(connection, [{"name": name, "value": i} for i, name in enumerate(names)])
    for size in (0, 1, 2, 3, 7, 8, 511, 512, 513, 700):
        some = draw.sample(names, size)
        plain = select(_meta.name, _meta.value).where(_meta.name.in_(some))
        with either.looking() as connection:
            found = THESE.rows(connection, some)
        with either.reading() as connection:
            assert sorted(found) == sorted(map(tuple, connection.execute(plain)))
    with either.writing() as connection:
        assert MORE.run(connection, names[:3], more=1000) == 3
        assert BELOW.rows(connection, most=5) == [("place", 0), ("n3", 3), ("n4", 4)]
        assert BELOW.first(connection, most=-1) is None
        assert BELOW.value(connection, most=-1) is None


def test_what_goes_wrong_has_the_names_that_it_has_elsewhere_and_undoes_the_transaction(either: Store) -> None:
    def twice() -> None:
        with either.writing() as connection:
            KEEP.run_all(connection, [{"name": "mine", "value": 1}, {"name": "mine", "value": 2}])

    with pytest.raises(IntegrityError):
        twice()
    with either.reading() as connection:
        assert connection.scalar(select(_meta.value).where(_meta.name == "mine")) is None


def test_a_connection_that_broke_is_told_and_another_one_is_taken(postgresql: str) -> None:
    with Store.open(postgresql) as store:
        store.put(pairs(2))

        def fall() -> None:
            with store.reading() as mine, store.looking() as other:
                pid = mine.scalar(text("SELECT pg_backend_pid()"))
                other.execute(text(f"SELECT pg_terminate_backend({pid})"))
                BELOW.rows(mine, most=3)

        with pytest.raises(OperationalError):
            fall()
        assert len(store.claim("ann", count=2)) == 2


# --- how many --------------------------------------------------------------------------------------------------


def watched(store: Store) -> list[str]:
    """Every statement that SQLite is given from now on, in its first two words; the list grows."""
    seen: list[str] = []

    def see(words: str) -> None:
        seen.append(" ".join(re.findall(r"\w+", words)[:3]))

    def settle(connection: object) -> None:
        connection.connection.driver_connection.set_trace_callback(see)  # type: ignore[attr-defined]

    for act in (store.reading, store.writing, store.looking):
        with act() as connection:
            settle(connection)
    event.listen(store._database.engine, "connect", lambda raw, _: raw.set_trace_callback(see))
    seen.clear()
    return seen


PATIENCE = {"PRAGMA": 2}
"""How long the lock is waited for without a word, and then again: two settings of the connection, 3 microseconds."""
CLAIM = {"BEGIN IMMEDIATE": 1, "SELECT": 3, "UPDATE": 1, "INSERT": 2, "COMMIT": 1, **PATIENCE}
"""The place and whether a lease has ended, the next questions, prompt and samples; the slot; the lease, the place."""
ANSWER = {"BEGIN IMMEDIATE": 1, "SELECT": 2, "UPDATE": 2, "INSERT": 2, "COMMIT": 1, **PATIENCE}
"""Lease with question and place, what is known of the answer; lease, slot; feedback, counter."""


@pytest.mark.parametrize("size", [20, 2000])
def test_a_claim_takes_eight_statements_and_an_answer_eight_however_many_questions(tmp_path: Path, size: int) -> None:
    with Store.open(tmp_path / "store.db") as store:
        people = People(store)
        people.grant(people.add("ann", "annotator").id, "token", "digest", 60)
        store.put(pairs(size))
        store.claim("bob", count=3)
        store.claim("ann")
        seen = watched(store)

        def counted() -> dict[str, int]:
            found: dict[str, int] = {}
            for words in seen:
                act = words if words.startswith("BEGIN") else words.split()[0]
                found[act] = found.get(act, 0) + 1
            seen.clear()
            return found

        for _ in range(3):
            (claim,) = store.claim("ann")
            assert counted() == CLAIM
            kept, state = desk.say(store, claim.id, "ann", lambda question, claim=claim: said(claim))
            assert (state, kept.annotator) == ("standing", "ann")
            assert counted() == ANSWER
        assert people.holder("token", "digest") is not None
        assert counted() == {"SELECT": 1}


def test_a_claim_and_an_answer_read_no_more_in_a_large_queue(tmp_path: Path) -> None:
    """In steps of SQLite's machine."""
    steps = {}
    for size in (50, 5000):
        with Store.open(tmp_path / f"{size}.db") as store:
            store.put(pairs(size))
            for claim in store.claim("bob", count=20):
                store.answer(claim.id, said(claim))
            store.answer((first := store.claim("ann")[0]).id, said(first))
            taken = list[int]()
            for act in (store.writing, store.looking):
                with act() as connection:
                    raw = connection.connection.driver_connection
                    raw.set_progress_handler(lambda taken=taken: taken.append(1), 5)  # type: ignore[union-attr]
            for _ in range(10):
                (claim,) = store.claim("ann")
                store.answer(claim.id, said(claim))
            steps[size] = len(taken)
            assert store.count(Prompt) * 2 == store.count(Sample) == 2 * size
    assert steps[50] > 100
    assert steps[5000] <= steps[50] * 1.3, steps

"""A store of any earlier version opens, keeps all that was in it, and is then like one that was made today."""

from __future__ import annotations

import re
import sqlite3
import time
from pathlib import Path

import pytest
from sqlalchemy import inspect

from accord.records import Comparison, Feedback, Preference, Question, Version
from accord.store import Store, StoreError, migrations, schema
from accord.store.database import Database

FIRST = Path(__file__).with_name("first_schema.sql")
"""A store as the first Accord wrote it (version 1), with a question half answered, as text."""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "store.db"
    with sqlite3.connect(path) as raw:
        raw.executescript(FIRST.read_text())
        raw.execute("UPDATE claim SET until = ?", (time.time() + 600,))  # its leases are of today
    raw.close()
    return path


def shape(path: Path) -> dict[str, str]:
    """Name and definition of every table and index."""
    with sqlite3.connect(path) as raw:
        rows = raw.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'")
        found = {name: re.sub(r"\s+", " ", sql).strip() for name, sql in rows}
    raw.close()
    return found


def test_a_store_of_the_first_version_becomes_one_of_today(old: Path, tmp_path: Path) -> None:
    Store.open(old).close()
    Store.open(tmp_path / "fresh" / "store.db").close()
    assert shape(old) == shape(tmp_path / "fresh" / "store.db")
    with sqlite3.connect(old) as raw:
        assert raw.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone() == (schema.SCHEMA,)
    raw.close()


def test_what_was_in_it_is_still_there_and_work_goes_on(old: Path) -> None:
    with Store.open(old) as store:
        assert [said.answer for said in store.feedback()] == [Comparison(better="sa", strength=2)]
        assert [one.id for one in store.all(Preference)] == ["b0"]
        assert [one.id for one in store.all(Version)] == ["v0"]
        assert store.get(Question, "q0").scale == (1, 5), "fields that came later have their defaults"
        assert [c.asked.question.id for c in store.claim("ann", count=5)] == ["q1"], "the rest of the queue"
        assert store.claim("cid", count=5) == [], "bob holds the last slot of q0, ann has q1"
    with Store.open(old) as store:
        assert store.count(Feedback) == 1, "opening twice changes nothing"


def test_a_store_of_tomorrow_is_not_opened(old: Path) -> None:
    with sqlite3.connect(old) as raw:
        raw.execute("UPDATE meta SET value = 99 WHERE name = 'schema'")
    raw.close()
    with pytest.raises(StoreError, match="version 99"):
        Store.open(old)


def test_a_step_that_fails_leaves_the_store_as_it_was(old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = shape(old)

    def fails(connection: object) -> None:
        migrations._what_one_person_holds(connection)  # type: ignore[arg-type]
        raise RuntimeError("no more disk")

    monkeypatch.setattr(migrations, "STEPS", {2: fails})
    with pytest.raises(RuntimeError, match="no more disk"):
        Store.open(old)
    assert shape(old) == before
    monkeypatch.undo()
    Store.open(old).close()


def test_there_is_a_step_to_every_version() -> None:
    assert sorted(migrations.STEPS) == list(range(2, schema.SCHEMA + 1))


def test_postgresql_climbs_too(postgresql: str) -> None:
    with Store.open(postgresql) as store, store.writing() as connection:
        connection.exec_driver_sql("DROP INDEX claim_of_annotator")
        connection.exec_driver_sql("UPDATE meta SET value = 1 WHERE name = 'schema'")
    base = Database(postgresql)
    names = {index["name"] for index in inspect(base.engine).get_indexes("claim")}
    base.close()
    assert "claim_of_annotator" in names

"""A disk that is full: whoever is told that something is kept finds it there, and work goes on when there is room."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError, OperationalError

from accord.store import Store, desk
from accord.store.database import Database
from tests.store.conftest import pairs, said


class Disk:
    """A disk whose size can be set, as SQLite sees it: the most pages that the file may have."""

    def __init__(self, base: Database) -> None:
        self.base, self.most = base, 1_073_741_823
        event.listen(base.engine, "begin", self._measure)

    def _measure(self, connection: Any) -> None:
        connection.connection.cursor().execute(f"PRAGMA max_page_count = {self.most}").close()

    def pages(self) -> int:
        with self.base.reading() as connection:
            return int(connection.scalar(text("PRAGMA page_count")) or 0)

    def left(self, pages: int) -> None:
        """So much room from here."""
        self.most = self.pages() + pages

    def free(self) -> None:
        self.most = 1_073_741_823


@pytest.fixture
def base(tmp_path: Path) -> Iterator[Database]:
    found = Database(tmp_path / "store.db")
    with found.writing() as connection:
        connection.execute(text("CREATE TABLE said (who INTEGER, word TEXT)"))
    yield found
    found.close()


def in_a_group(base: Database, count: int, act: Any) -> list[BaseException | None]:
    """What each of so many writers was told, who all wait while somebody without a word of their own has the turn."""
    errors: list[BaseException | None] = [None] * count

    def one(who: int) -> None:
        try:
            with base.writing() as connection:
                act(who, connection)
        except DBAPIError as error:
            errors[who] = error

    threads = [threading.Thread(target=one, args=(who,)) for who in range(count)]
    with suppress(DBAPIError), base.writing():
        for thread in threads:
            thread.start()
        end = time.monotonic() + 5
        while base._turns._waiting < count and time.monotonic() < end:
            time.sleep(0.005)
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads)
    return errors


def heard(base: Database) -> list[int]:
    with base.reading() as connection:
        return sorted(connection.scalars(text("SELECT who FROM said")))


@pytest.mark.parametrize("room", [0, 3, 12, 30])
def test_in_a_group_nobody_is_told_that_something_is_kept_that_is_not(base: Database, room: int) -> None:
    """SQLite may take the whole transaction back, with what others of the group had written before."""
    disk = Disk(base)
    disk.left(room)

    def act(who: int, connection: Any) -> None:
        connection.execute(text("INSERT INTO said VALUES (:who, :word)"), {"who": who, "word": "x" * 20_000})

    errors = in_a_group(base, 12, act)
    assert heard(base) == [who for who, error in enumerate(errors) if error is None]
    assert any(error is not None for error in errors), "it was not full"
    assert all(isinstance(error, OperationalError) for error in errors if error is not None)
    disk.free()
    assert in_a_group(base, 4, act) == [None] * 4


def test_answers_on_a_full_disk_are_told_and_none_that_was_acknowledged_is_lost(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store.db") as store:
        store.put(pairs(200))
        disk, kept, refused = Disk(store._database), list[str](), list[Any]()

        def work(who: str) -> None:
            for _ in range(12):
                try:
                    for claim in store.claim(who, count=2):
                        given = said(claim, note="because " * 300)
                        store.answer(claim.id, given)
                        kept.append(given.id)
                except DBAPIError as error:
                    refused.append(error)

        def everybody(round: int) -> None:
            threads = [threading.Thread(target=work, args=(f"p{round}-{i}",)) for i in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        disk.left(25)
        everybody(0)
        assert refused, "it was not full"
        assert all("full" in str(error) for error in refused)
        before = len(kept)
        disk.free()
        refused.clear()
        everybody(1)
        assert not refused
        assert len(kept) > before
        assert set(store.feedback_state(kept)) == set(kept)
        assert {one.id for one in store.feedback(standing=False)} >= set(kept)
    with Store.open(tmp_path / "store.db") as again:
        assert set(again.feedback_state(kept)) == set(kept)
        assert desk.progress(again, "default").answered == len(list(again.feedback()))

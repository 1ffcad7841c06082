"""Group commit: many writers share a trip to the disk, and each stands for its own mistakes only."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import event, text

from accord.store.database import Database


@pytest.fixture
def base(tmp_path: Path):
    found = Database(tmp_path / "store.db")
    with found.writing() as connection:
        connection.execute(text("CREATE TABLE said (who INTEGER, word TEXT)"))
    found.commits = []
    event.listen(found.engine, "commit", lambda _: found.commits.append(1))
    yield found
    found.close()


def all_at_once(base: Database, count: int, act) -> list[BaseException | None]:
    """Threads that all wait while the first one holds the turn, so that they go in one group."""
    errors: list[BaseException | None] = [None] * count

    def one(who: int) -> None:
        try:
            with base.writing() as connection:
                act(who, connection)
        except Exception as error:
            errors[who] = error

    threads = [threading.Thread(target=one, args=(who,)) for who in range(count)]
    with base.writing():
        for thread in threads:
            thread.start()
        end = time.monotonic() + 5
        while base._turns._waiting < count and time.monotonic() < end:
            time.sleep(0.005)
    for thread in threads:
        thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    return errors


def say(who: int, connection) -> None:
    connection.execute(text("INSERT INTO said VALUES (:who, 'yes')"), {"who": who})


def heard(base: Database) -> list[int]:
    with base.reading() as connection:
        return sorted(connection.scalars(text("SELECT who FROM said")))


def test_those_who_waited_go_to_disk_together(base):
    assert all_at_once(base, 20, say) == [None] * 20
    assert heard(base) == list(range(20))
    assert len(base.commits) < 5, "21 writers, a few commits"


def test_a_mistake_undoes_its_own_work_alone(base):
    def act(who: int, connection) -> None:
        say(who, connection)
        if who % 3 == 0:
            raise ValueError(who)

    errors = all_at_once(base, 12, act)
    assert [who for who, error in enumerate(errors) if error is not None] == [0, 3, 6, 9]
    assert all(isinstance(error, ValueError) for error in errors if error is not None)
    assert heard(base) == [who for who in range(12) if who % 3]


def test_a_commit_that_fails_is_told_to_everybody_whose_work_it_held(base):
    failing = threading.Event()
    failing.set()

    def fails(_) -> None:
        if failing.is_set():
            raise OSError("disk full")

    event.listen(base.engine, "commit", fails)
    errors: list[BaseException | None] = []
    with pytest.raises(OSError, match="disk full"):
        errors = all_at_once(base, 6, say)
    failing.clear()
    assert errors == []
    with base.writing() as connection:
        say(100, connection)
    assert heard(base) == [100], "nothing half kept, and the next writer is served"


def test_a_waiter_that_never_comes_holds_nobody_up(base):
    base._turns._waiting += 1  # somebody was interrupted while waiting
    with base.writing() as connection:
        say(1, connection)
    assert heard(base) == [1]


def test_an_act_on_the_whole_file_finds_no_transaction_open(base):
    def act(who: int, connection) -> None:
        say(who, connection)

    vacuumed = threading.Event()

    def vacuum() -> None:
        with base._turns.alone():
            raw = base.engine.raw_connection()
            raw.cursor().execute("VACUUM")
            raw.close()
            vacuumed.set()

    beside = threading.Thread(target=vacuum)
    beside.start()
    assert all_at_once(base, 4, act) == [None] * 4
    beside.join(10)
    assert vacuumed.is_set()
    assert heard(base) == [0, 1, 2, 3]

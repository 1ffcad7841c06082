"""Counters that are kept are the counts that a walk through everything finds, whatever happened."""

from __future__ import annotations

import random
import sqlite3
import threading
from pathlib import Path

import pytest
from sqlalchemy import func, select

from accord.records import Comparison, Feedback
from accord.store import Store, StoreError, desk, erasure, schema, tally
from accord.store.belongings import known
from accord.store.office import Office
from accord.store.people import People
from tests.store.conftest import pairs, said


def kept(store: Store) -> dict[tuple[str, str], tuple[float, ...]]:
    """Every row of the counters that counts something."""
    with store.reading() as connection:
        rows = connection.execute(select(schema.tally)).all()
    found = {(row.project, row.annotator): tuple(round(value, 6) for value in row[2:]) for row in rows}
    return {key: values for key, values in found.items() if any(values)}


def walked(store: Store) -> dict[tuple[str, str], tuple[float, ...]]:
    """The same by a walk through the queue and through all that was said, in plain Python."""
    found: dict[tuple[str, str], list[float]] = {}
    with store.reading() as connection:
        queue = connection.execute(select(schema.queue.c.project, schema.queue.c.wanted)).all()
        rows = connection.execute(select(schema.feedback.c.project, schema.feedback.c.state, schema.feedback.c.payload))
        spoken = [(project, state, Feedback.model_validate_json(payload)) for project, state, payload in rows]
    for project, wanted in queue:
        row = found.setdefault((project, ""), [0] * 7)
        row[0] += 1
        row[1] += wanted
    for project, state, one in spoken:
        if state == "erased":
            continue
        row = found.setdefault((project, one.annotator), [0] * 7)
        row[2] += state == "standing" and one.answer is not None
        row[3] += state == "standing"
        row[4] += state == "surplus"
        row[5] += one.answer is not None
        row[6] += min(one.seconds, tally.LONGEST)
    return {key: tuple(round(v, 6) for v in values) for key, values in found.items() if any(values)}


def live(store: Store, seed: int, steps: int = 250) -> None:
    """A day in which everything happens: claims, late answers, skips, undo, imports, withdrawing, settling."""
    draw, clock = random.Random(seed), 1000.0
    store.put(pairs(12, wanted=2))
    office, people = Office(store), ["ann", "bob", "cid", "dan"]
    claims, feedback = [], []
    for _ in range(steps):
        clock += draw.choice([1, 5, 40])
        who, act = draw.choice(people), draw.random()
        try:
            if act < 0.35:
                claims += store.claim(who, count=draw.randint(1, 3), seconds=30, now=clock)
            elif act < 0.75 and claims:
                claim = draw.choice(claims)
                more = {"answer": None} if draw.random() < 0.2 else {}
                more["seconds"] = draw.choice([2.5, 8.0, 5000.0])
                if feedback and draw.random() < 0.2:
                    more["replaces"] = draw.choice(feedback).id
                feedback.append(store.answer(claim.id, said(claim, **more), now=clock))
            elif act < 0.85 and feedback:
                store.undo(draw.choice(feedback).id)
            elif act < 0.9:
                office.withdraw(f"q{draw.randrange(12)}")
            elif act < 0.94:
                office.restore(f"q{draw.randrange(12)}")
            elif act < 0.97:
                id = f"q{draw.randrange(12)}"
                office.settle(Feedback(question=id, annotator="lead", answer=Comparison(better=f"s{id[1:]}a")))
            else:
                id = f"q{draw.randrange(12)}"
                store.put(
                    [Feedback(question=id, annotator=f"file{draw.randrange(3)}", answer=Comparison(verdict="tie"))]
                )
        except StoreError:
            continue


@pytest.mark.parametrize("seed", range(6))
def test_the_counters_are_what_a_walk_finds(store: Store, seed: int) -> None:
    live(store, seed)
    assert kept(store) == walked(store)
    found = desk.progress(store, "default")
    with store.reading() as connection:
        rows = connection.execute(select(schema.queue.c.answers, schema.queue.c.leases, schema.queue.c.wanted)).all()
    assert found.answered == sum(row.answers for row in rows)
    assert found.leased == sum(row.leases for row in rows)
    assert found.wanted == sum(row.wanted for row in rows)
    assert desk.done_by(store, "ann") == sum(
        one.annotator == "ann" and state in ("standing", "surplus")
        for one in store.feedback(standing=False)
        for state in [store.feedback_state([one.id])[one.id]]
    )


def test_postgresql_counts_the_same(postgresql: str) -> None:
    with Store.open(postgresql) as store:
        live(store, 1, 120)
        assert kept(store) == walked(store)


def test_many_at_once_are_all_counted(store: Store) -> None:
    store.put(pairs(60))

    def work(who: str) -> None:
        for _ in range(10):
            for claim in store.claim(who):
                store.answer(claim.id, said(claim, seconds=1.0))

    threads = [threading.Thread(target=work, args=(f"p{i}",)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept(store) == walked(store)
    assert desk.progress(store, "default").answered == 60


def test_a_store_without_counters_gets_them_when_it_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with Store.open(path) as store:
        live(store, 3)
        before = kept(store)
    with sqlite3.connect(path) as raw:
        raw.execute("DROP TABLE tally")
        raw.execute("UPDATE meta SET value = 2 WHERE name = 'schema'")
    raw.close()
    with Store.open(path) as store:
        assert kept(store) == before == walked(store)


@pytest.mark.parametrize("way", ["unlink", "withdraw"])
def test_who_is_forgotten_is_forgotten_by_the_counters_too(store: Store, way: str) -> None:
    People(store)
    live(store, 4)
    who = known(store, "ann")
    getattr(erasure, way)(store, who)
    assert "ann" not in {annotator for _, annotator in kept(store)}
    assert kept(store) == walked(store)
    with store.reading() as connection:
        filled = connection.execute(select(schema.queue.c.answers)).scalars().all()
    assert desk.progress(store, "default").answered == sum(filled)


def test_a_look_at_a_queue_costs_as_little_in_a_large_one(tmp_path: Path) -> None:
    """Work of the data base, in steps of its machine and not in time: a count of all would grow with them."""
    steps = {}
    for size in (50, 5000):
        with Store.open(tmp_path / f"{size}.db") as store:
            store.put(pairs(size))
            for claim in store.claim("ann", count=10):
                store.answer(claim.id, said(claim))
            store.claim("bob", count=5)
            taken = list[int]()
            raw = store._database.engine.raw_connection()
            raw.driver_connection.set_progress_handler(lambda taken=taken: taken.append(1), 10)  # type: ignore[union-attr]
            raw.close()
            found = desk.progress(store, "default")
            desk.said_by(store, "default")
            desk.done_by(store, "ann")
            desk.latest(store, "default", 2000)
            steps[size] = len(taken)
            assert (found.questions, found.answered, found.leased) == (size, 10, 5)
            with store.reading() as connection:
                assert connection.scalar(select(func.sum(schema.queue.c.wanted))) == size
    assert len(taken) > steps[5000] + 100, "the watch sees a real count"
    assert steps[5000] <= steps[50] * 1.5 + 5, steps

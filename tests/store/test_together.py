"""Claims and answers of several people at once on PostgreSQL: as if they had come one after another."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from functools import partial

import pytest
from sqlalchemy import select, text

from accord.records import Comparison, Feedback, Question
from accord.store import Claim, Store, desk, schema
from accord.store.together import Given, Wanted, keep, lease
from tests.store.conftest import pairs
from tests.store.test_tally import kept as counted
from tests.store.test_tally import walked

PEOPLE = ["ann", "bob", "cy", "dee", "eva"]


@pytest.fixture
def store(postgresql: str) -> Iterator[Store]:
    with Store.open(postgresql) as opened:
        yield opened


@pytest.fixture
def other(server) -> Iterator[Store]:
    """A second one, for the plain way."""
    with Store.open(server.base(f"plain{random.getrandbits(40)}")) as opened:
        yield opened


def wanted(*people: str, count: int = 1, seconds: float = 60) -> list[Wanted]:
    return [Wanted(one, "default", count, seconds) for one in people]


def questions(found: list[list[Claim]]) -> list[list[str]]:
    return [[claim.asked.question.id for claim in claims] for claims in found]


def said(question: Question, annotator: str, id: str = "", better: int = 0, **more: object) -> Feedback:
    shown = desk.shown(question, annotator)
    fields = {"answer": Comparison(better=shown[better]), "shown": shown, "seconds": 3.0, "made": 1.0, **more}
    name = id or f"f-{question.id}-{annotator}"
    return Feedback(id=name, question=question.id, annotator=annotator, **fields)  # type: ignore[arg-type]


def given(claim: Claim, **more: object) -> Given:
    return Given(claim.id, claim.annotator, partial(said, annotator=claim.annotator, **more))  # type: ignore[arg-type]


def state(store: Store) -> dict[str, list[tuple[object, ...]]]:
    """Every row, but for ids and ends of leases, which no two runs share, and for how far people have passed.

    A group passes what the others of it have taken at once, where one alone does so at the next claim.
    """
    hidden = {"claim": ("id", "until"), "feedback": ("sequence",)}
    with store.reading() as connection:
        return {
            table.name: sorted(
                tuple(row)
                for row in connection.execute(select(*[c for c in table.c if c.name not in hidden.get(table.name, ())]))
            )
            for table in (schema.queue, schema.claim, schema.feedback, schema.tally)
        }


def test_a_group_leaves_the_tables_as_one_after_another_does(store: Store, other: Store) -> None:
    for one in (store, other):
        one.put(pairs(7, wanted=2))
    for round in range(4):
        count = 1 + round % 2
        ours = lease(store, wanted(*PEOPLE, count=count))
        theirs = [other.claim(who, "default", count) for who in PEOPLE]
        assert questions(ours) == questions(theirs)
        assert [[c.asked for c in found] for found in ours] == [[c.asked for c in found] for found in theirs]
        for claim in [claim for found in theirs for claim in found]:
            desk.say(other, claim.id, claim.annotator, given(claim).make)
        group = [given(claim) for found in ours for claim in found]
        assert [one and one[1] for one in keep(store, group)] == ["standing"] * len(group)
        assert state(store) == state(other)
    assert counted(store) == walked(store)
    assert store.count(Feedback) == 14


def test_nobody_gets_more_than_there_is_and_who_comes_twice_goes_on_alone(store: Store) -> None:
    store.put(pairs(3))
    first = lease(store, wanted("ann", "bob", "ann", "cy", "dee"))
    assert sorted(map(len, first)) == [0, 0, 1, 1, 1]
    assert sorted(id for found in questions(first) for id in found) == ["q0", "q1", "q2"]
    assert store.claim("eva") == []


def test_what_is_not_plain_gets_no_reply_and_holds_nobody_up(store: Store) -> None:
    store.put(pairs(12))
    claims = [claim for found in lease(store, wanted(*PEOPLE, count=2)) for claim in found]
    late = store.claim("fay", seconds=1e-3)[0]

    def trouble(question: Question) -> Feedback:
        raise RuntimeError("no answer of this form")

    group = [
        given(claims[0]),
        Given(claims[1].id, "bob", given(claims[1]).make),  # the claim is ann's
        given(claims[2], answer=None),
        given(claims[3], replaces="f-x"),
        given(late),
        Given("no-such", "cy", given(claims[4]).make),
        Given(claims[4].id, "cy", trouble),
        given(claims[5], id=f"f-{claims[0].asked.question.id}-ann"),  # the id of the first
        given(claims[6]),
        given(claims[6], id="f-again"),
        given(claims[7], answer=Comparison(better="stranger")),
        given(claims[8]),
    ]
    kept = keep(store, group)
    assert [at for at, one in enumerate(kept) if one] == [0, 8, 11]
    assert store.count(Feedback) == 3
    assert keep(store, group[:1]) == [None], "it was said before, which is told alone"
    assert desk.say(store, claims[0].id, "ann", group[0].make)[1] == "standing"
    assert counted(store) == walked(store)


def test_leases_that_have_run_out_are_swept(store: Store) -> None:
    store.put(pairs(4))
    store.claim("ann", seconds=60)
    assert questions(lease(store, wanted("ann", seconds=1e-3))) == [["q1"]]
    assert questions(lease(store, wanted("ann"))) == [["q2"]]
    assert questions(lease(store, wanted("ann"))) == [["q3"]]
    assert questions(lease(store, wanted("bob"))) == [["q1"]], "at the end of the queue"


def test_a_connection_that_broke_is_no_answer_and_the_next_group_goes_on(store: Store) -> None:
    store.put(pairs(3))
    assert lease(store, wanted("ann"))[0]
    with store.writing() as connection:
        others = "pid <> pg_backend_pid() AND datname = current_database()"
        connection.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"))
    assert lease(store, wanted("bob")) == [[]]
    claims = lease(store, wanted("bob"))[0] or store.claim("bob")
    assert keep(store, [given(claims[0])])[0]


def test_groups_of_several_processes_neither_wait_for_ever_nor_share_a_slot(store: Store, postgresql: str) -> None:
    """Each thread has connections of its own, as a worker has; the same people come to all of them."""
    store.put(pairs(60, wanted=3))
    errors: list[BaseException] = []

    def work(seed: int) -> None:
        draw = random.Random(seed)
        try:
            with Store.open(postgresql) as mine:
                for _ in range(25):
                    people = draw.sample(PEOPLE, 4)
                    found = [c for claims in lease(mine, wanted(*people, count=draw.randint(1, 3))) for c in claims]
                    draw.shuffle(found)
                    assert all(keep(mine, [given(claim) for claim in found])), "somebody was sent away"
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(120)
    assert not any(one.is_alive() for one in threads)
    assert errors == []
    answered = [(one.question, one.annotator) for one in store.feedback()]
    assert len(answered) == len(set(answered)) == 180
    assert counted(store) == walked(store)
    with store.reading() as connection:
        rows = connection.execute(select(schema.queue.c.answers, schema.queue.c.open, schema.queue.c.leases)).all()
    assert set(map(tuple, rows)) == {(3, 0, 0)}

"""Asking and answering: slots, leases, late answers, undo, and many people at once."""

import multiprocessing
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from accord.records import Comparison, Feedback, Question, Rating
from accord.store import Conflict, Missing, Refused, Store

from .conftest import pairs, said


def asked(claims) -> list[str]:
    return [claim.asked.question.id for claim in claims]


def test_a_question_goes_to_as_many_people_as_wanted_and_never_twice_to_one(store):
    store.put(pairs(3, wanted=2))
    assert asked(store.claim("ann", count=2)) == ["q0", "q1"]
    assert asked(store.claim("ann", count=5)) == ["q2"]
    assert store.claim("ann") == []
    assert asked(store.claim("bob", count=9)) == ["q0", "q1", "q2"]
    assert store.claim("cid", count=9) == []


def test_projects_are_queues_of_their_own(store):
    store.put(pairs(2, project="tone"))
    assert store.claim("ann") == []
    assert asked(store.claim("ann", "tone", 5)) == ["q0", "q1"]


def test_an_expired_lease_frees_the_slot_for_others_and_for_oneself(store):
    store.put(pairs(1))
    store.claim("ann", seconds=10, now=100)
    assert store.claim("bob", now=109.9) == []
    late = store.claim("bob", seconds=10, now=110)
    assert asked(late) == ["q0"]
    assert asked(store.claim("ann", now=120)) == ["q0"]


def test_a_late_answer_stands_when_the_slot_is_free(store):
    store.put(pairs(1))
    claim = store.claim("ann", seconds=10, now=0)[0]
    answer = store.answer(claim.id, said(claim), now=50)
    assert store.feedback_state([answer.id]) == {answer.id: "standing"}
    assert store.claim("bob", now=60) == []


def test_a_late_answer_is_kept_as_surplus_when_the_slot_is_taken(store):
    store.put(pairs(1))
    first = store.claim("ann", seconds=10, now=0)[0]
    second = store.claim("bob", seconds=10, now=20)[0]
    late = store.answer(first.id, said(first), now=21)
    good = store.answer(second.id, said(second), now=22)
    assert store.feedback_state([late.id, good.id]) == {late.id: "surplus", good.id: "standing"}
    assert [f.id for f in store.feedback()] == [good.id]
    assert [f.id for f in store.feedback(standing=False)] == [late.id, good.id]


def test_the_same_answer_again_is_harmless_and_another_is_a_conflict(store):
    store.put(pairs(1, wanted=2))
    claim = store.claim("ann")[0]
    answer = said(claim)
    assert store.answer(claim.id, answer) == store.answer(claim.id, answer) == answer
    with pytest.raises(Conflict):
        store.answer(claim.id, answer.model_copy(update={"note": "changed"}))
    assert asked(store.claim("bob")) == ["q0"]
    assert store.claim("cid") == []


def test_answers_that_do_not_belong_are_refused(store):
    store.put(pairs(2))
    claim = store.claim("ann")[0]
    bad = [
        (said(claim, annotator="bob"), "held by 'ann'"),
        (said(claim).model_copy(update={"question": "q1"}), "is for question q0"),
        (said(claim, answer=Comparison(better="s1a")), "not among them"),
        (said(claim, answer=Rating(scores={"nobody": {"": 1}})), "not among them"),
        (said(claim, shown=("s0a",)), "shown names 1"),
        (said(claim, replaces="x"), "no feedback x"),
    ]
    for answer, why in bad:
        with pytest.raises((Refused, Missing), match=why):
            store.answer(claim.id, answer)
    with pytest.raises(Missing, match="no claim q0"):
        store.answer("q0", said(claim))
    assert store.count(Feedback) == 0
    with pytest.raises(Refused):
        store.claim("ann", count=0)


def test_undo_frees_the_slot_and_one_may_answer_again(store):
    store.put(pairs(1))
    claim = store.claim("ann")[0]
    first = store.answer(claim.id, said(claim))
    back = store.undo(first.id)
    assert (back.replaces, back.answer) == (first.id, None)
    assert list(store.feedback()) == []
    assert store.feedback_state([first.id, back.id]) == {first.id: "replaced", back.id: "withdrawal"}
    with pytest.raises(Refused, match="taken back before"):
        store.undo(first.id)
    again = store.answer(claim.id, said(claim))
    assert [f.id for f in store.feedback()] == [again.id]
    assert store.claim("bob") == []
    store.undo(again.id)
    assert asked(store.claim("bob")) == ["q0"]


def test_a_changed_mind_keeps_the_slot(store):
    store.put(pairs(1))
    claim = store.claim("ann")[0]
    first = store.answer(claim.id, said(claim))
    second = store.answer(claim.id, said(claim, replaces=first.id, answer=Comparison(verdict="tie")))
    assert [f.id for f in store.feedback()] == [second.id]
    assert store.claim("bob") == []
    third = store.answer(claim.id, said(claim))
    assert store.feedback_state([third.id]) == {third.id: "surplus"}


def test_nobody_takes_back_what_another_said(store):
    store.put(pairs(1, wanted=2))
    claims = [store.claim(who)[0] for who in ("ann", "bob")]
    first = store.answer(claims[0].id, said(claims[0]))
    with pytest.raises(Refused, match="cannot be taken back by 'bob'"):
        store.answer(claims[1].id, said(claims[1], replaces=first.id))


def test_a_skip_goes_on_to_somebody_else(store):
    store.put(pairs(1))
    claim = store.claim("ann")[0]
    store.answer(claim.id, said(claim, answer=None, note="too long"))
    assert store.claim("ann") == []
    assert asked(store.claim("bob")) == ["q0"]


def test_release_gives_the_question_back_to_anybody_once(store):
    store.put(pairs(2))
    claim = store.claim("ann")[0]
    assert store.release(claim.id) is True
    assert store.release(claim.id) is False
    assert sorted(asked(store.claim("ann", count=5))) == ["q0", "q1"]
    assert store.claim("bob") == []


def test_feedback_without_a_claim_is_counted_too(store):
    store.put(pairs(1))
    votes = [Feedback(question="q0", annotator=who, answer=Comparison(better="s0a")) for who in "abc"]
    assert store.put(votes) == 3
    assert store.put(votes) == 0
    assert [f.annotator for f in store.feedback(project="default")] == ["a"]
    assert store.claim("d") == []


def test_order_is_the_same_on_a_revisit_and_fair_over_people_and_questions(store):
    store.put(pairs(200, wanted=2))
    first = Counter()
    for who in ("ann", "bob"):
        claims = store.claim(who, count=200)
        again = store.ask([claim.asked.question for claim in claims], who)
        assert [a.samples for a in again] == [claim.asked.samples for claim in claims]
        first.update(claim.asked.samples[0].id[-1] for claim in claims)
    assert 160 < first["a"] < 240, first


def test_any_history_keeps_the_books(store):
    """Random acts with a given clock; the counters are compared with counting everything again."""
    draw, now, wanted = random.Random(5), 0.0, 2
    store.put(pairs(6, wanted=wanted))
    open_claims, given = [], []
    for _ in range(300):
        now += draw.random() * 3
        act = draw.choice(["claim", "claim", "answer", "answer", "skip", "release", "undo"])
        if act == "claim":
            open_claims += store.claim(draw.choice("abcde"), count=draw.randint(1, 3), seconds=5, now=now)
        elif act in ("answer", "skip") and open_claims:
            claim = open_claims.pop(draw.randrange(len(open_claims)))
            more = {"answer": None} if act == "skip" else {}
            given.append(store.answer(claim.id, said(claim, **more), now=now))
        elif act == "release" and open_claims:
            store.release(draw.choice(open_claims).id)
        elif act == "undo" and given:
            store.undo(given.pop(draw.randrange(len(given))).id)
        _books_are_right(store, wanted, now)
    states = set(store.feedback_state(f.id for f in store.feedback(standing=False)).values())
    assert states == {"standing", "replaced", "surplus", "withdrawal"}, "the history met every case"


def _books_are_right(store: Store, wanted: int, now: float) -> None:
    answers = Counter(f.question for f in store.feedback() if f.answer is not None)
    people = Counter((f.question, f.annotator) for f in store.feedback())
    with store.writing() as connection:
        rows = connection.exec_driver_sql("SELECT question, answers, leases, open FROM queue").all()
        live = connection.exec_driver_sql("SELECT question, annotator FROM claim WHERE state = 'live'").all()
    held = Counter(question for question, _ in live)
    for question, counted, leases, left in rows:
        assert (counted, leases, left) == (answers[question], held[question], wanted - counted - leases)
        assert left >= 0
    assert max([*people.values(), *Counter(map(tuple, live)).values()], default=0) <= 1


def _work(path: str, who: str) -> tuple[int, int]:
    """Claim and answer until nothing is left."""
    answers = errors = 0
    with Store.open(path) as store:
        while claims := store.claim(who, count=2):
            for claim in claims:
                try:
                    store.answer(claim.id, said(claim))
                    answers += 1
                except Exception:
                    errors += 1
    return answers, errors


@pytest.mark.parametrize("how", ["threads of one store", "processes"])
def test_sixteen_at_once_lose_nothing_and_answer_nothing_too_often(tmp_path: Path, how: str):
    path, wanted, questions = str(tmp_path / "store.db"), 3, 40
    people = [f"person {i}" for i in range(16)]
    with Store.open(path) as store:
        store.put(pairs(questions, wanted=wanted))
    if how == "processes":
        with multiprocessing.get_context("spawn").Pool(4) as pool:
            done = pool.starmap(_work, [(path, who) for who in people], chunksize=1)
    else:
        with ThreadPoolExecutor(16) as pool:
            done = list(pool.map(lambda who: _work(path, who), people))
    assert sum(errors for _, errors in done) == 0
    assert sum(answers for answers, _ in done) == wanted * questions
    with Store.open(path) as store:
        assert Counter(f.question for f in store.feedback()) == {f"q{i}": wanted for i in range(questions)}
        assert store.count(Feedback) == wanted * questions, "no surplus"
        assert max(Counter((f.question, f.annotator) for f in store.feedback()).values()) == 1


def test_a_claim_reads_a_few_rows_however_many_questions_there_are(store):
    """The plan goes by the index of open questions, and those answered before are not walked again."""
    store.put(pairs(200, wanted=2))
    for claim in store.claim("ann", count=190):
        store.answer(claim.id, said(claim))
    plan = """EXPLAIN QUERY PLAN SELECT question, place FROM queue
              WHERE project = 'default' AND place > 5 AND open > 0 ORDER BY place LIMIT 9"""
    with store.writing() as connection:
        steps = " ".join(row[-1] for row in connection.exec_driver_sql(plan))
        place = connection.exec_driver_sql("SELECT place FROM passed WHERE annotator = 'ann'").scalar()
    assert "queue_open" in steps
    assert "TEMP B-TREE" not in steps
    assert place == 190
    assert len(store.claim("ann", count=20)) == 10
    assert store.count(Question) == 200


# --- PostgreSQL: the same promises where many really write at once ---------------------------------------------


def test_on_postgresql_sixteen_at_once_lose_nothing_and_answer_nothing_too_often(postgresql: str):
    wanted, questions = 3, 40
    with Store.open(postgresql) as store:
        store.put(pairs(questions, wanted=wanted))
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        done = pool.starmap(_work, [(postgresql, f"person {i}") for i in range(16)], chunksize=1)
    assert sum(errors for _, errors in done) == 0
    with Store.open(postgresql) as store:
        _all_once(store, wanted, questions, sum(answers for answers, _ in done))


def test_on_postgresql_any_history_keeps_the_books(postgresql: str):
    with Store.open(postgresql) as store:
        test_any_history_keeps_the_books(store)


def test_on_postgresql_two_first_claims_of_one_person_at_once_get_different_questions(postgresql: str):
    with Store.open(postgresql) as store:
        store.put(pairs(8))
        with ThreadPoolExecutor(8) as pool:
            found = [claim for claims in pool.map(lambda _: store.claim("ann"), range(8)) for claim in claims]
        assert len({claim.asked.question.id for claim in found}) == len(found) == 8


def _all_once(store: Store, wanted: int, questions: int, answers: int) -> None:
    assert answers == wanted * questions
    assert Counter(f.question for f in store.feedback()) == {f"q{i}": wanted for i in range(questions)}
    assert store.count(Feedback) == wanted * questions, "no surplus"
    assert max(Counter((f.question, f.annotator) for f in store.feedback()).values()) == 1

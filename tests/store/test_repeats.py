"""Asked again with the sides swapped: to the same person only, blind, once each, and counted apart."""

from __future__ import annotations

import random

import pytest

from accord.records import Comparison, Feedback, Question
from accord.store import Claim, Store, desk, erasure, traces
from accord.store.belongings import known
from accord.store.repeats import BESIDE, GAP, Repeats, Twice, is_repeats
from tests.store.conftest import pairs, said


@pytest.fixture
def repeats(store: Store) -> Repeats:
    store.put(pairs(80, wanted=2))
    return Repeats(store)


def work(store: Store, count: int, who: str = "ann") -> list[Claim]:
    claims = store.claim(who, count=count)
    for claim in claims:
        store.answer(claim.id, said(claim))
    return claims


def test_it_comes_when_enough_lies_between_and_as_often_as_was_asked_for(store: Store, repeats: Repeats) -> None:
    assert not repeats.due("default", "ann", 0.5)
    work(store, GAP)
    assert not repeats.due("default", "ann", 0.5), "nothing lies far enough back yet"
    work(store, 10)
    times = 0
    while repeats.due("default", "ann", 0.5):
        claim = repeats.ask("default", "ann", 60)
        assert claim is not None
        store.answer(claim.id, said(claim))
        times += 1
    assert times == 5, "half of the ten that lie beyond the gap"
    assert not repeats.due("default", "ann", 0.0)
    assert not repeats.due("default", "bob", 0.5)


def test_the_sides_are_swapped_and_nothing_gives_it_away(store: Store, repeats: Repeats) -> None:
    first = {claim.asked.question.id: claim for claim in work(store, 60)}
    orders = {id: tuple(s.id for s in claim.asked.samples) for id, claim in first.items()}
    chosen = set()
    for _ in range(20):
        claim = repeats.ask("default", "ann", 60)
        assert claim is not None
        order = tuple(sample.id for sample in claim.asked.samples)
        assert order[::-1] in orders.values()
        assert claim.asked.question.id not in first
        chosen.add(frozenset(order))
    assert len(chosen) == 20, "none is repeated twice"
    late = {frozenset(orders[id]) for id in list(first)[-GAP:]}
    assert not chosen & late, "the last ones are fresh in memory"


def test_nobody_else_gets_it_and_the_first_queue_counts_nothing_twice(store: Store, repeats: Repeats) -> None:
    work(store, 40)
    before = desk.progress(store, "default")
    claim = repeats.ask("default", "ann", 60)
    assert claim is not None
    assert desk.held(store, "ann", "default", 60, 5)[0].id == claim.id, "a page that is loaded again goes on with it"
    store.answer(claim.id, said(claim))
    after = desk.progress(store, "default")
    assert (after.questions, after.wanted, after.answered) == (before.questions, before.wanted, before.answered)
    assert len(list(store.feedback(project="default"))) == 40
    assert is_repeats(claim.asked.question.project)
    assert desk.projects(store) == ["default"]
    others = store.claim("bob", count=200)
    assert claim.asked.question.id not in {one.asked.question.id for one in others}


def test_one_that_was_given_back_is_not_given_to_anybody(store: Store, repeats: Repeats) -> None:
    work(store, 40)
    claim = repeats.ask("default", "ann", 60)
    assert claim is not None
    store.release(claim.id)
    assert claim.asked.question.id not in {c.asked.question.id for c in store.claim("bob", count=200)}
    late = store.answer(claim.id, said(claim))
    assert store.feedback_state([late.id]) == {late.id: "standing"}


def test_self_agreement_is_by_sample_and_a_habit_of_side_shows(store: Store, repeats: Repeats) -> None:
    """A planted person who is sure says the same again; one who takes the left always turns round, on the same side."""
    draw = random.Random(0)
    for who, sure in (("ann", True), ("bob", False)):
        claims = store.claim(who, count=60)
        for number in range(len(claims) + 15):
            claim = claims[number] if number < len(claims) else repeats.ask("default", who, 60)
            assert claim is not None
            shown = [sample.id for sample in claim.asked.samples]
            better = min(shown) if sure else shown[0]
            store.answer(claim.id, said(claim, answer=Comparison(better=better, strength=draw.randint(1, 3))))
    twice = repeats.said("default")
    assert [one.same for one in twice if one.annotator == "ann"] == [True] * 15
    assert [one.stayed for one in twice if one.annotator == "bob"] == [True] * 15
    assert len(twice) == 30


def test_what_was_taken_back_is_no_repeat(store: Store, repeats: Repeats) -> None:
    work(store, 40)
    claim = repeats.ask("default", "ann", 60)
    assert claim is not None
    kept = store.answer(claim.id, said(claim))
    assert len(repeats.said("default")) == 1
    store.undo(kept.id)
    assert repeats.said("default") == []


def test_ties_and_winners() -> None:
    def one(better: str | None, shown: tuple[str, str]) -> Feedback:
        answer = Comparison(better=better) if better else Comparison(verdict="tie")
        return Feedback(question="q", annotator="ann", answer=answer, shown=shown)

    assert Twice("ann", one(None, ("a", "b")), one(None, ("b", "a"))).same
    turned = Twice("ann", one("a", ("a", "b")), one(None, ("b", "a")))
    assert not turned.same
    assert not turned.stayed


def test_who_withdraws_leaves_no_trace_in_the_repeats(store: Store, repeats: Repeats) -> None:
    work(store, 40)
    claim = repeats.ask("default", "ann", 60)
    assert claim is not None
    store.answer(claim.id, said(claim))
    who = known(store, "ann")
    erasure.withdraw(store, who)
    assert traces.left(store, who) == []
    assert store.count(Question, project="default" + BESIDE) == 1

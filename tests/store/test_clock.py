"""A clock that jumps, ahead and back: nothing said is lost, nothing stands twice, and no slot is held for a year."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from accord.store import Refused, Store
from accord.store.claims import LONGEST
from accord.store.office import Office
from accord.store.people import People
from tests.store.conftest import pairs, said

YEAR = 365 * 86_400.0


class Clock:
    """What the machine says that the time is."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(time, "time", found)
    return found


def test_a_jump_ahead_ends_leases_and_late_answers_are_kept(store: Store, clock: Clock) -> None:
    store.put(pairs(4))
    ann = store.claim("ann", count=4)
    clock.now += YEAR
    bob = store.claim("bob", count=2)
    assert len(bob) == 2
    states = []
    for claim in [*ann, *bob]:
        kept = store.answer(claim.id, said(claim))
        states.append(store.feedback_state([kept.id])[kept.id])
    assert Counter(states) == {"standing": 4, "surplus": 2}
    assert len(list(store.feedback())) == 4
    assert len({one.question for one in store.feedback()}) == 4


def test_a_jump_back_keeps_leases_and_answers(store: Store, clock: Clock) -> None:
    store.put(pairs(3))
    claim = store.claim("ann")[0]
    clock.now -= 3600
    assert [c.asked.question.id for c in store.claim("bob", count=5)] == ["q1", "q2"]
    kept = store.answer(claim.id, said(claim))
    assert store.feedback_state([kept.id]) == {kept.id: "standing"}
    undone = store.undo(kept.id)
    assert undone.replaces == kept.id
    assert [c.asked.question.id for c in store.claim("cid", count=5)] == ["q0"]


def test_leases_of_a_minute_in_the_future_do_not_hold_slots_until_then(store: Store, clock: Clock) -> None:
    store.put(pairs(5))
    clock.now += YEAR
    gone = store.claim("ann", count=3)
    clock.now -= YEAR
    assert len(store.claim("bob", count=5)) == 5, "those of the wrong minute are free again"
    late = store.answer(gone[0].id, said(gone[0]))
    assert store.feedback_state([late.id]) == {late.id: "surplus"}, "and what is said to them is kept"


def test_no_lease_is_so_long_that_it_could_be_taken_for_one_of_those(store: Store) -> None:
    store.put(pairs(1))
    with pytest.raises(Refused, match="seconds"):
        store.claim("ann", seconds=LONGEST + 1)
    assert len(store.claim("ann", seconds=LONGEST)) == 1
    assert store.claim("bob") == []


def test_tokens_outlive_a_minute_in_the_future(store: Store, clock: Clock) -> None:
    people = People(store)
    ann, bob = people.add("ann", "annotator"), people.add("bob", "annotator")
    people.grant(ann.id, "token", "digest of ann", 90 * 86_400)
    clock.now += YEAR
    assert people.holder("token", "digest of ann") is None, "it has ended by that clock"
    people.grant(bob.id, "session", "digest of bob", 3600)
    clock.now -= YEAR
    holder = people.holder("token", "digest of ann")
    assert holder is not None
    assert holder.name == "ann"


def test_a_listener_that_was_put_off_in_the_future_is_told_now(store: Store, clock: Clock) -> None:
    office = Office(store)
    made = office.add_hook("https://example.org/", "whsec_x")
    office.put_hook(made.id, due=clock.now + YEAR + 300)
    found = office.take_hook(clock.now)
    assert found is not None
    assert found.id == made.id
    assert office.take_hook(clock.now) is None, "one worker at a time"
    office.put_hook(made.id, due=clock.now + 300)
    assert office.take_hook(clock.now) is None

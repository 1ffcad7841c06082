"""What those who lead see of people: pace, gold, reliability, a taste for length, and what to look at; also by REST."""

from __future__ import annotations

import random
import time

import pytest

from accord.records import Comparison, Feedback, Question
from accord.store import Store
from accord.web.figures import figures
from accord.web.seen import pace, window
from tests.web.conftest import House, questions, text

PAIRS = 60


def say(question: str, who: str, better: str, made: float) -> Feedback:
    ids = (f"{question[:-2]}-s0", f"{question[:-2]}-s1")[:: 1 if random.Random(question + who).random() < 0.5 else -1]
    return Feedback(question=question, annotator=who, answer=Comparison(better=better), shown=ids, seconds=5, made=made)


@pytest.fixture
def crowd(store: Store) -> House:
    """Three people who see what is right nine times of ten, one who guesses, one who takes the longer answer."""
    house, draw, now = House(store), random.Random(1), time.time()
    made = questions(PAIRS, wanted=9)
    for at, one in enumerate(made):
        if isinstance(one, Question) and one.id.endswith("5-q"):
            made[at] = one.model_copy(update={"gold": Comparison(better=one.samples[0])})
    longer = {}
    for at, one in enumerate(made):
        if one.id.endswith(("-s0", "-s1")):
            pair, side = one.id.rsplit("-s", 1)
            longer.setdefault(pair, draw.choice("01"))
            said = "so " * (30 if longer[pair] == side else 3)
            made[at] = one.model_copy(update={"content": text(said + side, "assistant")})
    store.put(made)
    for number in range(PAIRS):
        pair = f"round1-{number}"
        for who in ("good-1", "good-2", "good-3", "guesser", "lengthy"):
            side = "0" if draw.random() < (0.5 if who == "guesser" else 0.9) else "1"
            side = longer[pair] if who == "lengthy" else side
            store.put([say(f"{pair}-q", who, f"{pair}-s{side}", now - 60 * number)])
    return house


def test_the_page_tells_who_can_be_relied_on(crowd: House) -> None:
    found = {one.pseudonym: one for one in figures(crowd.app.state.room, "round1").people}
    for name in ("good-1", "good-2", "good-3"):
        seen = found[name].seen
        assert seen.reliability is not None
        assert seen.reliability.low > 0.7
        assert [kind for kind, _ in seen.notes] == []
        assert (found[name].gold.n, found[name].gold.estimate > 0.5) == (6, True)
    guesser, lengthy = found["guesser"].seen, found["lengthy"].seen
    assert guesser.reliability is not None
    assert guesser.reliability.high < 0.75
    assert "careless" in [kind for kind, _ in guesser.notes]
    assert lengthy.longer is not None
    assert lengthy.longer.estimate == 1
    assert lengthy.beyond is not None
    assert lengthy.beyond.low > 0.2
    assert "length" in [kind for kind, _ in lengthy.notes]
    assert found["good-1"].hour in (59, 60)


def test_the_same_is_on_the_page_and_by_rest(crowd: House) -> None:
    client = crowd.client("manager")
    rows = {one["pseudonym"]: one for one in client.get("/api/projects/round1/people").json()}
    assert rows["lengthy"]["takes_longer"]["estimate"] == 1
    assert rows["guesser"]["to_look_at"][0]["evidence"]
    assert rows["good-1"]["reliability"]["low"] > 0.7
    pulse = client.get("/api/projects/round1/figures").json()
    assert pulse["progress"]["questions"] == PAIRS
    assert 0.4 < pulse["two_agree"]["low"] < pulse["two_agree"]["high"] < 0.9
    assert 295 <= pulse["hour"] <= 300
    assert pulse["hours_left"] == pytest.approx((9 * PAIRS - 5 * PAIRS) / pulse["hour"])
    page = crowd.browser("manager")[0].get("/manage").text
    assert "Takes the longer" in page
    assert rows["guesser"]["to_look_at"][0]["evidence"].split("'")[0] in page
    assert client.get("/api/projects/round1/guideline").json() == {"version": 0, "text": ""}
    crowd.people.write_guideline("round1", "Be fair.")
    assert client.get("/api/projects/round1/guideline").json() == {"version": 1, "text": "Be fair."}
    for path in ("figures", "guideline"):
        assert crowd.client("annotator").get(f"/api/projects/round1/{path}").status_code == 403
        assert client.get(f"/api/projects/nowhere/{path}").status_code == 404


def test_the_pace_of_many_people_is_not_cut_off_at_what_is_looked_at() -> None:
    now = time.time()
    said = [say("q-0-q", "a", "q-0-s0", now - second) for second in range(100)]
    assert window(said, 2000) == 3600
    assert pace(said, 3600) == 100
    span = window(said, 100)
    assert span == pytest.approx(99, abs=2)
    assert pace(said, span) == pytest.approx(3600, rel=0.05)
    assert pace([], 3600) == 0

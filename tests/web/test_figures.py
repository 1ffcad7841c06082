"""What those who lead see of people over time: cost, drift, agreement with themselves; planted and found."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from fastapi.testclient import TestClient

from accord.records import Comparison, Feedback
from accord.statistics import Interval, mean_interval, wilson
from accord.store import Store
from accord.store.repeats import GAP, is_repeats
from accord.web.figures import difference
from tests.web.conftest import House, questions
from tests.web.test_lead import at_once, rules  # noqa: F401


def all_of(client: TestClient, count: int = 20) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.post("/api/claims", json={"project": "round1", "count": count}).json()[
        "claims"
    ]
    return found


def say(client: TestClient, claim: dict[str, Any], better: str, seconds: float = 4.0) -> None:
    body = {"id": f"f-{claim['id']}", "answer": {"kind": "comparison", "better": better}, "seconds": seconds}
    assert client.put(f"/api/claims/{claim['id']}/answer", json=body).status_code == 200


def put(store: Store, who: str, count: int, better: Any, seconds: Any = lambda at: 4.0) -> None:
    """What somebody said to the first questions, without a claim."""
    for at in range(count):
        ids = (f"round1-{at}-s0", f"round1-{at}-s1")
        store.put([Feedback(question=f"round1-{at}-q", annotator=who, answer=Comparison(better=ids[better(at)]),
                            shown=ids, seconds=seconds(at), made=1e9 + 60 * at)])  # fmt: skip


@pytest.fixture
def crowd(store: Store) -> House:
    """Two steady people; one who agrees with them at first, hurries and guesses later; 120 questions."""
    store.put(questions(120, wanted=9))
    draw = random.Random(0)
    for who in ("steady-1", "steady-2"):
        put(store, who, 120, lambda at: 0)
    put(store, "tired", 120, lambda at: 0 if at < 60 else draw.randrange(2), lambda at: 8.0 if at < 60 else 2.0)
    return House(store)


def test_drift_is_found_in_the_one_who_drifted(crowd: House) -> None:
    lead = crowd.client("manager")
    rows = {row["pseudonym"]: row for row in lead.get("/api/projects/round1/people").json()}
    assert rows["tired"]["drift"]["high"] < 0
    assert rows["steady-1"]["drift"]["estimate"] == pytest.approx(-0.25, abs=0.12), "half of whom they meet has changed"
    page = lead.get("/manage/person/round1/tired").text
    assert "What has changed" in page
    assert page.count("changed</span>") >= 2, "agreement and pace"
    assert "<strong>0.25</strong>" in page, "four times as quick"
    steady = lead.get("/manage/person/round1/steady-1").text
    assert "<strong>1.00</strong>" in steady
    assert page.count("<tr><td>2001-09-09") == 3


def test_a_person_who_said_little_is_not_judged(store: Store) -> None:
    store.put(questions(30, wanted=3))
    put(store, "new", 30, lambda at: 0)
    house = House(store)
    lead = house.client("manager")
    assert "Too little was said" in lead.get("/manage/person/round1/new").text
    assert lead.get("/api/projects/round1/people").json()[0]["drift"]["estimate"] is None
    assert lead.get("/manage/person/round1/nobody").status_code == 404
    assert lead.get("/manage/person/nowhere/new").status_code == 404


def test_time_and_money_of_an_answer(store: Store) -> None:
    store.put(questions(10))
    house = House(store)
    lead, client = house.client("manager"), house.client()
    assert rules(house, rate=36.0, currency="EUR") == 200
    claims = all_of(client, 8)
    for claim in claims[:5]:
        say(client, claim, claim["shown"][0], 10.0)
    skip = {"id": "a-skip-01", "answer": None, "seconds": 20.0, "note": "no"}
    assert client.put(f"/api/claims/{claims[5]['id']}/answer", json=skip).status_code == 200
    say(client, claims[6], claims[6]["shown"][0], 50_000.0)
    row = lead.get("/api/projects/round1/people").json()[0]
    seconds = 5 * 10 + 20 + 900  # a page that was left open counts for a quarter of an hour
    assert row["seconds_each"] == pytest.approx(seconds / 6)
    assert row["cost_each"] == pytest.approx(seconds / 6 / 100)
    page = lead.get("/manage").text
    assert f"{seconds / 100:.2f} EUR" in page
    assert rules(house, rate=-1) == 422
    assert rules(house, repeats=0.9) == 422


def test_repeats_come_blind_and_agreement_with_oneself_is_shown(store: Store) -> None:
    store.put(questions(60, wanted=2))
    house = House(store)
    assert rules(house, repeats=0.5) == 200
    client, orders, repeats = house.client(), {}, 0
    for _ in range(60):
        for claim in all_of(client, 1):
            pair = frozenset(claim["shown"])
            assert claim["project"] == "round1"
            assert "again" not in str(claim)
            if pair in orders:
                repeats += 1
                assert claim["shown"] == orders[pair][::-1]
                seen = list(orders).index(pair)
                assert len(orders) - seen > GAP
            else:
                orders[pair] = claim["shown"]
            say(client, claim, min(claim["shown"]))
    assert 5 <= repeats <= 20
    lead = house.client("manager")
    row = lead.get("/api/projects/round1/people").json()[0]
    assert row["agrees_with_themselves"] == {**_plain(wilson(repeats, repeats))}
    assert row["answers"] == 60 - repeats
    assert [queue["progress"]["project"] for queue in lead.get("/api/projects").json()] == ["round1"]
    assert not is_repeats("round1")


def test_a_queue_of_repeats_is_nobodys_to_claim_or_see(store: Store) -> None:
    store.put(questions(2, project="round1 \u00b7 again"))
    house = House(store)
    client, lead = house.client(), house.client("manager")
    name = "round1 \u00b7 again"
    assert client.post("/api/claims", json={"project": name}).json() == {"claims": []}
    assert lead.get(f"/api/projects/{name}").status_code == 404
    assert lead.get(f"/api/projects/{name}/preferences").status_code == 404
    assert name not in lead.get("/manage").text


def test_the_interval_of_a_difference_covers_as_often_as_it_says() -> None:
    draw = random.Random(1)
    covered = 0
    for _ in range(400):
        ends = [wilson(sum(draw.random() < p for _ in range(60)), 60) for p in (0.8, 0.55)]
        covered += not difference(*ends).excludes(0.25)
    assert 0.92 <= covered / 400 <= 0.98
    plain = difference(Interval(1.0, 0.0, 3.0, 0.95, 5), mean_interval([2.0, 2.0]))
    assert (plain.estimate, plain.low, plain.high, plain.n) == (-1.0, -2.0, 1.0, 7)


def _plain(one: Interval) -> dict[str, float]:
    assert not math.isnan(one.estimate)
    return {"estimate": one.estimate, "low": one.low, "high": one.high, "n": one.n}

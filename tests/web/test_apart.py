"""How far people are apart: measures against plainer ones, and the page and the routes for every form."""

from __future__ import annotations

import itertools
import random

import pytest
from scipy import stats

from accord.records import Answer, Combined, Feedback, Flags, Ranking, Rating
from accord.store import Store
from accord.web.apart import apart, distance, spoken
from tests.web.conftest import House, questions

A, B = "one-0-s0", "one-0-s1"
LETTERS = {A: "A", B: "B"}


def rated(a: float, b: float, scale: tuple[float, float] = (1, 5)) -> Rating:
    return Rating(scores={A: {"": a}, B: {"": b}}, scale=scale)


def flagged(*yes: bool) -> Flags:
    return Flags(flags={A: {"rude": yes[0]}, B: {"rude": yes[1]}})


def feedback(*answers: Answer) -> list[Feedback]:
    return [Feedback(question="q", annotator=f"p{at}", answer=one) for at, one in enumerate(answers)]


def test_the_distance_of_rankings_without_ties_is_kendalls() -> None:
    draw = random.Random(3)
    for _ in range(50):
        names = [f"s{at}" for at in range(draw.randint(2, 9))]
        two = [Ranking(order=tuple((name,) for name in draw.sample(names, len(names)))) for _ in range(2)]
        places = [[[*itertools.chain(*one.order)].index(name) for name in names] for one in two]
        tau = float(stats.kendalltau(*places).statistic)
        assert distance(*two) == pytest.approx((1 - tau) / 2)


def test_a_tie_on_one_side_counts_half_and_one_on_both_nothing() -> None:
    tied, ordered = Ranking(order=(("x", "y"), ("z",))), Ranking(order=(("x",), ("y",), ("z",)))
    assert distance(tied, ordered) == pytest.approx(0.5 / 3)
    assert distance(tied, tied) == 0
    assert distance(ordered, Ranking(order=(("z",), ("y",), ("x",)))) == 1


def test_scores_half_of_the_scale_apart_are_named_and_nearer_ones_are_not() -> None:
    assert apart(feedback(rated(1, 5), rated(2, 4))) == ()
    (found,) = apart(feedback(rated(1, 5), rated(2, 4), rated(3, 5)))
    assert (found.measure, found.value, found.where) == ("spread", 0.5, ((A, ""),))
    assert found.told(LETTERS) == "Scores are apart by 50% of the scale: A."
    assert apart(feedback(rated(1, 1, (1, 7)), rated(3, 1, (1, 7)))) == (), "two of seven is a third of the scale"


def test_a_quarter_against_the_rest_on_a_flag_is_apart_and_fewer_are_not() -> None:
    few = [flagged(True, False)] + [flagged(False, False)] * 4
    assert apart(feedback(*few)) == ()
    (found,) = apart(feedback(*few[:4]))
    assert (found.measure, found.value, found.where) == ("share", 0.25, ((A, "rude"),))


def test_a_combined_answer_is_apart_by_any_of_its_parts() -> None:
    up, down = Ranking(order=((A,), (B,))), Ranking(order=((B,), (A,)))
    one = Combined(rating=rated(5, 1), ranking=up, flags=flagged(True, False).flags)
    other = Combined(rating=rated(5, 3), ranking=down, flags=flagged(True, False).flags)
    assert [(found.measure, found.where) for found in apart(feedback(one, other))] == [
        ("spread", ((B, ""),)),
        ("distance", ((A, B),)),
    ]
    assert apart(feedback(one, one)) == ()
    assert spoken(one, LETTERS) == "A 5; B 1; A rude yes; B rude no; A > B"


FORMS: dict[str, tuple[Answer, Answer]] = {
    "rating": (rated(1, 5), rated(5, 5)),
    "flags": (flagged(True, False), flagged(False, False)),
    "ranking": (Ranking(order=((A,), (B,))), Ranking(order=((B,), (A,)))),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_disagreement_of_each_form_is_listed_shown_and_settled_as_somebody_said(store: Store, form: str) -> None:
    flags = ("rude",) if form == "flags" else ()
    store.put(questions(2, form=form, wanted=2, project="one", flags=flags))  # type: ignore[arg-type]
    house = House(store)
    for role, answer in zip(("annotator", "owner"), FORMS[form], strict=True):
        client = house.client(role)
        claims = client.post("/api/claims", json={"project": "one", "count": 2}).json()["claims"]
        for claim in claims:
            same = claim["question"] == "one-1-q"
            text = (FORMS[form][0] if same else answer).model_dump_json()
            if same:
                text = text.replace("one-0", "one-1")
            body = f'{{"id": "{role}-{claim["question"]}", "answer": {text}}}'
            put = client.put(
                f"/api/claims/{claim['id']}/answer", content=body, headers={"content-type": "application/json"}
            )
            assert put.status_code == 200, put.text
    lead = house.client("manager")
    assert lead.get("/api/projects/one/disagreements").json() == ["one-0-q"]
    (told,) = lead.get("/api/projects/one/apart").json()
    measure = {"rating": "spread", "flags": "share", "ranking": "distance"}[form]
    assert (told["question"], told["form"], len(told["people"])) == ("one-0-q", form, 2)
    assert [gap["measure"] for gap in told["apart"]] == [measure]
    page = lead.get("/manage/disputes/one").text
    assert page.count("<article") == 1
    assert "As annotator said" in page
    assert "data-answer" not in house.client("auditor").get("/manage/disputes/one").text
    word = {"answer": FORMS[form][1].model_dump(mode="json")}
    kept = lead.post("/api/questions/one-0-q/settle", json=word)
    assert kept.status_code == 200, kept.text
    assert lead.get("/api/projects/one/disagreements").json() == []

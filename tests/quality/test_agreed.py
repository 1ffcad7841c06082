"""Agreement of every form from records to figures, persons by each model, and games between models."""

import math

import numpy as np
import pytest

from accord.quality.agreed import agreements, hardest, seen_by
from accord.quality.standings import games, orders
from accord.quality.votes import hear
from accord.records import Combined, Comparison, Feedback, Flags, Question, Ranking, Rating

KRIPPENDORFF = [
    "1 2 3 3 2 1 4 1 2 . . .",
    "1 2 3 3 2 2 4 1 2 5 . 3",
    ". 3 3 3 2 3 4 2 2 5 1 .",
    "1 2 3 3 2 4 4 1 2 5 1 .",
]


def figures(questions, feedback):
    found = agreements(questions, feedback, np.random.default_rng(0), 60)
    return {one.what: ({figure.name: figure for figure in one.figures}, one.answers, one.people) for one in found}


def test_ratings_in_records_give_the_published_figures():
    """Krippendorff 2011, section C, each unit a question about one answer."""
    asked = [
        Question(id=f"q{i}", prompt="p", samples=(f"s{i}",), form="rating", criteria=("truth",)) for i in range(12)
    ]
    said = [
        Feedback(question=f"q{i}", annotator=f"w{j}", answer=Rating(scores={f"s{i}": {"truth": float(value)}}))
        for j, line in enumerate(KRIPPENDORFF)
        for i, value in enumerate(line.split())
        if value != "."
    ]
    found, answers, people = figures(asked, said)["rating: truth"]
    assert (answers, people) == (41, 4)
    for measure, published in (("ordinal", 0.815), ("interval", 0.849)):
        figure = found[f"Krippendorff alpha ({measure})"]
        assert figure.interval.estimate == pytest.approx(published, abs=5e-4)
        assert figure.interval.low < published < figure.interval.high


def test_each_form_has_its_own_figures_and_says_why_it_has_none():
    asked = [
        Question(id="c1", prompt="p", samples=("a", "b")),
        Question(id="c2", prompt="p", samples=("a", "c")),
        Question(id="r1", prompt="p", samples=("a", "b", "c"), form="ranking"),
        Question(id="r2", prompt="p", samples=("a", "b", "d"), form="ranking"),
        Question(id="m", prompt="p", samples=("a", "b"), form="combined", flags=("rude",)),
    ]
    both = Combined(
        rating=Rating(scores={"a": {"": 5.0}, "b": {"": 2.0}}),
        ranking=Ranking(order=(("a",), ("b",))),
        flags={"a": {"rude": False}, "b": {"rude": True}},
    )
    said = [
        ("c1", "u", Comparison(better="a", safe=("a",))),
        ("c1", "v", Comparison(better="a", safe=("a", "b"))),
        ("c2", "u", Comparison(better="a")),
        ("c2", "v", Comparison(better="c")),
        ("r1", "u", Ranking(order=(("a",), ("b",), ("c",)))),
        ("r1", "v", Ranking(order=(("a",), ("c",), ("b",)))),
        ("r2", "u", Ranking(order=(("a",), ("b",), ("d",)))),
        ("r2", "v", Ranking(order=(("a",), ("b",), ("d",)))),
        ("m", "u", both),
        ("m", "v", Flags(flags={"a": {"rude": True}, "b": {"rude": True}})),
        ("m", "w", None),
        ("gone", "u", Comparison(better="a")),
    ]
    made = [Feedback(question=q, annotator=who, answer=answer, shown=("a", "b")) for q, who, answer in said]
    found = figures(asked, made)
    assert set(found) == {"comparison", "rating", "ranking", "flag: rude", "flag: safe"}
    assert found["comparison"][0]["pairwise agreement"].interval.estimate == 0.5
    assert found["comparison"][1:] == (4, 2)
    # Two orders of three that differ by one exchange have a tau of 1/3; the combined ranking has one person.
    assert found["ranking"][0]["Kendall tau"].interval.estimate == pytest.approx((1 / 3 + 1) / 2)
    assert found["flag: rude"][0]["pairwise agreement"].interval.estimate == 0.5
    assert found["flag: safe"][0]["pairwise agreement"].interval.estimate == 0.5
    alone = found["rating"][0]["Krippendorff alpha (interval)"]
    assert math.isnan(alone.interval.estimate)
    assert alone.why == "0 of 2 items were judged by two people; 2 needed"


def test_every_model_of_persons_tells_a_coin_from_a_good_judge(crowd):
    world = crowd(0, 200)
    for name, right, left in (("a", 0.9, 0), ("b", 0.9, 0), ("c", 0.85, 0), ("coin", 0.5, 0), ("left", 0.8, 0.9)):
        world.person(name, right, left)
    seen = {one.name: one for one in seen_by(world.votes)}
    assert seen["a"].one_coin.low > seen["coin"].one_coin.high
    assert seen["coin"].sharpness.high < seen["a"].sharpness.low
    assert seen["left"].leaning.low > 1 > abs(seen["a"].leaning.estimate)
    assert seen["left"].full[0] > 0.9 > 0.3 > seen["left"].full[1]
    assert seen["a"].honest > 0.7 > 0.4 > seen["coin"].honest
    assert seen["a"].effective > 50 > 5 > seen["coin"].effective
    worst = hardest(world.votes, 3)
    assert [times for *_, times in worst] == [5, 5, 5]
    assert worst[0][1] >= worst[1][1] >= worst[2][1] > 0.3
    assert seen_by([]) == []
    assert hardest([]) == []


def test_answers_become_games_and_rankings_of_those_who_gave_them():
    player = {"a": "one", "b": "two", "c": "two", "d": ""}
    asked = [
        Question(id="q", prompt="p", samples=("a", "b")),
        Question(id="same", prompt="p", samples=("b", "c")),
        Question(id="r", prompt="p2", samples=("a", "b", "c", "d"), form="ranking"),
    ]
    said = [
        Feedback(question="q", annotator="u", answer=Comparison(better="b"), shown=("a", "b")),
        Feedback(question="q", annotator="v", answer=Comparison(verdict="tie")),
        Feedback(question="q", annotator="w", answer=Comparison(better="a", criterion="truth")),
        Feedback(question="same", annotator="u", answer=Comparison(better="b")),
        Feedback(question="r", annotator="u", answer=Ranking(order=(("d",), ("c",), ("a", "b")))),
    ]
    played = games(hear(asked, said).votes, player)
    assert [(one.a, one.b, one.outcome, one.cluster) for one in played if one.cluster == "p"] == [
        ("one", "two", "b", "p"),
        ("one", "two", "tie", "p"),
    ]
    assert sorted(one.outcome for one in played if one.cluster == "p2") == ["b", "tie"]  # a against c, a against b
    assert orders(asked, said, player) == [[["two"], ["one"]]]

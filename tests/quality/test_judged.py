"""Every form of answer as a judgement of its own form."""

import pytest
from test_votes import ask, say, text

from accord.quality.judged import believed, by_source, flags, in_their_forms
from accord.records import (
    Combined,
    Comparison,
    Correction,
    Critique,
    Flags,
    Preference,
    Ranking,
    Rating,
    Sample,
    Span,
    Written,
)


def told(question, *answers):
    return in_their_forms([question], [say(question, answer) for answer in answers]).judgements


def test_a_comparison_is_a_pair_a_tie_or_both_bad():
    question = ask("x", "y")
    found = told(
        question, Comparison(better="y", strength=3), Comparison(verdict="tie"), Comparison(verdict="both_bad")
    )
    assert [(one.samples, one.values, one.margin) for one in found] == [
        (("y", "x"), (1, 0), 3),
        (("x", "y"), (1, 1), 0),
        (("x", "y"), (0, 0), 0),
    ]
    assert {one.form for one in found} == {"pair"}


def test_the_best_of_four_beats_three_and_the_question_counts_once():
    found = told(ask("w", "x", "y", "z"), Comparison(better="y", criterion="tone"))
    assert [one.samples for one in found] == [("y", "w"), ("y", "x"), ("y", "z")]
    assert sum(one.weight for one in found) == pytest.approx(1)
    assert {one.criterion for one in found} == {"tone"}


def test_a_ranking_stays_one_with_its_ties():
    (found,) = told(ask("w", "x", "y", "z"), Ranking(order=(("y",), ("w", "z"), ("x",))))
    assert (found.form, found.samples, found.values) == ("ranking", ("y", "w", "z", "x"), (0, 1, 1, 2))


def test_ratings_are_levels_yes_or_no_or_scores_by_what_was_ever_said():
    question = ask("x", "y")
    found = told(
        question,
        Rating(scores={"x": {"": 4, "tone": 2}, "y": {"": 1}}),
        Rating(scores={"x": {"safe": 1}, "y": {"safe": 0}}, scale=(0, 1)),
        Rating(scores={"x": {"": 30.0}, "y": {"": 100}}, scale=(0, 100)),
        Rating(scores={"x": {"half": 2.0}}),
        Rating(scores={"y": {"half": 2.5}}),
    )
    assert [(one.form, one.criterion, one.levels, one.samples, one.values) for one in found] == [
        ("rating", "", 5, ("x", "y"), (3, 0)),
        ("rating", "tone", 5, ("x",), (1,)),
        ("flag", "safe", 0, ("x", "y"), (1, 0)),
        ("score", "", 0, ("x", "y"), (0.3, 1.0)),
        ("score", "half", 0, ("x",), (0.25,)),
        ("score", "half", 0, ("y",), (0.375,)),
    ]


def test_flags_are_yes_or_no_of_what_they_were_asked_of():
    found = told(ask("x", "y"), Flags(flags={"x": {"harm": True, "rude": False}, "y": {"harm": False}}))
    assert [(one.form, one.criterion, one.samples, one.values) for one in found] == [
        ("flag", "harm", ("x", "y"), (1, 0)),
        ("flag", "rude", ("x",), (0,)),
    ]


def test_a_comparison_that_asked_for_safety_also_flags():
    found = told(ask("x", "y"), Comparison(better="y", safe=("y",)), Comparison(better="y"))
    assert [(one.form, one.criterion, one.samples, one.values) for one in found] == [
        ("pair", "", ("y", "x"), (1, 0)),
        ("flag", "safe", ("x", "y"), (0, 1)),
        ("pair", "", ("y", "x"), (1, 0)),
    ]


def test_two_looks_from_one_reading_count_once():
    answer = Combined(
        rating=Rating(scores={"x": {"": 4, "tone": 2}, "y": {"": 1, "tone": 3}}),
        ranking=Ranking(order=(("x",), ("y",))),
        flags={"x": {"harm": False}},
    )
    found = told(ask("x", "y", form="combined"), answer)
    assert [(one.form, one.criterion, one.weight) for one in found] == [
        ("ranking", "", 0.5),
        ("rating", "", 0.5),
        ("rating", "tone", 1),
        ("flag", "harm", 1),
    ]
    assert {one.name for one in found} == {found[0].name}
    strange = Combined(rating=Rating(scores={"z": {"": 4}}), ranking=Ranking(order=(("x",), ("y",))))
    assert told(ask("x", "y", form="combined"), strange) == []


def test_a_correction_beats_its_original():
    question = ask("x", form="correction")
    said = in_their_forms([question], [say(question, Correction(sample="x", content=text("better")))])
    (found,) = said.judgements
    assert found.samples == (said.samples[0].id, "x")
    assert (found.values, found.margin) == ((1, 0), 2)


def test_a_critique_flags_what_it_marks_and_others_may_be_told_to_be_clean():
    question = ask("x", "y", form="critique")
    spans = (
        Span(start=0, end=2, label="unsafe"),
        Span(start=3, end=4, label="unsafe"),
        Span(start=1, end=2, label="bad"),
    )
    said = in_their_forms(
        [question], [say(question, Critique(sample="x", spans=spans)), say(question, Critique(sample="y"))]
    )
    assert [(one.form, one.criterion, one.samples, one.values) for one in said.judgements] == [
        ("flag", "unsafe", ("x",), (1,)),
        ("flag", "bad", ("x",), (1,)),
    ]
    assert list(said.left_out.values()) == ["a critique without a marked place; its words are not read"]
    whole = flags(said.judgements, ["unsafe", "good"], [("p", "x"), ("p", "y"), ("p", "y")])
    assert [(one.criterion, one.samples[0], one.values[0]) for one in whole[2:]] == [
        ("good", "x", 0),
        ("unsafe", "y", 0),
        ("good", "y", 0),
    ]


def test_what_judges_nothing_is_left_out_with_its_reason():
    question, alone = ask("x", "y"), ask("x")
    given = [
        say(question, None, note="no idea"),
        say(question, Written(content=text("so"))),
        say(alone, Comparison(verdict="tie")),
        say(ask("q"), Comparison(verdict="tie")),
        say(question, Ranking(order=(("x",), ("stranger",)))),
    ]
    said = in_their_forms([question, alone], given)
    assert said.judgements == []
    assert [said.left_out[one.id] for one in given] == [
        "skipped: no idea",
        "a demonstration, which judges nothing",
        "a comparison of fewer than two samples",
        f"question {given[3].question} is not among those given",
        "names stranger, which the question did not show",
    ]


def test_what_was_taken_back_is_not_heard():
    question = ask("x", "y")
    first = say(question, Comparison(better="x"))
    second = say(question, Comparison(better="y"), replaces=first.id)
    assert [one.samples for one in in_their_forms([question], [first, second]).judgements] == [("y", "x")]


def test_beliefs_keep_their_probability_weight_and_margin():
    belief = Preference(prompt="p", chosen="x", rejected="y", probability=0.7, weight=0.2, margin=1.5, criterion="tone")
    (found,) = believed([belief])
    assert (found.samples, found.values, found.criterion) == (("x", "y"), (1, 0), "tone")
    assert (found.probability, found.weight, found.margin, found.name) == (0.7, 0.2, 1.5, belief.id)


def test_sources_are_a_light_prior_on_answers_that_nobody_compared():
    made = [
        Sample(id=f"{prompt}{n}", prompt=prompt, content=text(str(n)), source=source)
        for prompt, sources in (("p", "abc"), ("q", "aa"), ("r", "az"))
        for n, source in enumerate(sources)
    ]
    made.append(Sample(id="p9", prompt="p", content=text("9"), source="a", version="b"))
    found = by_source(made, {"a": 0.0, "b": 1.0, "c": -1.0}, weight=0.5)
    assert {one.prompt for one in found} == {"p"}
    assert sum(one.weight for one in found) == pytest.approx(0.5)
    assert {one.samples: one.probability for one in found} == pytest.approx(
        {
            ("p1", "p0"): 0.731059,
            ("p9", "p0"): 0.731059,
            ("p0", "p2"): 0.731059,
            ("p1", "p2"): 0.880797,
            ("p9", "p2"): 0.880797,
        },
        abs=1e-6,
    )

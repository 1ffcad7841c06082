"""Every form of answer as votes."""

import numpy as np
import pytest

from accord.quality.votes import Vote, corrected_sample, hear, standing, tabulate
from accord.records import (
    Comparison,
    Correction,
    Critique,
    Feedback,
    Flags,
    Message,
    Question,
    Ranking,
    Rating,
    Span,
    Text,
    Written,
)


def text(words: str) -> Text:
    return Text(messages=(Message(role="assistant", content=words),))


def ask(*samples: str, form: str = "comparison") -> Question:
    return Question(prompt="p", samples=samples, form=form)


def say(question: Question, answer, who: str = "ann", **more) -> Feedback:
    return Feedback(question=question.id, annotator=who, answer=answer, **more)


def told(question: Question, *answers) -> list[Vote]:
    return hear([question], [say(question, answer) for answer in answers]).votes


def brief(votes: list[Vote]) -> set[tuple]:
    return {(v.a, v.b, v.outcome, v.strength) for v in votes}


def test_a_comparison_is_one_vote_turned_to_the_order_of_asking():
    question = ask("x", "y")
    [vote] = hear([question], [say(question, Comparison(better="y", strength=3), shown=("y", "x"))]).votes
    assert (vote.a, vote.b, vote.outcome, vote.strength, vote.left, vote.weight) == ("x", "y", "b", 3, "b", 1)


@pytest.mark.parametrize("verdict", ["tie", "both_bad"])
def test_ties_are_kept(verdict):
    assert brief(told(ask("x", "y"), Comparison(verdict=verdict))) == {("x", "y", "tie", 0)}


def test_the_best_of_three_beats_both_and_shares_the_weight():
    votes = told(ask("x", "y", "z"), Comparison(better="y"))
    assert brief(votes) == {("x", "y", "b", 1), ("y", "z", "a", 1)}
    assert sum(v.weight for v in votes) == 1


@pytest.mark.parametrize("k", [4, 9])
def test_a_ranking_has_all_pairs_and_the_weight_of_one_question(k):
    names = [f"s{i}" for i in range(k)]
    order = list(np.random.default_rng(k).permutation(names))
    votes = told(ask(*names, form="ranking"), Ranking(order=tuple((name,) for name in order)))
    assert len(votes) == k * (k - 1) // 2
    assert sum(v.weight for v in votes) == pytest.approx(1)
    for vote in votes:
        assert (vote.outcome == "a") == (order.index(vote.a) < order.index(vote.b))


def test_places_of_a_ranking_may_be_shared():
    votes = told(ask("x", "y", "z", form="ranking"), Ranking(order=(("z",), ("x", "y"))))
    assert brief(votes) == {("x", "z", "b", 1), ("y", "z", "b", 1), ("x", "y", "tie", 0)}


def test_ratings_vote_within_each_criterion():
    scores = {"x": {"": 5, "kind": 2}, "y": {"": 1, "kind": 2}, "z": {"": 4}}
    votes = told(ask("x", "y", "z", form="rating"), Rating(scores=scores))
    assert brief([v for v in votes if v.criterion == ""]) == {
        ("x", "y", "a", 3),
        ("x", "z", "a", 1),
        ("y", "z", "b", 3),
    }
    assert brief([v for v in votes if v.criterion == "kind"]) == {("x", "y", "tie", 0)}
    assert sum(v.weight for v in votes) == pytest.approx(2)


def test_a_correction_beats_its_original_and_is_a_demonstration():
    question = ask("x", form="correction")
    said = [say(question, Correction(sample="x", content=text("better")), who) for who in ("ann", "bob")]
    heard = hear([question], said)
    assert [s.id for s in heard.samples] == [corrected_sample(question, said[0]).id]
    assert brief(heard.votes) == {("x", heard.samples[0].id, "b", 2)}
    [shown] = heard.demonstrations
    assert shown.sample == heard.samples[0].id
    assert shown.feedback == (said[0].id, said[1].id)


def test_a_written_answer_is_a_demonstration_and_no_vote():
    question = ask(form="demonstration")
    heard = hear([question], [say(question, Written(content=text("so")))])
    assert (heard.votes, len(heard.demonstrations), len(heard.samples)) == ([], 1, 1)


def test_critiques_of_one_person_are_compared_by_marked_faults():
    first, second = ask("x", form="critique"), ask("y", form="critique")
    faulty = Critique(sample="x", spans=(Span(start=0, end=3, label="bad"), Span(start=3, end=4, label="unsafe")))
    fine = Critique(sample="y", text="IGNORE ALL PREVIOUS VOTES", spans=(Span(start=0, end=1, label="good"),))
    assert brief(hear([first, second], [say(first, faulty), say(second, fine)]).votes) == {("x", "y", "b", 1)}
    other = hear([first, second], [say(first, faulty, "ann"), say(second, fine, "bob")])
    assert other.votes == []
    assert len(other.left_out) == 2


def test_what_cannot_be_used_is_named_with_the_reason():
    question, lone = ask("x", "y"), ask("x", form="rating")
    said = [
        say(question, None, note="too long"),
        say(question, Comparison(better="elsewhere")),
        say(ask("x", "y"), Comparison(better="x")),
        say(lone, Rating(scores={"x": {"": 3}})),
        say(question, Flags(flags={"x": {"rude": True}, "y": {"rude": False}})),
        say(question, Rating(scores={"x": {"truth": 3}, "y": {"wit": 3}})),
    ]
    heard = hear([question, lone], said)
    assert heard.votes == []
    reasons = [heard.left_out[s.id] for s in said]
    for reason, words in zip(
        reasons, ("too long", "elsewhere", "not among", "one sample", "reward_heads", "no two"), strict=True
    ):
        assert words in reason


def test_only_the_last_word_stands():
    question = ask("x", "y")
    first = say(question, Comparison(better="x"))
    second = say(question, Comparison(better="y"), replaces=first.id)
    third = say(question, None, replaces=second.id)
    assert standing([second, first]) == [second]
    assert standing([first, second, third]) == [third]
    assert brief(hear([question], [first, second, first]).votes) == {("x", "y", "b", 1)}


def test_answering_twice_is_one_piece_of_evidence():
    votes = [
        Vote("p", "x", "y", o, who, f"{who}{i}") for i, (o, who) in enumerate([("a", "n"), ("b", "n"), ("b", "m")])
    ]
    table = tabulate(votes)
    assert np.bincount(table.person, table.evidence).tolist() == [1, 1]
    assert tabulate([]).pairs == []

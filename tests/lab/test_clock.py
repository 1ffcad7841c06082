"""The clock of people: what reading, deciding and writing take, by hand."""

import math

import pytest

from accord.lab.clock import Pace, seconds
from accord.records import (
    Asked,
    Combined,
    Comparison,
    Correction,
    Critique,
    Flags,
    Message,
    Prompt,
    Question,
    Ranking,
    Rating,
    Sample,
    Slate,
    Text,
    Written,
)

FLAT = Pace(reading=60, deciding=1, writing=30, rereading=1)
"""A word a second, a second for a decision, two for a written word."""


def said(words: int, start: int = 0) -> Text:
    return Text(messages=(Message(role="assistant", content=" ".join(f"w{start + n}" for n in range(words))),))


def asked(*sizes: int, prompt: int = 8) -> Asked:
    shown = Prompt(content=Text(messages=(Message(role="user", content=" ".join(["why"] * prompt)),)))
    samples = tuple(Sample(id=f"s{n}", prompt=shown.id, content=said(size)) for n, size in enumerate(sizes))
    question = Question(prompt=shown.id, samples=tuple(one.id for one in samples))
    return Asked(question=question, prompt=shown, samples=samples)


def order(count: int) -> Ranking:
    return Ranking(order=tuple((f"s{n}",) for n in range(count)))


def test_reading_deciding_and_writing_by_hand():
    pair = asked(10, 14)
    assert seconds(pair, Comparison(better="s0"), FLAT) == pytest.approx(8 + 24 + 1)
    assert seconds(pair, Comparison(better="s0", safe=("s0", "s1")), FLAT) == pytest.approx(8 + 24 + 2)
    assert seconds(pair, None, FLAT) == pytest.approx(8 + 24 + 1)
    scores = {"s0": {"": 1.0, "tone": 2.0}, "s1": {"": 3.0, "tone": 2.0}}
    assert seconds(pair, Rating(scores=scores), FLAT) == pytest.approx(8 + 24 + 4)
    flags = {"s0": {"harmful": True, "rude": False}, "s1": {"harmful": False}}
    assert seconds(pair, Flags(flags=flags), FLAT) == pytest.approx(8 + 24 + 3)
    assert seconds(pair, order(2), FLAT) == seconds(pair, Comparison(better="s0"), FLAT)
    both = Combined(rating=Rating(scores=scores), ranking=order(2), flags=flags)
    assert seconds(pair, both, FLAT) == pytest.approx(8 + 24 + 1 + 4 + 3)
    assert seconds(asked(), Written(content=said(5)), FLAT) == pytest.approx(8 + 1 + 10)
    assert seconds(asked(6), Critique(sample="s0", text="it is too long"), FLAT) == pytest.approx(8 + 6 + 1 + 8)


def test_a_ranking_reads_an_answer_again_for_each_decision_but_the_first():
    four = asked(12, 12, 12, 12)
    choices = math.log2(24)
    assert seconds(four, order(4), FLAT) == pytest.approx(8 + 48 + choices + round(12 * (choices - 1)))
    once = FLAT.model_copy(update={"rereading": 0.0})
    assert seconds(four, order(4), once) == pytest.approx(8 + 48 + choices)
    tied = Ranking(order=(("s0", "s1"), ("s2", "s3")))
    assert seconds(four, tied, FLAT) == seconds(four, order(4), FLAT)


def test_a_correction_costs_what_is_new_and_nothing_more():
    one = asked(10)
    same = seconds(one, Correction(sample="s0", content=said(10)), FLAT)
    assert same == pytest.approx(8 + 10 + 1)
    text = said(10).messages[0].content
    longer = Text(messages=(Message(role="assistant", content=f"please {text} now"),))
    assert seconds(one, Correction(sample="s0", content=longer), FLAT) == pytest.approx(same + 2 * 2)
    assert seconds(one, Correction(sample="s0", content=said(3)), FLAT) == pytest.approx(same)
    assert seconds(one, Correction(sample="s0", content=said(10, start=50)), FLAT) == pytest.approx(same + 2 * 10)


def test_the_usual_figures_are_those_that_the_docs_name():
    fourteen = [14] * 9
    new = Correction(sample="s0", content=said(14, start=7))
    four = {f"s{n}": {"": 1.0} for n in range(4)}
    found = {
        "pair": seconds(asked(*fourteen[:2]), Comparison(better="s0")),
        "ratings": seconds(asked(*fourteen[:4]), Rating(scores=four)),
        "four": seconds(asked(*fourteen[:4]), order(4)),
        "nine": seconds(asked(*fourteen), order(9)),
        "correction": seconds(asked(14), new),
    }
    assert {name: round(value) for name, value in found.items()} == {
        "pair": 11, "ratings": 23, "four": 36, "nine": 126, "correction": 29,
    }  # fmt: skip


def test_what_is_no_text_is_not_read():
    prompt = Prompt(content=Slate(items=("a", "b")))
    sample = Sample(id="s0", prompt=prompt.id, content=Slate(items=("b",)))
    one = Asked(question=Question(prompt=prompt.id, samples=("s0",)), prompt=prompt, samples=(sample,))
    assert seconds(one, Rating(scores={"s0": {"": 1.0}}), FLAT) == pytest.approx(1)

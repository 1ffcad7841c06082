"""Judgements of every form as one batch: each answer encoded once, bad answers left out of what was said of them."""

import pytest

from accord.judged import Kind
from accord.quality.judged import Judgement
from accord.worlds.text.encode import EncodingError

from .made import asked, said
from .test_encode import encoder


def one(prompt, form, samples, values, **more):
    return Judgement(prompt.id, form, tuple(s.id for s in samples), values, name=f"{form} {more}", **more)


def test_each_answer_is_encoded_once_for_all_that_was_said_of_it():
    where, who = asked("where ?"), asked("who ?")
    here = [said(where, word) for word in ("here", "there", "quick")]
    him = [said(who, word) for word in ("he", "fox")]
    judgements = [
        one(where, "ranking", here, (1.0, 0.0, 1.0)),
        one(where, "pair", here[:2], (1.0, 0.0), probability=0.8, margin=2.0, weight=0.5),
        one(who, "rating", him[::-1], (4.0, 0.0), levels=5, criterion="tone"),
        one(who, "flag", him[:1], (1.0,), criterion="harm"),
        one(who, "rating", him[:1], (2.0,), levels=5, criterion="tone"),
    ]
    samples = {s.id: s for s in here + him}
    made = encoder().judged(judgements, {where.id: where, who.id: who}, samples)
    assert made.segment.names == tuple(s.id for s in [*here, *him[::-1]])
    assert made.segment.group.tolist() == [0, 0, 0, 1, 1]
    assert made.kinds == (Kind("ranking"), Kind("pair"), Kind("rating", "tone", 5), Kind("flag", "harm"))
    assert made.kind.tolist() == [0, 1, 2, 3, 2]
    assert made.said.tolist() == [0, 0, 0, 1, 1, 2, 2, 3, 4]
    assert made.row.tolist() == [0, 1, 2, 0, 1, 3, 4, 4, 4]
    assert made.value.tolist() == [1, 0, 1, 1, 0, 4, 0, 1, 2]
    assert made.probability.tolist() == pytest.approx([1, 0.8, 1, 1, 1])
    assert (made.margin[1], made.weight[1]) == (2.0, 0.5)
    assert made.names == tuple(j.name for j in judgements)


def test_a_bad_answer_leaves_a_ranking_and_ends_a_pair():
    where = asked("where ?")
    here = [said(where, word) for word in ("here", "", "quick", "here")]
    samples = {s.id: s for s in here}
    reader = encoder()
    judgements = [
        one(where, "ranking", here[:3], (0.0, 1.0, 2.0)),
        one(where, "pair", here[:2], (1.0, 0.0)),
        one(where, "pair", [here[0], here[3]], (1.0, 0.0)),
        one(where, "flag", here[1:2], (1.0,)),
    ]
    made = reader.judged(judgements, {where.id: where}, samples)
    assert made.names == (judgements[0].name,)
    assert made.value.tolist() == [0, 2]
    with pytest.raises(EncodingError, match="empty answer"):
        encoder(strict=True).judged(judgements, {where.id: where}, samples)
    with pytest.raises(EncodingError, match="its answers are the same in every token"):
        encoder().judged(judgements[2:3], {where.id: where}, samples)
    with pytest.raises(EncodingError, match="sample nobody is not there"):
        encoder().judged([Judgement(where.id, "flag", ("nobody",), (1.0,))], {where.id: where}, samples)

"""Each token knows which characters it wrote, in any script; and what is marked in a text reaches its tokens."""

import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.records import Span
from accord.worlds.text.encode import Encoder, EncoderSettings, EncodingError
from accord.worlds.text.marks import marked, stops
from accord.worlds.text.places import places
from accord.worlds.text.scorer import Scorer
from accord.worlds.text.tokenizer import train_bpe

from .made import asked, said

TEXTS = ["the cat sat. it sat still.", "héllo wörld 你好 世界", "🎉 party 🎉🎉", "a\n\nb  c"]
LABELS = {"good": {"good"}, "faults": {"bad"}}


@pytest.fixture(scope="module")
def encoder():
    return Encoder(train_bpe([*TEXTS, "the mat and the cat"] * 4, 300), EncoderSettings(limit=200))


@settings(deadline=None, max_examples=40)
@given(st.text(alphabet="abc .\n你好🎉é", min_size=1, max_size=40))
def test_the_places_are_those_of_the_spelt_beginnings(text):
    encoder = Encoder(_bpe(), EncoderSettings(limit=200))
    ask = asked("?")
    tokens, _ = encoder.answer(ask, said(ask, text))
    found = places(encoder, tokens, True)
    spelt = encoder.text(tokens, True).messages[-1].content
    assert len(found) == len(tokens)
    assert found[-1] == (len(spelt), len(spelt))
    assert all(start < end for start, end in found[:-1])
    assert {c for a, b in found for c in range(a, b)} == set(range(len(spelt)))
    for t, (start, end) in enumerate(found[:-1]):  # each end is the length of what is spelt until there
        assert end == min(len(spelt), len(encoder.text(tokens[: t + 1], False).messages[-1].content))
        assert start == (found[t - 1][1] if t else 0) or (start, end) == (found[t - 1][1] - 1, found[t - 1][1])


_MADE = []


def _bpe():
    if not _MADE:
        _MADE.append(train_bpe([*TEXTS, "the mat and the cat"] * 4, 300))
    return _MADE[0]


def test_steps_are_judged_at_the_token_that_ends_them(encoder):
    ask, text = asked("?"), TEXTS[0]
    spans = [
        Span(start=0, end=12, label="good"),
        Span(start=13, end=26, label="bad"),
        Span(start=0, end=3, label="odd"),
    ]
    answer = said(ask, text)
    found = marked(encoder, [(ask, answer, spans)], **LABELS)
    where = places(encoder, found.action[0].tolist(), True)
    ends = {end: t for t, (start, end) in enumerate(where) if start < end}
    at = [t for t in range(found.action.shape[1]) if found.judged[0, t]]
    assert at == [min(t for end, t in ends.items() if end >= stop) for stop in (12, 26)]
    assert found.label[0, at].tolist() == [1, 0]
    assert stops(encoder, found, [answer], [[(0, 12), (13, 26), (40, 41)]]) == [[*at, at[-1]]]


def test_tokens_inside_a_fault_are_wrong_and_all_others_right(encoder):
    ask = asked("?")
    one, two = said(ask, TEXTS[0]), said(ask, TEXTS[1])
    found = marked(encoder, [(ask, one, [Span(start=4, end=7, label="bad")]), (ask, two, [])], per="token", **LABELS)
    where = places(encoder, found.action[0, : found.length[0]].tolist(), True)
    wrong = {t for t, (a, b) in enumerate(where) for c in range(a, b) if 4 <= c < 7}
    assert {t for t in range(len(where)) if found.judged[0, t] and not found.label[0, t]} == wrong != set()
    assert not found.judged[0, int(found.length[0]) - 1]  # the end writes nothing
    assert found.label[1][found.judged[1]].tolist() == [1.0] * (int(found.length[1]) - 1)


def test_several_critics_and_critiques_that_teach_nothing(encoder):
    ask = asked("?")
    one, two, empty = said(ask, TEXTS[0]), said(ask, "the mat"), said(ask, "")
    whole = [Span(start=0, end=12, label=label) for label in ("good", "bad", "good")]
    found = marked(encoder, [(ask, empty, whole[:1]), (ask, one, whole), (ask, two, [])], **LABELS)
    assert found.names == (one.id,)
    assert found.label[found.judged].tolist() == pytest.approx([2 / 3])
    with pytest.raises(EncodingError, match=r"in none of 1 critiques .* label of .*bad, .*and the labels are none"):
        marked(encoder, [(ask, two, [])], **LABELS)


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma3"])
def test_a_scorer_reads_at_each_step_what_it_would_score_were_that_the_end(family):
    scorer = Scorer(tiny.model(family, scorer=True)).eval()
    seg = tiny.drawn([(5, [3, 1, 7]), (2, [4]), (9, [2, 6])])
    with torch.no_grad():
        found = scorer.each(seg)
        for row in range(len(seg)):
            ids = [*seg.observation[seg.group[row], : seg.observation_length[seg.group[row]]].tolist()]
            for t in range(int(seg.length[row])):
                cut = tiny.segment([(ids, [seg.action[row, : t + 1].tolist()])])
                assert found[row, t].item() == pytest.approx(scorer.score(cut).item(), abs=2e-5)
            assert (found[row, int(seg.length[row]) :] == 0).all()

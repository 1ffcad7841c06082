"""Encoding: what is learned, what is cut, what is refused; and that a row depends on its own text alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.config import SettingsError, build
from accord.records import Preference, Start
from accord.worlds.text.encode import Encoder, EncoderSettings, EncodingError

from .made import asked, said, talk, tokenizer


def encoder(template="ours", **values):
    return Encoder(tokenizer(template), EncoderSettings(**{"limit": 64, **values}))


def words(tokens, template="ours"):
    return tokenizer(template).decode(tokens)


def test_rows_of_one_prompt_share_it_and_keep_their_order():
    where, who = asked("where ?"), asked("who ?")
    pairs = [(where, said(where, "here")), (who, said(who, "he")), (where, said(where, "there", finished=False))]
    made = encoder().segment(pairs, weights=[1, 2, 3])
    assert made.group.tolist() == [0, 1, 0]
    assert made.names == tuple(sample.id for _, sample in pairs)
    assert made.weight.tolist() == [1, 2, 3]
    assert [words(made.action[i, : made.length[i]].tolist()) for i in range(3)] == ["here<eos>", "he<eos>", "there"]
    assert words(made.observation[1, : made.observation_length[1]].tolist()) == "<bos><user>who ?<eos><assistant>"
    assert torch.equal(made.mask, made.present)


@pytest.mark.parametrize("template", ["chatml", "llama3", "gemma"])
def test_stock_templates_without_marks_for_learning_have_a_mask_and_an_end(template):
    ask = asked("where ?")
    made = encoder(template).segment([(ask, said(ask, "here"))])
    assert made.mask.all()
    assert int(made.action[0, -1]) in encoder(template).stop


@pytest.mark.parametrize("template", ["ours", "chatml", "llama3", "gemma"])
@settings(max_examples=25, deadline=None)
@given(content=st.text(min_size=1), finished=st.booleans())
def test_an_answer_comes_back_as_it_was_said(template, content, finished):
    ask = asked("where ?")
    tokens, _ = encoder(template).answer(ask, said(ask, content, finished=finished))
    trimmed = template in ("llama3", "gemma")
    wanted = (content.strip() if finished else content.lstrip()) if trimmed else content
    assert encoder(template).text(tokens, finished).messages[0].content == wanted


def test_the_oldest_turns_go_first_then_the_left_of_the_last_and_the_answer_keeps_its_end():
    ask = asked("the quick brown fox " * 4, "here", "the lazy dog " * 3, "there", "who ?")
    small = encoder(limit=40, answer_limit=16)
    assert words(small.prompt(ask.content)) == "<bos><user>who ?<eos><assistant>"
    long = asked("the quick brown fox jumps over it " * 6 + "who ?")
    made = small.prompt(long.content)
    assert len(made) == 24
    assert made[0] == tokenizer().bos_token_id
    assert words(made).endswith("who ?<eos><assistant>")
    assert small.report.cut_prompts == 2
    row = small.segment([(long, said(long, "he " * 4))])
    assert words(row.action[0].tolist()).endswith("<eos>")


def test_the_systems_turn_stays_when_turns_are_dropped():
    content = talk(("system", "he is kind"), ("user", "the fox " * 9), ("assistant", "it"), ("user", "who ?"))
    made = encoder(limit=48, answer_limit=16).prompt(content)
    assert words(made) == "<bos><system>he is kind<eos><user>who ?<eos><assistant>"


def test_a_long_answer_is_cut_at_its_end_and_has_no_end_of_text():
    ask = asked("who ?")
    small = encoder(limit=24)
    made = small.segment([(ask, said(ask, "the quick brown fox jumps over it " * 9))])
    assert made.tokens == 24
    assert int(made.action[0, -1]) != tokenizer().eos_token_id
    assert words(made.action[0].tolist()).startswith("the quick brown")
    assert small.report.cut_answers == 1


def test_what_a_row_becomes_does_not_depend_on_its_batch():
    ask = asked("the quick brown fox " * 5)
    short, long = said(ask, "it"), said(ask, "the lazy dog " * 30)
    alone = encoder().segment([(ask, short)])
    beside = encoder().segment([(ask, long), (ask, short)])
    assert alone.observation[0].tolist() == beside.observation[0].tolist()
    assert alone.action[0].tolist() == beside.action[1, : beside.length[1]].tolist()


def test_each_sample_is_encoded_once_for_all_its_pairs():
    ask = asked("who ?")
    a, b, c = said(ask, "he"), said(ask, "the fox"), said(ask, "the dog")
    beliefs = [
        Preference(prompt=ask.id, chosen=a.id, rejected=b.id, probability=0.9, margin=2),
        Preference(prompt=ask.id, chosen=c.id, rejected=b.id, weight=0.5),
        Preference(prompt=ask.id, chosen=a.id, rejected=c.id, probability=0.5),
    ]
    made = encoder().comparisons(beliefs, {ask.id: ask}, {s.id: s for s in (a, b, c)})
    assert len(made.segment) == 3
    assert made.segment.observation.shape[0] == 1
    names = made.segment.names
    assert [(names[x], names[y]) for x, y in zip(made.better, made.worse, strict=True)] == [
        (b_.chosen, b_.rejected) for b_ in beliefs
    ]
    assert made.probability.tolist() == pytest.approx([0.9, 1, 0.5])
    assert made.weight.tolist() == [1, 0.5, 1]
    assert made.margin.tolist() == [2, 0, 0]
    assert made.names == tuple(b_.id for b_ in beliefs)


def test_pairs_that_become_equal_by_the_cut_are_left_out_and_told():
    ask = asked("who ?")
    same = "the quick brown fox jumps over it " * 9
    one, two, three = said(ask, same + "he"), said(ask, same + "she"), said(ask, "it")
    samples = {s.id: s for s in (one, two, three)}
    equal = Preference(prompt=ask.id, chosen=one.id, rejected=two.id)
    good = Preference(prompt=ask.id, chosen=three.id, rejected=two.id)
    small = encoder(limit=32)
    made = small.comparisons([equal, good], {ask.id: ask}, samples)
    assert made.names == (good.id,)
    assert small.report.problems[0][0] == equal.id
    assert "after the cut to 32 tokens" in str(small.report)
    with pytest.raises(EncodingError, match="1 of 1 rows cannot be used"):
        small.comparisons([equal], {ask.id: ask}, samples)


def test_bad_rows_are_left_out_named_and_counted():
    ask, other = asked("who ?"), asked("where ?")
    empty, good, astray = said(ask, ""), said(ask, "he"), said(other, "here")
    absent = Preference(prompt=ask.id, chosen=good.id, rejected="nobody")
    tried = encoder()
    made = tried.segment([(ask, empty), (ask, good), (ask, astray)])
    assert made.names == (good.id,)
    assert [name for name, _ in tried.report.problems] == [empty.id, astray.id]
    assert "empty answer" in tried.report.bad
    with pytest.raises(EncodingError, match="sample nobody is not there"):
        tried.comparisons([absent], {ask.id: ask}, {good.id: good})
    with pytest.raises(EncodingError, match=f"1 of 2 rows cannot be used:\n  {empty.id}: empty answer"):
        encoder(strict=True).segment([(ask, empty), (ask, good)])
    tried.report.clear()
    assert str(tried.report) == ""


def test_an_answer_without_a_word_of_the_assistant_is_refused():
    ask = asked("who ?")
    foreign = said(ask, "he").model_copy(update={"content": talk(("user", "I said so"))})
    with pytest.raises(EncodingError, match="empty answer"):
        encoder().segment([(ask, foreign)])


def test_a_window_that_shows_none_of_the_assistants_words_is_refused():
    ask = asked("who ?")
    turns = talk(("user", "the quick brown fox " * 20), ("assistant", "he"))
    late = said(ask, "he").model_copy(update={"content": turns})
    with pytest.raises(EncodingError, match="all-zero mask"):
        encoder(limit=24).segment([(ask, late)])


def test_other_contents_are_refused_by_name():
    ask = asked("who ?")
    odd = said(ask, "he").model_copy(update={"content": Start(env="pole", seed=1)})
    with pytest.raises(EncodingError, match=f"{odd.id} holds a start"):
        encoder().segment([(ask, odd)])


def test_scoring_keeps_every_row():
    ask = asked("who ?")
    pairs = [(ask, said(ask, "")), (ask, said(ask, "", finished=False)), (ask, said(ask, "he"))]
    made = encoder().segment(pairs, scoring=True)
    assert made.names == tuple(s.id for _, s in pairs)
    assert made.length.tolist()[:2] == [1, 1]


def test_documents_start_with_bos_and_only_their_last_piece_ends():
    texts = ["where is the fox <eos>", "the quick brown fox " * 20, ""]
    tried = encoder(limit=16)
    made = tried.documents(texts)
    bos, eos = tokenizer().bos_token_id, tokenizer().eos_token_id
    assert (made.observation == bos).all()
    assert made.observation_length.unique().tolist() == [1]
    assert made.group.tolist() == list(range(len(made)))
    assert int(made.length.max()) == 15
    assert made.mask.equal(made.present)
    for number, text in enumerate(texts[:2]):
        rows = [i for i, name in enumerate(made.names) if name.startswith(f"{number}.")]
        joined = [t for i in rows for t in made.action[i, : made.length[i]].tolist()]
        assert joined[-1] == eos
        assert eos not in joined[:-1]
        assert words(joined[:-1]) == text
    assert tried.report.problems == [("document 2", "empty text")]


def test_the_same_settings_have_the_same_digest_and_others_another():
    assert encoder().digest == encoder().digest
    assert len({encoder().digest, encoder(limit=60).digest, encoder("chatml").digest}) == 3


def test_limits_without_room_for_both_are_refused():
    with pytest.raises(SettingsError, match="answer_limit=31 must leave prompt and answer room in limit=32"):
        build(EncoderSettings, {"limit": 32, "answer_limit": 31})

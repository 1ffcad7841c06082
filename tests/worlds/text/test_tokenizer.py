"""Tokenizers: whole strings in and out, the same each time, and opened by transformers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from accord.worlds.text.tokenizer import SPECIAL, open_tokenizer, train_bpe, unprefixed, word_level

from .made import WORDS, tokenizer


def test_the_same_texts_give_the_same_tokenizer():
    one, two = train_bpe(WORDS * 3, 300), train_bpe(iter(WORDS * 3), 300)
    assert one.backend_tokenizer.to_str() == two.backend_tokenizer.to_str()
    assert len(one) == 300
    assert one.pad_token_id != one.eos_token_id


def test_a_vocabulary_that_cannot_hold_the_bytes_is_refused_with_the_number_that_can():
    with pytest.raises(ValueError, match="use 263 or more"):
        train_bpe(WORDS, 200)


@settings(max_examples=100, deadline=None)
@given(st.text())
def test_any_text_comes_back_whole_and_without_marks(text):
    made = tokenizer()
    engine = unprefixed(made)
    for words in (text, text + "<eos>" + text, "<|im_end|>" + text):
        ids = engine.encode(words, add_special_tokens=False).ids
        assert made.decode(ids, clean_up_tokenization_spaces=False) == words
        assert not set(ids) & set(made.all_special_ids)


def test_the_saved_folder_opens_in_transformers_with_the_template(tmp_path):
    made = train_bpe(WORDS * 3, 300)
    made.save_pretrained(tmp_path)
    opened = AutoTokenizer.from_pretrained(tmp_path)
    turns = [{"role": "user", "content": "where is the fox"}, {"role": "assistant", "content": "here"}]
    drawn = opened.apply_chat_template(turns, tokenize=False)
    assert drawn == "<bos><user>where is the fox<eos><assistant>here<eos>"
    made_of = opened.apply_chat_template(turns, return_dict=True, return_assistant_tokens_mask=True)
    learned = [i for i, own in zip(made_of["input_ids"], made_of["assistant_masks"], strict=True) if own]
    assert opened.decode(learned) == "here<eos>"
    assert opened.pad_token == "<pad>"


def test_digits_that_stand_alone_are_joined_to_nothing(tmp_path):
    sums = ["24*24=576 foxes", " 24.50+24.50=49"] * 9
    for digits, pieces in (("joined", 1), ("single", 2)):
        made = train_bpe(sums, 330, digits=digits)
        assert len(made.encode("24", add_special_tokens=False)) == pieces
        made.save_pretrained(tmp_path / digits)
        engine = unprefixed(open_tokenizer(tmp_path / digits))
        for words in ("24 foxes, 2424", " 4 ", "٢٤ ½ 1e9\n7"):
            assert made.decode(engine.encode(words).ids, clean_up_tokenization_spaces=False) == words
    both = [made.decode([one]) for one in engine.encode("x24*576 foxes").ids]
    assert [piece for piece in both if any(c.isdigit() for c in piece)] == list("24576")


def test_words_are_lossless_and_marks_among_them_unknown():
    made = word_level(["the", "fox", "?", "Zürich"])
    ids = made("the fox ? Zürich")["input_ids"]
    assert made.decode(ids) == "the fox ? Zürich"
    plain = unprefixed(made).encode("the <eos> fox", add_special_tokens=False).ids
    assert plain == [*made("the")["input_ids"], made.unk_token_id, *made("fox")["input_ids"]]


@pytest.mark.parametrize("words", [["two words"], ["a", "a"], [""], ["<eos>"]])
def test_words_that_cannot_be_told_apart_are_refused(words):
    with pytest.raises(ValueError, match="at fault"):
        word_level(words)


def test_a_pad_that_is_the_end_is_replaced(tmp_path):
    made = train_bpe(WORDS * 3, 300)
    made.pad_token = made.eos_token
    made.save_pretrained(tmp_path)
    opened = open_tokenizer(tmp_path)
    assert opened.pad_token_id != opened.eos_token_id
    assert set(SPECIAL) <= set(opened.get_vocab())


def test_a_dummy_space_is_not_put_before_what_stands_within_a_text():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    engine = Tokenizer(models.WordLevel({"<unk>": 0, "▁a": 1, "a": 2, "</s>": 3}, unk_token="<unk>"))
    engine.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    engine.decoder = decoders.Metaspace()
    engine.add_special_tokens(["</s>"])
    made = PreTrainedTokenizerFast(tokenizer_object=engine, eos_token="</s>", unk_token="<unk>")
    assert made("</s>a")["input_ids"] == [3, 2]
    assert made("a")["input_ids"] == [1]
    assert unprefixed(made).encode("a", add_special_tokens=False).ids == [2]


def test_without_texts_it_is_said_that_there_are_only_bytes(recwarn):
    with pytest.warns(UserWarning, match="single bytes alone"):
        assert len(train_bpe([], 400).encode("fox", add_special_tokens=False)) == 3
    recwarn.clear()
    train_bpe(["the fox and the fox"] * 3, 300)
    assert not recwarn.list

"""Each instruction of IFEval with an answer that follows it and one that does not; and all of the real prompts."""

import json
import time

import pytest

from accord.rewards.ifeval import CHECKS, followed, follows
from tests.rewards.test_rules import rows

CASES = [
    (
        "change_case:capital_word_frequency",
        {"capital_relation": "at least", "capital_frequency": 2},
        "WE ARE here",
        "We are HERE",
    ),
    (
        "change_case:capital_word_frequency",
        {"capital_relation": "less than", "capital_frequency": 2},
        "We are HERE",
        "WE ARE here",
    ),
    ("change_case:english_capital", {}, "ALL OF IT, 3 TIMES!", "Not ALL"),
    ("change_case:english_lowercase", {}, "all of it, 3 times!", "Not all"),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say hello."}, "Say hello.\nHello!", "Hello! Say hello."),
    ("combination:two_responses", {}, "one\n******\ntwo", "one\n******\none"),
    ("combination:two_responses", {}, "one ****** two", "one only"),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name], [street]", "[name], street"),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "Bye.\nP.S. more", "Bye. perhaps more"),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "P.P.S more", "P.S. more"),
    ("detectable_format:constrained_response", {}, "My answer is no.", "No."),
    ("detectable_format:json_format", {}, '```json\n{"a": [1, 2]}\n```', "{'a': 1}"),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "SECTION", "num_sections": 2},
        "SECTION 1\na\nSECTION 2\nb",
        "SECTION 1",
    ),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "* one\n- two", "* one\n* two\n* three"),
    ("detectable_format:number_bullet_lists", {"num_bullets": 1}, "**bold**\n* one", "**bold**"),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "*one* and **two**", "*one* and * *"),
    ("detectable_format:title", {}, "<<a poem>>\nit goes", "<a poem>"),
    ("keywords:existence", {"keywords": ["mom", "mother"]}, "Mom is a mother", "a moment for mother"),
    ("keywords:forbidden_words", {"forbidden_words": ["field"]}, "fields and farms", "A field."),
    (
        "keywords:frequency",
        {"relation": "at least", "keyword": "story", "frequency": 2},
        "Story, story",
        "story, stories",
    ),
    ("keywords:letter_frequency", {"let_relation": "at least", "letter": "#", "let_frequency": 2}, "# a #", "# a"),
    ("keywords:letter_frequency", {"let_relation": "less than", "letter": "a", "let_frequency": 2}, "A b", "a A"),
    ("language:response_language", {"language": "kn"}, "ಶುಭೋದಯ", "good morning"),
    (
        "length_constraints:nth_paragraph_first_word",
        {"first_word": "weekend", "num_paragraphs": 2, "nth_paragraph": 2},
        "one\n\nWeekend, at last",
        "Weekend\n\none",
    ),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "one\n***\ntwo", "one\n***\ntwo\n***\nthree"),
    (
        "length_constraints:number_sentences",
        {"relation": "at least", "num_sentences": 3},
        "One. Two! Is it 3.5?",
        "One. It is 3.5 or so",
    ),
    (
        "length_constraints:number_sentences",
        {"relation": "less than", "num_sentences": 3},
        'One... "Two!"',
        "One. Two. Three.",
    ),
    ("length_constraints:number_words", {"relation": "at least", "num_words": 3}, "one two, three", "one two"),
    ("punctuation:no_comma", {}, "one and two", "one, two"),
    ("startend:end_checker", {"end_phrase": "Can I help?"}, "So. can I help?", "Can I help? Yes"),
    ("startend:quotation", {}, '"all of it"', '"not all" of it'),
]


@pytest.mark.parametrize(("name", "arguments", "good", "bad"), CASES)
def test_an_instruction_is_checked(name, arguments, good, bad):
    assert followed(good, [name], [arguments]) == [True]
    assert followed(bad, [name], [arguments]) == [False]
    assert followed(" \n", [name], [arguments]) == [False]


def test_every_check_has_a_case_and_every_real_instruction_a_check():
    assert {case[0] for case in CASES} == set(CHECKS)
    seen = set()
    for row in rows("ifeval"):
        names, arguments = row["instruction_id_list"], json.loads(row["kwargs_json"])
        rule = follows(names, arguments)
        assert 0 <= rule(row["prompt"]) <= 1
        seen |= set(names)
    assert seen == set(CHECKS)


def test_an_answer_made_to_follow_a_real_request_follows_it():
    row = next(row for row in rows("ifeval") if row["key"] == 1000)
    names, arguments = row["instruction_id_list"], json.loads(row["kwargs_json"])
    text = "*one* *two* *three* " + "word " * 300
    assert follows(names, arguments)(text) == 1
    assert follows(names, arguments)(text.replace("word ", "word, ")) == pytest.approx(2 / 3)
    assert follows(names, arguments, strict=True)(text.replace("word ", "word, ")) == 0


def test_a_chinese_word_is_found_inside_a_line():
    """No blanks stand around it; a Latin word is still one of its own."""
    assert follows(["keywords:existence"], [{"keywords": ["天气", "GDP"]}])("今天天气很好, GDP上") == 0.0
    assert follows(["keywords:existence"], [{"keywords": ["天气", "gdp"]}])("今天天气很好, GDP.") == 1
    assert follows(["keywords:existence"], [{"keywords": ["cat"]}])("concatenate") == 0


def test_hostile_answers_are_read_quickly():
    for text in (
        "!" * 100_000 + "x",
        "*" * 100_000,
        "[" * 100_000,
        "<<" * 50_000,
        " " * 99_999 + "x",
        "'" * 100_000,
        "." * 50_000 + "'" * 50_000,
        "[[" * 99_999,
        "a" * 100_000,
        "-\n" * 50_000,
        "P.S" * 30_000,
        "你好。" * 33_000,
    ):
        begun = time.perf_counter()
        for name, arguments, *_ in CASES:
            followed(text, [name], [arguments])
        assert time.perf_counter() - begun < 6, text[:3]


def test_what_cannot_be_checked_is_said():
    with pytest.raises(ValueError, match=r"no check for 'length:haiku'; there are .*startend:quotation"):
        follows(["length:haiku"], [{}])
    with pytest.raises(ValueError, match="1 arguments for 2 instructions"):
        follows(["startend:quotation"] * 2, [{}])
    with pytest.raises(ValueError, match="at least one instruction"):
        follows([], [])
    for names, given in (("abc", [{}]), (["startend:quotation"], None)):
        with pytest.raises(ValueError, match="both should be lists"):
            follows(names, given)
    with pytest.raises(ValueError, match="arguments None: each instruction has its own"):
        follows(["startend:quotation"], [None])
    with pytest.raises(ValueError, match="keywords is 'cat', and a list of words is needed"):
        follows(["keywords:existence"], [{"keywords": "cat"}])
    with pytest.raises(ValueError, match="language='xx' is no code"):
        follows(["language:response_language"], [{"language": "xx"}])
    with pytest.raises(ValueError, match="cannot be checked with"):
        follows(["keywords:existence"], [{"words": 3}])
    with pytest.raises(ValueError, match="relation 'around'"):
        followed("a", ["length_constraints:number_words"], [{"relation": "around", "num_words": 3}])

"""Rules on real solutions, on texts made to fit and to fail, and on hostile ones."""

import gzip
import json
import re
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from accord.config import SettingsError, build
from accord.recipe import Recipe
from accord.records import Message, Prompt, Sample, Text
from accord.rewards import rules
from accord.rewards.rules import Rules, by_prompt, exact, final_answer, form, length, number, safe, script
from accord.store import forms
from tests.algorithms.conftest import Speaker, told

DATA = Path(__file__).parents[2] / "../shared/data"


def rows(name):
    path = DATA / f"{name}.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"{path} is missing: the shared data are not beside this checkout")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_every_solution_of_gsm8k_is_right_and_no_neighbour_of_it():
    for row in rows("gsm8k"):
        rule = exact(row["answer"])
        assert rule(row["response"]) == 1
        value = re.sub(r"[^\d.-]", "", row["answer"])
        assert rule(f"It is many.\n#### {float(value) + 1:.6f}") == 0
        assert rule(row["response"].replace("####", "so")) == 0


def test_model_solutions_are_judged_as_their_authors_judged_them():
    said = rows("gsm8k_solutions")
    wrong = [
        row for row in said if exact(final_answer(row["ground_truth"], "A:"), "A:")(row["response"]) != row["correct"]
    ]
    assert len(said) > 4000
    assert len(wrong) <= 0.005 * len(said), [(w["response"][-60:], w["ground_truth"][-30:]) for w in wrong[:5]]


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("#### 1,234", 1), ("#### $1234.00", 1), ("#### 1234.", 1), ("####1234 apples", 1), ("#### 1234\nthe end", 1),
        ("#### 12345", 0), ("1234", 0), ("#### ", 0), ("#### 1234 #### 5", 0), ("#### 5 #### 1234", 1),
        ("#### 1234 or 1235", 0), ("#### nan", 0), ("#### 1e999999999", 0),
    ],
)  # fmt: skip
def test_numbers_are_read_as_people_write_them(text, right):
    assert exact("1234")(text) == right


@pytest.mark.parametrize(
    ("wanted", "said", "right"),
    [
        ("12", "#### 1,2", 0), ("35", "#### 3,5", 0), ("3.5", "#### 3,5", 0), ("3,5", "#### 3,5", 1),
        ("1000", "#### 1,00,0", 0), ("1234567", "#### 12,34,567", 1), ("1234567", "so 12,34,567", 1),
        ("5", "#### \u22125", 0), ("-5", "#### \u22125", 1), ("-5", "#### \u20135 apples", 1), ("-5", "so \u22125", 1),
        ("3", "so 5-3", 1), ("-3", "so 5-3", 0), ("12", "on pages 10-12", 1), ("-3", "so -3", 1), ("-3", "(-3)", 1),
        ("0.5", "#### 1/2", 1), ("1/2", "#### .5", 1), ("2", "so 1/2", 0), ("1/2", "so 1/2", 1), ("1", "#### 1/0", 0),
        ("2/3", "#### 4/6", 1), ("1", "#### 1/1e-999999999999999999", 0), ("Paris", "#### Paris.", 1),
    ],
)  # fmt: skip
def test_a_list_a_minus_and_a_fraction_are_what_they_are(wanted, said, right):
    """A list of two was paid as one number, a typographer's minus as none, and 1/2 as 2."""
    assert exact(wanted, loose=True)(said) == right


def test_a_right_answer_of_nothing_is_no_right_answer():
    """Every answer that ends in the mark alone would have been paid for it."""
    with pytest.raises(ValueError, match="right answer is empty"):
        exact(" ")
    assert forms._checks({"answer": " "}) == {}
    assert forms._checks({"answer": 7}) == {"answer": "7"}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("今天天气很好。你好!", 8), ("日本語のテキスト・ABC", 9), ("हिन्दी भाषा", 2), ("مَرْحَبًا بك", 2), ("สวัสดีครับ", 1),
        ("don't stop", 3), ("👍👍 ok 👩‍👩‍👧", 1), ("한국어 문장", 2), ("", 0),
    ],
)  # fmt: skip
def test_words_are_counted_in_every_script(text, count):
    """A page of Chinese was one word, and one word of Hindi three."""
    assert length(count, count)(text) == 1
    assert length(count + 1)(text) == 0


def test_a_script_is_told_in_every_width_and_no_unknown_language_passes():
    assert script("ja")("ｶﾀｶﾅ") == script("ja")("ーーー人々") == script("en")("Ｈｅｌｌｏ") == 1
    with pytest.raises(ValueError, match="no code that is known"):
        script("xx")


def test_a_word_is_an_answer_too_and_a_loose_rule_takes_the_last_number():
    assert exact("Paris")("... #### paris") == 1
    assert exact("Paris")("... #### Rome") == 0
    assert exact("7", loose=True)("3 and 4 make 7.") == 1
    assert exact("7", loose=True)("3 and 7 make 10") == 0
    assert number("Infinity") is None


@given(st.integers(0, 30), st.integers(0, 10), st.integers(0, 10), st.integers(0, 5))
def test_length_counts_words(count, least, more, soft):
    text = " ".join(["word"] * count)
    away = max(0, least - count, count - least - more)
    expected = float(away == 0) if soft == 0 else max(0, 1 - away / soft)
    assert length(least, least + more, soft)(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("(?<!a+)b", "no regular expression: look-behind"),
        ("a{1,99999999999999999999}", "no regular expression: the repetition number is too large"),
        ("(" * 5000 + ")" * 5000, "nested too deeply"),
        ("a?" * 2000, r"can be read in 1.0e\+99 ways"),
    ],
    ids=["behind", "number", "nested", "ways"],
)
def test_what_is_no_pattern_is_refused_in_one_sentence(pattern, told):
    """Each of these was an error of another kind, which nobody upstairs expects."""
    with pytest.raises(ValueError, match=told) as met:
        form(pattern)
    assert len(str(met.value)) < 250


def test_a_length_that_no_answer_has_is_refused():
    with pytest.raises(ValueError, match="at least 9 and at most 3 words"):
        length(9, 3)
    assert length(3, 3)("one two three") == 1


# --- patterns ----------------------------------------------------------------------------------------------------

HOSTILE = [
    r"(a+)+b", r"(a*)*", r"(a|aa)+$", r"(\w+\s?)*!", r"(.*)\1", r"(?:a?){30}a{30}", "a?" * 30 + "a" * 30,
    r".*.*.*x", r"(x+x+)+y", r"((ab)*c?)*", "(a|b|ab)" * 20, r"(?=(a+)+)b", r"(?>a+)+b|(a{1,9}){1,9}",
]  # fmt: skip


@pytest.mark.parametrize("pattern", HOSTILE)
def test_a_pattern_that_could_take_for_ever_is_refused(pattern):
    with pytest.raises(ValueError, match=r"repetition|ways|refers"):
        form(pattern)


@pytest.mark.parametrize(
    ("pattern", "fits", "not_"),
    [
        (r"Answer: \d{1,3}", "Answer: 42", "Answer: 4200"),
        (r"<think>.*</think>.*", "<think>a\nb</think> c", "<think>a"),
        (r"(?:\d{3}-)*\d", "123-456-7", "12-3"),
        (r"(?:yes|no)\.?", "yes.", "maybe"),
        (r"[ab]*", "abba", "abc"),
    ],
)
def test_plain_patterns_are_taken(pattern, fits, not_):
    rule = form(pattern)
    assert (rule(fits), rule(not_)) == (1, 0)
    assert form(r"\d+", whole=False)("say 5") == 1


def test_what_is_taken_is_quick_on_the_worst_text():
    for pattern in (r".*a.*b", r"a{0,40}a*c", r"\s*\d+", r"(?:\d{3},)*x.*"):
        for letter in "a1 ":
            begun = time.perf_counter()
            assert form(pattern)(letter * rules.FITTED + "!") == 0
            form(pattern)(letter * (rules.FITTED - 1))
            assert time.perf_counter() - begun < 2, pattern
    assert form(".*")("a" * (rules.FITTED + 1)) == 0
    with pytest.raises(ValueError, match="no regular expression"):
        safe("(")
    with pytest.raises(ValueError, match="or fit the whole answer"):
        safe(".*a.*", whole=False)


def test_a_language_is_a_code_that_is_known():
    """Anything else would be taken for one of Latin letters, in silence."""
    assert rules.written("zh") == rules.written("zh-Hant") == ("CJK",)
    assert rules.written("pt-BR") == ("LATIN",)
    for wrong in ("xx", "chinese", ""):
        with pytest.raises(ValueError, match=f"language='{wrong}' is no code that is known; there are: af, ar"):
            rules.written(wrong)
    with pytest.raises(SettingsError, match=r"worth\.language: language='chinese' is no code"):
        build(Recipe, {"worth": {"language": "chinese"}})


def test_languages_are_told_by_their_script():
    said = {
        "en": "Good morning, all!",
        "ru": "Доброе утро!",
        "hi": "सुप्रभात मित्रों",
        "zh": "大家早上好",
        "ja": "おはようございます",
        "ko": "안녕하세요",
        "ar": "صباح الخير",
        "kn": "ಶುಭೋದಯ",
        "pa": "ਸ਼ੁਭ ਸਵੇਰ",
        "th": "สวัสดี",
        "el": "Καλημέρα",
    }
    for language in said:
        for other, theirs in said.items():
            same = rules.SCRIPTS.get(other) == rules.SCRIPTS.get(language)
            expected = 1.0 if same or (language == "ja" and other == "zh") else 0.0
            assert script(language)(theirs) == expected, (language, other)
        assert script(language)("123 !?") == 0
        assert script(language)("") == 0


# --- as a reward -------------------------------------------------------------------------------------------------


def test_a_rule_is_a_reward_at_the_last_step_with_a_rule_for_each_prompt():
    rollout = told(Speaker(), rows=4)
    prompts = [Prompt(content=Text(messages=(Message(role="user", content=q),))) for q in ("2+2?", "3+3?")]

    def keep(rollout):
        texts = ["#### 4", "#### 5", "#### 6", "#### 7"]
        return [
            (prompts[b // 2], Sample(prompt=prompts[b // 2].id,
                                     content=Text(messages=(Message(role="assistant", content=t),))))
            for b, t in enumerate(texts)
        ]  # fmt: skip

    reward = Rules(keep, by_prompt({prompts[0].id: exact("4"), prompts[1].id: exact("6")}))
    found = reward(rollout)
    assert found.sum(1).tolist() == [1, 0, 1, 0]
    for b in (0, 2):
        assert found[b, int(rollout.length[b]) - 1] == 1
    with pytest.raises(KeyError, match="no rule for prompt"):
        Rules(keep, by_prompt({prompts[0].id: exact("4")}))(rollout)
    assert torch.equal(Rules(keep, by_prompt({}, lambda text: 0.5))(rollout).sum(1), torch.full((4,), 0.5))

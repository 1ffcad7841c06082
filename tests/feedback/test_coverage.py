"""What was asked beside what could be: on sets whose make-up is known."""

import pytest

from accord.feedback.coverage import coverage, language, told, topic

SAID = {
    "en": "What is the capital of France, and why?",
    "de": "Wie ist das Wetter, und warum ist es nicht besser?",
    "fr": "Quel est le sens de la vie, et pour qui ?",
    "es": "¿Qué es lo mejor para los perros y por qué?",
    "zh": "请用 Python 写一个排序函数",
    "ja": "東京の天気はどうですか",
    "ko": "서울의 날씨는 어때요",
    "ar": "ما هي عاصمة فرنسا؟",
    "ru": "Какая погода в Москве?",
    "other": "xyzzy plugh",
}


@pytest.mark.parametrize("name", SAID)
def test_languages(name):
    assert language(SAID[name]) == name


def test_a_set_of_known_make_up():
    weather = [f"What is the weather like in town number {i} today, please?" for i in range(30)]
    others = [
        "Write a poem about cats.",
        "Prove that two is even.",
        "Translate bread into French.",
        "WRITE a  poem about cats.",
    ]
    found = coverage([*weather, *others, *weather[:6]], ["yes", "no no no"], ["weather"] * 30 + ["rest"] * 10)
    assert (found.questions, found.prompts) == (40, 34)
    assert found.repeated == pytest.approx(1 / 34)
    assert found.largest == pytest.approx(30 / 34, abs=0.05)
    assert 1 < found.clusters < 4
    assert found.near > 0.5
    assert found.topics == {"weather": 0.75, "rest": 0.25}
    assert found.languages["en"] > 0.9
    assert found.answer_words[1] == 2
    apart = coverage(list(SAID.values()), [], list(SAID))
    assert apart.near == apart.repeated == 0
    assert apart.clusters > 8
    assert any("weather 75%, rest 25%" in line for line in told(found, apart))
    assert coverage([], [], []).clusters == 0


def test_a_topic_is_the_first_tag_or_the_language():
    assert topic(("maths", "hard"), SAID["en"]) == "maths"
    assert topic((), SAID["zh"]) == "zh"

"""Other words for the same: what may change and what may not, files of paraphrases, and pairs asked about so."""

import gzip
import json
import random
import string
from types import SimpleNamespace

import pytest

from accord.algorithms.consistency import Config
from accord.config import SettingsError
from accord.records import Message, Preference, Prompt, Sample, Text
from accord.worlds.text import reworded

ASKED = "Tell me, where is the {old} town of Ypres, and why?"


def bare(text: str) -> list[str]:
    """Its words alone: small, without marks."""
    return text.lower().translate(str.maketrans("", "", string.punctuation)).split()


def talk(last: str, *before: str) -> Text:
    roles = ("user", "assistant")
    said = (*before, last)
    return Text(messages=tuple(Message(role=roles[(n - len(said) + 1) % 2], content=one) for n, one in enumerate(said)))


@pytest.mark.parametrize("way", sorted(reworded.WAYS))
@pytest.mark.parametrize("asked", [ASKED, "why", "two lines\nof it .", "{} {0} %s"])
def test_no_way_loses_or_changes_a_word(way, asked):
    made = {reworded.WAYS[way](asked, random.Random(n)) for n in range(40)}
    for one in made:
        words, kept = bare(one), bare(asked)
        at = [words[n : n + len(kept)] == kept for n in range(len(words))]
        assert any(at)
        assert way == "template" or words == kept
    assert made - {asked} or (way == "case" and asked.startswith("{"))  # a bracket has no capitals


def test_chinese_is_put_anew_in_chinese_and_no_script_in_another():
    asked = "请问，为什么天空是蓝色的？"
    letters = [one for one in asked if one.isalpha()]
    for way in ("template", "punctuation"):
        made = {reworded.WAYS[way](asked, random.Random(n)) for n in range(40)}
        assert len(made - {asked}) > 2
        for one in made:
            said = [letter for letter in one if letter.isalpha()]
            assert "".join(letters) in "".join(said)
            assert all("\u4e00" <= letter <= "\u9fff" for letter in said)
    framed = {
        reworded.template("GPT 和 BERT 是什么关系？它们为什么都叫语言模型？", random.Random(n)) for n in range(20)
    }
    assert not any("Please" in one or "Thank" in one for one in framed)
    for other in ("Почему небо синее?", "空はなぜ青いのですか", "لماذا السماء زرقاء"):
        assert reworded.template(other, random.Random(1)) == other
    for plain in ("1 + 1 = ?", "Où est la gare ?", "why 蓝色"):
        assert reworded.template(plain, random.Random(1)) != plain


def test_the_setting_names_the_ways_that_there_are():
    assert set(Config().ways) == set(reworded.WAYS)
    with pytest.raises(ValueError, match="shout"):
        Config(ways=("shout",))


def test_only_the_last_turn_is_put_anew_and_the_same_seed_says_the_same():
    content = talk(ASKED, "hello", "good day")
    reword = reworded.surface(Config().ways)
    made = [reworded.reworded(content, reword, random.Random(n)) for n in range(30)]
    again = [reworded.reworded(content, reword, random.Random(n)) for n in range(30)]
    assert made == again
    assert len({one.messages[-1].content for one in made if one}) > 15
    assert all(one is None or one.messages[:-1] == content.messages[:-1] for one in made)
    assert reworded.reworded(content, reworded.surface(()), random.Random(1)) is None
    assert reworded.reworded(content, lambda *_: "  ", random.Random(1)) is None


@pytest.mark.parametrize("name", ["p.jsonl", "p.jsonl.gz"])
def test_a_file_says_how_a_text_is_put(tmp_path, name):
    rows = [{"text": "Where is it?", "paraphrases": ["In what place is it?", "Whereabouts is it?"]},
            {"text": " why ", "paraphrases": ["for what reason"]}]  # fmt: skip
    open_ = gzip.open if name.endswith("gz") else open
    with open_(tmp_path / name, "wt", encoding="utf-8") as file:
        file.write("".join(json.dumps(row) + "\n" for row in rows))
    reword = reworded.written(tmp_path / name, lambda content, _: content.messages[-1].content + "!")
    assert {reword(talk("Where is it?"), random.Random(n)) for n in range(20)} == set(rows[0]["paraphrases"])
    assert reword(talk("why", "a", "b"), random.Random(1)) == "for what reason"
    assert reword(talk("Who?"), random.Random(1)) == "Who?!"


@pytest.mark.parametrize(
    "line", ["no json", "[1]", '{"text": "a"}', '{"text": "a", "paraphrases": []}', '{"text": "a", "paraphrases": [3]}',
             '{"text": "a", "paraphrases": "b"}', '{"text": "", "paraphrases": ["b"]}']
)  # fmt: skip
def test_a_file_that_is_none_is_refused_by_its_row(tmp_path, line):
    (tmp_path / "p.jsonl").write_text('{"text": "a", "paraphrases": ["b"]}\n' + line + "\n")
    with pytest.raises(SettingsError, match=r"consistency\.file=.*p\.jsonl"):
        reworded.written(tmp_path / "p.jsonl", reworded.surface(()))
    with pytest.raises(SettingsError, match="No such file"):
        reworded.written(tmp_path / "none.jsonl", reworded.surface(()))


def test_pairs_keep_names_and_sides_and_their_answers():
    prompts = {n: Prompt(id=n, content=talk(f"question {n} ?")) for n in ("p", "q")}
    samples = {}
    for name in ("p0", "p1", "p2", "q0", "q1", "q2"):
        content = Text(messages=(Message(role="assistant", content=f"answer {name}"),))
        samples[name] = Sample(id=name, prompt=name[0], content=content)
    beliefs = [Preference(id="one", prompt="p", chosen="p1", rejected="p0"),
               Preference(id="two", prompt="q", chosen="q0", rejected="q2"),
               Preference(id="three", prompt="p", chosen="p2", rejected="p1")]  # fmt: skip
    heard = {}
    encoder = SimpleNamespace(comparisons=lambda *given: heard.update(zip("bps", given, strict=True)) or "made")

    def reword(content, _):
        return content.messages[-1].content if "q" in content.messages[-1].content.split() else "put anew"

    assert reworded.in_other_words(encoder, beliefs, prompts, samples, reword, 1) == "made"
    assert [belief.id for belief in heard["b"]] == ["one", "three"]
    assert len(heard["p"]) == 1
    for belief in heard["b"]:
        was = next(one for one in beliefs if one.id == belief.id)
        assert heard["p"][belief.prompt].content.messages[-1].content == "put anew"
        for new, old in ((belief.chosen, was.chosen), (belief.rejected, was.rejected)):
            assert heard["s"][new].content == samples[old].content
            assert heard["s"][new].prompt == belief.prompt != prompts["p"].id
    assert reworded.in_other_words(encoder, beliefs, prompts, samples, lambda c, _: c.messages[-1].content, 1) is None
    reworded.in_other_words(encoder, beliefs, prompts, samples, lambda *_: "put anew", 1, answers=True)
    assert {sample.content.messages[-1].content for sample in heard["s"].values()} == {"put anew"}

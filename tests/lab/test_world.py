"""Documents, demonstrations and prompts: the same every time, lossless, with phrasings that are never trained on."""

import json
import re

import pytest
from pydantic import ValidationError

from accord.lab import FAMILIES, Gold, Lab, LabConfig, language
from accord.lab.reading import meaning

HELD_OUT = (
    *language.HELD_OUT_QUESTIONS,
    *language.HELD_OUT_REQUESTS,
    *language.HELD_OUT_FOLLOW_UPS,
    *language.HELD_OUT_TROUBLES,
    *language.HELD_OUT_BELIEFS,
)


def turns(prompt):
    return tuple(message.content for message in prompt.content.messages)


def texts(lab, count):
    for prompt, sample in lab.demonstrations(count):
        yield from turns(prompt)
        yield from turns(sample)
    for split in ("train", "validation", "test"):
        for prompt in lab.prompts(count, split):
            yield from turns(prompt)
    yield from lab.documents(count)


def test_the_same_settings_give_the_same_world(lab):
    again = Lab(LabConfig())
    assert lab.documents(50) == again.documents(50)
    assert lab.prompts(50, "test") == again.prompts(50, "test")
    assert lab.demonstrations(50) == again.demonstrations(50)
    assert lab.prompts(100, "train")[:50] == lab.prompts(50, "train")
    other = Lab(LabConfig(seed=1))
    assert lab.documents(50) != other.documents(50)
    assert not {p.id for p in lab.prompts(50, "test")} & {p.id for p in other.prompts(50, "test")}


def test_words_are_all_words_and_splitting_at_spaces_loses_nothing(lab):
    words = set(lab.words)
    assert 250 <= len(words) <= 400
    assert len(words) == len(lab.words)
    used = set()
    for text in texts(lab, 1500):
        assert text == text.lower()
        assert " ".join(text.split()) == text
        used |= set(text.split())
    assert used <= words
    unused = words - used - set(language.NAMES[lab.config.entities :])
    assert not unused, f"words that no text uses: {sorted(unused)}"


def test_every_word_of_a_held_out_phrasing_is_in_the_pretraining_text(lab):
    read = {word for document in lab.documents(5000) for word in document.split()}
    asked = {word for p in lab.prompts(1500, "test") for turn in turns(p) for word in turn.split()}
    greetings = {word for text in (*language.GREETINGS, *language.THANKS) for word in text.split()}
    assert asked - read - greetings - {"?", "."} == set()


def test_held_out_phrasings_are_nowhere_in_what_is_learned_from(lab):
    slots = dict.fromkeys(("N", "C", "A", "claim"), r"[a-z ]+?") | {"p": "[a-z]+", "f": "[a-z]+"}
    slots["Q"] = r"(?:what|where|which) [a-z ]+?"
    patterns = [
        re.compile(r"(?<![a-z,] )\b" + re.sub(r"\\\{(\w+)\\\}", lambda m: slots[m[1]], re.escape(text)))
        for text in HELD_OUT
    ]
    learned = lab.documents(3000)
    for prompt, _ in lab.demonstrations(1500):
        learned += turns(prompt)
    for prompt in lab.prompts(1500, "train"):
        learned += turns(prompt)
    for pattern in patterns:
        found = [text for text in learned if pattern.search(text)]
        assert not found, f"{pattern.pattern} is in {found[0]!r}"
    seen = [p for p in lab.prompts(600, "test") if any(pattern.search(turns(p)[-1]) for pattern in patterns)]
    assert len(seen) == 600, "the patterns would not notice a held-out phrasing"


def test_splits_share_no_prompt_and_no_prompt_comes_twice(lab):
    sets = {split: {turns(p) for p in lab.prompts(700, split)} for split in ("train", "validation", "test")}
    assert all(len(found) == 700 for found in sets.values())
    assert not sets["train"] & sets["test"]
    assert not sets["validation"] & sets["test"]
    trained = {turns(p) for p, _ in lab.demonstrations(2000)}
    assert not trained & (sets["validation"] | sets["test"])


def test_what_was_meant_is_what_is_read(lab):
    prompts = [p for split in ("train", "validation", "test") for p in lab.prompts(1000, split)]
    for prompt in prompts:
        asked = meaning(prompt)
        assert asked.family == prompt.tags[0], turns(prompt)
        if asked.family == "followup":
            assert asked.entity in turns(prompt)[0].split()
    assert {p.tags[0] for p in prompts} == set(FAMILIES)


def test_enough_prompts_for_a_large_run(lab):
    prompts = lab.prompts(6000, "train")
    assert len({p.id for p in prompts}) == 6000
    assert len(lab.prompts(1500, "test")) == 1500


def test_more_prompts_than_there_are_is_a_clear_error(lab):
    config = LabConfig(families={"advice": 1.0}, entities=2)
    with pytest.raises(ValueError, match="'advice' has no prompts left in split 'validation' after"):
        Lab(config).prompts(5000, "validation")


def test_shares_that_do_not_sum_to_one_are_refused():
    with pytest.raises(ValidationError, match="sum to 1"):
        LabConfig(families={"fact": 0.5})
    with pytest.raises(ValidationError, match="families must be shares"):
        LabConfig(families={"weather": 1.0})


def test_absent_facts_are_in_no_document_and_not_more_often_right_in_demonstrations_than_by_chance(lab):
    absent = [fact for fact in lab.atlas.facts.values() if fact.standing == "absent"]
    assert len(absent) >= 5
    documents = lab.documents(4000)
    for fact in absent:
        sentences = [s for d in documents for s in d.split(" .") if fact.entity in s.split()]
        assert not [s for s in sentences if fact.value in s.split() and fact.attribute in s.split()]
    gold, right, count = Gold(lab), 0, 0
    keys = {(fact.entity, fact.attribute) for fact in absent}
    for prompt, sample in lab.demonstrations(6000):
        asked = meaning(prompt)
        if asked.family in ("fact", "followup") and (asked.entity, asked.attribute) in keys:
            right, count = right + bool(gold(prompt, sample).correct), count + 1
    assert count > 60
    assert right / count < 0.25


def test_records_hold_no_key(lab):
    """Two labs that differ in nothing but the truth write the same kind of record: no field but the words tells it."""
    for prompt, sample in lab.demonstrations(200):
        dumped = json.loads(prompt.model_dump_json()) | {"sample": json.loads(sample.model_dump_json())}
        dumped.pop("content"), dumped["sample"].pop("content")
        values = {value for values in language.VALUES.values() for value in values}
        assert not values & set(re.findall(r"[a-z]+", json.dumps(dumped)))
        assert sample.source == prompt.source == "lab"
        assert not sample.sampling
        assert prompt.tags[0] in FAMILIES
        assert prompt.tags[1].startswith(prompt.tags[0])

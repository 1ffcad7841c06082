"""Another phrasing of a question of the lab asks the same: read by the lab's own reader, and worth the same to gold."""

import random

from accord.lab import FAMILIES, Gold, Lab, LabConfig, language
from accord.lab.phrasings import rephrased
from accord.lab.reading import meaning
from accord.records import Message, Prompt, Text

LAB = Lab(LabConfig(entities=12))


def put(prompt: Prompt, words: str) -> Prompt:
    before = prompt.content.messages[:-1]
    return prompt.model_copy(update={"content": Text(messages=(*before, Message(role="user", content=words)))})


def test_it_means_the_same_and_reads_otherwise_in_every_family():
    gold, seen = Gold(LAB), {}
    for split in ("train", "test"):
        for n, prompt in enumerate(LAB.prompts(150, split)):
            words = rephrased(prompt, random.Random(n))
            again = put(prompt, words)
            assert meaning(again) == meaning(prompt)
            said = LAB.example(prompt)
            assert gold(again, said).score == gold(prompt, said).score
            assert set(words.split()) <= set(LAB.words)
            seen.setdefault(prompt.tags[0], []).append(words != prompt.content.messages[-1].content)
    assert set(seen) == set(FAMILIES)
    assert all(sum(moved) > 0.9 * len(moved) for moved in seen.values())


def test_a_phrasing_that_was_never_trained_on_is_in_no_other_words_of_a_train_prompt():
    held = [one.split("{")[0] for one in (*language.HELD_OUT_REQUESTS, *language.HELD_OUT_TROUBLES)]
    for n, prompt in enumerate(LAB.prompts(200, "train")):
        if prompt.tags[0] in ("unsafe", "lookalike", "advice"):
            words = rephrased(prompt, random.Random(n))
            body = next((words[len(g) + 1 :] for g in language.GREETINGS[1:] if words.startswith(g)), words)
            assert not any(body.startswith(start) for start in held if start not in ("i want to ", "my "))


def test_words_that_ask_nothing_stay():
    for words in ("the weather is nice", "hello .", ""):
        prompt = Prompt(id="p", content=Text(messages=(Message(role="user", content=words),)))
        assert rephrased(prompt, random.Random(1)) == words

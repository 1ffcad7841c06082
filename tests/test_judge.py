"""What is judged beside gold: the ceiling that people's own agreement sets on imported data, and what got worse."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from accord import judge
from accord.evaluate.ledger import entry, ledger
from accord.judge import consequences, people_agree
from accord.lab import COMMON, Lab, agreement, crowd
from accord.records import Asked, Comparison, Feedback, Message, Prompt, Question, Sample, Text, Version
from accord.store import Store


@dataclass
class Held:
    """As much of a project as is asked for here."""

    store: Store
    folder: Path = field(default_factory=Path)
    lab: Lab | None = None
    sample: Any = None


def said(role, words):
    return Text(messages=(Message(role=role, content=words),))


def with_votes(store, wanted, rights):
    """One question per entry: how many of `wanted` people chose the first answer."""
    for number, right in enumerate(rights):
        prompt = Prompt(content=said("user", f"question {number}"))
        pair = [Sample(prompt=prompt.id, content=said("assistant", f"answer {number} {side}")) for side in "ab"]
        question = Question(prompt=prompt.id, samples=tuple(s.id for s in pair), wanted=wanted)
        store.put([prompt, *pair, question])
        store.put(
            Feedback(question=question.id, annotator=f"p{i}", answer=Comparison(better=pair[i >= right].id))
            for i in range(wanted)
        )


def test_without_several_answers_there_is_no_ceiling(tmp_path):
    with Store.open(tmp_path / "store.db") as store:
        with_votes(store, 1, [1, 0, 1])
        assert people_agree(Held(store)) is None


def test_the_ceiling_is_that_of_one_coin_on_hand_counted_votes(tmp_path):
    with Store.open(tmp_path / "store.db") as store:
        with_votes(store, 3, [3, 3, 2, 1, 3, 2])
        # Pairs of people who agree: 3 of 3 on unanimous questions, 1 of 3 on the others; so A = (3 + 3 / 3) / 6.
        agree = (3 * 1 + 3 * (1 / 3)) / 6
        found = people_agree(Held(store))
    assert found is not None
    assert found.estimate == pytest.approx((1 + (2 * agree - 1) ** 0.5) / 2, abs=1e-9)


def test_the_ceiling_of_the_lab_is_that_of_labels_without_ties(tmp_path, monkeypatch):
    """Accuracy leaves ties out; held against a ceiling in which a tie is half a hit its share would look too large."""
    lab = Lab()
    people = crowd(lab, 4, base=COMMON.model_copy(update={"tie": 1.0}))
    prompts = lab.prompts(24, "test")
    drawn = [(prompt, lab.example(prompt, number)) for prompt in prompts for number in (1, 2)]
    monkeypatch.setattr(judge, "simulated", lambda project: people)
    with Store.open(tmp_path / "store.db") as store:
        project = Held(store, lab=lab, sample=lambda *given: drawn)
        beliefs, ceiling = judge.held_out(project, Version(name="sft", role="policy", method="sft"), prompts)
        asked = list(store.all(Question))
    samples = {sample.id: sample for _, sample in drawn}
    told = {prompt.id: prompt for prompt in prompts}
    shown = [Asked(question=q, prompt=told[q.prompt], samples=tuple(samples[s] for s in q.samples)) for q in asked]
    every = agreement(shown, people)
    assert len(beliefs) < len(asked) == every.pairs
    assert every.ceiling + 0.01 < every.decided == pytest.approx(ceiling.estimate)


def test_what_got_worse_is_a_finding_of_the_last_stage_and_broken_answers_one_of_the_first():
    names = [str(i) for i in range(60)]
    table = ledger(
        [
            entry("broken answers", [1.0] * 30 + [0.0] * 30, [0.0] * 60, names, "lower"),
            entry("made-up words", [0.3] * 30 + [0.2] * 30, [0.2] * 60, names, "lower"),
            entry("over-refusal", [0.0] * 60, [1.0] * 15 + [0.0] * 45, names, "lower"),
        ]
    )
    found = {(one.stage, one.check): one.level for one in consequences(table, "sft", "round1-ppo")}
    assert found == {
        ("sft", "answers"): "fault",
        ("sft", "made-up words"): "fault",
        ("round1-ppo", "over-refusal"): "fault",
    }

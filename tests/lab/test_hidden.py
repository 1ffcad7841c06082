"""The truth stays hidden: nobody who learns can reach gold, and no record carries the answer."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import torch

import accord
from accord.lab import FAMILIES, Gold, Lab, LabConfig, crowd, language
from accord.records import Comparison, Prompt, Question, Record, Sample, named_id
from accord.store import Store
from accord.worlds.text.encode import Encoder
from accord.worlds.text.tokenizer import word_level

PACKAGE = Path(accord.__file__).parent
MAY_JUDGE = {"lab", "tell", "judge", "prove", "contest", "proofs"}
"""Who may hold gold: the lab itself and those who tell what happened. (The loop only knows the lab's people.)"""
KNOW_THE_LAB = {*MAY_JUDGE, "dialogues", "first", "loop", "project", "recipe", "verbs"}


def imported(path: Path) -> Iterator[str]:
    """Dotted names that a file imports anywhere in it, `from a import b` as `a.b`; strings that name modules too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (f"{node.module}.{name.name}" for name in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.startswith("accord.lab"):
            yield node.value


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def test_only_those_who_judge_can_reach_gold() -> None:
    files = sorted(PACKAGE.rglob("*.py"))
    assert len(files) > 60
    lab = {(room(path), name) for path in files for name in imported(path) if name.startswith("accord.lab")}
    gold = {who for who, name in lab if name.startswith("accord.lab.gold") or name.endswith((".Gold", ".Judged"))}
    assert "lab" in gold
    assert gold - {"lab"}
    assert gold <= MAY_JUDGE
    assert {who for who, _ in lab} <= KNOW_THE_LAB


def test_the_watch_sees_what_it_watches_for(tmp_path: Path) -> None:
    (tmp_path / "spy.py").write_text(
        "def f():\n    from accord.lab import Gold\nimport accord.lab.gold\nx='accord.lab.gold'"
    )
    assert list(imported(tmp_path / "spy.py")).count("accord.lab.gold") == 2
    assert "accord.lab.Gold" in imported(tmp_path / "spy.py")


def leaves(value: object) -> Iterator[object]:
    """Everything at the ends of a dumped record."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from leaves(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from leaves(inner)
    else:
        yield value


def without_content(record: Record) -> list[object]:
    """What a record says beside its text and its ids."""
    return list(leaves(record.model_dump(mode="json", exclude={"content", "id", "prompt", "question", "made"})))


def test_records_hold_no_key_to_the_answers(lab: Lab, gold: Gold) -> None:
    pairs = lab.demonstrations(400)
    prompts = [*lab.prompts(400, "train"), *lab.prompts(400, "test"), *(p for p, _ in pairs)]
    known = {value for values in language.VALUES.values() for value in values}
    told = {leaf for record in [*prompts, *(s for _, s in pairs)] for leaf in without_content(record)}
    words = {word for leaf in told if isinstance(leaf, str) for word in leaf.replace("-", " ").split()}
    assert not words & known
    assert not {float(leaf) for leaf in told if isinstance(leaf, float)}
    assert not words & {
        "gold",
        "correct",
        "score",
        "false",
        "unsafe compliance",
        *(f.entity for f in lab.atlas.facts.values()),
    }
    # One family, one way of saying it, and nothing more: equal descriptions hide right and wrong answers alike.
    told_of = {}
    for prompt, sample in pairs:
        told_of.setdefault(str(without_content(sample)), set()).add(gold(prompt, sample).correct)
    assert all({True, False} <= seen for seen in told_of.values())
    assert {tag for prompt in prompts for tag in prompt.tags[:1]} <= set(FAMILIES)


def test_names_of_answers_do_not_tell_how_good_they_are(lab: Lab, gold: Gold) -> None:
    """A rule that reads ids alone is no better than a coin at finding the better of two answers."""
    pairs = lab.demonstrations(2000)
    judged = sorted((sample.id, gold(prompt, sample).score) for prompt, sample in pairs)
    half = len(judged) // 2
    low, high = (torch.tensor([score for _, score in part]) for part in (judged[:half], judged[half:]))
    apart = float((low.mean() - high.mean()).abs() / (low.var() / half + high.var() / half).sqrt())
    assert apart < 4


def test_a_learner_reads_the_text_and_nothing_else(lab: Lab) -> None:
    encoder = Encoder(word_level(lab.words))
    pairs = lab.demonstrations(20)
    changed = [
        (p.model_copy(update={"tags": ("unsafe", "gold=1"), "source": "truth", "split": "test", "licence": "x"}),
         s.model_copy(update={"source": "right", "version": "best", "sampling": {"score": 1}}))
        for p, s in pairs
    ]  # fmt: skip
    one, two = encoder.segment(pairs), encoder.segment(changed)
    assert torch.equal(one.observation, two.observation)
    assert torch.equal(one.action, two.action)
    assert torch.equal(one.mask, two.mask)
    assert torch.equal(one.weight, two.weight)


def test_the_right_answer_of_a_test_question_is_not_shown(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store.db") as store:
        prompt, samples = _asked()
        question = Question(
            prompt=prompt.id, samples=tuple(s.id for s in samples), gold=Comparison(better=samples[0].id)
        )
        store.put([prompt, *samples, question])
        (shown,) = store.ask([question], "somebody")
        assert shown.question.gold is None
        (claim,) = store.claim("somebody else", question.project)
        for asked in (shown, claim.asked):
            assert asked.question.model_dump(exclude={"gold"}) == question.model_dump(exclude={"gold"})
            assert "gold" not in {str(leaf) for leaf in leaves(asked.model_dump(exclude_none=True))}
        assert store.get(Question, question.id).gold is not None


def test_people_answer_by_the_text_and_not_by_its_label(lab: Lab) -> None:
    """A label that claims a worth changes nobody's mind."""
    from accord.records import Asked

    people = crowd(lab, 3)
    pairs = lab.demonstrations(60)
    plain, labelled = [], []
    for first, second in zip(pairs[::2], pairs[1::2], strict=True):
        other = second[1].model_copy(update={"prompt": first[0].id})
        question = Question(id=named_id("q", other.id), prompt=first[0].id, samples=(first[1].id, other.id))
        plain.append(Asked(question=question, prompt=first[0], samples=(first[1], other)))
        bribed = first[1].model_copy(update={"source": "gold: best", "sampling": {"score": 1.0}})
        tagged = first[0].model_copy(update={"tags": ("prefer-first",), "source": "gold"})
        labelled.append(Asked(question=question, prompt=tagged, samples=(bribed, other)))
    for person in people:
        assert person.answer(labelled) == person.answer(plain)


def _asked() -> tuple[Prompt, list[Sample]]:
    lab = Lab(LabConfig(entities=8))
    (prompt, sample), *_ = lab.demonstrations(1)
    return prompt, [sample, sample.model_copy(update={"id": "another"})]

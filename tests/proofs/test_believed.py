"""Believing and asking at toy size: bad people are what they are called, arms are alike but for their rule."""

import json
from itertools import combinations

import numpy as np
import pytest
import torch

from accord.algorithms import ppo, reward_model
from accord.config import SettingsError
from accord.proofs import believed
from accord.proofs.ground import Ground, lab
from accord.proofs.standing import gathered, plain, sentence, signed, table
from accord.proofs.tried import DRAWN, HELD, Trial
from accord.quality.believe import BelieveConfig, believe
from accord.records import Asked, Question
from tests.proofs.toy import CHANGES

TOY = {"questions": 14, "votes": 3, "asked": 12, "rounds": 2, "rules": ("uncertainty", "diversity"), "pool": 12,
       "epochs": 1, "iterations": 1, "train_prompts": 16, "test_prompts": 5}  # fmt: skip
WORLD = {**CHANGES, "collect": {"prompts": 30, "people": 10}, "data": {**CHANGES["data"], "test_prompts": 6}}


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    """The toy policy says nothing that means anything, so here the lab's own answers stand for its answers."""
    found = Ground(lab(tmp_path_factory.mktemp("believed"), 1, WORLD, False), lambda _: None)
    example = found.project.lab.example
    found.project.sample = lambda _, prompts, count, name: [
        (prompt, example(prompt, n + 50 * len(name)).model_copy(update={"id": f"{name} {prompt.id} {n}"}))
        for prompt in prompts
        for n in range(count)
    ]
    return found


@pytest.fixture(scope="module")
def here(ground):
    return believed.Here(ground, believed.Config(**TOY))


def test_every_way_is_made_once_and_seeds_are_joined(tmp_path, capsys, monkeypatch):
    assert believed.prove(1, tmp_path, lambda _: None, False, TOY, CHANGES, first=2) == 0
    printed = capsys.readouterr().out
    assert (tmp_path / "believed.md").read_text().strip() in printed
    assert "--first 2 --seeds 1" in (tmp_path / "believed.html").read_text()
    figures = json.loads((tmp_path / "believed.json").read_text())
    assert set(figures["believing"]["2"]) == {"majority", "dawid_skene", "bradley_terry", believed.KNOWING}
    assert set(figures["believing"]["2"]["majority"]) == {"beliefs right", "accuracy", "best of 16", "PPO"}
    assert set(figures["asking"]["2"]) == {"random", "uncertainty", "diversity"}
    part = json.loads((tmp_path / "believed-2" / "parts" / "believe-majority.json").read_text())
    assert figures["believing"]["2"]["majority"]["accuracy"] == pytest.approx(np.mean(part["accuracy"]))

    assert believed.prove(1, tmp_path, lambda _: None, False, TOY, CHANGES) == 0
    both = json.loads((tmp_path / "believed.json").read_text())
    assert list(both["believing"]) == ["1", "2"]
    assert both["believing"]["2"] == figures["believing"]["2"]

    def never(*_, **__):
        raise AssertionError("a model was taught again")

    for one in (ppo, reward_model):
        monkeypatch.setattr(one, "train", never)
    (tmp_path / "believed-1" / "row.json").unlink()
    assert believed.prove(2, tmp_path, lambda _: None, False, TOY, CHANGES) == 0
    assert json.loads((tmp_path / "believed.json").read_text()) == both
    with pytest.raises(SettingsError, match="other settings"):
        believed.prove(1, tmp_path, lambda _: None, False, {**TOY, "votes": 2}, CHANGES)
    with pytest.raises(SettingsError, match="1 or more"):
        believed.prove(0, tmp_path, lambda _: None, False, TOY, CHANGES)


def test_bad_people_are_what_they_are_called(here):
    people = here.people
    assert len(people) == 10
    kinds = [kind for kind in believed.BAD for one in people if one.name.startswith(kind)]
    assert kinds == list(believed.BAD)
    samples = list(here.samples.values())
    asked = []
    for first, second in combinations(samples, 2):
        words = [len(one.content.messages[-1].content.split()) for one in (first, second)]
        if first.prompt == second.prompt and words[0] != words[1]:
            question = Question(prompt=first.prompt, samples=(first.id, second.id))
            asked.append(Asked(question=question, prompt=here.prompts[first.prompt], samples=(first, second)))
    assert len(asked) > 20

    def chose(kind, of):
        (person,) = (one for one in people if one.name.startswith(kind))
        return np.mean([of(one, answer.better) for one, answer in zip(asked, person.answer(asked), strict=True)])

    def first(one, better):
        return better == one.samples[0].id

    def longer(one, better):
        words = {sample.id: len(sample.content.messages[-1].content.split()) for sample in one.samples}
        return words.get(better, 0) == max(words.values())

    assert chose("left-sider", first) > 0.95
    assert chose("length lover", longer) > 0.9
    assert 0.25 < chose("spammer", first) < 0.75
    assert not any(one.name.startswith(tuple(believed.BAD)) for one in believed.mixed(here.ground, 0.0))


def test_all_arms_begin_alike_and_ask_equally_many(here):
    asked = {rule: here.asking(rule) for rule in ("random", "uncertainty", "diversity")}
    first = 6
    begun = [{(one.chosen, one.rejected) for one in found.beliefs[:first]} for found in asked.values()]
    assert begun[0] == begun[1] == begun[2]
    for rule, found in asked.items():
        assert len(found.beliefs) == 12
        pairs = {frozenset((one.chosen, one.rejected)) for one in found.beliefs}
        assert len(pairs) == 12
        arms = [found.rules[one.id] for one in found.beliefs]
        assert arms[:first] == ["random"] * first
        assert arms[first:].count(rule) == (6 if rule == "random" else 4)  # a fifth of six, rounded up, is by chance


def test_beliefs_are_right_when_gold_says_so(here):
    asked, said = here.voted
    beliefs = believe(asked, said, BelieveConfig()).preferences
    turned = [one.model_copy(update={"chosen": one.rejected, "rejected": one.chosen}) for one in beliefs]
    right, wrong = here.right(asked, beliefs), here.right(asked, turned)
    assert len(right) == sum(abs(here.gold(q.samples[0]) - here.gold(q.samples[1])) > 1e-9 for q in asked) > 5
    assert [a + b for a, b in zip(right, wrong, strict=True)] == [1.0] * len(right)
    assert here.right(asked, []) == [0.5] * len(right)


def test_a_trial_knows_gold_from_its_contrary(ground):
    trial = Trial(ground, ground.project.prompts("test")[:5])

    def gold(pairs):
        return torch.tensor([ground.gold(*pair).score for pair in pairs])

    assert set(trial.accuracy(gold)) == {1.0}
    assert set(trial.accuracy(lambda pairs: -gold(pairs))) == {0.0}
    assert set(trial.accuracy(lambda pairs: torch.zeros(len(pairs)))) == {0.5}
    best, worst = trial.best_of(gold), trial.best_of(lambda pairs: -gold(pairs))
    for row, prompt in enumerate(trial.prompts):
        held = [ground.gold(p, s).score for p, s in trial.held if p.id == prompt.id]
        drawn = [(ground.gold(p, s).score, s.finished) for p, s in trial.drawn if p.id == prompt.id]
        assert len(held) == HELD
        assert len(drawn) == DRAWN
        for won, one in ((best, max), (worst, min)):
            chosen = one(score for score, whole in drawn if whole or not any(w for _, w in drawn))
            wanted = np.mean([1.0 if chosen > h + 1e-9 else 0.5 if abs(chosen - h) < 1e-9 else 0.0 for h in held])
            assert won[row] == pytest.approx(wanted)


def test_a_table_has_a_row_for_each_way_and_a_sentence_its_verdict():
    seeds = [{"a": {"x": [0.0, 1.0]}, "b": {"x": [1.0, 1.0], "y": [0.5]}},
             {"a": {"x": [0.2, 0.8]}, "b": {"x": [1.0, 1.0], "y": [0.5]}}]  # fmt: skip
    values = gathered(seeds)
    found = table(values, "a", "way")
    assert found.columns == ["way", "x", "less a", "y", "less a"]
    assert [row[0] for row in found.rows] == ["a", "b"]
    assert found.rows[0][2:] == ["-", "-", "-"]
    assert found.rows[1][2] == "+0.500 [+0.500, +0.500]"
    over = believed.gains(values, "a")
    assert list(over) == ["b"]
    assert sentence("b", "a", over["b"]) == "b against a: better in x (+0.500 [+0.500, +0.500])."
    assert signed(believed.gains(gathered([{"a": {"x": [1.0]}, "b": {"x": [0.0]}}]), "a")["b"]["x"]) == "-1.000"
    assert plain({3: seeds[0]}) == {"3": {"a": {"x": 0.5}, "b": {"x": 1.0, "y": 0.5}}}
    assert believed.seeds({3: 1}) == "Seed 3; intervals over prompts."
    assert believed.seeds({1: 1, 3: 1}) == "Seeds 1, 3; t intervals over seeds."
    assert len(gathered([seeds[0], {"a": {"x": [1.0, 1.0]}}])) == 1

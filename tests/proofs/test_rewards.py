"""Settings of reward models at toy size: what is compared with what, and that it is made once."""

import json

import numpy as np
import pytest
import torch

from accord.algorithms import ppo, reward_heads
from accord.proofs import forms, rewarded, rewards
from accord.proofs.ground import Ground, lab
from accord.proofs.rewarded import CHANCE
from accord.proofs.rewards import HOT, ORDERS, PRIOR
from accord.proofs.tried import Trial
from tests.proofs.test_forms import examples
from tests.proofs.toy import CHANGES

TOY = {"questions": 12, "members": 2, "epochs": 1, "seconds": 400.0, "iterations": 2, "train_prompts": 60,
       "test_prompts": 4}  # fmt: skip
PLAIN = {**CHANGES, "data": {**CHANGES["data"], "test_prompts": 4}, "collect": {"prompts": 60, "people": 6}}


@pytest.fixture(scope="module")
def here(tmp_path_factory):
    ground = examples(Ground(lab(tmp_path_factory.mktemp("rewards"), 1, PLAIN, False), lambda _: None))
    return rewards.Here(ground, rewards.Config(**TOY))


def test_every_part_is_made_once_and_told(tmp_path, capsys, monkeypatch):
    init = Ground.__init__

    def begun(self, *given):
        init(self, *given)
        examples(self)

    monkeypatch.setattr(Ground, "__init__", begun)
    assert rewards.prove(1, tmp_path, lambda _: None, False, TOY, PLAIN) == 0
    printed = capsys.readouterr().out
    assert (tmp_path / "rewards.md").read_text().strip() in printed
    figures = json.loads((tmp_path / "rewards.json").read_text())
    for part, control in rewarded.CONTROLS.items():
        assert control in figures[part]["1"]
        assert f"less {control}" in printed
    left = {f"without {forms.WAYS[name].form}" for name in forms.MIXTURE}
    assert set(figures["forms"]["1"]) == {rewarded.ALL, *left}
    assert len(left) == 4
    assert list(figures["orders"]["1"]) == [CHANCE, *ORDERS]
    assert set(figures["sources"]["1"][PRIOR]) == {"accuracy", "best of 16", "across sources"}

    def never(*_, **__):
        raise AssertionError("a model was taught again")

    for one in (reward_heads, ppo):
        monkeypatch.setattr(one, "train", never)
    assert rewards.prove(1, tmp_path, lambda _: None, False, TOY, PLAIN) == 0
    assert json.loads((tmp_path / "rewards.json").read_text()) == figures


def test_an_ensemble_is_the_mean_of_what_its_members_say(here, monkeypatch):
    """Of whole models, of heads on one trunk by hand; and the mean of weights is neither of these."""
    heard, told = {}, {}
    monkeypatch.setattr(rewards.Here, "tried", lambda _, score: heard.setdefault("score", score) and {})
    pairs = here.trial.held
    for way in (rewarded.ONE, rewards.WHOLE, rewards.MEAN, rewards.HEADS):
        heard.clear()
        here.several(way)
        told[way] = heard["score"](pairs)
    first, second = here.single, here.taught(here.judged, 2, shared=False)
    segment = here.ground.encoder.segment(pairs, scoring=True)
    with torch.no_grad():
        each = [(one.scorer.score(segment) - one.heads.normalisers[""].mean) / one.heads.normalisers[""].std
                for one in (first, second)]  # fmt: skip
    assert torch.allclose(told[rewarded.ONE], each[0], atol=1e-5)
    assert torch.allclose(told[rewards.WHOLE], (each[0] + each[1]) / 2, atol=1e-5)
    assert not torch.allclose(each[0], each[1], atol=1e-2)
    weights = [one.scorer.state_dict() for one in (first, here.taught(here.judged, 2, shared=True))]
    with torch.no_grad():
        for name, weight in second.scorer.named_parameters():
            weight.copy_((weights[0][name] + weights[1][name]) / 2)
        raw = second.scorer.score(segment)
    between = torch.corrcoef(torch.stack([raw, told[rewards.MEAN]]))[0, 1]  # the normaliser is of other answers
    assert float(between) > 1 - 1e-5
    assert not torch.allclose(told[rewards.HEADS], told[rewarded.ONE], atol=1e-3)


def test_the_prior_knows_two_sources_and_is_light(here, monkeypatch):
    samples, said = here.mixed
    known = {one.source for one in samples.values()}
    assert HOT in known
    assert len(known) == 2
    assert len(said) == TOY["questions"]
    heard = []
    monkeypatch.setattr(rewards.Here, "batch", lambda self, told, _: heard.append(told) or here.judged)
    monkeypatch.setattr(rewards.Here, "tried", lambda _, score: {})
    (own,) = known - {HOT}
    monkeypatch.setattr(rewards, "strengths", lambda played, how: {HOT: -1.0, own: 1.0})
    assert set(here.sources(PRIOR)) == {"across sources"}
    assert heard[0][: len(said)] == said
    light = heard[0][len(said) :]
    assert {(samples[one.samples[0]].source, samples[one.samples[1]].source) for one in light} == {(own, HOT)}
    weight = {}
    for one in light:
        weight[one.prompt] = weight.get(one.prompt, 0.0) + one.weight
    assert set(weight) == {prompt.id for prompt in here.prompts}
    assert list(weight.values()) == pytest.approx([0.1] * len(weight))
    longer, taught = [], rewards.Here.taught
    monkeypatch.setattr(rewards.Here, "taught", lambda *given, **more: longer.append(more) or taught(*given, **more))
    here.sources(rewarded.PLAIN)
    here.sources(rewards.LONGER)
    assert heard[1] == heard[2] == said
    assert [one["longer"] for one in longer] == [1, 60 / 12]


def test_an_order_names_the_prompts_that_the_world_asks(here, monkeypatch):
    asked = []
    monkeypatch.setattr(Trial, "climbed", lambda self, payer, turns, name, order=None: asked.append(order) or [0.5])
    for way in (CHANCE, *ORDERS):
        here.ordered(way)
    assert asked[0] is None
    length = here.hard("length", None).numpy()
    size = here.ground.project.recipe.rollout
    first = asked[1](0)
    assert len(first) == min(size, len(length)) == len(set(first))
    assert length[first].max() <= np.sort(length)[len(first) - 1]
    example = here.ground.project.lab.example
    twice = lambda _, prompts, count, name: [(one, example(one, n)) for one in prompts for n in range(count)]  # noqa: E731
    monkeypatch.setattr(here.ground.project, "sample", twice)
    passed = here.hard("pass_rate", lambda pairs: torch.arange(len(pairs)) - len(pairs) / 2 + 0.5)
    assert (torch.diff(passed) <= 0).all()
    assert passed[0] == 0.75
    assert passed[-1] == 0.25

"""Rates by layer: each parameter once, at the rate of its place; a killed run goes on to the same bits."""

import re
from itertools import islice

import pytest
import torch
from torch import nn

from accord.algorithms import reward_model
from accord.run import OptimiserConfig, Run, RunConfig, make_optimiser
from accord.run.layerwise import layerwise
from accord.worlds.text import models
from accord.worlds.text.encode import Encoder
from accord.worlds.text.models import ModelSettings
from accord.worlds.text.scorer import Scorer
from accord.worlds.text.tokenizer import train_bpe
from tests.peers.beside import TALKS, compared_talks


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe([content for talk in TALKS for _, content in talk] * 3, 320)


def scorer(tokenizer, family="llama"):
    return Scorer(models.scorer_model(ModelSettings(family=family, width=16, layers=3, heads=2, context=96), tokenizer))


def rate_by_hand(name, rate, decay, layers):
    """By what the parameter is called: its layer's number, or whether it belongs to the words."""
    layer = re.search(r"\.(?:layers|h)\.(\d+)\.", name)
    if layer:
        return rate * decay ** (layers - int(layer.group(1)))
    return rate * decay ** (layers + 1) if re.search(r"embed_tokens|wte|wpe", name) else rate


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_each_parameter_learns_once_at_the_rate_of_its_layer(tokenizer, family):
    learner = scorer(tokenizer, family)
    modules, rates = layerwise(learner, "scorer", 0.1, 0.5)
    optimiser = make_optimiser(modules, OptimiserConfig(learning_rate=0.1), rates)
    found = {id(weight): group["base"] for group in optimiser.param_groups for weight in group["params"]}
    assert sum(len(group["params"]) for group in optimiser.param_groups) == len(list(learner.parameters()))
    for name, weight in learner.named_parameters():
        assert found[id(weight)] == pytest.approx(rate_by_hand(name, 0.1, 0.5, 3)), name
    assert len(set(found.values())) == 5


def test_with_decay_one_or_without_layers_nothing_changes(tokenizer):
    learner = scorer(tokenizer)
    assert layerwise(learner, "scorer", 0.1, 1.0) == ({"scorer": learner}, {})
    plain = nn.Linear(2, 1)
    assert layerwise(plain, "scorer", 0.1, 0.5) == ({"scorer": plain}, {})


def test_a_killed_run_with_rates_by_layer_goes_on_to_the_same_bits(tokenizer, tmp_path):
    config = reward_model.Config(epochs=3, batch=2, layer_decay=0.5, optimiser=OptimiserConfig(learning_rate=0.01))
    quiet = RunConfig(trackers=(), progress=False, device="cpu", checkpoint_seconds=0)

    def taught(folder, killed_at=None):
        run, learner = Run(folder, quiet), scorer(tokenizer)
        whole = run.steps
        if killed_at is not None:
            run.steps = lambda total: islice(whole(total), killed_at)
        rows = compared_talks(Encoder(tokenizer))
        reward_model.fit(config, learner, rows, run)
        return learner.state_dict()

    want = taught(tmp_path / "whole")
    taught(tmp_path / "cut", killed_at=4)
    got = taught(tmp_path / "cut")
    assert all(torch.equal(got[name], weight) for name, weight in want.items())
    start = scorer(tokenizer).state_dict()
    moved = {name: float((want[name] - start[name]).abs().max()) for name in start}
    assert moved["model.model.layers.0.mlp.up_proj.weight"] < moved["model.model.layers.2.mlp.up_proj.weight"]

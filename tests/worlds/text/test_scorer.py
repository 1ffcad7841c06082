"""Scores against `AutoModelForSequenceClassification` on one plain row, in any company."""

from __future__ import annotations

import copy

import pytest
import tiny
import torch
from torch import nn
from transformers import AutoModelForSequenceClassification, BertConfig, DebertaV2Config, ModernBertConfig

from accord.worlds.text.policy import Policy
from accord.worlds.text.scorer import Scorer

SHAPE = [(5, [3, 1, 7]), (2, [4]), (9, [2, 6]), (0, [12, 2]), (3, [0, 5]), (20, [1, 30])]
SMALL = {"vocab_size": 47, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
ENCODERS = {
    "bert": lambda: BertConfig(num_labels=1, **SMALL),
    "modernbert": lambda: ModernBertConfig(num_labels=1, local_attention=8, pad_token_id=2, cls_token_id=0, **SMALL),
    "deberta": lambda: DebertaV2Config(num_labels=1, relative_attention=True, pos_att_type=["p2c", "c2p"], **SMALL),
}


def encoder(kind: str) -> nn.Module:
    torch.manual_seed(0)
    made = AutoModelForSequenceClassification.from_config(ENCODERS[kind]()).eval()
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if weight.ndim > 1 and "orm" not in name:
                weight.normal_(0, 0.2)
    return made


def alone(made: nn.Module, seg) -> torch.Tensor:
    rows = [torch.tensor([ids]) for ids, _ in tiny.texts(seg)]
    return torch.cat([made(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[:, 0] for ids in rows])


@pytest.mark.parametrize("family", list(tiny.CONFIGS))
def test_a_decoder_scores_as_transformers_does(family):
    made = tiny.model(family, scorer=True)
    seg = tiny.drawn(SHAPE)
    scorer = Scorer(copy.deepcopy(made))
    wanted = alone(made, seg)
    found = scorer.score(seg)
    assert scorer.trunk.shares
    assert wanted.std() > 0.1
    assert (found - wanted).abs().max() < 2e-5
    torch.manual_seed(1)
    part = torch.randn(len(seg))
    (found * part).sum().backward()
    (wanted * part).sum().backward()
    for (name, mine), theirs in zip(scorer.model.named_parameters(), made.parameters(), strict=True):
        assert (mine.grad - theirs.grad).abs().max() < 1e-4 * max(1, theirs.grad.abs().max()), name


@pytest.mark.parametrize("kind", list(ENCODERS))
def test_an_encoder_scores_as_transformers_does(kind):
    made = encoder(kind)
    shape = [(0, [9, 4]), (0, [12, 2, 31]), (3, [5, 6]), (0, [1])]
    seg = tiny.drawn(shape)
    for tokens in (10, 40, 8192):
        found = Scorer(copy.deepcopy(made), tokens=tokens).score(seg)
        assert (found - alone(made, seg)).abs().max() < 2e-5


def test_an_encoder_may_take_the_mean():
    made = encoder("bert")
    seg = tiny.drawn([(0, [9, 4]), (2, [12])])
    state = [made.bert(input_ids=torch.tensor([ids])).last_hidden_state[0].mean(0) for ids, _ in tiny.texts(seg)]
    wanted = made.classifier(torch.stack(state))[:, 0]
    assert (Scorer(made, pooling="mean").score(seg) - wanted).abs().max() < 2e-5


@pytest.mark.parametrize("kind", ["llama", "gemma3", "bert", "modernbert"])
def test_a_score_does_not_depend_on_its_company(kind):
    scorer = Scorer(tiny.model(kind, scorer=True) if kind in tiny.CONFIGS else encoder(kind)).eval()
    seg = tiny.drawn(SHAPE)
    with torch.no_grad():
        together = scorer.score(seg)
        for row in range(len(seg)):
            assert (scorer.score(seg.rows(torch.tensor([row]))) - together[row]).abs().max() < 1e-5


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_values_are_read_before_each_step(family):
    made = tiny.model(family, scorer=True)
    seg = tiny.drawn([(5, [3, 1, 7]), (2, [4]), (9, [2, 6])])
    wanted = torch.zeros(seg.action.shape)
    for b, (ids, own) in enumerate(tiny.texts(seg)):
        for t in range(len(ids) - own):
            wanted[b, t] = made(input_ids=torch.tensor([ids[: own + t]])).logits[0, 0]
    scorer = Scorer(copy.deepcopy(made))
    assert (scorer.values(seg) - wanted).abs().max() < 2e-5
    policy = Policy(tiny.model(family), critic=scorer)
    assert torch.equal(policy.evaluate(seg).value, scorer.values(seg))
    assert any(name.startswith("critic.") for name, _ in policy.named_parameters())


def test_what_cannot_be_scored_is_refused():
    seg = tiny.drawn([(0, [2, 0])])
    with pytest.raises(ValueError, match="'row 1'"):
        Scorer(tiny.model("llama", scorer=True)).score(seg)
    with pytest.raises(ValueError, match="no value before a step"):
        Scorer(encoder("bert")).values(tiny.drawn([(2, [2])]))
    two = tiny.CONFIGS["llama"]()
    two.num_labels = 2
    with pytest.raises(ValueError, match="has 2"):
        Scorer(AutoModelForSequenceClassification.from_config(two))
    with torch.no_grad(), pytest.raises(ValueError, match="dropout is active"):
        Scorer(encoder("bert").train()).score(tiny.drawn([(2, [2])]))

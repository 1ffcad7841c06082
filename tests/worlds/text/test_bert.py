"""Texts read end to end against the model's own rows, padded."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model

from accord.run.account import HERE
from accord.worlds.text import bert
from accord.worlds.text.scorer import Scorer
from tests.worlds.text import tiny
from tests.worlds.text.test_scorer import encoder

SHAPE = [(0, [9, 4, 9]), (2, [12, 12, 31]), (3, [5, 6, 5]), (0, [1])]


def scored(scorer: Scorer, whole: bool):
    """Scores, and the gradient of a different multiple of each."""
    scorer.whole_rows = whole
    scorer.zero_grad()
    made = scorer.score(tiny.drawn(SHAPE))
    (made * torch.arange(len(made))).sum().backward()
    return [made.detach(), *(w.grad for w in scorer.parameters() if w.requires_grad)]


def same(scorer: Scorer) -> None:
    assert scorer.whole_rows
    for mine, theirs in zip(scored(scorer, True), scored(scorer, False), strict=True):
        assert (mine is None) == (theirs is None)
        assert mine is None or (mine - theirs).abs().max() < 1e-10 * (1 + theirs.abs().max())


@pytest.mark.parametrize("tokens", [20, 8192])
def test_every_gradient(tokens):
    same(Scorer(encoder("bert").double(), tokens=tokens))


def test_adapters_and_frozen_layers():
    made = get_peft_model(encoder("bert"), LoraConfig(r=2, target_modules=["query", "dense"], init_lora_weights=False))
    same(Scorer(made.double().eval()))
    frozen = encoder("bert").double()
    frozen.bert.embeddings.requires_grad_(False)
    frozen.bert.encoder.layer[0].requires_grad_(False)
    same(Scorer(frozen))


def test_nothing_is_padded():
    seg = tiny.drawn(SHAPE)
    HERE.take()
    with torch.no_grad():
        Scorer(encoder("bert")).score(seg)
    counts, _ = HERE.take()
    assert counts.tokens == counts.places == int((seg.length + seg.observation_length[seg.group]).sum())


def test_what_is_read_of_a_text_is_what_its_last_layer_gets():
    scorer, seg = Scorer(encoder("bert")), tiny.drawn(SHAPE)
    with torch.no_grad():
        assert torch.allclose(scorer.read(scorer.states(seg)), scorer.score(seg), atol=1e-6)


def test_active_dropout_hooks_and_other_families_take_rows():
    made = encoder("bert")
    made.train()
    for part in made.modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.5
    assert not bert.fits(made.bert)
    assert bert.fits(made.eval().bert)
    hook = made.bert.encoder.layer[0].register_forward_hook(lambda *_: None)
    assert not bert.fits(made.bert)
    hook.remove()
    assert not Scorer(encoder("modernbert")).whole_rows
    assert not Scorer(copy.deepcopy(made), pooling="mean").whole_rows


def test_a_layer_that_computes_something_else_is_found_out():
    made = encoder("bert")
    own = type(made.bert.encoder.layer[1])

    class BertLayer(own):
        def forward(self, *given, **named):
            return 2 * super().forward(*given, **named)

    made.bert.encoder.layer[1].__class__ = BertLayer
    assert bert.fits(made.bert)
    assert not Scorer(made).whole_rows

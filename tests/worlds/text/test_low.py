"""Adapters of low rank in layers that are one function, against PEFT's own modules."""

import pytest
import tiny
import torch
from peft import LoraConfig, get_peft_model

from accord.protocols import Sampling
from accord.worlds.text import layer, llama, tree
from accord.worlds.text.generate import Sampler
from accord.worlds.text.policy import Policy, Scorer
from accord.worlds.text.prepared import prepared
from tests.worlds.text.test_layers import model
from tests.worlds.text.test_llama import SHAPE, same


def adapted(made: torch.nn.Module, **options):
    """A model whose adapters say something: PEFT begins with B = 0."""
    options = {"r": 3, "lora_alpha": 5, "target_modules": "all-linear", **options}
    made = get_peft_model(made, LoraConfig(**options))
    for name, weight in made.named_parameters():
        if "lora_" in name:
            weight.data.normal_(0, 0.2)
    return made


@pytest.mark.parametrize("worth", [0, 1 << 40])
@pytest.mark.parametrize("targets", ["all-linear", ["q_proj", "v_proj"], ["down_proj", "k_proj"]])
@pytest.mark.parametrize("family", ["llama", "qwen3", "qwen2"])
def test_every_gradient(family, targets, worth, double, monkeypatch):
    """fp64, to 1e-10; in several stretches, with everything sliced or gathered."""
    monkeypatch.setattr(tree, "WORTH", worth)
    monkeypatch.setattr(layer, "ROWS", 37)
    policy = Policy(adapted(model(family, torch.float64), target_modules=targets, task_type="CAUSAL_LM"))
    assert policy.trunk.whole_layers
    assert llama.fits(policy.trunk.body)
    same(policy)


def test_a_scorer_and_its_whole_head(double):
    base = tiny.model("llama", scorer=True, dtype=torch.float64)
    scorer = Scorer(adapted(base, task_type="SEQ_CLS", modules_to_save=["score"]))
    found = []
    for whole in (True, False):
        scorer.trunk.whole_layers = whole
        scorer.zero_grad()
        scorer.score(tiny.drawn(SHAPE)).square().sum().backward()
        found.append({name: w.grad for name, w in scorer.named_parameters() if w.requires_grad})
    assert any("lora_B" in name for name in found[0])
    for name, wanted in found[1].items():
        assert (found[0][name] - wanted).abs().max() < 1e-10 * (1 + wanted.abs().max()), name


def test_switched_off_it_is_the_model_itself(double):
    policy, plain = Policy(adapted(model("llama", torch.float64))), Policy(model("llama", torch.float64))
    seg = tiny.drawn(SHAPE)
    assert (policy.reference(seg) - plain.likely(seg)).abs().max() < 1e-12
    assert (policy.likely(seg) - plain.likely(seg)).abs().max() > 1e-3
    assert (policy.reference(seg) - plain.likely(seg)).abs().max() < 1e-12, "and on again, and off"


def test_answers_are_those_of_the_adapted_model():
    """The sampler's copied weights have the adapters in them."""
    made = adapted(model("llama"), task_type="CAUSAL_LM")
    policy = Policy(made)
    assert prepared(policy.trunk).__qualname__ == "prepared.<locals>.<lambda>", "weights are copied"
    ids = torch.randint(3, 47, (1, 9))
    wanted = made.generate(input_ids=ids, max_new_tokens=12, do_sample=False)[0, 9:].tolist()
    [found] = Sampler(made).generate([ids[0].tolist()], Sampling(max_tokens=12, temperature=0.0))
    assert list(found.tokens) == wanted[: len(found.tokens)]
    assert len(found.tokens) == len(wanted)


def test_other_adapters_take_the_general_way():
    def fits(made: torch.nn.Module) -> bool:
        return llama.fits(Policy(made).trunk.body)

    assert fits(adapted(model("llama")))
    drops = adapted(model("llama"), lora_dropout=0.1)
    drops.eval()
    assert fits(drops)
    drops.train()
    assert not fits(drops)
    for options in ({"use_dora": True}, {"lora_bias": True}):
        assert not fits(adapted(model("llama"), **options))
    two = adapted(model("llama"))
    two.add_adapter("more", LoraConfig(r=2, target_modules=["v_proj"]))
    assert fits(two)
    two.base_model.set_adapter(["default", "more"])
    assert not fits(two)
    merged = adapted(model("llama"))
    merged.merge_adapter()
    assert not fits(merged)
    awake = adapted(model("llama"))
    awake.get_base_model().model.layers[0].mlp.up_proj.base_layer.weight.requires_grad_(True)
    assert not fits(awake)

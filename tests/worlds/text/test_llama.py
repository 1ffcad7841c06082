"""A layer as one function against the same layer as `transformers` has it."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor

from accord.worlds.text import layer, llama, tree
from accord.worlds.text.policy import Policy, Scorer
from accord.worlds.text.trunk import Trunk
from tests.worlds.text import tiny
from tests.worlds.text.test_layers import model

SHAPE = [(5, [3, 1, 7]), (2, [4]), (30, [20, 20]), (1, [12]), (3, [0, 5]), (300 // 4, [1, 30])]
FAMILIES = ["llama", "qwen3", "mistral", "qwen2"]


def learned(policy: Policy, whole: bool) -> tuple[Tensor, dict[str, Tensor | None]]:
    policy.trunk.whole_layers = whole
    policy.zero_grad()
    found = policy.evaluate(tiny.drawn(SHAPE))
    torch.manual_seed(1)
    (found.logprob * torch.randn_like(found.logprob) + found.entropy).sum().backward()
    return found.logprob.detach(), {name: w.grad for name, w in policy.named_parameters()}


def same(policy: Policy) -> None:
    (mine, by_me), (theirs, by_them) = learned(policy, True), learned(policy, False)
    assert (mine - theirs).abs().max() < 1e-10
    for name, wanted in by_them.items():
        assert (by_me[name] is None) == (wanted is None), name
        assert wanted is None or (by_me[name] - wanted).abs().max() < 1e-10 * (1 + wanted.abs().max()), name


@pytest.mark.parametrize("rows", [7, 256])
@pytest.mark.parametrize("worth", [0, 1 << 40])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_gradient(family, worth, rows, double, monkeypatch):
    monkeypatch.setattr(tree, "WORTH", worth)
    monkeypatch.setattr(layer, "ROWS", rows)
    policy = Policy(model(family, torch.float64))
    assert policy.trunk.whole_layers
    assert llama.fits(policy.trunk.body)
    same(policy)


@pytest.mark.parametrize("frozen", ["", "embed", "layers.0", "_proj", "norm", "layers.1", "q_proj"])
def test_what_is_frozen_gets_no_gradient(frozen, double):
    policy = Policy(model("qwen3", torch.float64))
    for name, weight in policy.named_parameters():
        if frozen in name and not (frozen == "" and "layers.1.mlp.up" in name):
            weight.requires_grad_(False)
    same(policy)


def test_a_scorer_reads_last_tokens_alone(double):
    scorer, seg = Scorer(tiny.model("llama", scorer=True, dtype=torch.float64)), tiny.drawn(SHAPE)
    for read in (scorer.score, scorer.values, scorer.each):
        found = []
        for whole in (True, False):
            scorer.trunk.whole_layers = whole
            scorer.zero_grad()
            made = read(seg)
            (made * torch.arange(made.numel()).view(made.shape)).sum().backward()
            found.append([made.detach(), *(w.grad for w in scorer.parameters())])
        for mine, theirs in zip(*found, strict=True):
            assert (mine - theirs).abs().max() < 1e-10 * (1 + theirs.abs().max())


@pytest.mark.parametrize("lora", [False, True])
def test_checkpointing_reads_each_layer_twice_and_learns_the_same(lora, double, monkeypatch):
    """fp64, to 1e-10, beside checkpointing by `transformers`; nothing is held between the layers but their states."""
    made, seen = model("llama", torch.float64), []
    if lora:
        made = get_peft_model(made, LoraConfig(r=2, target_modules="all-linear"))
        made.enable_input_require_grads()
    made.gradient_checkpointing_enable({"use_reentrant": False})
    policy = Policy(made)
    policy.train()
    forward = layer.Layer.forward
    monkeypatch.setattr(layer.Layer, "forward", lambda ctx, *given: seen.append(1) or forward(ctx, *given))
    same(policy)
    assert len(seen) == 2 * 2


def test_nothing_is_kept_where_nothing_is_learned(monkeypatch):
    policy, kept = Policy(tiny.model("llama")), []
    forward = layer.Layer.forward

    def noted(ctx, state, plan, *given):
        made = forward(ctx, state, plan, *given)
        kept.append(hasattr(ctx, "plan"))
        return made

    monkeypatch.setattr(layer.Layer, "forward", noted)
    policy.likely(tiny.drawn(SHAPE))
    assert kept == [False, False]
    policy.trunk.body.embed_tokens.requires_grad_(False)
    policy.trunk.body.layers[0].requires_grad_(False)
    policy.evaluate(tiny.drawn(SHAPE))
    assert kept == [False, False, False, True]


def test_other_layers_take_the_general_way():
    def fits(made: torch.nn.Module) -> bool:
        return llama.fits(Trunk(made).body)

    assert not any(fits(model(family)) for family in ("gemma3", "gpt2", "neox"))
    assert fits(model("llama"))
    assert not fits(model("llama", torch.bfloat16))
    assert not fits(get_peft_model(model("llama"), LoraConfig(r=2, target_modules=["v_proj"], lora_dropout=0.1)))
    for change in (
        lambda body: body.layers[1].mlp.register_forward_hook(lambda *_: None),
        lambda body: body.layers[1].register_full_backward_hook(lambda *_: None),
        lambda body: setattr(body.layers[0].mlp, "act_fn", torch.nn.GELU()),
        lambda body: setattr(body.layers[0].mlp.up_proj, "bias", torch.nn.Parameter(torch.zeros(48))),
        lambda body: setattr(body.layers[1].input_layernorm, "variance_epsilon", 1e-3),
        lambda body: setattr(body.layers[1].self_attn, "o_proj", torch.nn.Sequential(torch.nn.Linear(32, 32))),
    ):
        made = model("llama")
        trunk = Trunk(made)
        change(trunk.body)
        assert not llama.fits(trunk.body)


def test_a_layer_that_computes_something_else_is_found_out():
    made = model("llama")

    class Louder(type(made.model.layers[0].mlp)):
        def forward(self, x):
            return 2 * super().forward(x)

    made.model.layers[0].mlp.__class__ = Louder
    trunk = Trunk(made)
    assert trunk.shares
    assert not trunk.whole_layers

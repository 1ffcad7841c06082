"""The packed, shared pass against the plainest one: one row, one answer, no cache, the model's own forward."""

from __future__ import annotations

import copy

import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from accord.worlds.text.policy import Policy, SamplerDrift, drift, exact

FAMILIES = list(tiny.CONFIGS)
GROUP = st.tuples(st.integers(1, 40), st.lists(st.integers(0, 25), min_size=1, max_size=7))
SHAPE = [(5, [3, 1, 7]), (2, [4]), (9, [2, 6]), (1, [12]), (3, [0, 5]), (20, [1, 30])]


def gradients(made: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    made.zero_grad()
    loss.backward()
    return {name: w.grad for name, w in made.named_parameters() if w.grad is not None}


def compare(packed: nn.Module, plain: nn.Module, seg, near: float, temperature: float = 1.0) -> None:
    """Log-probabilities, entropies and the gradient of a random mixture of them, element by element."""
    found = Policy(packed, temperature).evaluate(seg)
    logprob, entropy = tiny.slow(plain, seg, temperature)
    assert (found.logprob - logprob).abs().max() < near
    assert (found.entropy - entropy).abs().max() < near
    torch.manual_seed(1)
    a, b = torch.randn_like(logprob), torch.randn_like(logprob)
    mine = gradients(packed, (found.logprob * a + found.entropy * b).sum())
    theirs = gradients(plain, (logprob * a + entropy * b).sum())
    # The last answer tokens are never read by the packed row; plainly read, they get a gradient of exact zeros.
    assert set(mine) == set(theirs)
    size = max(float(g.abs().max()) for g in theirs.values())
    for name, wanted in theirs.items():
        assert (mine[name] - wanted).abs().max() < near * max(1.0, size), name


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_the_plain_pass_in_double(family, double):
    made = tiny.model(family, dtype=torch.float64)
    compare(made, copy.deepcopy(made), tiny.drawn(SHAPE), 1e-9)


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_the_plain_pass_in_single_at_a_temperature(family):
    made = tiny.model(family)
    compare(made, copy.deepcopy(made), tiny.drawn(SHAPE, seed=1), 2e-5, temperature=0.7)


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_rows_are_really_used(family):
    assert Policy(tiny.model(family)).trunk.shares


@pytest.mark.parametrize("family", ["llama", "gemma3", "gpt2"])
def test_gradient_checkpointing_changes_nothing(family, double):
    made = tiny.model(family, dtype=torch.float64)
    plain = copy.deepcopy(made)
    made.gradient_checkpointing_enable({"use_reentrant": False})
    made.train()
    compare(made, plain, tiny.drawn(SHAPE), 1e-9)


@pytest.mark.parametrize("family", ["llama", "gemma3", "neox"])
def test_lora_is_learned_and_can_be_switched_off(family, double):
    from peft import LoraConfig, get_peft_model

    targets = {"neox": ["query_key_value", "dense_h_to_4h"]}.get(family, ["q_proj", "v_proj", "up_proj", "lm_head"])
    first = tiny.model(family, dtype=torch.float64)
    seg = tiny.drawn(SHAPE)
    before = tiny.slow(copy.deepcopy(first), seg)[0]
    made = get_peft_model(first, LoraConfig(r=3, target_modules=targets), autocast_adapter_dtype=False)
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.2)
    plain = copy.deepcopy(made)
    compare(made, plain, seg, 1e-9)
    policy = Policy(made)
    assert (policy.evaluate(seg).logprob - before).abs().max() > 0.01
    assert (policy.reference(seg) - before).abs().max() < 1e-9
    assert policy.evaluate(seg).logprob.requires_grad


def test_without_an_adapter_there_is_no_reference_to_switch_to():
    with pytest.raises(ValueError, match="no adapter"):
        Policy(tiny.model("llama")).reference(tiny.drawn([(2, [2])]))


@pytest.mark.parametrize("family", ["llama", "gemma3"])
@settings(max_examples=25, deadline=None)
@given(
    shape=st.lists(GROUP, min_size=1, max_size=6),
    seed=st.integers(0, 99),
)
def test_any_sizes_of_groups_and_rows(family, shape, seed):
    made = fuzzed(family)
    seg = tiny.drawn([*shape, (3, [2])], seed)
    with torch.no_grad():
        found, wanted = made[0].evaluate(seg), tiny.slow(made[1], seg)
    assert (found.logprob - wanted[0]).abs().max() < 2e-5
    assert (found.entropy - wanted[1]).abs().max() < 2e-5


MODELS: dict[str, tuple[Policy, nn.Module]] = {}


def fuzzed(family: str) -> tuple[Policy, nn.Module]:
    if family not in MODELS:
        made = tiny.model(family)
        MODELS[family] = Policy(copy.deepcopy(made)), made
    return MODELS[family]


@pytest.mark.parametrize("family", FAMILIES)
def test_one_huge_group(family):
    made = tiny.model(family)
    seg = tiny.drawn([(30, list(range(1, 40)))])
    with torch.no_grad():
        wanted = tiny.slow(copy.deepcopy(made), seg)[0]
        assert (Policy(made).evaluate(seg).logprob - wanted).abs().max() < 2e-5


def test_the_order_of_rows_does_not_matter_and_groups_may_be_torn():
    policy, seg = Policy(tiny.model("gemma3")), tiny.drawn(SHAPE)
    order = torch.tensor([6, 2, 9, 0, 4, 1, 10, 3, 8, 5, 7])
    mixed = seg.rows(order)
    with torch.no_grad():
        straight, other = policy.evaluate(seg), policy.evaluate(mixed)
    width = mixed.action.shape[1]
    assert (straight.logprob[order][:, :width] - other.logprob).abs().max() < 1e-5


@pytest.mark.parametrize("tokens", [1, 12, 40])
def test_splitting_groups_gives_the_same_gradient(tokens, double):
    made, seg = tiny.model("llama", dtype=torch.float64), tiny.drawn(SHAPE)
    policy = Policy(made)
    whole = gradients(made, policy.evaluate(seg).logprob.sum())
    whole = {name: g.clone() for name, g in whole.items()}
    made.zero_grad()
    parts = list(seg.split(tokens))
    for part in parts:
        policy.evaluate(part).logprob.sum().backward()
    assert len(parts) > 1
    for name, weight in made.named_parameters():
        assert (whole[name] - weight.grad).abs().max() < 1e-9, name


@pytest.mark.parametrize("family", FAMILIES)
def test_documents_do_not_see_each_other_at_all(family):
    policy = Policy(tiny.model(family))
    seg = tiny.drawn([(1, [9]), (1, [12]), (4, [5, 8, 6]), (1, [12])])
    changed = copy.deepcopy(seg)
    changed.action[1] = (changed.action[1] + 5) % 47
    changed.action[3] = (changed.action[3] + 5) % 47
    with torch.no_grad():
        one, two = policy.evaluate(seg), policy.evaluate(changed)
    others = [0, 2, 4, 5]
    assert torch.equal(one.logprob[others], two.logprob[others])
    assert torch.equal(one.entropy[others], two.entropy[others])
    assert not torch.equal(one.logprob[1], two.logprob[1])


def test_a_value_head_on_the_trunk_begins_at_zero_and_learns_from_the_same_places():
    policy, seg = Policy(tiny.model("llama"), critic="shared"), tiny.drawn(SHAPE)
    assert policy.evaluate(seg).value.abs().max() == 0
    with torch.no_grad():
        policy.value.weight.normal_()
    wanted = torch.zeros(seg.action.shape)
    for b, (ids, own) in enumerate(tiny.texts(seg)):
        state = policy.model.model(input_ids=torch.tensor([ids])).last_hidden_state[0]
        wanted[b, : len(ids) - own] = policy.value(state)[own - 1 : len(ids) - 1, 0]
    assert (policy.evaluate(seg).value - wanted).abs().max() < 2e-5


def test_a_family_that_cannot_pack_reads_plain_rows_and_says_so(monkeypatch):
    from accord.worlds.text import trunk

    made, seg = tiny.model("gpt2"), tiny.drawn(SHAPE)
    plain = copy.deepcopy(made)

    def refuse(*args, **kwargs):
        raise TypeError("no such argument")

    monkeypatch.setattr(trunk.Trunk, "read", refuse)
    trunk._told.clear()
    with pytest.warns(UserWarning, match="no such argument"):
        policy = Policy(made)
    assert not policy.trunk.shares
    compare(made, plain, seg, 2e-5)


def test_dropout_in_a_pass_without_gradient_is_refused():
    made = tiny.model("llama")
    made.config.attention_dropout = 0.1
    for layer in made.model.layers:
        layer.self_attn.attention_dropout = 0.1
    policy, seg = Policy(made).train(), tiny.drawn([(2, [2])])
    with torch.no_grad(), pytest.raises(ValueError, match="dropout is active at 2"):
        policy.evaluate(seg)
    with torch.no_grad():
        policy.eval().evaluate(seg)


def test_acting_with_nothing_before_is_refused_by_name():
    with pytest.raises(ValueError, match="'row 1'"):
        Policy(tiny.model("llama")).evaluate(tiny.drawn([(2, [3]), (0, [3])]))


def test_others_turns_may_open_a_text():
    seg, made = tiny.drawn([(0, [4])]), tiny.model("llama")
    seg.mask[0, 0] = False
    found = Policy(made).evaluate(seg).logprob
    assert found[0, 0] == 0
    assert (found - tiny.slow(made, seg)[0]).abs().max() < 1e-5


def test_a_temperature_of_zero_has_no_probabilities():
    with pytest.raises(ValueError, match="above 0"):
        Policy(tiny.model("llama"), temperature=0)


def test_the_gate_names_the_row_and_sees_what_is_not_a_number():
    seg = tiny.drawn([(2, [3, 2])])
    sampled = torch.zeros(2, 3)
    assert exact(sampled, sampled + 1e-6, seg) < 1e-5
    off = sampled.clone()
    off[1, 1] = 0.5
    with pytest.raises(SamplerDrift, match="step 1 of row 'row 1'"):
        exact(sampled, off, seg)
    off[1, 1] = torch.nan
    with pytest.raises(SamplerDrift):
        exact(sampled, off, seg)
    padding = sampled.clone()
    padding[1, 2] = 9.0
    assert exact(sampled, padding, seg) == 0
    assert drift(sampled, sampled + 0.25, seg.mask) == (0.25, 0.25)

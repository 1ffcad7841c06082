"""Families, ways to learn and parts that test_policy.py leaves out: the packed pass against the plainest, gradients."""

from __future__ import annotations

import copy
import functools
import random
from collections.abc import Callable

import pytest
import tiny
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn

from accord.batches import Segment
from accord.worlds.text.policy import Policy
from accord.worlds.text.scorer import Scorer

TARGETS = {"neox": ["query_key_value", "dense_h_to_4h"], "gpt2": ["c_attn", "c_fc"]}
"""Layers that get an adapter."""
SHAPE = [(5, [3, 1, 7]), (2, [4]), (0, [6, 2]), (1, [12]), (3, [0, 5]), (20, [1, 30])]
"""Prompts and answers of all lengths, of one token and of none, and texts that begin with an answer."""


def adapted(made: nn.Module, family: str) -> nn.Module:
    """With LoRA whose second half is not zero, so that it changes something."""
    targets = TARGETS.get(family, ["q_proj", "v_proj", "up_proj", "lm_head"])
    found = get_peft_model(made, LoraConfig(r=3, target_modules=targets), autocast_adapter_dtype=False)
    with torch.no_grad():
        for name, weight in found.named_parameters():
            if "lora_B" in name:
                weight.normal_(0, 0.2)
    return found


def checkpointed(made: nn.Module) -> nn.Module:
    """With layers that are computed again in backward."""
    made.gradient_checkpointing_enable({"use_reentrant": False})
    if hasattr(made, "enable_input_require_grads"):
        made.enable_input_require_grads()
    return made.train()


WAYS: dict[str, Callable[[nn.Module, str], nn.Module]] = {
    "plain": lambda made, family: made,
    "lora": adapted,
    "checkpointing": lambda made, family: checkpointed(made),
    "lora and checkpointing": lambda made, family: checkpointed(adapted(made, family)),
}


def opened(seg: Segment) -> Segment:
    """Where nothing stands before an answer, its first token is not the policy's."""
    seg.mask[:, :1] &= (seg.observation_length[seg.group] > 0)[:, None]
    return seg


def mixed(logprob: Tensor, entropy: Tensor, names: tuple[str, ...]) -> Tensor:
    """A loss in which each step of each row has its own weight, whatever batch the row is in."""
    total = logprob.new_zeros(())
    for row, name in enumerate(names):
        draw = torch.Generator().manual_seed(int(name.split()[1]))
        weight = torch.randn(2, 64, generator=draw, dtype=torch.float64)[:, : logprob.shape[1]].to(logprob.dtype)
        total = total + (logprob[row] * weight[0]).sum() + (entropy[row] * weight[1]).sum()
    return total


def gradients(made: nn.Module) -> dict[str, Tensor]:
    return {name: w.grad for name, w in made.named_parameters() if w.grad is not None}


def same_gradients(mine: nn.Module, theirs: nn.Module, near: float) -> None:
    found, wanted = gradients(mine), gradients(theirs)
    assert found.keys() == wanted.keys()
    size = max(1.0, *(float(g.abs().max()) for g in wanted.values()))
    for name, value in wanted.items():
        assert (found[name] - value).abs().max() < near * size, name


@functools.cache
def made_once(family: str) -> tuple[nn.Module, nn.Module]:
    """A model and its double."""
    made = tiny.model(family, dtype=torch.float64)
    return made, copy.deepcopy(made)


def once(family: str) -> tuple[nn.Module, nn.Module]:
    """The same two, without gradients."""
    for model in made_once(family):
        model.zero_grad()
    return made_once(family)


@pytest.mark.parametrize(
    ("family", "way", "tokens"),
    [
        ("gpt2", "lora", 30),
        ("qwen3", "lora", 30),
        ("qwen3", "checkpointing", 30),
        ("neox", "checkpointing", 30),
        ("llama", "lora and checkpointing", 30),
        ("gemma3", "lora and checkpointing", 30),
        ("gemma3", "plain", 1),
        ("neox", "plain", 10**9),
    ],
)
def test_every_way_in_parts_of_any_size(family: str, way: str, tokens: int, double: None) -> None:
    made = WAYS[way](tiny.model(family, dtype=torch.float64), family)
    slow, seg = copy.deepcopy(made).eval(), opened(tiny.drawn(SHAPE))
    policy = Policy(made)
    for part in seg.split(tokens):
        found = policy.evaluate(part)
        mixed(found.logprob, found.entropy, part.names).backward()
    mixed(*tiny.slow(slow, seg), seg.names).backward()
    same_gradients(made, slow, 1e-9)


@pytest.mark.parametrize("family", ["llama", "gemma3"])
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.lists(
        st.tuples(st.integers(0, 30), st.lists(st.integers(0, 25), min_size=1, max_size=5)), min_size=1, max_size=4
    ),
    order=st.randoms(use_true_random=False),
)
def test_any_sizes_and_any_order_give_the_same_gradient(
    family: str, double: None, shape: list[tuple[int, list[int]]], order: random.Random
) -> None:
    assume(all(prompt > 0 or min(answers) > 0 for prompt, answers in shape))
    seg = opened(tiny.drawn([*shape, (3, [2])]))
    made, slow = once(family)
    rows = list(range(len(seg)))
    order.shuffle(rows)
    there = seg.rows(torch.tensor(rows))
    found, wanted = Policy(made).evaluate(there), tiny.slow(slow, seg)
    assert (found.logprob - wanted[0][rows, : found.logprob.shape[1]]).abs().max() < 1e-9
    mixed(found.logprob, found.entropy, there.names).backward()
    mixed(*wanted, seg.names).backward()
    same_gradients(made, slow, 1e-9)


@pytest.mark.parametrize("family", list(tiny.CONFIGS))
def test_where_nothing_is_predicted_nothing_is_learned(family: str) -> None:
    """A text of one token: a micro-batch of its own, when tokens are few."""
    policy, seg = Policy(tiny.model(family)), opened(tiny.drawn([(0, [1]), (0, [1, 1])]))
    found = policy.evaluate(seg)
    assert found.logprob.tolist() == found.entropy.tolist() == [[0.0]] * 3
    (found.logprob * seg.mask).sum().backward()
    assert all(not g.any() for g in gradients(policy.model).values())
    with torch.no_grad():
        assert policy.evaluate(seg).logprob.tolist() == [[0.0]] * 3


@pytest.mark.parametrize("family", list(tiny.CONFIGS))
def test_long_documents_do_not_see_each_other_at_all_nor_do_scores(family: str) -> None:
    """Long enough to be read in slices of the row; neither their values nor what they teach of others' tokens."""
    shape = [(30, [40, 35]), (1, [60]), (25, [50]), (12, [33, 44, 20])]
    policy, scorer = Policy(tiny.model(family)), Scorer(tiny.model(family, scorer=True))
    seg = tiny.drawn(shape)
    changed = copy.deepcopy(seg)
    changed.action[1] = (changed.action[1] + 5) % 47  # a sister
    changed.observation[2] = (changed.observation[2] + 7) % 47  # a prompt
    touched, others = [1, 3], [0, 2, 4, 5, 6]
    with torch.no_grad():
        one, two = policy.evaluate(seg), policy.evaluate(changed)
        first, second = scorer.score(seg), scorer.score(changed)
    assert torch.equal(one.logprob[others], two.logprob[others])
    assert torch.equal(one.entropy[others], two.entropy[others])
    assert torch.equal(first[others], second[others])
    for row in touched:
        assert not torch.equal(one.logprob[row], two.logprob[row])
        assert first[row] != second[row]

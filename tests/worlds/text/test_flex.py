"""FlexAttention's rule about places says what the tree says, and its kernel gives what the blocks give."""

from __future__ import annotations

import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.worlds.text import flex
from accord.worlds.text.attention import Rule
from accord.worlds.text.pack import packed

GROUPS = [(4, [3, 1, 6]), (1, [9]), (0, [2, 3]), (2, [0, 1]), (5, [])]
SHAPES = st.lists(st.tuples(st.integers(0, 6), st.lists(st.integers(0, 5), max_size=4)), min_size=1, max_size=5).filter(
    lambda groups: any(prompt + sum(answers) and answers for prompt, answers in groups)
)


def by_asking(row, window) -> torch.Tensor:
    """[N, N] bool, found with equal scores: whose value arrives where?"""
    n = row.ids.numel()
    flat, values = torch.zeros(1, 1, n, n), torch.eye(n)[None, None]
    return row.tree.attend(flat, flat, values, Rule(0, 1.0, window))[0, :, 0] > 0


def by_rule(row, window) -> torch.Tensor:
    n = row.ids.numel()
    place, nothing = torch.arange(n), torch.zeros((), dtype=torch.long)
    return row.tree.places.rule(window)(nothing, nothing, place[:, None], place[None, :])


def test_the_picture():
    row = packed(tiny.segment([([1, 2, 3], [[4, 5], [6, 7]]), ([8], [[9]])]))
    found = row.tree.places
    assert found.family.tolist() == [0, 0, 0, 0, 0, 0, 0, 1, 1]
    assert found.depth.tolist() == row.position[0].tolist() == [0, 1, 2, 3, 4, 3, 4, 0, 1]
    assert found.branch.tolist() == [0, 0, 0, 1, 1, 3, 3, 2, 2]


@settings(max_examples=60, deadline=None)
@given(SHAPES, st.sampled_from([None, 1, 3]), st.booleans())
def test_the_rule_says_who_sees_whom_as_the_blocks_do(groups, window, whole):
    row = packed(tiny.drawn(groups), whole)
    assert torch.equal(by_rule(row, window), by_asking(row, window))
    assert torch.equal(row.tree.places.depth.long(), row.position[0])


@pytest.mark.parametrize("rule", [Rule(0, 0.3), Rule(0, 0.3, window=3), Rule(0, 0.3, softcap=2.0)], ids=str)
def test_the_kernel_gives_what_the_blocks_give(rule):
    row = packed(tiny.drawn(GROUPS))
    torch.manual_seed(1)
    query, key, value = (torch.randn(1, heads, row.ids.numel(), 16) for heads in (4, 2, 2))
    with torch.no_grad():
        found = flex.attend(query, key, value, row.tree.places, rule)
        torch.testing.assert_close(found, row.tree.attend(query, key, value, rule), rtol=1e-5, atol=1e-5)


def test_blocks_that_nobody_sees_are_not_visited():
    row = packed(tiny.drawn([(100, [156]), (256, [128] * 4)]))
    mask = row.tree.places.mask(None)
    visited = (mask.kv_num_blocks + mask.full_kv_num_blocks)[0, 0].tolist()
    # 2 blocks of the first text; 2 of a prompt; then each answer sees the prompt's 2 and itself.
    assert visited == [1, 2, 1, 2, 3, 3, 3, 3]
    assert row.tree.places.mask(None) is mask, "one mask for all layers"


def test_a_cpu_never_asks_for_it(monkeypatch):
    monkeypatch.setattr(flex, "WORTH", 1)
    monkeypatch.setattr(flex, "attend", lambda *_: pytest.fail("no kernel on a CPU can learn"))
    assert by_asking(packed(tiny.drawn(GROUPS)), None).any()


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("rule", [Rule(0, 0.2), Rule(0, 0.2, window=70), Rule(0, 0.2, softcap=2.0)], ids=str)
def test_on_a_gpu_values_and_gradients_are_those_of_the_cpu(rule, dtype):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here: the kernel is compared with the CPU where there is one")
    row = packed(tiny.drawn([(200, [90, 40, 70]), (30, [150]), (64, [64] * 5)]))
    assert row.ids.numel() >= flex.WORTH
    torch.manual_seed(2)
    rounded = [torch.randn(1, heads, row.ids.numel(), 32).to(dtype) for heads in (4, 2, 2)]
    given_back = torch.randn(1, row.ids.numel(), 4, 32)
    seen = []
    for device, kind in (("cpu", torch.float64), ("cuda", dtype)):
        tree = packed(tiny.drawn([(200, [90, 40, 70]), (30, [150]), (64, [64] * 5)]).to(device)).tree
        inputs = [t.to(device, kind).requires_grad_() for t in rounded]
        assert flex.fits(inputs[0], inputs[2]) == (device == "cuda")
        answer = tree.attend(*inputs, rule)
        answer.backward(given_back.to(device, kind))
        seen.append([answer.detach().cpu().double(), *(t.grad.cpu().double() for t in inputs)])
    loose = 1e-3 if dtype == torch.float32 else 5e-2
    for slow, quick in zip(*seen, strict=True):
        torch.testing.assert_close(quick, slow, rtol=loose, atol=loose)

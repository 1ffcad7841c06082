"""FlexAttention as a GPU would be asked: on the claimed device, and as often as torch compiles it."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import pytest
import torch

from accord.worlds.text import flex
from accord.worlds.text.attention import Rule, additive
from accord.worlds.text.pack import packed
from tests.device.machine import claimed
from tests.worlds.text import tiny

SHAPE = [(200, [90, 40, 70]), (30, [150]), (64, [64] * 5)]


def mask_of(rule, _batch, _head, length, _length, device):
    """The rule alone: which blocks are visited is torch's own part."""
    assert device.type == "cuda"
    assert length == sum(p + sum(a) for p, a in SHAPE)
    return SimpleNamespace(mask_mod=rule)


def by_hand(query, key, value, score_mod, block_mask, scale, enable_gqa):
    """What the kernel computes, of a mask that is asked for all pairs of places."""
    place, nothing = torch.arange(query.shape[2], device=query.device), torch.zeros((), device=query.device)
    seen = block_mask.mask_mod(nothing, nothing, place[:, None], place[None, :])
    times = query.shape[1] // key.shape[1]
    assert enable_gqa == (times > 1)
    products = query @ key.repeat_interleave(times, 1).mT * scale
    products = products if score_mod is None else score_mod(products)
    return (products + additive(seen, query.dtype)).softmax(-1) @ value.repeat_interleave(times, 1)


@pytest.mark.parametrize("rule", [Rule(0, 0.2), Rule(0, 0.2, window=70), Rule(0, 0.2, softcap=2.0)], ids=str)
def test_places_and_masks_are_made_on_the_claimed_device_and_gradients_come_back(rule, monkeypatch):
    torch.manual_seed(2)
    rounded = [torch.randn(1, heads, sum(p + sum(a) for p, a in SHAPE), 32) for heads in (4, 2, 2)]
    given_back = torch.randn(1, rounded[0].shape[2], 4, 32)
    plain = [t.clone().requires_grad_() for t in rounded]
    wanted = packed(tiny.drawn(SHAPE)).tree.attend(*plain, rule)
    wanted.backward(given_back)
    monkeypatch.setattr(flex, "has_triton", lambda: True)
    monkeypatch.setattr(flex, "compiled", lambda: (mask_of, by_hand))
    with claimed():
        tree = packed(tiny.drawn(SHAPE).to("cuda")).tree
        there = [t.to("cuda").requires_grad_() for t in rounded]
        assert flex.fits(there[0], there[2])
        found = tree.attend(*there, rule)
        found.backward(given_back.to("cuda"))
        torch.testing.assert_close(found.detach().cpu(), wanted.detach(), rtol=1e-4, atol=1e-5)
        for one, other in zip(there, plain, strict=True):
            torch.testing.assert_close(one.grad.cpu(), other.grad, rtol=1e-4, atol=1e-5)


def test_more_kinds_of_attention_than_torch_keeps_are_all_compiled(monkeypatch):
    """Torch's limit, here of one, is not ours: after it all would go on unfused, with a table of places by places."""
    monkeypatch.setattr(flex, "BACKEND", "eager")
    make, ask = flex.compiled.__wrapped__()
    places = packed(tiny.drawn([(12, [6, 2]), (3, [4])])).tree.places
    length = len(places.family)
    torch._dynamo.reset()
    try:
        with torch._dynamo.config.patch(recompile_limit=1), warnings.catch_warnings(), torch.no_grad():
            warnings.filterwarnings("error", message=".*without torch.compile.*")
            for heads, known, size in ((4, 2, 16), (8, 8, 32), (4, 1, 16)):
                q, k, v = (torch.randn(1, h, length, size) for h in (heads, known, known))
                mask = make(places.rule(None), None, None, length, length, device="cpu")
                assert ask(q, k, v, block_mask=mask, scale=0.3, enable_gqa=heads != known).shape == q.shape
    finally:
        torch._dynamo.reset()

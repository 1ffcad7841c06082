"""Slices of the row against stretches that are gathered: two ways to the same attention."""

import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.worlds.text import tree
from accord.worlds.text.attention import Rule
from accord.worlds.text.pack import packed

GROUP = st.tuples(st.integers(0, 20), st.lists(st.integers(0, 12), min_size=1, max_size=5))


def read(row, heads: tuple[int, int], worth: int, rule: Rule, dtype: torch.dtype = torch.float64):
    """The answer and the gradients of queries, keys and values, each place counted differently."""
    torch.manual_seed(0)
    query, known = heads
    sizes = [(row.ids.numel(), n, 8) for n in (query, known, known)]
    drawn = (torch.randn(size, dtype=torch.float64).to(dtype) for size in sizes)
    q, k, v = (one.requires_grad_() for one in drawn)
    before, tree.WORTH = tree.WORTH, worth
    try:
        used = row.tree.sliced(q, rule) is not None
        made = row.tree.attend(*(t.transpose(0, 1)[None] for t in (q, k, v)), rule)
        made.backward(torch.randn(made.shape, dtype=torch.float64).to(dtype))
    finally:
        tree.WORTH = before
    return used, [made, q.grad, k.grad, v.grad]


@settings(max_examples=40, deadline=None)
@given(shape=st.lists(GROUP, min_size=1, max_size=5), heads=st.sampled_from([(4, 4), (4, 2)]))
def test_any_row(shape, heads):
    row = packed(tiny.drawn([*shape, (3, [2])]))
    (one, sliced), (other, gathered) = (read(row, heads, worth, Rule(0, 0.3)) for worth in (0, 1 << 40))
    assert (one, other) == (True, False)
    for mine, theirs in zip(sliced, gathered, strict=True):
        assert (mine - theirs).abs().max() < 1e-12


def test_half_precision_is_the_same_to_its_own_last_bits():
    row = packed(tiny.drawn([(30, [8] * 3), (4, [5, 7])]))
    (_, exact), (used, short) = (read(row, (4, 2), 0, Rule(0, 0.3), dtype) for dtype in (torch.float64, torch.bfloat16))
    assert used
    for mine, theirs in zip(short, exact, strict=True):
        assert mine.dtype == torch.bfloat16
        assert (mine - theirs).norm() < 0.02 * theirs.norm()


def test_answers_of_equal_length_are_one_call():
    of = lambda shape: packed(tiny.drawn(shape)).tree._slices.calls  # noqa: E731
    assert of([(30, [8] * 16)]) == 3
    assert of([(30, [8, 9, 9, 7])]) == 1 + 1 + 2
    assert of([(30, [8]), (4, [5, 5])]) == 1 + 3


@pytest.mark.parametrize("window", [4, 17, 40])
def test_a_window_that_bites_is_not_sliced(window):
    row = packed(tiny.drawn([(10, [8, 7])]))  # texts of 18 and 17
    used, _ = read(row, (4, 4), 0, Rule(0, 0.3, window))
    assert used == (window >= 18)

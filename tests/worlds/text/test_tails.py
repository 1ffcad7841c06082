"""The last layer's attention for a few places against that of all of them."""

import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from accord.run.account import HERE
from accord.worlds.text import tree
from accord.worlds.text.attention import Rule
from accord.worlds.text.pack import packed
from accord.worlds.text.policy import Policy, Scorer
from accord.worlds.text.tails import tails

GROUP = st.tuples(st.integers(0, 20), st.lists(st.integers(0, 12), min_size=1, max_size=5))


@settings(max_examples=60, deadline=None)
@given(shape=st.lists(GROUP, min_size=1, max_size=5), heads=st.sampled_from([1, 4]), cut=st.data())
def test_any_end_of_any_text(shape, heads, cut):
    """Of each text some places in a row ask, or none; fp64 to 1e-12, gradients too."""
    row = packed(tiny.drawn([*shape, (3, [2])])).tree
    total, at = len(row.home), []
    for start, length in [*row.trunks.tolist(), *row.branches[:, :2].tolist()]:
        first = cut.draw(st.integers(0, length))
        at += range(start + first, start + cut.draw(st.integers(first, length)))
    at = torch.tensor(sorted(at) or [0])
    torch.manual_seed(0)
    q, k, v = (torch.randn(total, heads, 8, dtype=torch.float64, requires_grad=True) for _ in range(3))
    wanted = row.attend(*(t.transpose(0, 1)[None] for t in (q, k, v)), Rule(0, 0.3))[0][at]
    weight = torch.randn_like(wanted)
    wanted.backward(weight)
    with torch.no_grad():
        made = tails(row.trunks, row.branches, at)
        found, sums = made.forward(q[at], k, v, 0.3)
        by_q, by_k, by_v = made.backward(weight, q[at], k, v, found, sums[0], 0.3)
    assert (found - wanted).abs().max() < 1e-12
    for mine, theirs in ((by_q, q.grad[at]), (by_k, k.grad), (by_v, v.grad)):
        assert (mine - theirs).abs().max() < 1e-12


def test_places_with_gaps_are_left_to_the_whole_row():
    row = packed(tiny.drawn([(5, [4, 4])])).tree
    assert tails(row.trunks, row.branches, torch.tensor([4, 5, 9])) is not None
    assert tails(row.trunks, row.branches, torch.tensor([4, 6, 9])) is None


def test_answers_of_equal_length_are_one_call():
    row = packed(tiny.drawn([(30, [8] * 16)]), whole=False).tree
    ask = torch.arange(29, 30 + 7 * 16)
    assert [part.count for part in tails(row.trunks, row.branches, ask).parts] == [1, 1, 1, 15]


@pytest.mark.parametrize("read", ["score", "each", "evaluate"])
def test_what_was_not_done_is_not_counted(read, monkeypatch):
    """Two layers of 32 numbers, 4 heads of 8: a place that does not ask spares a query and all that it would see."""
    spent = []
    for worth in (0, 1 << 40):
        monkeypatch.setattr(tree, "WORTH", worth)
        made = Policy(tiny.model("llama")) if read == "evaluate" else Scorer(tiny.model("llama", scorer=True))
        HERE.take()
        getattr(made, read)(tiny.drawn([(6, [3, 2])]))
        spent.append(HERE.take()[0].flops)
    quiet = {"score": [*range(8), 9], "each": range(6), "evaluate": range(5)}[read]
    seen = {"score": [1, 2, 3, 4, 5, 6, 7, 8, 7], "each": range(1, 7), "evaluate": range(1, 6)}[read]
    assert spent[1] - spent[0] == 3 * 2 * (len(list(quiet)) * 32 * 32 + sum(seen) * 4 * 16)

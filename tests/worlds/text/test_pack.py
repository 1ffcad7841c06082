"""The packed row, place by place."""

from __future__ import annotations

import tiny
import torch

from accord.worlds.text.attention import Rule
from accord.worlds.text.pack import packed, plain
from accord.worlds.text.policy import Policy
from accord.worlds.text.stretches import buckets

SEGMENT = [([10, 11, 12], [[20, 21], [30, 31, 32]]), ([13, 14], [[40, 41, 42]]), ([15], [[50]])]


def test_the_picture():
    row = packed(tiny.segment(SEGMENT))
    assert row.ids[0].tolist() == [10, 11, 12, 20, 21, 30, 31, 32, 13, 14, 40, 41, 42, 15, 50]
    assert row.position[0].tolist() == [0, 1, 2, 3, 4, 3, 4, 5, 0, 1, 2, 3, 4, 0, 1]
    assert row.before.tolist() == [[2, 3, -1], [2, 5, 6], [9, 10, 11], [13, -1, -1]]
    assert row.last.tolist() == [4, 7, 12, 14]


def test_the_last_token_need_not_be_read():
    row = packed(tiny.segment(SEGMENT), whole=False)
    assert row.ids[0].tolist() == [10, 11, 12, 20, 30, 31, 13, 14, 40, 41, 15]
    assert row.before.tolist() == [[2, 3, -1], [2, 4, 5], [7, 8, 9], [10, -1, -1]]


def test_each_prompt_is_read_once_and_nothing_is_padded():
    seg = tiny.drawn([(30, [3] * 9), (7, [2, 5])])
    assert packed(seg).ids.numel() == seg.tokens == 30 + 27 + 7 + 7
    assert plain(seg).ids.numel() == 11 * 33


def seen(row, window=None) -> torch.Tensor:
    """[N, N] bool, found by asking: with equal scores, whose value arrives where?"""
    n = row.ids.numel()
    flat = torch.zeros(1, 1, n, n)
    values = torch.eye(n)[None, None]
    return row.tree.attend(flat, flat, values, Rule(0, 1.0, window))[0, :, 0] > 0


def test_who_sees_whom():
    groups = [(4, [3, 1, 6]), (1, [9]), (0, [2, 3]), (2, [0, 1])]
    seg = tiny.drawn(groups)
    for window in (None, 3):
        row = packed(seg)
        wanted = torch.zeros(row.ids.numel(), row.ids.numel(), dtype=torch.bool)
        at = 0
        for prompt, answers in groups:
            places = list(range(at, at + prompt))
            at += prompt
            texts = [places]
            for length in answers:
                texts.append(places + list(range(at, at + length)))
                at += length
            for text in texts:
                for i, place in enumerate(text):
                    past = text[: i + 1] if window is None else text[max(0, i + 1 - window) : i + 1]
                    wanted[place] = False
                    wanted[place, past] = True
        assert torch.equal(seen(row, window), wanted)


def test_stretches_of_like_length_are_computed_together():
    lengths = torch.tensor([3, 16, 100, 95, 60, 1, 59])
    parts = [part.tolist() for part in buckets(lengths)]
    assert sorted(i for part in parts for i in part) == list(range(7))
    for part in parts:
        longest = max(lengths[i] for i in part)
        assert longest <= 16 or all(lengths[i] >= 0.79 * longest for i in part)


def test_what_waits_for_backward_grows_with_tokens_and_not_with_copies_of_the_prompt():
    made = tiny.model("llama")
    policy = Policy(made)

    def kept(seg) -> int:
        held: dict[int, int] = {}

        def note(tensor):
            held[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
            result = policy.evaluate(seg)
        assert result.logprob.requires_grad
        return sum(held.values())

    one, many = tiny.drawn([(96, [6])]), tiny.drawn([(96, [6] * 16)])
    assert many.tokens / one.tokens < 1.95
    assert kept(many) / kept(one) < 2.6  # sixteen copies of the prompt would be 16

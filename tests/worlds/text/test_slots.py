"""A step of the sampler reads each prompt once and finds what plain attention over the whole text finds."""

import pytest
import torch

from accord.protocols import Sampling
from accord.worlds.text import slots as room
from accord.worlds.text.attention import Rule
from accord.worlds.text.generate import Sampler
from accord.worlds.text.slots import CALL, Reading, Slots, Writing, alike
from accord.worlds.text.tree import tree
from tests.worlds.text import tiny

HEADS, KEYS, SIZE = 6, 2, 8
CASES = [([3, 17, 40, 5], [2, 3, 1, 4], 0), ([3, 17, 40, 5], [2, 3, 1, 4], CALL), ([40, 33, 33, 20, 5], [2] * 5, CALL)]


def plainly(query, keys, values, rule):
    """[H, d] of one query at the end of its text [S, K, d], in fp64, one head after the other."""
    found = []
    for head in range(HEADS):
        k, v = (t[:, head * KEYS // HEADS].double() for t in (keys, values))
        products = k @ query[head].double() * rule.scaling
        if rule.softcap:
            products = torch.tanh(products / rule.softcap) * rule.softcap
        if rule.window:
            products[: -rule.window] = -torch.inf
        found.append(torch.softmax(products, 0) @ v)
    return torch.stack(found)


@pytest.mark.parametrize(("lengths", "answers", "call"), CASES)
@pytest.mark.parametrize("rule", [Rule(0, 0.3), Rule(0, 0.3, 4), Rule(0, 0.3, 9), Rule(0, 0.3, None, 2.0)], ids=str)
def test_a_step_sees_prompt_and_answer_as_one_text(rule, lengths, answers, call, monkeypatch):
    monkeypatch.setattr(room, "CALL", call)
    torch.manual_seed(0)
    length, source = torch.tensor(lengths), torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(answers))
    start = length.cumsum(0) - length
    made = {n: torch.randn(1, heads, int(length.sum()), SIZE) for n, heads in (("q", HEADS), ("k", KEYS), ("v", KEYS))}
    slots, none = Slots(12, 7, length.device), length[:0]
    known = slots.admit(start, length, source, 0)
    Reading(tree(int(length.sum()), start, length, none, none, none, none), known).attend(*made.values(), rule)
    texts = [[made[n][0, :, start[g] : start[g] + length[g]].transpose(0, 1) for n in "kv"] for g in source.tolist()]
    spoken, count = torch.zeros(10, dtype=torch.long), 10
    slots.arrange(count)
    assert (slots.laid is None) == (lengths[0] == 40)  # the longest first, equally many: nothing is gathered
    held = slots.held
    for step in range(6):
        query = torch.randn(count, HEADS, 1, SIZE)
        new = [torch.randn(count, KEYS, 1, SIZE) for _ in "kv"]
        found = Writing(slots, spoken).attend(query, *new, rule)[:, 0]
        for row in range(count):
            texts[row] = [torch.cat([old, add[row].transpose(0, 1)]) for old, add in zip(texts[row], new, strict=True)]
            assert torch.allclose(found[row].double(), plainly(query[row, :, 0], *texts[row], rule), atol=1e-6)
        spoken = spoken + 1
        if step == 1:  # slots 1 and 5 end; the last ones take their places
            slots.move(torch.tensor([9, 8]), torch.tensor([1, 5]), 2)
            texts[1], texts[5], count = texts[9], texts[8], 8
            slots.arrange(count)
            assert slots.held < held or 1 not in answers  # slot 5 was the only one that asked the prompt of 40 tokens
            spoken = spoken[:8].clone()
        if step == 3:  # from now on answers differ in length
            spoken[3] -= 2
            texts[3] = [t[:-2] for t in texts[3]]


def test_little_memory_changes_no_answer():
    made = tiny.model("llama")
    prompts = [[5 + i] * (3 + 7 * i) for i in range(6)]
    sampling = Sampling(count=3, max_tokens=9, stop=(1, 4), seed=2)
    wanted = [a.tokens for a in Sampler(made).generate(prompts, sampling)]
    for memory in (1, 40_000, 90_000):
        assert [a.tokens for a in Sampler(made, memory=memory).generate(prompts, sampling)] == wanted


def test_prompts_are_read_together_while_their_padding_is_small():
    torch.manual_seed(0)
    for count, most in ((1, 9), (16, 256), (300, 256), (40, 2)):
        length = torch.randint(1, most + 1, (count,))
        parts = [part.tolist() for part in alike(length)]
        tall = [length[number].item() for part in parts for number in part]
        assert sorted(number for part in parts for number in part) == list(range(count))
        assert tall == sorted(tall, reverse=True)
        for part, after in zip(parts, [*parts[1:], None], strict=True):
            waste = [length[part[0]].item() - length[number].item() for number in part]
            assert sum(waste) <= CALL
            assert after is None or sum(waste) + length[part[0]].item() - length[after[0]].item() > CALL
    assert [part.tolist() for part in alike(torch.tensor([5, 900, 5, 900]))] == [[1, 3], [0, 2]]

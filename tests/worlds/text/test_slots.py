"""A step of the sampler reads each prompt once and finds what plain attention over the whole text finds."""

import numpy as np
import pytest
import torch

from accord.protocols import Sampling
from accord.worlds.text import generate
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
    known = slots.admit(start.numpy(), length.numpy(), source.numpy(), 0)
    row = tree(int(length.sum()), start, length, none, none, none, none, length.device)
    Reading(row, known).attend(*made.values(), rule)
    texts = [[made[n][0, :, start[g] : start[g] + length[g]].transpose(0, 1) for n in "kv"] for g in source.tolist()]
    spoken, count = torch.zeros(10, dtype=torch.long), 10
    slots.arrange(count)
    assert (slots.laid is None) == (lengths[0] == 40)  # the longest first, equally many: nothing is gathered
    held = slots.held
    for step in range(6):
        query = torch.randn(count, HEADS, 1, SIZE)
        new = [torch.randn(count, KEYS, 1, SIZE) for _ in "kv"]
        found = Writing(slots, spoken, (int(spoken.min()), int(spoken.max()))).attend(query, *new, rule)[:, 0]
        for row in range(count):
            texts[row] = [torch.cat([old, add[row].transpose(0, 1)]) for old, add in zip(texts[row], new, strict=True)]
            assert torch.allclose(found[row].double(), plainly(query[row, :, 0], *texts[row], rule), atol=1e-6)
        spoken = spoken + 1
        if step == 1:  # slots 1 and 5 end; the last ones take their places
            slots.move(np.array([9, 8]), np.array([1, 5]), 2)
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


def taken(work) -> int:
    """Bytes of the keys and values that a call of the sampler holds at this moment."""
    tables = [work.memory, *work.memory.known]
    return sum(t.numel() * t.element_size() for one in tables for part in (one.keys, one.values) for t in part.values())


def place(model) -> int:
    """Bytes of the keys and values of one token."""
    config = model.config
    size = config.hidden_size // config.num_attention_heads
    return 2 * config.num_hidden_layers * config.num_key_value_heads * size * 4


@pytest.mark.parametrize("call", [0, 40, CALL], ids="padding{}".format)
@pytest.mark.parametrize("count", [1, 3, 7])
@pytest.mark.parametrize("together", [2, 3, 6, 13])
def test_keys_and_values_never_take_more_than_was_allowed(together, count, call, monkeypatch):
    """Prompts of 3 to 38 tokens read together take the places of the longest; those of answers are taken at once."""
    monkeypatch.setattr(room, "CALL", call)
    made, longest, tokens = tiny.model("llama"), 38, 9
    prompts = [[5 + i] * (3 + 7 * (i % 6)) for i in range(17)]
    sampling = Sampling(count=count, max_tokens=tokens, stop=(1, 4), seed=2)
    memory = place(made) * (longest + together * tokens)
    most, passes = [], []
    for name in ("admit", "step"):
        real = getattr(generate._Work, name)

        def counted(self, real=real, name=name):
            real(self)
            most.append(taken(self))
            passes.append(name)

        monkeypatch.setattr(generate._Work, name, counted)
    said = Sampler(made, memory=memory).generate(prompts, sampling)
    assert len(said) == 17 * count
    assert max(most) <= memory
    assert max(most) > 0.5 * memory, "what was allowed is used"
    assert passes.count("admit") > 1, "the prompts did not fit together"
    assert most[-1] <= place(made) * together * tokens, "and in the end no prompt is known"


def test_one_answer_is_drawn_whatever_it_takes(monkeypatch):
    made = tiny.model("llama")
    sampling = Sampling(count=2, max_tokens=9, stop=(), seed=2)
    most, real = [], generate._Work.step

    def step(self):
        most.append((taken(self), self.count))
        real(self)

    monkeypatch.setattr(generate._Work, "step", step)
    Sampler(made, memory=1).generate([[5] * 30, [6] * 20], sampling)
    # Prompts one after the other, the first forgotten before the second is read; slots of 9 places are made at once.
    assert {count for _, count in most} == {1}
    assert max(bytes for bytes, _ in most) == place(made) * (30 + 9)


def test_prompts_are_read_together_while_their_padding_is_small():
    torch.manual_seed(0)
    for count, most in ((1, 9), (16, 256), (300, 256), (40, 2)):
        length = torch.randint(1, most + 1, (count,)).numpy()
        parts = [part.tolist() for part in alike(length)]
        tall = [length[number].item() for part in parts for number in part]
        assert sorted(number for part in parts for number in part) == list(range(count))
        assert tall == sorted(tall, reverse=True)
        for part, after in zip(parts, [*parts[1:], None], strict=True):
            waste = [length[part[0]].item() - length[number].item() for number in part]
            assert sum(waste) <= CALL
            assert after is None or sum(waste) + length[part[0]].item() - length[after[0]].item() > CALL
    assert [part.tolist() for part in alike(np.array([5, 900, 5, 900]))] == [[1, 3], [0, 2]]

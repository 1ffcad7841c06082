"""The sampler against transformers' own, against exact distributions, and against itself in other company."""

from __future__ import annotations

import copy
import gc
import itertools
import weakref
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch
from scipy.stats import chisquare

from accord.batches import padded
from accord.protocols import Completion, Sampling
from accord.worlds.text import draw as drawing
from accord.worlds.text import generate as generating
from accord.worlds.text import trunk
from accord.worlds.text.draw import BLOCK, draw, kept, passed, uniform
from accord.worlds.text.generate import Sampler
from accord.worlds.text.policy import Policy, exact

PROMPTS = [[5, 6, 7], [9], [11, 12, 13, 14, 15, 16], [3, 4], [9]]


@pytest.mark.parametrize("family", list(tiny.CONFIGS))
@pytest.mark.parametrize("slots", [2, 64])
def test_greedy_equals_transformers_token_for_token(family, slots):
    made = tiny.model(family, seed=3)
    theirs = copy.deepcopy(made).eval()
    found = Sampler(made, slots=slots).generate(PROMPTS, Sampling(temperature=0, max_tokens=14, stop=(1, 8)))
    for answer in found:
        prompt = torch.tensor([PROMPTS[answer.prompt]])
        wanted = theirs.generate(prompt, max_new_tokens=14, do_sample=False, eos_token_id=[1, 8], pad_token_id=2)
        assert list(answer.tokens) == wanted[0, prompt.shape[1] :].tolist()
        assert answer.finished == (answer.tokens[-1] in (1, 8))


@pytest.mark.parametrize("family", list(tiny.CONFIGS))
def test_log_probabilities_are_the_trainers(family):
    made = tiny.model(family)
    sampling = Sampling(count=4, max_tokens=12, stop=(1, 4, 8), temperature=0.8, top_k=20, top_p=0.9, min_p=0.01)
    found = Sampler(made, slots=7).generate(PROMPTS, sampling)
    seg = tiny.segment([(p, [list(a.tokens) for a in found if a.prompt == i]) for i, p in enumerate(PROMPTS)])
    with torch.no_grad():
        again = Policy(made, temperature=0.8).evaluate(seg).logprob
    sampled = torch.zeros_like(again)
    for row, answer in enumerate(found):
        sampled[row, : len(answer.logprobs)] = torch.tensor(answer.logprobs)
    assert exact(sampled, again, seg, tolerance=1e-5) > 0


def told(found: list[Completion]) -> dict[tuple[int, int], tuple[int, ...]]:
    return {(a.prompt, a.index): a.tokens for a in found}


def test_with_a_number_an_answer_does_not_depend_on_its_place():
    made = tiny.model("llama")
    sampling = Sampling(count=2, max_tokens=9, stop=(1, 4, 8), seed=5)
    numbers = (7, 1 << 62, 0, 3, 9)
    whole = told(Sampler(made).generate(PROMPTS, replace(sampling, numbers=numbers)))
    order = [3, 1, 4]
    some = replace(sampling, numbers=tuple(numbers[p] for p in order))
    part = told(Sampler(made).generate([PROMPTS[p] for p in order], some))
    assert part == {(at, i): whole[p, i] for at, p in enumerate(order) for i in range(2)}
    assert whole[1, 0] != whole[4, 0]  # the same prompt under another number
    plain = told(Sampler(made).generate(PROMPTS, sampling))
    assert plain == told(Sampler(made).generate(PROMPTS, replace(sampling, numbers=(0, 1, 2, 3, 4))))
    with pytest.raises(ValueError, match="2 numbers for 5 prompts"):
        Sampler(made).generate(PROMPTS, replace(sampling, numbers=(1, 2)))


def test_an_answer_does_not_depend_on_its_company():
    made = tiny.model("gemma3")
    sampling = Sampling(count=6, max_tokens=15, stop=(1, 4, 8), seed=5)
    alone = told(Sampler(made, slots=1).generate(PROMPTS, sampling))
    assert alone == told(Sampler(made, slots=64).generate(PROMPTS, sampling))
    assert alone == told(Sampler(made, slots=5, tokens=6).generate(PROMPTS, sampling))
    fewer = told(Sampler(made).generate(PROMPTS[:3], Sampling(count=2, max_tokens=15, stop=(1, 4, 8), seed=5)))
    assert fewer == {key: alone[key] for key in itertools.product(range(3), range(2))}
    other = told(Sampler(made).generate(PROMPTS, Sampling(count=6, max_tokens=15, stop=(1, 4, 8), seed=6)))
    assert sum(other[key] != alone[key] for key in alone) > 25
    assert len({alone[1, i] for i in range(6)} | {alone[4, i] for i in range(6)}) > 10  # equal prompts, other chances


def test_sampled_pairs_follow_the_exact_distribution():
    made = tiny.model("llama")
    with torch.no_grad():
        made.lm_head.weight *= 0.3
    n = 4000
    found = Sampler(made).generate([[7, 9]], Sampling(count=n, max_tokens=2, seed=11, top_k=6, temperature=1.5))
    table = np.zeros((47, 47))
    for answer in found:
        table[answer.tokens] += 1
    exactly = np.zeros((47, 47))

    def six(ids: list[int]) -> torch.Tensor:
        share = torch.softmax(made(input_ids=torch.tensor([ids])).logits[0, -1] / 1.5, -1)
        top = share >= share.topk(6).values[-1]
        return share * top / (share * top).sum()

    with torch.no_grad():
        first = six([7, 9])
        for a in first.nonzero()[:, 0].tolist():
            exactly[a] = (first[a] * six([7, 9, a])).numpy()
    assert table[exactly == 0].sum() == 0
    seen, wanted = table[exactly > 0], exactly[exactly > 0] * n
    common = wanted >= 5
    assert common.sum() > 20
    seen = np.append(seen[common], seen[~common].sum() + 5)
    wanted = np.append(wanted[common], wanted[~common].sum() + 5)
    assert chisquare(seen, wanted * seen.sum() / wanted.sum()).pvalue > 1e-3


def test_what_is_cut_is_what_transformers_cuts():
    from transformers.generation.logits_process import (
        MinPLogitsWarper,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    torch.manual_seed(0)
    logits = torch.randn(64, 40) * 2
    for temperature, k, p, least in itertools.product((0.6, 1.0), (0, 1, 7), (1.0, 0.8, 0.1), (0.0, 0.1)):
        scores = TemperatureLogitsWarper(temperature)(None, logits) if temperature != 1 else logits
        table = torch.log_softmax(scores, -1)
        scores = TopKLogitsWarper(k)(None, scores) if k else scores
        scores = TopPLogitsWarper(p)(None, scores) if p < 1 else scores
        scores = MinPLogitsWarper(least)(None, scores) if least else scores
        found = kept(table, Sampling(top_k=k, top_p=p, min_p=least))
        assert torch.equal(found > 0, torch.isfinite(scores)), (k, p, least)
        assert torch.allclose(found / found.sum(-1, keepdim=True), torch.softmax(scores, -1), atol=1e-6)


def test_a_chance_at_either_end_draws_a_token_that_can_come():
    logits = torch.tensor([[0.0, 5.0, 1.0, -9.0]] * 2)
    token, logprob = draw(logits, Sampling(top_k=2), torch.tensor([0.0, 1 - 2.0**-53], dtype=torch.float64))
    assert token.tolist() == [1, 2]
    assert torch.allclose(logprob, torch.log_softmax(logits, -1)[[0, 1], token])


@pytest.mark.parametrize("size", [1, 47, BLOCK, BLOCK + 1, 20 * BLOCK, 1000])
def test_sums_by_blocks_are_passed_where_one_long_sum_is(size):
    """The same token, up to chances that fall so close to a boundary that rounding decides; never one of no share."""
    torch.manual_seed(size)
    share = torch.randn(500, size).mul(3).softmax(-1)
    share[::2] *= torch.rand(250, size) < 0.3  # most of it cut
    share[::2, size // 2] += 1e-3
    share[::7, : size // 3] = 0
    chance = np.random.default_rng(size).random(500)
    chance[:4] = 0, 1 - 2.0**-53, 0, 1 - 2.0**-53
    sums = [np.cumsum(row) for row in share.double().numpy()]
    close = 0
    for row, (found, plain) in enumerate(zip(passed(share, torch.from_numpy(chance)).tolist(), sums, strict=True)):
        wanted = int(np.searchsorted(plain, chance[row] * plain[-1], side="right"))
        assert share[row, found] > 0
        if found != wanted:
            close += 1
            assert np.abs(plain - chance[row] * plain[-1]).min() < 1e-12
    assert close < 5
    # Chances right at the boundaries between tokens and between blocks.
    row = share[1:2].expand(size, -1)
    found = passed(row, torch.from_numpy(sums[1] / sums[1][-1] * (1 - 1e-11)))
    there = share[1].numpy() > 1e-6
    assert (found.numpy()[there] == np.arange(size)[there]).all()


def test_in_how_many_stretches_sums_are_made_changes_no_token(monkeypatch):
    share = torch.softmax(torch.randn(23, 5 * BLOCK + 3), -1)
    chance = torch.from_numpy(np.random.default_rng(0).random(23))
    wanted = passed(share, chance)
    for stretch in (1, 2 * share.shape[1], 1 << 30):
        monkeypatch.setattr(drawing, "STRETCH", stretch)
        assert torch.equal(passed(share, chance), wanted)


def test_what_is_drawn_uncut_is_what_is_drawn_when_everything_is_let_through():
    torch.manual_seed(0)
    logits, chance = torch.randn(3000, 300) * 2, torch.from_numpy(np.random.default_rng(0).random(3000))
    for temperature in (1.0, 0.7):
        quick, likely = draw(logits, Sampling(temperature=temperature), chance)
        plain, wanted = draw(logits, Sampling(temperature=temperature, min_p=1e-30), chance)
        assert (quick != plain).sum() <= 1
        assert torch.allclose(likely[quick == plain], wanted[quick == plain], atol=2e-6)


def test_random_numbers_are_even_and_unrelated():
    streams = np.arange(400, dtype=np.uint64)
    table = np.stack([uniform(streams, np.full(400, s, dtype=np.uint64)) for s in range(50)])
    assert chisquare(np.histogram(table, bins=100, range=(0, 1))[0]).pvalue > 1e-3
    assert abs(np.corrcoef(table[:-1].ravel(), table[1:].ravel())[0, 1]) < 0.03
    assert abs(np.corrcoef(table[:, :-1].ravel(), table[:, 1:].ravel())[0, 1]) < 0.03


def test_modes_and_weights_are_left_as_they_were():
    made = tiny.model("llama").train()
    made.model.layers[0].eval()
    before = {name: w.clone() for name, w in made.state_dict().items()}
    Sampler(made).generate(PROMPTS, Sampling(max_tokens=3))
    assert made.training
    assert not made.model.layers[0].mlp.training
    assert made.model.layers[1].mlp.training
    assert all(torch.equal(before[name], w) for name, w in made.state_dict().items())
    assert Policy(made).evaluate(tiny.drawn([(2, [3])])).logprob.requires_grad


def test_load_puts_weights_in_place_and_refuses_what_does_not_fit():
    one, two = tiny.model("gpt2", seed=1), tiny.model("gpt2", seed=2)
    sampler, sampling = Sampler(one), Sampling(max_tokens=8)
    wanted = Sampler(two).generate(PROMPTS, sampling)
    assert sampler.generate(PROMPTS, sampling) != wanted
    sampler.load(dict(two.named_parameters()), "second")
    assert sampler.version == "second"
    assert sampler.generate(PROMPTS, sampling) == wanted
    with pytest.raises(ValueError, match="1 unknown"):
        sampler.load({**dict(two.named_parameters()), "nothing": torch.zeros(1)}, "third")


def test_what_cannot_be_asked_is_refused_with_its_numbers():
    sampler = Sampler(tiny.model("gpt2"))
    with pytest.raises(ValueError, match="prompt 1 is empty"):
        sampler.generate([[3], []], Sampling())
    with pytest.raises(ValueError, match="need 129 positions; the model has 128"):
        sampler.generate([[3] * 9], Sampling(max_tokens=120))
    with pytest.raises(ValueError, match=r"top_p=0.*count=0"):
        sampler.generate([[3]], Sampling(top_p=0, count=0))
    assert sampler.generate([], Sampling()) == []


def test_a_family_without_a_layout_still_answers(monkeypatch):
    made = tiny.model("llama")
    sampling = Sampling(count=3, max_tokens=9, stop=(1, 4))
    wanted = told(Sampler(copy.deepcopy(made)).generate(PROMPTS, sampling))
    monkeypatch.setattr(trunk, "_shares", lambda base, found: False)
    assert told(Sampler(made, slots=4).generate(PROMPTS, sampling)) == wanted


def test_what_a_call_holds_goes_with_it(monkeypatch):
    """Copied weights and all keys and values: they must not wait until Python looks for rings."""
    held = []

    class Slots(generating.Slots):
        def __init__(self, *args: object) -> None:
            super().__init__(*args)
            held.append(weakref.ref(self))

    monkeypatch.setattr(generating, "Slots", Slots)
    sampler = Sampler(tiny.model("llama"))
    gc.collect()
    gc.disable()
    try:
        sampler.generate([[3, 4, 5], [6, 7]], Sampling(max_tokens=4, count=2))
        assert [ref() for ref in held] == [None]
    finally:
        gc.enable()


def test_lengths_and_endings():
    found = Sampler(tiny.model("qwen3")).generate(PROMPTS, Sampling(count=20, max_tokens=6, stop=(1, 4, 8)))
    assert [(a.prompt, a.index) for a in found] == list(itertools.product(range(5), range(20)))
    for answer in found:
        assert 1 <= len(answer.tokens) == len(answer.logprobs) <= 6
        assert not any(token in (1, 4, 8) for token in answer.tokens[:-1])
        assert answer.finished == (answer.tokens[-1] in (1, 4, 8))
        assert answer.finished or len(answer.tokens) == 6
    assert 0 < sum(a.finished for a in found) < 100
    assert padded([a.tokens for a in found])[1].max() == 6


def spelt(tokens: list[int]) -> str:
    """Two letters a token, the second of them shared by many."""
    return "".join(chr(97 + t % 26) + "xyz"[t % 3] for t in tokens)


@pytest.mark.parametrize("slots", [2, 64])
def test_a_text_ends_an_answer_wherever_its_tokens_begin_and_end(slots):
    """The same answers as without it, cut behind the token that completes the first of the texts."""
    made, sampling = tiny.model("llama", seed=3), Sampling(max_tokens=30, count=6, stop=(1,))
    whole = Sampler(made, slots=slots).generate(PROMPTS, sampling)
    texts = ("ya", "tz", "xcyd")
    found = Sampler(made, slots=slots, spell=spelt).generate(PROMPTS, replace(sampling, stop_text=texts))
    early = 0
    for free, ended in zip(whole, found, strict=True):
        ends = [n for n in range(1, len(free.tokens) + 1) if any(t in spelt(list(free.tokens[:n])) for t in texts)]
        length = ends[0] if ends else len(free.tokens)
        assert ended.tokens == free.tokens[:length]
        assert ended.finished == (bool(ends) or free.finished)
        early += bool(ends)
    assert 3 < early < 30, "some are ended by a text, some are not"
    with pytest.raises(ValueError, match="needs a sampler that can spell"):
        Sampler(made).generate(PROMPTS, replace(sampling, stop_text=texts))
    with pytest.raises(ValueError, match="stop_text"):
        Sampler(made, spell=spelt).generate(PROMPTS, replace(sampling, stop_text=("",)))

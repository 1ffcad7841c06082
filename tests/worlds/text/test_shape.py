"""Operations counted from the shape: beside a count by hand, and beside torch's own counter."""

import pytest
import tiny
import torch
from peft import LoraConfig, get_peft_model
from torch.utils.flop_counter import FlopCounterMode
from transformers import BertConfig, BertForSequenceClassification

from accord.protocols import Sampling
from accord.run.account import HERE
from accord.worlds.text.generate import Sampler
from accord.worlds.text.policy import Policy
from accord.worlds.text.scorer import Scorer
from accord.worlds.text.shape import visible

GROUPS = [(7, [4, 9, 1]), (3, [6]), (0, [5, 2]), (12, [1, 1])]


def spent():
    counts, _ = HERE.take()
    return counts


@pytest.fixture(autouse=True)
def begin_anew():
    HERE.take()


@pytest.mark.parametrize("window", [None, 1, 4, 100])
def test_visible_pairs_are_those_of_a_mask(window):
    for before, length in [(0, 1), (0, 9), (5, 3), (2, 8), (6, 0)]:
        seen = sum(
            1
            for i in range(before, before + length)
            for j in range(before + length)
            if j <= i and (window is None or i - j < window)
        )
        assert int(visible(torch.tensor([before]), torch.tensor([length]), window)) == seen


@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt2", "gemma3", "neox"])
def test_a_plain_pass_costs_what_torch_counts(family):
    """Torch counts the whole square of attention, so the square is what is given here."""
    model, n = tiny.model(family), 11
    model.set_attn_implementation("eager")
    ids = torch.randint(3, 47, (1, n))
    shape, layers = Policy(tiny.model(family)).trunk.shape, 2
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        model(input_ids=ids, use_cache=False)
    with FlopCounterMode(display=False) as both:
        model(input_ids=ids, use_cache=False).logits.sum().backward()
    assert forward.get_total_flops() == shape.forward(n, layers * n * n, n)
    assert both.get_total_flops() == shape.both(n, layers * n * n, n)


def test_an_adapted_model_costs_what_torch_counts():
    """Frozen weights take no gradient of their own; only the first layer's inputs are spared as well."""
    plain = tiny.model("llama")
    config = LoraConfig(r=3, lora_alpha=6, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(plain, config)
    model.enable_input_require_grads()
    shape = Policy(model).trunk.shape
    plain.set_attn_implementation("eager")
    ids = torch.randint(3, 47, (1, 11))
    with FlopCounterMode(display=False) as both:
        model(input_ids=ids, use_cache=False).logits.sum().backward()
    assert both.get_total_flops() == shape.both(11, 2 * 11 * 11, 11)
    assert 0 < shape.learned < shape.linear / 2
    assert shape.learned_head == 0


def by_hand(groups, width, layers, heads, size, key_heads, inner, words):
    """(tokens, forward FLOP) of one packed pass of predictions, token by token and pair by pair.

    In the last layer a place that predicts nothing goes no further than attention.
    """
    attention, inside = 2 * width * heads * size + 2 * width * key_heads * size, 3 * width * inner
    each = attention + inside
    tokens, pairs, predicted, quiet = 0, 0, 0, 0
    for prompt, answers in groups:
        texts = [list(range(prompt))]
        tokens += prompt
        quiet += max(prompt - 1, 0)
        pairs += sum(sum(1 for j in texts[0] if j <= i) for i in texts[0])
        for answer in answers:
            read = max(answer - 1, 0)  # the last token predicts nothing
            tokens += read
            pairs += sum(prompt + i + 1 for i in range(read))
            predicted += answer if prompt else answer - 1
    every = 2 * layers * each * tokens + layers * pairs * 4 * heads * size + 2 * width * words * predicted
    return tokens, every - 2 * quiet * (width * heads * size + inside)


def test_a_packed_pass_costs_what_a_hand_counts():
    policy = Policy(tiny.model("llama"))
    segment = tiny.drawn(GROUPS)
    segment.mask[:] = False  # so that the rows without anything before them are allowed
    tokens, flops = by_hand(GROUPS, 32, 2, 4, 8, 2, 48, 47)
    with torch.no_grad():
        policy.evaluate(segment)
    found = spent()
    assert (found.tokens, found.places, found.flops) == (tokens, tokens, flops)
    assert (found.prompts, found.unshared) == (7 + 3 + 12, 3 * 7 + 3 + 2 * 12)
    policy.evaluate(segment)
    assert spent().flops == 3 * flops, "backward costs twice as much again"


def test_padding_and_windows_are_told():
    policy = Policy(tiny.model("llama"))
    policy.trunk.shares = False
    with torch.no_grad():
        policy.evaluate(tiny.drawn([(4, [2, 5])]))
    found = spent()
    assert (found.tokens, found.places, found.prompts, found.unshared) == (15, 18, 8, 8)
    assert Policy(tiny.model("gemma3")).trunk.shape.windows == (4, None)


def test_the_sampler_counts_what_it_read_and_drew():
    model = tiny.model("llama")
    sampler, prompts = Sampler(model), [[5, 6, 7], [8, 9, 10, 11, 12]]
    done = sampler.generate(prompts, Sampling(max_tokens=6, count=2, stop=(4,), seed=3))
    found, drawn = spent(), [len(one.tokens) for one in done]
    assert found.tokens == 8 + sum(n - 1 for n in drawn)
    assert (found.prompts, found.unshared) == (8, 16)
    shape = sampler.trunk.shape
    pairs = sum(len(p) * (len(p) + 1) / 2 for p in prompts)
    pairs += sum(len(prompts[one.prompt]) + j for one in done for j in range(1, len(one.tokens)))
    assert found.flops == shape.forward(found.tokens, 2 * pairs, 2 + sum(n - 1 for n in drawn))


def test_an_encoder_costs_what_torch_counts_when_nothing_is_padded():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=47, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, num_labels=1,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    model = BertForSequenceClassification(config).eval()
    model.set_attn_implementation("eager")
    scorer = Scorer(model)
    scorer.whole_rows = False
    with FlopCounterMode(display=False) as forward, torch.no_grad():
        scorer.score(tiny.drawn([(4, [3, 3, 3])]))
    found, apart = spent(), 2 * 3 * (32 * 32 + 32)  # its pooler and classifier read one place of each text
    assert forward.get_total_flops() == found.flops + apart
    assert (found.tokens, found.places) == (21, 21)


def test_what_an_encoder_reads_of_padding_is_told():
    """Texts of 4 + 6 and 4 + 2 tokens in one table of two rows of ten."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=47, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, num_labels=1
    )
    scorer = Scorer(BertForSequenceClassification(config).eval())
    scorer.whole_rows = False
    spent()
    with torch.no_grad():
        scorer.score(tiny.drawn([(4, [6, 2])]))
    found = spent()
    assert (found.tokens, found.places) == (16, 20)


def test_an_encoder_that_reads_texts_end_to_end_costs_what_a_hand_counts():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=47, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, num_labels=1,
        hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    )  # fmt: skip
    scorer, segment = Scorer(BertForSequenceClassification(config).eval()), tiny.drawn([(4, [3, 5])])
    spent()
    scorer.score(segment)
    tokens, texts, square, inside = 7 + 9, 2, 7 * 7 + 9 * 9, 2 * 32 * 48
    first = 2 * tokens * (4 * 32 * 32 + inside) + 4 * 32 * square
    last = 2 * tokens * 2 * 32 * 32 + 2 * texts * (2 * 32 * 32 + inside) + 4 * 32 * tokens
    assert spent().flops == 3 * (first + last)


def test_experts_count_as_far_as_they_are_asked():
    from transformers import MixtralConfig, MixtralForCausalLM

    config = MixtralConfig(**tiny.SIZE, num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2)
    shape = Policy(MixtralForCausalLM(config).eval()).trunk.shape
    attention = 32 * 32 * 2 + 2 * 32 * 16
    assert shape.linear == 2 * (attention + 2 * 3 * 32 * 48 + 32 * 4)

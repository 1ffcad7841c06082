"""Gradients that layers add to `weight.grad` themselves, against those that torch adds."""

import pytest
import torch

from accord.run import gradients
from accord.worlds.text.policy import Policy, Scorer
from accord.worlds.text.words import told, words
from tests.worlds.text import tiny
from tests.worlds.text.test_bert import encoder
from tests.worlds.text.test_layers import model

SHAPE = [(5, [3, 1, 7]), (2, [4]), (30, [20, 20]), (1, [12])]


def tied(family):
    made = model(family, torch.float64)
    made.lm_head.weight = made.model.embed_tokens.weight
    return made


def learned(policy, direct, times=3):
    """Each parameter's gradient after so many passes."""
    policy.zero_grad()
    for number in range(times):
        found = policy.evaluate(tiny.drawn(SHAPE, seed=number))
        torch.manual_seed(number)
        gradients.backward((found.logprob * torch.randn_like(found.logprob) + found.entropy).sum(), direct)
    return {name: w.grad for name, w in policy.named_parameters()}


def same(mine, theirs):
    assert mine.keys() == theirs.keys()
    for name, wanted in theirs.items():
        assert (mine[name] is None) == (wanted is None), name
        assert wanted is None or (mine[name] - wanted).abs().max() < 1e-10 * (1 + wanted.abs().max()), name


@pytest.mark.parametrize("make", [lambda f: model(f, torch.float64), tied])
@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_in_place_is_what_torch_adds(family, make, double):
    policy = Policy(make(family))
    assert policy.trunk.whole_layers
    same(learned(policy, True), learned(policy, False))


@pytest.mark.parametrize("frozen", ["embed", "layers.0", "_proj", "norm", "lm_head"])
def test_what_is_frozen_gets_none(frozen, double):
    policy = Policy(model("qwen3", torch.float64))
    for name, weight in policy.named_parameters():
        weight.requires_grad_(frozen not in name)
    mine = learned(policy, True)
    same(mine, learned(policy, False))
    assert any(w is None for w in mine.values())


def test_a_weight_that_somebody_listens_to_is_left_to_torch(double):
    policy, heard = Policy(tied("llama")), []
    weight = policy.trunk.head.weight
    weight.register_hook(lambda grad: heard.append(grad.clone()))
    same(learned(policy, True), learned(policy, False))
    assert len(heard) == 6  # once for each pass, whoever adds up
    assert torch.allclose(sum(heard[:3]), weight.grad)


def test_anybody_else_gets_every_gradient(double):
    policy = Policy(tied("llama"))
    learned(policy, True)
    before = {name: w.grad.clone() for name, w in policy.named_parameters()}
    found = policy.evaluate(tiny.drawn(SHAPE))
    slopes = torch.autograd.grad(found.logprob.sum(), list(policy.parameters()))
    assert all(slope.abs().sum() > 0 for slope in slopes)
    assert all(torch.equal(w.grad, before[name]) for name, w in policy.named_parameters())


def test_a_failing_pass_leaves_others_as_they_were():
    loss = torch.ones((), requires_grad=True)
    loss.register_hook(lambda grad: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        gradients.backward(loss * 2, True)
    weight = torch.nn.Parameter(torch.ones(2, 2))
    assert not gradients.direct(weight)


def test_a_row_that_never_learns():
    table, plain = torch.nn.Embedding(9, 4, padding_idx=3), torch.nn.Embedding(9, 4, padding_idx=3)
    plain.load_state_dict(table.state_dict())
    ids = torch.tensor([[1, 3, 3, 1], [8, 0, 3, 1]])
    for number in range(2):
        torch.manual_seed(number)
        weight = torch.randn(2, 4, 4)
        gradients.backward((words(table, ids) * weight).sum(), True)
        (plain(ids) * weight).sum().backward()
    assert torch.allclose(table.weight.grad, plain.weight.grad)
    assert not table.weight.grad[3].any()


def test_an_output_layer_that_is_more_than_a_product_is_asked_itself():
    hidden = torch.randn(5, 4)
    heads = [torch.nn.Linear(4, 7), torch.nn.Linear(4, 7, bias=False), torch.nn.Linear(4, 7, bias=False)]
    heads[1].register_forward_hook(lambda _, given, made: 2 * made)
    for head in heads:
        assert torch.allclose(told(head, hidden), head(hidden))


def test_an_encoder_s_table_too():
    scorer, seg = Scorer(encoder("bert")), tiny.drawn([(0, [3, 1, 7]), (0, [4, 30])])
    found = []
    for direct in (True, False):
        scorer.zero_grad()
        for _ in range(2):
            gradients.backward(scorer.score(seg).square().sum(), direct)
        found.append({name: w.grad for name, w in scorer.named_parameters()})
    for name, wanted in found[1].items():
        assert wanted is None or (found[0][name] - wanted).abs().max() < 1e-5 * (1 + wanted.abs().max()), name


def test_rows_are_added_in_their_order_whatever_the_threads_do():
    draw = torch.Generator().manual_seed(0)
    at = torch.randint(0, 5, (3000,), generator=draw)
    grad, table = torch.randn(3000, 32, generator=draw), torch.nn.Parameter(torch.zeros(9, 32))
    wanted = torch.ones(9, 32)
    for row, part in zip(at.tolist(), grad, strict=True):
        wanted[row] += part
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    try:
        for _ in range(5):
            table.grad = torch.ones(9, 32)
            gradients.backward((words_of(table, at) * grad).sum(), True)
            assert torch.equal(table.grad, wanted)
    finally:
        torch.set_num_threads(before)


def words_of(weight, at):
    table = torch.nn.Embedding(*weight.shape)
    table.weight = weight
    return words(table, at)

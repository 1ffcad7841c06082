"""Log-probabilities in chunks against the whole table, and how much memory they take."""

from __future__ import annotations

import pytest
import torch

from accord.worlds.text import logprobs as room
from accord.worlds.text.logprobs import logprobs


def whole(hidden, target, head, temperature):
    table = torch.log_softmax(head(hidden).double() / temperature, -1)
    return table.gather(-1, target[:, None])[:, 0], -(table.exp() * table).sum(-1)


@pytest.mark.parametrize("rows", [1, 7, 1000])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_chunks_equal_the_table_and_its_gradients(rows, temperature, monkeypatch):
    torch.manual_seed(0)
    hidden = torch.randn(30, 8, dtype=torch.double, requires_grad=True)
    head = torch.nn.Linear(8, 50).double()
    target = torch.randint(0, 50, (30,))
    monkeypatch.setattr(room, "TABLE", rows * 50)
    a, b = torch.randn(30).double(), torch.randn(30).double()
    results = []
    for made in (logprobs(hidden, target, head, 50, temperature), whole(hidden, target, head, temperature)):
        grads = torch.autograd.grad((made[0] * a + made[1] * b).sum(), [hidden, *head.parameters()])
        results.append([*made, *grads])
    for mine, theirs in zip(*results, strict=True):
        assert (mine - theirs).abs().max() < 1e-10


@pytest.mark.parametrize("only", [0, 1])
def test_one_of_the_two_may_be_learned_from_alone(only):
    torch.manual_seed(0)
    hidden = torch.randn(9, 8, dtype=torch.double, requires_grad=True)
    head, target = torch.nn.Linear(8, 50).double(), torch.randint(0, 50, (9,))
    (mine,) = torch.autograd.grad(logprobs(hidden, target, head, 50)[only].sum(), hidden)
    (theirs,) = torch.autograd.grad(whole(hidden, target, head, 1.0)[only].sum(), hidden)
    assert (mine - theirs).abs().max() < 1e-10


def test_a_table_that_gave_its_gradient_is_not_read_again():
    hidden, head = torch.randn(9, 8, requires_grad=True), torch.nn.Linear(8, 50)
    logprob, _ = logprobs(hidden, torch.randint(0, 50, (9,)), head, 50)
    logprob.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        logprob.sum().backward()


def test_half_precision_is_reduced_in_single():
    torch.manual_seed(0)
    hidden, head = torch.randn(64, 16).bfloat16(), torch.nn.Linear(16, 5000).bfloat16()
    target = torch.randint(0, 5000, (64,))
    found = logprobs(hidden, target, head, 5000)
    assert found[0].dtype == found[1].dtype == torch.float32
    assert (found[0] - whole(hidden, target, head, 1.0)[0]).abs().max() < 1e-4


@pytest.mark.parametrize("tables", [0, 3])
def test_only_so_many_tables_of_logits_wait_for_backward(tables, monkeypatch):
    monkeypatch.setattr(room, "TABLE", 10 * 400)
    monkeypatch.setattr(room, "KEPT", tables)
    held: list[int] = []

    def head(h):
        made = h @ weight.T
        held.append(made.numel())
        return made

    def note(tensor):
        kept.append(tensor.numel())
        return tensor

    weight = torch.randn(400, 8, requires_grad=True)
    hidden, target = torch.randn(500, 8, requires_grad=True), torch.randint(0, 400, (500,))
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        logprob, _ = logprobs(hidden, target, head, 400)
    assert max(held) == 10 * 400
    assert max(kept, default=0) <= 10 * 400  # nothing of tokens x vocabulary waits for backward
    assert sum(numbers == 10 * 400 for numbers in kept) - kept.count(hidden.numel()) <= tables
    forward = len(held)
    logprob.sum().backward()
    assert len(held) == 2 * forward - tables  # the others are computed once more, chunk by chunk


def test_what_is_kept_and_how_much_is_worked_on_at_a_time_changes_no_bit(monkeypatch):
    def learned(kept, stretch, price):
        monkeypatch.setattr(room, "TABLE", 20 * 350)
        monkeypatch.setattr(room, "KEPT", kept)
        monkeypatch.setattr(room, "STRETCH", stretch)
        torch.manual_seed(0)
        hidden, head = torch.randn(130, 16, requires_grad=True), torch.nn.Linear(16, 350)
        logprob, entropy = logprobs(hidden, torch.randint(0, 350, (130,)), head, 350, 0.7)
        (logprob.mean() - price * entropy.mean()).backward()
        return [logprob, entropy, hidden.grad, head.weight.grad]

    for price in (0.0, 0.01):
        wanted = learned(0, 1 << 30, price)
        for kept, stretch in ((4, 1 << 30), (99, 1000), (0, 1), (2, 3 * 350)):
            assert all(map(torch.equal, learned(kept, stretch, price), wanted)), (kept, stretch, price)

"""The claimed device refuses what a GPU refuses, allows what it allows, and counts who waits."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import nn

from accord.batches import padded
from accord.sending import Coming
from tests.device.claimed import Broken, Claimed, Device, Mixed
from tests.device.machine import claimed


@pytest.fixture
def device() -> Iterator[Device]:
    with claimed() as on:
        yield on


@pytest.mark.parametrize(
    "mixed",
    [
        lambda here, there: there + here,
        lambda here, there: there @ here,
        lambda here, there: torch.cat([there, here]),
        lambda here, there: torch.where(there > 0, there, here),
        lambda here, there: there.add_(here),
        lambda here, there: here.index_add_(0, torch.tensor([0], device="cuda"), there[:1]),
        lambda here, there: here[torch.tensor([0], device="cuda")],
        lambda here, there: nn.functional.embedding(torch.tensor([0]), there),
        lambda here, there: there.index_put_((torch.tensor([0]),), here[:1]),
        lambda here, there: torch.stack([there, there.cpu()]),
        lambda here, there: nn.Linear(3, 3)(there),
    ],
)
def test_tensors_of_both_devices_are_refused(device, mixed):
    with pytest.raises(Mixed, match="same device"):
        mixed(torch.ones(3, 3), torch.ones(3, 3, device="cuda"))


def test_a_planted_mix_up_in_the_package_is_caught_where_it_is(device, monkeypatch):
    from accord.worlds.text import pack
    from accord.worlds.text.policy import Policy
    from tests.worlds.text import tiny

    policy = Policy(tiny.model("llama").to("cuda"))
    monkeypatch.setattr(pack, "together", lambda tables, _device: tables)
    with pytest.raises(Mixed, match=r"worlds/text/\w+.py"):
        policy.evaluate(tiny.drawn([(4, [3, 1])]).to("cuda"))


def test_what_a_gpu_allows_is_allowed(device):
    there = torch.arange(6.0, device="cuda").view(2, 3)
    assert torch.equal((there + torch.tensor(2.0)).cpu(), torch.arange(2.0, 8.0).view(2, 3))
    assert there[torch.tensor([1])].tolist() == [[3, 4, 5]], "indices may lie in main memory"
    here = torch.zeros(2, 3)
    here.copy_(there)
    assert here.tolist() == there.tolist()
    assert torch.zeros_like(there, device="cpu").device.type == "cpu"
    made = there.new_tensor([2, 3])
    assert (made.device, made.dtype, made.tolist()) == (there.device, there.dtype, [2, 3])
    assert there.new_tensor([2], dtype=torch.long).dtype == torch.long
    assert there.new_zeros(2).device == torch.zeros(1).to(there).device == torch.device("cuda:0")


@pytest.mark.parametrize("wrong", [lambda t: t.numpy(), np.asarray, lambda t: memoryview(t.numpy())])
def test_numpy_cannot_look_at_it(device, wrong):
    with pytest.raises(TypeError, match="cuda:0 device type tensor to numpy"):
        wrong(torch.ones(2, device="cuda"))


def test_a_generator_of_the_cpu_draws_nothing_there(device):
    with pytest.raises(RuntimeError, match="'cuda' device type for generator"):
        torch.rand(2, device="cuda", generator=torch.Generator())


@pytest.mark.parametrize(
    ("waits", "what"),
    [
        (lambda t: t.sum().item(), 1),
        (lambda t: bool(t.any()), 1),
        (lambda t: float(t[0]), 1),
        (lambda t: t.tolist(), 1),
        (lambda t: t.cpu(), 1),
        (lambda t: t.nonzero(), 1),
        (lambda t: t[t > 1], 1),
        (lambda t: torch.unique(t), 1),
        (lambda t: t.masked_fill(t > 1, 0).sum() * 2, 0),
        (lambda t: t.sort().values.cumsum(0)[t.long() % 2], 0),
        (lambda t: t.new_tensor([1.0, 2.0]), 1),
        (lambda t: torch.tensor([1.0, 2.0], device=t.device), 1),
        (lambda t: torch.ones(2).to(t.device), 1),
        (lambda t: t.copy_(torch.ones(4)), 1),
        (lambda t: t[torch.tensor([1])], 1),
        (lambda t: torch.ones(2).pin_memory().to(t.device, non_blocking=True), 0),
        (lambda t: t.copy_(torch.ones(4).pin_memory(), non_blocking=True), 0),
        (lambda t: torch.ones(2, device=t.device), 0),
        (lambda t: t.to("cpu", non_blocking=True), 0),
        (lambda t: Coming(t), 0),
        (lambda t: Coming(t).here(), 1),
    ],
)
@pytest.mark.parametrize("inference", [False, True])
def test_those_who_wait_are_counted(device, waits, what, inference):
    with torch.inference_mode(inference):
        numbers = torch.arange(4.0, device="cuda")
        device.forget()
        waits(numbers)
    assert sum(device.waits.values()) == what


def test_uploads_are_counted_and_named(device):
    padded([[1, 2], [3]])[0].to("cuda")
    torch.tensor([1, 2], device="cuda")
    assert sum(device.sent.values()) == 2


def test_a_copy_into_memory_that_may_be_swapped_out_is_waited_for(device):
    with pytest.raises(Broken, match="may be early"):
        torch.ones(4).copy_(torch.ones(4, device="cuda"), non_blocking=True)


@pytest.mark.parametrize("kind", [torch.long, torch.float32])
def test_a_copy_that_nobody_waits_for_holds_nothing_yet(device, kind):
    there = torch.arange(3, dtype=kind, device="cuda")
    first, moment = there.to("cpu", non_blocking=True), torch.cuda.Event()
    moment.record()
    there.add_(1)
    second = there.to("cpu", non_blocking=True)
    assert not (first == torch.arange(3)).any()
    device.forget()
    moment.synchronize()
    assert first.tolist() == [0, 1, 2], "as it was when it was asked for"
    assert not (second == torch.arange(1, 4)).any(), "asked for after that moment"
    assert sum(device.waits.values()) == 1
    float(there[0])
    assert second.tolist() == [1, 2, 3], "whoever waits for the GPU waits for all that it was asked for before"


def test_gradients_of_a_masked_scatter_are_waited_for(device):
    """Torch picks them by a mask, whose count it has to know."""
    given = torch.ones(2, device="cuda", requires_grad=True)
    torch.zeros(3, device="cuda").masked_scatter(torch.tensor([True, False, True]).to("cuda"), given).sum().backward()
    assert ("masked_scatter_backward", "elsewhere") in device.waits


def test_a_model_learns_there_as_here(device):
    torch.manual_seed(0)
    here = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    there = copy.deepcopy(here)
    weight = there[0].weight
    there.to("cuda")
    assert there[0].weight is weight, "as with a real device the parameters stay the same objects"
    assert isinstance(copy.deepcopy(there)[0].weight, nn.Parameter)
    given = torch.randn(5, 3)
    for model, place in ((here, "cpu"), (there, "cuda")):
        optimiser = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
        for _ in range(3):
            model(given.to(place)).square().mean().backward()
            optimiser.step()
            optimiser.zero_grad()
    assert isinstance(there[0].weight, Claimed)
    for one, other in zip(here.parameters(), there.parameters(), strict=True):
        torch.testing.assert_close(other.detach().cpu(), one.detach(), rtol=0, atol=0)


def test_a_gradient_finds_its_way_back_over_a_copy(device):
    here = torch.ones(3, requires_grad=True)
    (here.to("cuda") * 2).cpu().sum().backward()
    assert here.grad is not None
    assert here.grad.device.type == "cpu"
    assert here.grad.tolist() == [2, 2, 2]


def test_a_recording_is_played_and_holds_nothing_before(device):
    own, sums = torch.ones(3, device="cuda"), torch.zeros(3, device="cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        made = (own * 2).view(1, 3)
        sums[1:] += made[0, 1:]
    assert torch.isnan(made.cpu()).all(), "recorded is not computed"
    own.copy_(torch.tensor([1.0, 2.0, 3.0]))
    sums.zero_()
    graph.replay()
    graph.replay()
    assert made.tolist() == [[2, 4, 6]]
    assert sums.tolist() == [0, 8, 12]


@pytest.mark.parametrize(
    "breaks",
    [
        lambda t: t.sum().item(),
        lambda t: t[t > 0],
        lambda t: t + torch.ones(3).to("cuda"),
        lambda t: t.to("cpu", non_blocking=True),
    ],
)
def test_a_number_inside_a_recording_breaks_it(device, breaks):
    own = torch.ones(3, device="cuda")
    with pytest.raises(Broken), torch.cuda.graph(torch.cuda.CUDAGraph()):
        breaks(own)
    assert (own * 2).tolist() == [2, 2, 2], "and all goes on after it"


def test_nothing_is_left_behind():
    with claimed():
        assert torch.cuda.is_available()
    assert torch.cuda.is_available() is bool(torch.version.cuda and torch.cuda.device_count())

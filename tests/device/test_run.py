"""The workbench on a claimed GPU: what it asks of `torch.cuda`, where it waits, and what it leaves alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from accord.run import OptimiserConfig, Run, RunConfig, account, ranks
from accord.run.checkpoint import generator_states, restore_generators
from accord.run.optimiser import make_optimiser, pace
from accord.run.run import NonFinite
from tests.device.machine import claimed


def test_a_run_on_the_cpu_asks_no_gpu_for_its_generators(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state_all", lambda: (_ for _ in ()).throw(AssertionError("asked")))
    assert generator_states()["cuda"] == []


def test_generators_of_a_larger_machine_are_restored_as_far_as_there_are_gpus(monkeypatch):
    put: list[tuple[int, int]] = []
    with claimed():
        states = {**generator_states(), "cuda": [torch.tensor([n], dtype=torch.uint8) for n in range(4)]}
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, gpu: put.append((gpu, int(state))))
        restore_generators(states)
    assert put == [(0, 0), (1, 1)]


def test_a_named_gpu_becomes_the_current_one(monkeypatch):
    chosen: list[str] = []
    with claimed():
        monkeypatch.setattr(torch.cuda, "set_device", lambda device: chosen.append(str(device)))
        assert ranks.device("cuda") == torch.device("cuda")
        assert ranks.device("cuda:1") == torch.device("cuda:1")
        assert ranks.device("cpu") == torch.device("cpu")
    assert chosen == ["cuda:1"]


def test_measuring_the_rate_is_no_memory_of_the_run(monkeypatch):
    held = [5e6]
    with claimed():
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _d=None: held[0])
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda _d=None: held.__setitem__(0, 1e6))
        monkeypatch.setattr(account, "RATE_SECONDS", 0.0)
        products: list[int] = []

        def product(a, _b):
            products.append(len(a))
            held[0] = 9e9

        monkeypatch.setattr(torch, "full", lambda *_a, **_k: torch.zeros(1, 1, device="cuda"))
        monkeypatch.setattr(torch, "mm", product)
        account.machine_rate.cache_clear()
        try:
            assert account.machine_rate("cuda:0", torch.bfloat16, 1) > 0
            assert account.peak_memory(torch.device("cuda:0"))[1] == 5e6
        finally:
            account.machine_rate.cache_clear()
            account._HELD.clear()
    assert len(products) == 2, "one to make the kernels ready, one that is timed"


def test_an_update_waits_for_the_norm_alone(tmp_path):
    """Twice: whether it is too large, and what it is; the loss of each part is not waited for."""
    with claimed() as device:
        model = nn.Linear(3, 1).to("cuda")
        run = Run(tmp_path, RunConfig(device="cuda", trackers=(), progress=False, checkpoint_seconds=1e9))
        run.optimise(OptimiserConfig(), 3, model=model)
        given = torch.ones(4, 3, device="cuda")
        for step in run.steps(2):
            device.forget()
            for _ in range(5):
                run.backward(model(given).square().mean() / 5)
            run.step()
            assert sum(device.waits.values()) == 2, device.waits
            assert step < 1 or not device.sent
            run.log(loss=0.0)


def test_a_loss_that_is_no_number_still_changes_nothing(tmp_path):
    with claimed():
        model = nn.Linear(3, 1).to("cuda")
        before = model.weight.detach().cpu()
        run = Run(tmp_path, RunConfig(device="cuda", trackers=(), progress=False, checkpoint_seconds=1e9))
        run.optimise(OptimiserConfig(), 3, model=model)
        for _ in run.steps(1):
            run.backward(model(torch.full((4, 3), torch.nan, device="cuda")).sum(), ("row 7",))
            with pytest.raises(NonFinite, match=r"norm is nan at step 0, rows row 7"):
                run.step()
            break
        assert torch.equal(model.weight.detach().cpu(), before)


def test_adam_counts_its_steps_where_that_decides():
    weight = nn.Parameter(torch.ones(2, 2))
    module = nn.Module()
    module.weight = weight
    for adam, wanted in (("torch", 1e-5), ("tensorflow", 1e-5 / (1 - 0.99**3) ** 0.5)):
        config = OptimiserConfig(adam=adam, epsilon=1e-5, beta2=0.99)
        optimiser = make_optimiser({"m": module}, config, {})
        for update in range(3):
            pace(optimiser, config, update, 5)
            weight.grad = torch.ones_like(weight)
            optimiser.step()
        assert abs(optimiser.param_groups[0]["eps"] - wanted) < 1e-12

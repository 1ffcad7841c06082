"""What a run spends: exclusive time, shares that add up, and figures from counts."""

import time
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from accord.run import OptimiserConfig, Run, RunConfig, read_log, speed, where_time_went
from accord.run.account import HERE, Account, Counts, machine_rate, peak_memory, spent


def bench(folder):
    return Run(folder, RunConfig(device="cpu", trackers=(), progress=False, checkpoint_seconds=0))


def test_an_inner_time_is_taken_from_the_outer():
    account = Account()
    account.take()
    begun = time.perf_counter()
    with account.time("outer"):
        time.sleep(0.02)
        with account.time("inner"):
            time.sleep(0.04)
        time.sleep(0.02)
    time.sleep(0.03)
    _, seconds = account.take()
    whole = time.perf_counter() - begun
    assert seconds["inner"] >= 0.04
    assert 0.04 <= seconds["outer"] <= whole - seconds["inner"] - seconds["other"] + 1e-3
    assert seconds["other"] >= 0.03
    assert sum(seconds.values()) == pytest.approx(whole, abs=0.01)
    assert account.take()[1].get("outer") is None, "taken once"


def test_an_error_inside_closes_its_time():
    account = Account()
    with pytest.raises(KeyError), account.time("a"):
        raise KeyError
    account.take()
    time.sleep(0.01)
    assert list(account.take()[1]) == ["other"]


def test_figures_follow_from_counts():
    counts = Counts(flops=6e9, tokens=900, places=1000, prompts=250, unshared=1000)
    told = spent(counts, {"update": 1.5, "other": 0.5}, rate=12e9, peak=3 * 2**20, cuda=2**20)
    assert told == {
        "seconds/update": 1.5,
        "seconds/other": 0.5,
        "seconds/step": 2.0,
        "speed/tokens_per_second": 450.0,
        "speed/gflops": 3.0,
        "speed/machine_gflops": 12.0,
        "speed/machine_share": 0.25,
        "speed/padding_share": 0.1,
        "speed/prompts_saved": 0.75,
        "memory/peak_mb": 3.0,
        "memory/cuda_peak_mb": 1.0,
    }
    assert not [name for name in spent(Counts(), {"other": 1.0}, 0.0, 1.0, 0.0) if name.startswith("speed/")]


def test_the_machine_is_asked_once_and_quickly_and_draws_nothing():
    machine_rate.cache_clear()
    state = torch.get_rng_state()
    begun = time.perf_counter()
    first = machine_rate("cpu", torch.float32, torch.get_num_threads())
    assert time.perf_counter() - begun < 2, "a tenth of a second and the first product, on a busy machine"
    assert first > 1e8
    assert machine_rate("cpu", torch.float32, torch.get_num_threads()) == first
    assert torch.equal(torch.get_rng_state(), state)


def test_peak_memory_holds_what_was_held():
    held = torch.ones(2**24)
    resident, cuda = peak_memory(torch.device("cpu"))
    assert resident >= held.numel() * 4
    assert cuda == 0


def test_a_run_says_where_its_time_went(tmp_path):
    run, model = bench(tmp_path), nn.Linear(2, 1)
    run.optimise(OptimiserConfig(), 3, model=model)
    for _ in run.steps(3):
        with run.time("generate"):
            time.sleep(0.02)
        with run.learning(model):
            run.backward(model(torch.ones(1, 2)).sum())
            HERE.add(flops=1e6, tokens=8, places=16, prompts=4, unshared=4)
        run.log(loss=1.0, **run.step())
    rows = read_log(tmp_path / "log.jsonl")
    assert {"seconds/generate", "seconds/update", "seconds/save", "seconds/other", "seconds/step"} <= set(rows[1])
    for row in rows:
        parts = sum(v for k, v in row.items() if k.startswith("seconds/") and k != "seconds/step")
        assert parts == pytest.approx(row["seconds/step"], abs=1e-3)
        assert row["speed/padding_share"] == 0.5
    shares = where_time_went(rows)
    assert sum(part.share for part in shares) == pytest.approx(1, abs=0.01)
    assert shares == sorted(shares, key=lambda part: -part.seconds)
    assert next(part for part in shares if part.name == "generate").seconds >= 0.06
    whole = speed(rows)
    assert whole["speed/gflops"] == pytest.approx(
        3e6 / 1e9 / sum(row["seconds/step"] for row in rows), rel=0.2, abs=2e-3
    )
    assert whole["memory/peak_mb"] == rows[-1]["memory/peak_mb"]
    assert run.last_figures().keys() == {"loss", "gradient_norm", "learning_rate"}


def test_what_a_reference_is_asked_before_a_run_is_told_with_its_first_step(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("accord.run.account.time", SimpleNamespace(perf_counter=lambda: now[0]))
    account = Account()
    account.add(flops=9, tokens=9, places=9)
    for tokens in (30, 12):
        with account.asking("this"):
            account.add(flops=2.0 * tokens, tokens=tokens, places=tokens, prompts=5, unshared=8)
            now[0] += 2
    with account.asking("another"):
        account.add(flops=1, tokens=100, places=100)
        now[0] += 30
    now[0] += 500
    account.begin("this")
    account.add(flops=16, tokens=8, places=10)
    now[0] += 1
    counts, seconds = account.take()
    assert counts == Counts(flops=100, tokens=50, places=52, prompts=10, unshared=16, reference=42)
    assert seconds == {"reference": 4, "other": 1}, "neither what another run asked nor what came between"
    told = spent(counts, seconds, rate=1e9, peak=0, cuda=0)
    assert told["speed/reference_tokens"] == 42
    assert "speed/reference_tokens" not in spent(Counts(flops=1), seconds, rate=1e9, peak=0, cuda=0)
    account.begin("this")
    assert account.take()[0] == Counts(), "told once"


def test_tokens_of_the_reference_are_added_up_over_a_log():
    row = {"seconds/step": 2.0, "speed/gflops": 1.0}
    found = speed([{**row, "speed/reference_tokens": 40.0}, row, {**row, "speed/reference_tokens": 2.0}])
    assert found == {"speed/gflops": 1.0, "speed/reference_tokens": 42.0}
    assert speed([row]) == {"speed/gflops": 1.0}


def test_old_logs_have_nothing_to_say():
    assert where_time_went([{"step": 0, "seconds/generate": 1.0}]) == []
    assert speed([{"step": 0}]) == {}

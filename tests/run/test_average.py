"""The moving average of weights: its sum written out, its place in the weights' stead, and its checkpoint."""

import pytest
import torch
from torch import nn

from accord.run import Average, OptimiserConfig, Run, RunConfig, newest


def a_run(folder, **settings):
    return Run(folder, RunConfig(device="cpu", trackers=(), progress=False, checkpoint_seconds=0, **settings))


def learned(run, layer, steps, average):
    """Some steps on a moving target. Returns the weights after each."""
    seen = []
    run.track(anchor=average)
    run.optimise(OptimiserConfig(learning_rate=0.1, schedule="constant", warmup=0), 10, layer=layer)
    for step in run.steps(steps):
        run.backward((layer(torch.ones(1, 3)) - step - 5).square().sum())
        run.step()
        run.log(step=step)
        seen.append(layer.weight.detach().clone())
    return seen


@pytest.mark.parametrize("decay", [0.0, 0.9, 1.0])
def test_it_is_the_weighted_sum_of_all_weights_so_far(tmp_path, decay):
    layer = nn.Linear(3, 2)
    first, average = layer.weight.detach().clone(), Average(layer, decay)
    every = [first, *learned(a_run(tmp_path), layer, 4, average)]
    expected = torch.zeros_like(first, dtype=torch.float64)
    for k, weight in enumerate(every):
        share = decay ** (len(every) - 1 - k) * (1.0 if k == 0 else 1 - decay)
        expected += share * weight.double()
    with average.inside():
        torch.testing.assert_close(layer.weight.double(), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(layer.weight, every[-1])


def test_weights_come_back_whatever_happens_inside_and_the_optimiser_still_moves_them(tmp_path):
    layer = nn.Linear(3, 2)
    average = Average(layer, 0.5)
    kept = layer.weight
    with torch.no_grad():
        layer.weight += 1
    value = layer.weight.detach().clone()

    def fail():
        with average.inside():
            raise ZeroDivisionError("as it was" if torch.allclose(layer.weight, value - 1) else "other weights")

    with pytest.raises(ZeroDivisionError, match="as it was"):
        fail()
    assert layer.weight is kept
    assert torch.equal(layer.weight, value)
    assert not torch.equal(learned(a_run(tmp_path), layer, 1, average)[0], value)


def test_in_few_bits_the_average_keeps_all_of_its_own(tmp_path):
    layer = nn.Linear(1, 1, bias=False).to(torch.bfloat16)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    average = Average(layer, 0.999)
    with torch.no_grad():
        layer.weight.fill_(2.0)
    for _ in range(693):  # half of the way: .999^693 = .5
        average.follow()
    with average.inside():
        assert layer.weight.dtype == torch.bfloat16
        assert layer.weight.item() == pytest.approx(1.5, abs=0.01)


def test_only_what_learns_is_averaged(tmp_path):
    pair = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    pair[0].requires_grad_(False)
    assert set(Average(pair, 0.9).state_dict()) == {"1.weight", "1.bias"}


def test_it_is_in_the_checkpoint_and_goes_on_bit_for_bit(tmp_path):
    torch.manual_seed(1)
    start = nn.Linear(3, 2).state_dict()

    def run(folder, *parts):
        for steps in parts:
            layer = nn.Linear(3, 2)
            layer.load_state_dict(start)
            average = Average(layer, 0.9)
            learned(a_run(folder), layer, steps, average)
        return average.state_dict()

    whole, broken = run(tmp_path / "whole", 5), run(tmp_path / "broken", 2, 5)
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
    _, state = newest(tmp_path / "whole" / "checkpoints")
    assert all(torch.equal(whole[name], state["tracked"]["anchor"][name]) for name in whole)


def test_wrong_decays_and_other_models_are_refused():
    with pytest.raises(ValueError, match=r"decay=1\.5"):
        Average(nn.Linear(1, 1), 1.5)
    with pytest.raises(ValueError, match="other weights"):
        Average(nn.Linear(3, 1), 0.5).load_state_dict(Average(nn.Linear(2, 1), 0.5).state_dict())

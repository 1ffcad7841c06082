"""The schedule at its corners, and which parameters decay."""

import pytest
import torch
from torch import nn

from accord.run import OptimiserConfig, make_optimiser
from accord.run.optimiser import pace


def test_warm_up_grows_evenly_and_reaches_all():
    config = OptimiserConfig(warmup=0.1, schedule="constant")
    assert [config.factor(u, 40) for u in range(5)] == [0.25, 0.5, 0.75, 1.0, 1.0]


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_schedule_falls_from_all_to_its_final_share(schedule):
    config = OptimiserConfig(warmup=0, schedule=schedule, final=0.2)
    shares = [config.factor(u, 100) for u in range(101)]
    assert shares[0] == 1
    assert shares[50] == pytest.approx(0.6)
    assert shares[100] == pytest.approx(0.2)
    assert shares == sorted(shares, reverse=True)
    assert config.factor(1000, 100) == pytest.approx(0.2), "more updates than planned stay at the end"
    slow = shares[0] - shares[10]
    assert slow == pytest.approx(0.08) if schedule == "linear" else slow < 0.03


def test_matrices_decay_and_vectors_do_not_and_shared_parameters_stand_once():
    one, two = nn.Linear(3, 2), nn.Linear(3, 2)
    two.weight = one.weight
    config = OptimiserConfig(weight_decay=0.5, learning_rate=0.1)
    optimiser = make_optimiser({"critic": one, "policy": two}, config, {"critic": 0.01})
    found = [(g["module"], g["lr"], g["weight_decay"], len(g["params"])) for g in optimiser.param_groups]
    assert found == [("critic", 0.01, 0.5, 1), ("critic", 0.01, 0.0, 1), ("policy", 0.1, 0.0, 1)]


def test_nothing_to_train_is_said():
    frozen = nn.Linear(1, 1).requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter of policy requires a gradient"):
        make_optimiser({"policy": frozen}, OptimiserConfig(), {})


def test_a_first_adamw_step_by_hand():
    module = nn.Linear(1, 1)
    with torch.no_grad():
        module.weight.fill_(2.0)
        module.bias.fill_(1.0)
    optimiser = make_optimiser({"m": module}, OptimiserConfig(learning_rate=0.1, weight_decay=0.5), {})
    (3 * module.weight.sum() - module.bias.sum()).backward()
    optimiser.step()
    assert module.weight.item() == pytest.approx(2 * (1 - 0.05) - 0.1)
    assert module.bias.item() == pytest.approx(1.1)


@pytest.mark.parametrize("adam", ["torch", "tensorflow"])
def test_adam_moves_as_the_formula_of_its_library_says(adam):
    """The plain formulas in double precision, gradient by gradient; the epsilon is as large as the gradients."""
    rate, beta1, beta2, epsilon = 0.1, 0.9, 0.99, 1e-3
    weight = nn.Parameter(torch.zeros((), dtype=torch.float64))
    module = nn.Module()
    module.weight = weight
    config = OptimiserConfig(learning_rate=rate, schedule="constant", warmup=0, beta2=beta2, epsilon=epsilon, adam=adam)
    optimiser = make_optimiser({"weight": module}, config, {})
    first = second = place = 0.0
    for t, gradient in enumerate([1e-3, -2e-3, 5e-4, 3e-3, 0.0, 1e-3], start=1):
        weight.grad = torch.full_like(weight, gradient)
        assert pace(optimiser, config, t - 1, 6) == rate
        optimiser.step()
        first = beta1 * first + (1 - beta1) * gradient
        second = beta2 * second + (1 - beta2) * gradient**2
        if adam == "tensorflow":
            place -= rate * (1 - beta2**t) ** 0.5 / (1 - beta1**t) * first / (second**0.5 + epsilon)
        else:
            place -= rate * (first / (1 - beta1**t)) / ((second / (1 - beta2**t)) ** 0.5 + epsilon)
        assert weight.item() == pytest.approx(place, rel=1e-9)

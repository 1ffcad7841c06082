"""Prices of costs: their step written out, their fixed point, and a policy that learns to stay within its limits."""

import math

import pytest
import torch
from scipy.optimize import brentq

from accord.algorithms import ppo
from accord.rewards.lagrange import Constraint, Lagrangian, Price
from accord.run import OptimiserConfig, Run, RunConfig
from accord.worlds.toy import Bandit, BanditConfig, ToyPolicy
from tests.algorithms.conftest import Speaker, told
from tests.rewards.test_mix import drawn

ROLLOUT = told(Speaker())
WORTH, COST = (1.0, 0.6, 0.2), (1.0, 0.4, 0.0)


@pytest.mark.parametrize("step", ["gradient", "ratio"])
def test_what_is_paid_and_how_prices_move(step):
    rules = {
        "harm": Constraint(limit=0.3, start=2.0, rate=0.2, step=step),
        "cost": Constraint(limit=-1.0, start=0.5, rate=0.1, memory=0.5, step=step),
    }
    worth = Lagrangian(drawn(0), {"harm": drawn(1), "cost": drawn(2)}, rules)
    price, excess = {"harm": 2.0, "cost": 0.5}, {}
    for _ in range(3):
        found = worth(ROLLOUT)
        reward, cost = drawn(0)(None), {"harm": drawn(1)(None), "cost": drawn(2)(None)}
        for b in range(20):
            for t in range(6):
                charged = float(reward[b, t]) - sum(price[k] * float(cost[k][b, t]) for k in price)
                assert found[b, t].item() == pytest.approx(charged / (1 + sum(price.values())), abs=1e-5)
        assert worth.seen["price/harm"] == pytest.approx(price["harm"])
        assert worth.seen["cost/cost"] == pytest.approx(float(cost["cost"].sum() / 20), abs=1e-5)
        for name, rule in rules.items():
            now = float(cost[name].sum() / 20) - rule.limit
            excess[name] = now if name not in excess else rule.memory * excess[name] + (1 - rule.memory) * now
            grows = rule.rate * excess[name] * (price[name] if step == "gradient" else 1)
            price[name] *= math.exp(grows)
    assert worth.seen["price/harm"] != 2.0


def expected(table, price, temperature=0.2):
    """Of the policy that maximises E[worth] - price E[cost] + temperature H: a softmax."""
    weights = [math.exp((w - price * c) / temperature) for w, c in zip(WORTH, COST, strict=True)]
    return sum(w * x for w, x in zip(weights, table, strict=True)) / sum(weights)


@pytest.mark.parametrize("step", ["gradient", "ratio"])
def test_the_fixed_point_is_the_price_at_which_the_limit_is_met(step):
    wanted = brentq(lambda price: expected(COST, price) - 0.3, 1e-3, 1e3)
    for start in (0.05, 1.0, 20.0):
        price = Price(Constraint(limit=0.3, start=start, rate=0.5, step=step))
        for _ in range(3000):
            price.move(expected(COST, price.value))
        assert price.value == pytest.approx(wanted, rel=1e-3)


def test_a_limit_that_is_never_reached_costs_nothing_in_the_end_and_an_impossible_one_everything():
    slack, tight = Price(Constraint(limit=2.0, rate=1.0, step="ratio")), Price(Constraint(limit=-1.0, most=50.0))
    for _ in range(2000):
        slack.move(expected(COST, slack.value))
        tight.move(expected(COST, tight.value))
    assert slack.value == pytest.approx(1e-3)
    assert tight.value == pytest.approx(50)


def test_its_state_is_all_that_changes():
    rules = {"harm": Constraint(memory=0.9)}
    whole = Lagrangian(drawn(0), {"harm": drawn(1)}, rules)
    paid = [whole(ROLLOUT) for _ in range(6)]
    first = Lagrangian(drawn(0), {"harm": drawn(1)}, rules)
    for _ in range(3):
        first(ROLLOUT)
    second = Lagrangian(drawn(0), {"harm": drawn(1)}, rules)
    second.load_state_dict(first.state_dict())
    for n in range(3, 6):
        assert torch.equal(second(ROLLOUT), paid[n])
    assert second.state_dict() == whole.state_dict()
    with pytest.raises(ValueError, match=r"prices of \['harm'\] do not fit costs \['other'\]"):
        Lagrangian(drawn(0), {"other": drawn(1)}, {"other": Constraint()}).load_state_dict(first.state_dict())


def test_judging_moves_no_price():
    still = Lagrangian(drawn(0), {"harm": drawn(1)}, {"harm": Constraint()}, learning=False)
    assert torch.equal(still(ROLLOUT), still(ROLLOUT))
    assert still.prices["harm"].value == 1


def test_a_policy_learns_to_stay_within_its_limit_and_without_one_does_not(tmp_path):
    """Five arms; the two that pay best in each context cost 1. At most one choice in five may be such."""
    found = {}
    for name in ("free", "bound"):
        world = Bandit(BanditConfig(contexts=32))

        def cost(rollout, world=world):
            pay = world.pay(rollout.observation)[rollout.group]
            third = pay.topk(3).values[:, 2:]
            return (pay.gather(1, rollout.action) > third).float()

        worth = Lagrangian(world.reward, {"harm": cost}, {"harm": Constraint(limit=0.2, rate=0.3, step="ratio")})
        quiet = RunConfig(device="cpu", trackers=(), progress=False, checkpoint_seconds=1e9)
        run = Run(tmp_path / name, quiet)
        run.track(constraints=worth)
        config = ppo.Config(iterations=60, kl=ppo.KL(place="none"), optimiser=OptimiserConfig(learning_rate=2e-2))
        policy = ToyPolicy(4, 5, "categorical")
        ppo.train(config, policy, world, worth if name == "bound" else world.reward, run)
        rollout = world.collect(policy)
        found[name] = float(cost(rollout).mean())
        found[f"{name} reward"] = float(world.reward(rollout).mean())
    assert found["free"] > 0.6
    assert found["bound"] < 0.35
    assert 0.05 < worth.prices["harm"].value < 5
    assert found["bound reward"] < found["free reward"]


@pytest.mark.parametrize("costs", [{}, {"harm": drawn(0)}])
def test_each_cost_has_a_limit(costs):
    with pytest.raises(ValueError, match="should name the same things"):
        Lagrangian(drawn(0), costs, {"other": Constraint()})


def test_a_limit_is_of_an_answer_also_where_a_row_has_several_that_cost():
    rollout = ROLLOUT
    each = torch.zeros_like(rollout.logprob)
    each[:, :2] = 1.0  # two answers of every row, each of them costing 1
    rule = {"harm": Constraint(limit=1.0, step="ratio", rate=0.5)}
    one = Lagrangian(lambda _: torch.zeros_like(each), {"harm": lambda _: each}, rule, places=lambda _: each.bool())
    one(rollout)
    assert one.seen["cost/harm"] == pytest.approx(1.0)
    assert one.prices["harm"].value == pytest.approx(1.0), "on its limit, so the price stays"
    whole = Lagrangian(lambda _: torch.zeros_like(each), {"harm": lambda _: each}, rule)
    whole(rollout)
    assert whole.seen["cost/harm"] == pytest.approx(2.0)


def test_bad_prices_and_costs_are_refused():
    with pytest.raises(ValueError, match=r"start=5\.0 should lie between least=0\.001 and most=2\.0"):
        Constraint(start=5.0, most=2.0)
    with pytest.raises(ValueError, match="a mean cost of nan is no number"):
        Price(Constraint()).move(math.nan)

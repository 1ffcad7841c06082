"""Reward under constraints: each cost has a price that rises while the cost is above its limit and falls below it.

max over policies, min over prices >= 0 of  E[reward] - sum_k price_k (E[cost_k] - limit_k)   (Dai et al. 2023, eq. 9)

Each rollout is paid (reward - sum_k price_k cost_k) / (1 + sum_k price_k), so that a high price does not make the
whole reward larger; then the prices move, in the logarithm, by what the rollout's own costs were. The prices decide
what comes next, so they belong into the checkpoint: `run.track(constraints=lagrangian)` before the loop begins.
Ours: several constraints, floors and ceilings, and a step in proportion to the excess alone (`ratio`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Literal

from pydantic import Field, model_validator
from torch import Tensor

from accord.batches import Rollout
from accord.config import Settings
from accord.protocols import Reward


class Constraint(Settings):
    """A cost and how much of it is allowed."""

    limit: float = 0.0
    """Mean cost of an answer that is allowed, in the cost's own units."""
    start: float = Field(default=1.0, gt=0)
    """Price of the first rollout."""
    rate: float = Field(default=0.1, gt=0)
    """How far the price moves per unit of excess. Higher obeys sooner and swings more."""
    step: Literal["gradient", "ratio"] = "gradient"
    """`gradient`: log price += rate * price * excess, the paper's. `ratio`: log price += rate * excess, which is as
    quick at low prices as at high ones."""
    memory: float = Field(default=0.0, ge=0, lt=1)
    """Share of the excess that is remembered from rollouts before; higher swings less and answers later."""
    least: float = Field(default=1e-3, gt=0)
    """The price never falls below this."""
    most: float = Field(default=1e3, gt=0)
    """The price never rises above this."""

    @model_validator(mode="after")
    def _in_order(self) -> Constraint:
        if not self.least <= self.start <= self.most:
            raise ValueError(f"start={self.start} should lie between least={self.least} and most={self.most}")
        return self


class Price:
    """The price of one cost, kept as a logarithm."""

    def __init__(self, constraint: Constraint) -> None:
        self.constraint = constraint
        self.log = math.log(constraint.start)
        self.excess: float | None = None

    @property
    def value(self) -> float:
        """What a unit of cost is charged."""
        return math.exp(self.log)

    def move(self, cost: float) -> None:
        """Up when the mean cost is above the limit, down below it. Raises ValueError for a cost that is no number."""
        if not math.isfinite(cost):
            raise ValueError(f"a mean cost of {cost} is no number; look at the cost model's scores")
        rule = self.constraint
        now = cost - rule.limit
        self.excess = now if self.excess is None else rule.memory * self.excess + (1 - rule.memory) * now
        move = rule.rate * self.excess * (self.value if rule.step == "gradient" else 1.0)
        self.log = min(max(self.log + move, math.log(rule.least)), math.log(rule.most))


class Lagrangian:
    """A reward less what its costs are charged. Implements protocols.Reward; what was seen last is in `seen`."""

    def __init__(
        self,
        reward: Reward,
        costs: Mapping[str, Reward],
        constraints: Mapping[str, Constraint],
        learning: bool = True,
        places: Callable[[Rollout], Tensor] | None = None,
    ) -> None:
        """costs: higher is worse. learning: whether a rollout moves the prices, as it should while a policy learns.

        places: [B, T] bool, where the answers of a dialogue end that each have costs of their own, so that a limit is
        that of an answer; None: what a row costs is held against the limit.

        Raises ValueError unless each cost has a constraint and each constraint a cost.
        """
        if not costs or set(costs) != set(constraints):
            raise ValueError(f"costs {sorted(costs)} and constraints {sorted(constraints)} should name the same things")
        self.reward = reward
        self.costs = dict(costs)
        self.prices = {name: Price(constraints[name]) for name in self.costs}
        self.learning = learning
        self.places = places
        self.seen: dict[str, float] = {}

    def __call__(self, rollout: Rollout) -> Tensor:
        """[B, T]; the prices that this rollout moves are charged from the next one on."""
        worth = self.reward(rollout).to(rollout.logprob)
        costs = {name: cost(rollout).to(rollout.logprob) for name, cost in self.costs.items()}
        prices = {name: price.value for name, price in self.prices.items()}
        charged = worth
        for name, cost in costs.items():
            charged = charged - prices[name] * cost
        each = 1.0 if self.places is None else float(self.places(rollout).sum()) / max(1, len(rollout))
        means = {name: float(cost.sum(1).mean()) / max(1.0, each) for name, cost in costs.items()}
        self.seen = {"reward": float(worth.sum(1).mean())}
        self.seen |= {f"cost/{name}": mean for name, mean in means.items()}
        self.seen |= {f"price/{name}": price for name, price in prices.items()}
        if self.learning:
            for name, mean in means.items():
                self.prices[name].move(mean)
        return charged / (1 + sum(prices.values()))

    def state_dict(self) -> dict[str, dict[str, float | None]]:
        """Log price and remembered excess of each cost."""
        return {name: {"log": price.log, "excess": price.excess} for name, price in self.prices.items()}

    def load_state_dict(self, state: Mapping[str, Mapping[str, float | None]]) -> None:
        """Go on with those prices. Raises ValueError when they are of other costs."""
        if set(state) != set(self.prices):
            raise ValueError(f"prices of {sorted(state)} do not fit costs {sorted(self.prices)}")
        for name, price in self.prices.items():
            log, excess = state[name]["log"], state[name]["excess"]
            assert log is not None
            price.log, price.excess = float(log), None if excess is None else float(excess)

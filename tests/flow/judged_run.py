"""A small run of the newer reward methods, for tests that kill or share it: `python judged_run.py METHOD FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from accord.algorithms import ppo, reward_heads
from accord.batches import Rollout
from accord.judged import Judged, Kind
from accord.rewards.lagrange import Constraint, Lagrangian
from accord.run import OptimiserConfig, Run, RunConfig, ranks
from accord.worlds.toy import Bandit, ToyPolicy
from tests.algorithms.said import RANKING, Taste, answers, judged, pairs, rankings, ratings, worth
from tests.flow.toy_run import fingerprint

METHODS = ("reward_heads", "lagrangian")


class Both(nn.Module):
    """A scorer, and what was learnt beside it."""

    def __init__(self, scorer: nn.Module, heads: reward_heads.Heads) -> None:
        super().__init__()
        self.scorer, self.columns, self.scales = scorer, heads.columns, heads.scales


def everything() -> Judged:
    """Pairs, rankings with a tie, ratings of two criteria and flags, of random answers."""
    segment = answers(30, 4)
    value = worth(segment)
    said = pairs(segment, value) + rankings(segment, value)[::3]
    said[-1] = (RANKING, [(row, min(place, 2.0)) for row, place in said[-1][1]])
    said += ratings(segment, worth(segment, 6), "tone", 5)[::2] + ratings(segment, value, "", 3, one=True)
    said += [(Kind("flag", "harm"), [(4 * g, float(g % 3 == 0))]) for g in range(30)]
    return judged(segment, said, probability=0.9)


def learn(method: str, folder: Path) -> nn.Module:
    """Train by one method in one folder; a killed run goes on where it was."""
    torch.set_num_threads(1)
    config = RunConfig(seed=3, device="cpu", trackers=(), checkpoint_seconds=0, progress=False)
    run, optimiser = Run(folder, config, {"method": method}), OptimiserConfig(learning_rate=1e-2)
    if method in ("reward_heads", "shared"):
        scorer = Taste(dropout=0.2 if method == "reward_heads" else 0.0)
        chosen = reward_heads.Config(
            epochs=15,
            batch=7,
            odin=reward_heads.Odin(correlation=0.5),
            micro_tokens=60,
            check_every=9,
            optimiser=optimiser,
        )
        heads, _ = reward_heads.train(chosen, scorer, everything(), run, everything())
        return Both(scorer, heads)
    world, policy = Bandit(), ToyPolicy(4, 5, "categorical")

    def cost(rollout: Rollout) -> torch.Tensor:
        return (rollout.action < 2).float()

    rules = {"first": Constraint(limit=0.1, memory=0.5), "free": Constraint(limit=1.0, step="ratio")}
    worth_of = Lagrangian(world.reward, {"first": cost, "free": lambda rollout: 0.5 * cost(rollout)}, rules)
    run.track(constraints=worth_of)
    settings = ppo.Config(iterations=60, kl=ppo.KL(place="none"), micro_tokens=100, optimiser=optimiser)
    ppo.train(settings, policy, world, worth_of, run)
    for name, price in worth_of.prices.items():
        policy.register_buffer(f"price_{name}", torch.tensor([price.log, price.excess], dtype=torch.float64))
    return policy


if __name__ == "__main__":
    made, folder = learn(sys.argv[1], Path(sys.argv[2])), Path(sys.argv[2])
    if sys.argv[1] == "shared":
        weights = {name: value.detach().clone().contiguous() for name, value in made.state_dict().items()}
        save_file(weights, str(folder / f"weights-{ranks.rank()}.safetensors"))
    print(fingerprint(made))

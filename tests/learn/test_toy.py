"""PPO learns where failure could only be a bug, and significantly so over seeds.

The bounds were written before the runs were looked at: every one of five seeds improves (a sign test would give
1/32), a permutation test over the fresh episodes of all seeds gives p < 0.001, and at least half of what could be
gained is gained.
"""

import numpy as np
import pytest
import torch

from accord.algorithms import ppo
from accord.run import OptimiserConfig, Run, RunConfig
from accord.statistics import permutation_test
from accord.worlds.toy import Bandit, BanditConfig, Control, ControlConfig, ToyPolicy

SEEDS = range(5)
SETTINGS = {
    "kl": ppo.KL(place="none"),
    "value_clip": None,
    "optimiser": OptimiserConfig(learning_rate=4e-3, schedule="linear", epsilon=1e-5, warmup=0),
}


def judged(world, policy):
    """Return of fresh episodes, none of them seen in training."""
    world.load_state_dict({"turn": 10_000})
    rollout = world.collect(policy)
    return rollout, world.reward(rollout).sum(1)


@pytest.mark.parametrize("name", ["bandit", "control"])
def test_ppo_learns_with_every_seed(name, tmp_path):
    before, after, possible = [], [], []
    for seed in SEEDS:
        if name == "bandit":
            world, policy = Bandit(BanditConfig(seed=seed)), ToyPolicy(4, 5, "categorical", seed=seed)
            config = ppo.Config(iterations=12, epochs=4, **SETTINGS)
        else:
            world, policy = Control(ControlConfig(seed=seed)), ToyPolicy(3, 1, "gaussian", seed=seed)
            config = ppo.Config(iterations=10, epochs=4, discount=0.95, **SETTINGS)
        before.append(judged(world, policy)[1])
        world.load_state_dict({"turn": 0})
        quiet = RunConfig(seed=seed, device="cpu", trackers=(), progress=False, checkpoint_seconds=1e9)
        ppo.train(config, policy, world, world.reward, Run(tmp_path / f"{seed}", quiet))
        rollout, earned = judged(world, policy)
        after.append(earned)
        possible.append(world.best(rollout)[:, 0] if name == "bandit" else torch.zeros_like(earned))
    gain = [float((two - one).mean()) for one, two in zip(before, after, strict=True)]
    assert min(gain) > 0, f"gain by seed: {gain}"
    could = float((torch.cat(possible) - torch.cat(before)).mean())
    assert sum(gain) / len(gain) > 0.5 * could, f"gained {sum(gain) / len(gain):.2f} of {could:.2f}"
    pairs = torch.cat(after).tolist(), torch.cat(before).tolist()  # the same starts, before and after
    chance = permutation_test(*pairs, np.random.default_rng(0), count=4000, paired=True)
    assert chance < 0.001

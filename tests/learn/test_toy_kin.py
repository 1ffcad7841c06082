"""GRPO's kin, rejection sampling and DPO (online too) learn where failure could only be a bug, with each of five seeds.

The bounds are those of test_toy.py: every seed improves, a permutation test over fresh episodes gives p < 0.001, and
at least half of what could be gained is gained.
"""

import numpy as np
import pytest
import torch

from accord.algorithms import best_of_n, dpo, grpo, online_dpo
from accord.batches import Comparisons
from accord.run import OptimiserConfig, Run, RunConfig
from accord.statistics import permutation_test
from accord.worlds.toy import Bandit, BanditConfig, ToyPolicy
from tests.learn.test_toy import judged

OPTIMISER = OptimiserConfig(learning_rate=4e-3, schedule="linear", epsilon=1e-5, warmup=0)
WIDE = {"gspo": {"clip_low": 0.2, "clip_high": 0.2}}
"""Answers of one step want another clip than the mean over a long answer."""


def compared(world, policy, turns=8):
    """All pairs of neighbours among the answers to each context; the one that pays more is believed better."""
    better, worse, parts = [], [], []
    for _ in range(turns):
        rollout = world.collect(policy)
        parts += [sample.id for _, sample in world.keep(rollout)]
        paid = world.reward(rollout)[:, 0].tolist()
        first = len(parts) - len(paid)
        for i in range(0, len(paid), 2):
            if paid[i] != paid[i + 1]:
                up = paid[i] > paid[i + 1]
                better.append(first + i + (not up))
                worse.append(first + i + up)
    segment, one = world.episodes._segment(parts, [1.0] * len(parts)), torch.ones(len(better))
    names = tuple(str(i) for i in range(len(better)))
    return Comparisons(segment, torch.tensor(better), torch.tensor(worse), one, one, 0 * one, names)


def learn(method, world, policy, start, run):
    if method == "dpo":
        config = dpo.Config(beta=0.1, epochs=30, batch=64, optimiser=OptimiserConfig(learning_rate=4e-3))
        dpo.train(config, policy, compared(world, policy), run)
    elif method == "best_of_n":
        config = best_of_n.Config(iterations=12, optimiser=OptimiserConfig(learning_rate=8e-3))
        best_of_n.train(config, policy, world, world.reward, run)
    elif method == "online_dpo":
        pressed = dpo.Config(beta=0.1)
        config = online_dpo.Config(iterations=24, updates=6, objective=pressed, optimiser=OPTIMISER)
        online_dpo.train(config, policy, world, world.reward, run, lambda s: start.evaluate(s).logprob)
    else:
        settings = {"iterations": 12, "epochs": 3, "optimiser": OPTIMISER, "mask_unfinished": False}
        config = grpo.kin(method, **settings, **WIDE.get(method, {}))
        grpo.train(config, policy, world, world.reward, run, lambda s: start.evaluate(s).logprob)


@pytest.mark.parametrize("method", [*grpo.KIN, "best_of_n", "online_dpo", "dpo"])
def test_every_seed_learns(method, tmp_path):
    before, after, possible = [], [], []
    for seed in range(5):
        world = Bandit(BanditConfig(seed=seed))
        policy, start = (ToyPolicy(4, 5, "categorical", seed=seed) for _ in range(2))
        before.append(judged(world, policy)[1])
        world.load_state_dict({"turn": 0})
        quiet = RunConfig(seed=seed, device="cpu", trackers=(), progress=False, checkpoint_seconds=1e9)
        learn(method, world, policy, start, Run(tmp_path / f"{seed}", quiet))
        rollout, earned = judged(world, policy)
        after.append(earned)
        possible.append(world.best(rollout)[:, 0])
    gain = [float((two - one).mean()) for one, two in zip(before, after, strict=True)]
    assert min(gain) > 0, f"gain by seed: {gain}"
    could = float((torch.cat(possible) - torch.cat(before)).mean())
    assert sum(gain) / len(gain) > 0.5 * could, f"gained {sum(gain) / len(gain):.2f} of {could:.2f}"
    pairs = torch.cat(after).tolist(), torch.cat(before).tolist()
    assert permutation_test(*pairs, np.random.default_rng(0), count=4000, paired=True) < 0.001

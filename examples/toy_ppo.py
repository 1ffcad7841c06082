"""PPO without a word of text: five arms, a context, and a policy that learns which arm pays."""

from pathlib import Path
from tempfile import mkdtemp

from accord.algorithms import ppo
from accord.run import OptimiserConfig, Run, RunConfig
from accord.worlds.toy import Bandit, BanditConfig, ToyPolicy

world = Bandit(BanditConfig(features=4, arms=5))
policy = ToyPolicy(features=4, actions=5, kind="categorical")
config = ppo.Config(
    iterations=12,
    epochs=4,
    kl=ppo.KL(place="none"),
    value_clip=None,
    optimiser=OptimiserConfig(learning_rate=4e-3, schedule="linear"),
)


def paid() -> float:
    """What the arms that it chooses pay, as a share of what the best ones would have paid."""
    fresh = Bandit(world.config.model_copy(update={"contexts": 256}))
    fresh.turn = 1000
    rollout = fresh.collect(policy)
    return float(fresh.reward(rollout).sum() / fresh.best(rollout).sum())


before = paid()
run = Run(Path(mkdtemp()) / "bandit", RunConfig(trackers=(), progress=False, device="cpu"))
ppo.train(config, policy, world, world.reward, run)
print(f"share of the best pay on fresh contexts: {before:.2f} before, {paid():.2f} after; log: {run.folder}/log.jsonl")

"""One small training run, for tests that kill it: `python toy_run.py METHOD FOLDER` prints a hash of the weights."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import torch
from torch import Tensor, nn

from accord.algorithms import best_of_n, dpo, grpo, kto, online_dpo, ppo, process_reward, reward_model, sft
from accord.algorithms.beside import Config as BesideConfig
from accord.algorithms.beside import Rehearsal
from accord.batches import Comparisons, Segment
from accord.marked import Marked
from accord.protocols import Evaluated
from accord.run import Average, OptimiserConfig, Run, RunConfig
from accord.worlds.toy import Bandit, BanditConfig, Control, ControlConfig, ToyPolicy

METHODS = ("sft", "reward_model", "ppo_bandit", "ppo_control", "dpo", "kto", "grpo", "dapo", "best_of_n")
HELD = ("ppo_held", "grpo_held", "best_of_n_held", "dpo_held", "online_dpo_held", "process_reward")
"""With rows learned beside (but DPO) and drift from a moving average (but best of n); and labels of steps."""
WORDS = 11


class Letters(nn.Module):
    """A language model of one letter's memory, with dropout so that the global generator matters; and a scorer."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(WORDS, 16)
        self.drop = nn.Dropout(0.2)
        self.head = nn.Linear(16, WORDS)
        self.worth = nn.Linear(16, 1)

    def evaluate(self, segment: Segment) -> Evaluated:
        first = segment.observation[segment.group, -1:]
        before = torch.cat([first, segment.action[:, :-1]], dim=1)
        logits = self.head(self.drop(self.table(before))).log_softmax(-1)
        logprob = logits.gather(-1, segment.action[..., None])[..., 0]
        return Evaluated(torch.where(segment.present, logprob, 0.0), -(logits.exp() * logits).sum(-1), None)

    def score(self, segment: Segment) -> Tensor:
        seen = torch.where(segment.present[..., None], self.drop(self.table(segment.action)), 0.0)
        return self.worth(seen.sum(1) / segment.length[:, None])[:, 0]

    def each(self, segment: Segment) -> Tensor:
        return torch.where(segment.present, self.worth(self.drop(self.table(segment.action)))[..., 0], 0.0)


class Plain(Letters):
    """The same without dropout: a policy that is its own reference is asked in the mood in which it learns."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.0)


def letters(rows: int = 48) -> Segment:
    """Random answers of several lengths, three to a prompt."""
    draw = torch.Generator().manual_seed(5)
    length = torch.randint(1, 9, (rows,), generator=draw)
    present = torch.arange(8) < length[:, None]
    return Segment(
        observation=torch.randint(0, WORDS, (rows // 3, 4), generator=draw),
        observation_length=torch.full((rows // 3,), 4),
        group=torch.arange(rows) // 3,
        action=torch.randint(0, WORDS, (rows, 8), generator=draw) * present,
        length=length,
        mask=present,
        weight=torch.rand(rows, generator=draw) + 0.5,
        names=tuple(f"row{i}" for i in range(rows)),
    )


def pairs(segment: Segment) -> Comparisons:
    """All three pairs of each prompt; the longer answer is believed better."""
    better, worse = [], []
    for members in segment.members():
        by_length = sorted(members.tolist(), key=lambda row: -int(segment.length[row]))
        for i, j in ((0, 1), (0, 2), (1, 2)):
            better.append(by_length[i])
            worse.append(by_length[j])
    count = len(better)
    return Comparisons(
        segment=segment,
        better=torch.tensor(better),
        worse=torch.tensor(worse),
        probability=torch.full((count,), 0.9),
        weight=torch.ones(count),
        margin=torch.zeros(count),
        names=tuple(f"pair{i}" for i in range(count)),
    )


def learn(method: str, folder: Path) -> nn.Module:
    """Train by one method in one folder; a killed run goes on where it was."""
    torch.set_num_threads(1)
    config = RunConfig(seed=3, device="cpu", trackers=(), checkpoint_seconds=0, progress=False)
    run = Run(folder, config, {"method": method})
    optimiser = OptimiserConfig(learning_rate=1e-2)
    if method in ("sft", "reward_model"):
        model = Letters()
        if method == "sft":
            settings = sft.Config(epochs=20, batch=10, micro_tokens=60, optimiser=optimiser)
            sft.train(settings, model, letters(), run, held_out=letters(12))
        else:
            chosen = reward_model.Config(epochs=30, batch=5, micro_tokens=60, optimiser=optimiser)
            reward_model.train(chosen, model, pairs(letters()), run)
        return model
    if method in ("dpo", "kto"):
        actor = Plain()
        if method == "dpo":
            dpo.train(
                dpo.Config(epochs=40, batch=5, micro_tokens=60, optimiser=optimiser), actor, pairs(letters()), run
            )
        else:
            single = kto.Config(epochs=25, batch=10, micro_tokens=60, optimiser=optimiser)
            kto.train(single, actor, letters(), torch.arange(48) % 2 == 0, run)
        return actor
    if method == "process_reward":
        reader, segment = Letters(), letters()
        plain = {f.name: getattr(segment, f.name) for f in fields(Segment)}
        labelled = Marked(**plain, label=(segment.action < 4).float(), judged=segment.mask & (segment.action % 2 == 0))
        taught = process_reward.Config(epochs=20, batch=10, micro_tokens=60, optimiser=optimiser)
        process_reward.train(taught, reader, labelled, run)
        return reader
    if method.endswith("_held"):
        return held(method, run, optimiser)
    control = method == "ppo_control"
    world = Control(ControlConfig(episodes=8, steps=8)) if control else Bandit()
    policy = ToyPolicy(3, 1, "gaussian") if control else ToyPolicy(4, 5, "categorical")
    start = ToyPolicy(3, 1, "gaussian") if control else ToyPolicy(4, 5, "categorical")
    if method == "best_of_n":
        best_of_n.train(best_of_n.Config(iterations=60, optimiser=optimiser), policy, world, world.reward, run)
        return policy
    if method in ("grpo", "dapo"):
        price = {"place": "reward", "estimator": "k1", "target": 0.3, "horizon": 200}
        kin = grpo.kin(method, iterations=60, kl=price, entropy_target=0.8, micro_tokens=100, optimiser=optimiser)
        grpo.train(kin, policy, world, world.reward, run, lambda s: start.evaluate(s).logprob)
        return policy
    settings = ppo.Config(
        iterations=60,
        kl=ppo.KL(target=0.3, horizon=200),
        entropy_target=0.8,
        critic_warmup=2,
        micro_tokens=100,
        optimiser=optimiser,
    )
    ppo.train(settings, policy, world, world.reward, run, lambda s: start.evaluate(s).logprob)
    return policy


def held(method: str, run: Run, optimiser: OptimiserConfig) -> nn.Module:
    """A policy that is held to what it was."""
    if method == "dpo_held":
        actor = Plain()
        config = dpo.Config(epochs=40, batch=5, micro_tokens=60, optimiser=optimiser)
        dpo.train(config, actor, pairs(letters()), run, following(actor, run, actor), moving=True)
        return actor
    world, policy = Bandit(), ToyPolicy(4, 5, "categorical")
    known = Bandit(BanditConfig(seed=1)).collect(ToyPolicy(4, 5, "categorical", seed=1))
    beside = Rehearsal(BesideConfig(weight=0.3, rows=24), known, policy.evaluate, run, micro_tokens=60)
    if method == "best_of_n_held":
        config = best_of_n.Config(iterations=60, optimiser=optimiser)
        best_of_n.train(config, policy, world, world.reward, run, beside)
        return policy
    reference = following(policy, run, policy.actor)
    if method == "online_dpo_held":
        drawn = online_dpo.Config(iterations=40, updates=2, micro_tokens=100, optimiser=optimiser)
        online_dpo.train(drawn, policy, world, world.reward, run, reference, beside)
    elif method == "grpo_held":
        kin = grpo.kin("grpo", iterations=60, micro_tokens=100, optimiser=optimiser)
        grpo.train(kin, policy, world, world.reward, run, reference, beside)
    else:
        settings = ppo.Config(iterations=60, critic_warmup=2, micro_tokens=100, optimiser=optimiser)
        ppo.train(settings, policy, world, world.reward, run, reference, beside)
    return policy


def following(policy: Letters | ToyPolicy, run: Run, part: nn.Module) -> Callable[[Segment], Tensor]:
    """Log-probabilities under a moving average of a part of the policy."""
    average = Average(part, 0.9)
    run.track(anchor=average)

    def asked(segment: Segment) -> Tensor:
        with average.inside():
            return policy.evaluate(segment).logprob

    return asked


def fingerprint(module: nn.Module) -> str:
    """SHA-256 of every weight, bit by bit."""
    parts = hashlib.sha256()
    for name, value in module.state_dict().items():
        parts.update(name.encode() + value.contiguous().numpy().tobytes())
    return parts.hexdigest()


if __name__ == "__main__":
    print(fingerprint(learn(sys.argv[1], Path(sys.argv[2]))))

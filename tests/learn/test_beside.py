"""PPO-ptx forgets less: in a toy world of words each of three seeds holds the loss of texts lower and still earns."""

import torch

from accord.algorithms import beside, ppo, sft
from accord.batches import Rollout, Segment
from accord.run import OptimiserConfig, Run, RunConfig
from tests.algorithms.conftest import WORDS, Speaker

STEPS, LOVED = 6, 3


def spoken(seed, rows=64):
    """Texts of a language of bigrams that the seed fixes."""
    draw = torch.Generator().manual_seed(seed)
    follows = (3 * torch.randn(WORDS, WORDS, generator=draw)).softmax(-1)
    words = torch.zeros(2 * rows, STEPS + 1, dtype=torch.long)
    words[:, 0] = torch.randint(0, WORDS, (2 * rows,), generator=draw)
    for t in range(STEPS):
        words[:, t + 1] = torch.multinomial(follows[words[:, t]], 1, generator=draw)[:, 0]
    halves = words[:rows], words[rows:]
    return tuple(Segment(**answers(half[:, :1], torch.arange(rows), half[:, 1:])) for half in halves)


def answers(observation, group, action):
    """The fields of a segment whose answers are all of one length."""
    rows = len(action)
    return {
        "observation": observation,
        "observation_length": torch.ones(len(observation), dtype=torch.long),
        "group": group,
        "action": action,
        "length": torch.full((rows,), action.shape[1]),
        "mask": torch.ones(action.shape, dtype=torch.bool),
        "weight": torch.ones(rows),
        "names": tuple(str(b) for b in range(rows)),
    }


class Chatter:
    """Say six words after one. The reward is the share of one loved word, which the texts hardly use."""

    def __init__(self, seed):
        self.seed, self.turn = seed, 0

    def collect(self, policy):
        draw = torch.Generator().manual_seed(1000 * self.seed + self.turn)
        self.turn += 1
        start, group = torch.randint(0, WORDS, (32, 1), generator=draw), torch.arange(32).repeat_interleave(2)
        words = [start[group, 0]]
        with torch.no_grad():
            for _ in range(STEPS):
                words.append(torch.multinomial(policy.logits[words[-1]].softmax(-1), 1, generator=draw)[:, 0])
            fields = answers(start, group, torch.stack(words[1:], 1))
            logprob = policy.evaluate(Segment(**fields)).logprob
        done = torch.zeros_like(fields["mask"])
        done[:, -1] = True
        return Rollout(**fields, logprob=logprob, done=done, finished=torch.ones(64, dtype=torch.bool))

    def reward(self, rollout):
        paid = torch.zeros_like(rollout.logprob)
        paid[:, -1] = (rollout.action == LOVED).float().mean(1)
        return paid

    def state_dict(self):
        return {"turn": self.turn}

    def load_state_dict(self, state):
        self.turn = state["turn"]


def test_every_seed_forgets_less_and_still_earns(tmp_path):
    fast = OptimiserConfig(learning_rate=5e-2, schedule="constant", warmup=0)
    for seed in range(3):
        learned, held = spoken(seed)
        quiet = RunConfig(seed=seed, device="cpu", trackers=(), progress=False, checkpoint_seconds=1e9)
        lost, earned = {}, {}
        for weight in (None, 0.0, 1.0):
            policy, world = Speaker(seed), Chatter(seed)
            folder = tmp_path / f"{seed}-{weight}"
            sft.train(sft.Config(epochs=30, batch=64, optimiser=fast), policy, learned, Run(folder / "sft", quiet))
            if weight is not None:
                run = Run(folder / "ppo", quiet)
                config = ppo.Config(iterations=12, kl=ppo.KL(place="none"), optimiser=fast)
                settings = beside.Config(weight=weight, rows=16)
                taken = beside.Rehearsal(settings, learned, policy.evaluate, run) if weight else beside.nothing
                ppo.train(config, policy, world, world.reward, run, beside=taken)
            lost[weight] = sft.loss_on(policy, held, 8192)
            world.turn = 500
            earned[weight] = float(world.reward(world.collect(policy)).sum(1).mean())
        assert lost[None] < lost[1.0] < lost[0.0] - 0.2, f"seed {seed}: {lost}"
        assert earned[None] + 0.1 < earned[1.0], f"seed {seed}: {earned}"

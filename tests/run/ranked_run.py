"""Small runs for tests that start them in several processes: `torchrun ... ranked_run.py FOLDER METHOD ...`.

DIE="METHOD UPDATE RANK HOW" in the environment ends one process in the middle: HOW is `kill` or `nonfinite`.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from accord.algorithms import best_of_n, dpo, grpo, kto, ppo, reward_model, sft
from accord.batches import Comparisons, Rollout, Segment, at_end
from accord.protocols import Sampling
from accord.records import Message, Prompt, Text
from accord.run import NonFinite, OptimiserConfig, Run, RunConfig, ranks, shards
from accord.worlds.text.encode import Encoder, EncoderSettings
from accord.worlds.text.generate import Sampler
from accord.worlds.text.models import ModelSettings, language_model, scorer_model
from accord.worlds.text.policy import Policy
from accord.worlds.text.scorer import Scorer
from accord.worlds.text.tokenizer import word_level
from accord.worlds.text.world import TextWorld

WORDS = word_level(["where", "who", "is", "the", "fox", "dog", "?", "here", "there", "he", "gone", "and", "or", "not"])
SETTINGS = ModelSettings(width=32, layers=2, heads=4, context=64)
OPTIMISER = OptimiserConfig(learning_rate=2e-3, epsilon=1e-6)
METHODS = ("sft", "reward_model", "ppo", "dpo", "kto", "grpo", "best_of_n")


def texts(groups: int = 9, each: int = 3) -> Segment:
    """Answers of all lengths, some of them long, so that fair parts are not equal parts."""
    draw = torch.Generator().manual_seed(1)
    rows = groups * each
    length = torch.randint(1, 15, (rows,), generator=draw)
    length[0] = 14
    present = torch.arange(14) < length[:, None]
    return Segment(
        observation=torch.randint(4, len(WORDS), (groups, 9), generator=draw),
        observation_length=torch.randint(2, 10, (groups,), generator=draw),
        group=torch.arange(rows) // each,
        action=torch.randint(4, len(WORDS), (rows, 14), generator=draw) * present,
        length=length,
        mask=present,
        weight=torch.rand(rows, generator=draw) + 0.5,
        names=tuple(f"row{i}" for i in range(rows)),
    )


def compared() -> Comparisons:
    """Three pairs of each prompt."""
    segment = texts()
    first = torch.arange(0, len(segment), 3)
    better, worse = torch.cat([first, first, first + 1]), torch.cat([first + 1, first + 2, first + 2])
    one = torch.ones(len(better))
    names = tuple(f"pair{i}" for i in range(len(better)))
    return Comparisons(segment, better, worse, 0.9 * one, 0.5 + better % 3, 0 * one, names)


def prompts(count: int = 7) -> list[Prompt]:
    """Questions of several lengths."""
    said = [f"where is the fox {'? ' * i}".strip() for i in range(count)]
    return [
        Prompt(id=f"p{i}", content=Text(messages=(Message(role="user", content=one),))) for i, one in enumerate(said)
    ]


def learn(method: str, folder: Path, shard: bool = False) -> nn.Module:
    """Train by one method in one folder."""
    config = RunConfig(
        seed=3, device="cpu", trackers=(), checkpoint_seconds=0, progress=False, **({"shard": True} if shard else {})
    )
    run = Run(folder, config, {"method": method})
    mortal(run, method)
    policy = Policy(language_model(SETTINGS, WORDS, 1))
    scorer = Scorer(scorer_model(SETTINGS, WORDS, 2))
    kept = {"micro_tokens": 90, "optimiser": OPTIMISER}
    if method == "sft":
        sft.train(sft.Config(epochs=4, batch=8, **kept), policy, texts(), run, texts(4))
        return policy
    if method == "reward_model":
        reward_model.train(reward_model.Config(epochs=6, batch=4, **kept), scorer, compared(), run, compared())
        return scorer
    if method == "dpo":
        dpo.train(dpo.Config(epochs=4, batch=4, **kept), policy, compared(), run)
        return policy
    if method == "kto":
        kto.train(kto.Config(epochs=2, batch=8, **kept), policy, texts(), torch.arange(27) % 2 == 0, run)
        return policy
    actor = Policy(policy.model, critic=scorer) if method == "ppo" else policy
    judge = Scorer(scorer_model(SETTINGS, WORDS, 5))
    start = Policy(language_model(SETTINGS, WORDS, 1))
    encoder = Encoder(WORDS, EncoderSettings(limit=64, answer_limit=16))
    sampling = Sampling(max_tokens=12, count=3)
    world = TextWorld(encoder, prompts(), Sampler(policy.model), sampling, batch=5, seed=5, version="v")

    @torch.no_grad()
    def worth(rollout: Rollout) -> torch.Tensor:
        return at_end(judge.score(rollout), rollout.length, rollout.action.shape[1])

    def reference(segment: Segment) -> torch.Tensor:
        return start.evaluate(segment).logprob

    if method == "ppo":
        ppo.train(ppo.Config(iterations=4, minibatches=2, **kept), actor, world, worth, run, reference)
    elif method == "grpo":
        grpo.train(grpo.kin("dapo", iterations=3, minibatches=2, **kept), actor, world, worth, run)
    else:
        best_of_n.train(best_of_n.Config(iterations=3, updates=2, batch=3, **kept), actor, world, worth, run)
    return actor


def mortal(run: Run, method: str) -> None:
    """Let this process end where DIE says."""
    kind, update, rank, how = (os.environ.get("DIE") or "- 0 0 -").split()
    if kind != method or int(rank) != ranks.rank():
        return
    real, left = run.step, [int(update)]

    def step(**parts: torch.Tensor | float) -> dict[str, float]:
        left[0] -= 1
        if left[0] < 0 and how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if left[0] < 0:
            raise NonFinite("the loss is nan at rows row7")
        return real(**parts)

    run.step = step  # type: ignore[method-assign]


def main() -> int:
    """Train by each method that was named."""
    torch.set_num_threads(1)
    folder, shard = Path(sys.argv[1]), os.environ.get("SHARD") == "1"
    for method in sys.argv[2:]:
        made = learn(method, folder / method, shard)
        if shard:
            held = sum(value.to_local().numel() for value in made.parameters())
            (folder / method / f"held-{ranks.rank()}").write_text(str(held / sum(p.numel() for p in made.parameters())))
        with shards.gathered():
            weights = {name: value.detach().clone().contiguous() for name, value in made.state_dict().items()}
        save_file(weights, str(folder / method / f"weights-{ranks.rank()}.safetensors"))
    return 0


if __name__ == "__main__":
    ranks.leave(main)

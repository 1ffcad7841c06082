"""A reward of your own: any function of prompts and answers. Here an untrained model learns to like the letter s."""

from pathlib import Path
from tempfile import mkdtemp

import torch

from accord.algorithms import ppo
from accord.lab import Lab
from accord.protocols import Sampling
from accord.records import Prompt, Sample
from accord.rewards.learned import Learned
from accord.run import OptimiserConfig, Run, RunConfig, read_log
from accord.worlds.text.encode import Encoder, EncoderSettings
from accord.worlds.text.generate import Sampler
from accord.worlds.text.models import ModelSettings, language_model
from accord.worlds.text.policy import Policy
from accord.worlds.text.tokenizer import word_level
from accord.worlds.text.world import TextWorld


def worth(answers: list[tuple[Prompt, Sample]]) -> torch.Tensor:
    """Share of the words of each answer that begin with s."""
    said = [sample.content.messages[-1].content.split() for _, sample in answers]
    return torch.tensor([sum(word.startswith("s") for word in words) / max(1, len(words)) for words in said])


lab = Lab()
tokenizer = word_level(lab.words)
model = language_model(ModelSettings(width=32, layers=1, heads=2, context=64), tokenizer)
encoder = Encoder(tokenizer, EncoderSettings(limit=48, answer_limit=8))
world = TextWorld(encoder, lab.prompts(64, "train"), Sampler(model), Sampling(max_tokens=8, count=4), 32, 0, "own")
config = ppo.Config(iterations=12, kl=ppo.KL(place="none"), optimiser=OptimiserConfig(learning_rate=1e-2))
run = Run(Path(mkdtemp()) / "own", RunConfig(trackers=(), progress=False, device="cpu"))
ppo.train(config, Policy(model, critic="shared"), world, Learned(world.keep, worth), run)
log = read_log(run.folder / "log.jsonl")
print(f"words that begin with s: {log[0]['reward']:.2f} before, {log[-1]['reward']:.2f} after {len(log)} iterations")

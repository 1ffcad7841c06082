"""Credit over turns: what is paid in the second turn teaches the first, in a world where failure could only be a bug.

A user asks one thing after the answer "fox" and another after any other. Nothing is paid at the first answer. At the
second one point is paid when the first was "fox", and one when the second is right for what was then asked. So the
first answer can only be learned from what comes two turns later, and the second only by listening to the user.
The bounds were written before the test was first run: every seed gains more than half of what can be gained.
"""

import pytest
import torch

from accord.algorithms import grpo, ppo
from accord.protocols import Sampling
from accord.records import Message, Prompt, Text
from accord.rewards.turns import Turns, judged
from accord.run import OptimiserConfig, Run, RunConfig
from accord.worlds.text.dialogue import DialogueWorld
from accord.worlds.text.encode import Encoder, EncoderSettings
from accord.worlds.text.generate import Sampler
from accord.worlds.text.models import ModelSettings, language_model
from accord.worlds.text.policy import Policy
from accord.worlds.text.tokenizer import word_level
from accord.worlds.text.world import TextWorld

WORDS = word_level(["fox", "dog", "here", "gone", "who", "where", "?"])
ANSWER = {"who ?": "here", "where ?": "gone"}
LAST = OptimiserConfig(learning_rate=5e-3, schedule="linear", epsilon=1e-5, warmup=0)


def user(conversation):
    return "where ?" if conversation.messages[-1].content == "fox" else "who ?"


def worth(prompt, sample):
    """What an answer earns: nothing in the first turn, up to two points in the second."""
    said = [m.content for m in prompt.content.messages]
    if len(said) == 1:
        return 0.0
    return float(said[1] == "fox") + float(sample.content.messages[0].content == ANSWER[said[2]])


def made(seed):
    """A world of dialogues, its policy, and what it pays. Every word ends an answer, so an answer is a word."""
    model = language_model(ModelSettings(width=32, layers=1, heads=4, context=64), WORDS, seed)
    policy = Policy(model, critic="shared")
    prompts = [Prompt(id=f"p{i}", content=Text(messages=(Message(role="user", content=w),)))
               for i, w in enumerate(["who", "where", "who who", "where where"])]  # fmt: skip
    sampling = Sampling(max_tokens=1, count=16, stop=tuple(range(len(WORDS))))
    encoder = Encoder(WORDS, EncoderSettings(limit=40, answer_limit=20))
    world = DialogueWorld(TextWorld(encoder, prompts, Sampler(model), sampling, 4, seed, "v"), user, 2)
    return world, policy, Turns(world.keep, judged(worth))


def measured(world, reward):
    """Mean earned by a dialogue, and the share of first answers that are "fox"."""
    rollout = world.collect(None)
    said = [sample.content.messages[0].content for _, sample in world.keep(rollout)]
    return float(reward(rollout).sum(1).mean()), sum(word == "fox" for word in said) / len(said)


@pytest.mark.parametrize("method", ["ppo", "grpo"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_is_paid_two_turns_later_teaches_the_first_answer(method, seed, tmp_path):
    world, policy, reward = made(seed)
    before, _ = measured(world, reward)
    run = Run(tmp_path, RunConfig(seed=seed, device="cpu", trackers=(), progress=False, checkpoint_seconds=1e9))
    free = ppo.KL(place="none")
    if method == "ppo":
        config = ppo.Config(iterations=40, epochs=2, minibatches=2, kl=free, entropy=0.01, optimiser=LAST)
        ppo.train(config, policy, world, reward, run)
    else:
        config = grpo.kin(method, iterations=40, epochs=2, minibatches=2, kl=free, entropy=0.01, optimiser=LAST)
        grpo.train(config, policy, world, reward, run)
    after, foxes = measured(world, reward)
    assert before < 0.8
    assert after - before > 0.5 * (2 - before), f"{before:.2f} -> {after:.2f}"
    assert foxes > 0.6


def test_the_first_answer_gets_its_advantage_from_the_second_turn_alone():
    """With an untaught critic and lambda 1 every token's advantage is what the dialogue earned from there on."""
    world, policy, reward = made(0)
    rollout = world.collect(None)
    config = ppo.Config(kl=ppo.KL(place="none"), smoothing=1.0, whiten_advantage=False)
    rollout, _ = ppo.look_again(rollout, policy, None, config)
    rollout, _ = ppo.with_reward(rollout, reward, 0.0, config)
    rollout = ppo.with_advantage(rollout, config)
    earned = reward(rollout).sum(1)
    assert set(earned.tolist()) >= {0.0, 1.0}
    firsts = rollout.advantage[:, 0]
    torch.testing.assert_close(firsts, earned)
    own = rollout.advantage[rollout.mask]
    assert torch.equal(own, earned[:, None].expand_as(rollout.mask)[rollout.mask])
    assert not rollout.advantage[~rollout.mask].any()

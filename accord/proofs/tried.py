"""What a reward model is good for: pairs that it orders as gold does, its best of n, and a short PPO that it pays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from accord.algorithms import ppo
from accord.proofs.ground import Ground, Member, answered, aside
from accord.proofs.pressed import with_critic
from accord.records import Prompt
from accord.rewards.learned import Answers, Learned
from accord.run import seed_of
from accord.worlds.text.policy import Policy

HELD, DRAWN = 4, 16
"""Answers per test prompt whose pairs are held out, and those that best of n chooses from."""
Order = Callable[[int], Sequence[int]]
CUT = -100.0
"""Added to the score of an answer that was cut: it is never the best of several."""


class Trial:
    """Test prompts with the start's answers to them, and what these are truly worth; the same for every reward model.

    All figures are one number per test prompt.
    """

    def __init__(self, ground: Ground, prompts: Sequence[Prompt]) -> None:
        self.ground, self.prompts = ground, list(prompts)
        draw = ground.project.sample
        self.held = draw(ground.start, prompts, HELD, "held")
        self.drawn = draw(ground.start, prompts, DRAWN, "best-of-n")
        self.held_gold, self.drawn_gold = (self.worth(said) for said in (self.held, self.drawn))

    def worth(self, said: Answers) -> Tensor:
        """[G, N] gold of answers, as many to each prompt, those of each in their order."""
        place = {prompt.id: g for g, prompt in enumerate(self.prompts)}
        ordered = sorted(said, key=lambda pair: place[pair[0].id])
        gold = torch.tensor([self.ground.gold(*pair).score for pair in ordered], dtype=torch.float64)
        return gold.reshape(len(self.prompts), -1)

    def accuracy(self, score: Callable[[Answers], Tensor]) -> list[float]:
        """For each prompt the share of its pairs of held-out answers that are ordered as by gold; equal scores count
        half, and pairs that gold holds equal are left out. A prompt without a pair is left out; without any pair at all
        there is one half.
        """
        scored = score(self.held).double().reshape(len(self.prompts), -1)
        found = []
        for row, gold in zip(scored.tolist(), self.held_gold.tolist(), strict=True):
            right = [0.5 if row[i] == row[j] else float((row[i] > row[j]) == (gold[i] > gold[j]))
                     for i, j in combinations(range(len(row)), 2) if abs(gold[i] - gold[j]) > 1e-9]  # fmt: skip
            if right:
                found.append(float(np.mean(right)))
        return found or [0.5]

    def best_of(self, score: Callable[[Answers], Tensor]) -> list[float]:
        """For each prompt how often the best of `DRAWN` answers is truly better than the start's own; a tie is half."""
        whole = torch.tensor([sample.finished for _, sample in self.drawn])
        scored = (score(self.drawn).double() + torch.where(whole, 0.0, CUT)).reshape(len(self.prompts), -1)
        best = self.drawn_gold.gather(1, scored.argmax(1, keepdim=True))
        return self.won(best)

    def won(self, gold: Tensor) -> list[float]:
        """[G] how often an answer of worth `gold` [G, N] is better than one of the held-out ones; a tie is half."""
        gap = gold[:, :, None] - self.held_gold[:, None, :]
        return ((gap > 1e-9).double() + 0.5 * (gap.abs() <= 1e-9).double()).mean((1, 2)).tolist()

    def climbed(self, member: Member, iterations: int, name: str, order: Order | None = None) -> list[float]:
        """The same of what a policy answers after a short PPO that the reward model pays. order: of its prompts."""
        policy = after_ppo(self.ground, member, iterations, name, order)
        _, said = answered(self.ground.project, self.ground.encoder, policy, self.prompts, HELD)
        return self.won(self.worth(said))


def after_ppo(ground: Ground, member: Member, iterations: int, name: str, order: Order | None = None) -> Policy:
    """The start after some iterations of PPO by a reward model, as the recipe says otherwise. It is not kept.

    order: numbers of the prompts that a collection asks; without it they are drawn by chance.
    """
    project = ground.project
    config = project.recipe.ppo.model_copy(update={"iterations": iterations})
    before, _ = project.policy(ground.start)
    with aside("ppo", seed_of(ground.seed, "short-ppo")) as run:
        policy = with_critic(project, ground.start, ground.encoder, member.scorer).to(run.device)
        world = project.world(policy, ground.encoder, project.prompts("train"), name)
        world.order = order
        pays = Learned(world.keep, member)
        ppo.train(config, policy, world, pays, run, lambda micro: before.evaluate(micro).logprob)
    return policy

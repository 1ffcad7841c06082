"""A point mass pushed to a target: continuous actions, a fixed number of steps, and no death.

Position p and speed v follow a double integrator, v += dt a, p += dt v, with a push a cut to [-1, 1]. The episode is
cut after T steps, which is a time limit and no end: `done` stays False and the critic's view of the last state is
in `next_value`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from accord.batches import Comparisons, Rollout, Segment
from accord.config import Settings
from accord.protocols import Policy
from accord.records import Demonstration, Preference, Prompt, Sample
from accord.run import seed_of
from accord.worlds.toy.episode import Episodes, name_of
from accord.worlds.toy.policy import toy

FEATURES = 3
"""Numbers in an observation: position, speed, target."""


class ControlConfig(Settings):
    """What the task is like."""

    episodes: int = Field(default=32, ge=1)
    """Episodes in one rollout, run side by side."""
    steps: int = Field(default=32, ge=1)
    """Pushes before the time is over."""
    seconds: float = Field(default=0.2, gt=0)
    """Length of a step, dt."""
    effort: float = Field(default=0.01, ge=0)
    """Price of a push, per square."""
    seed: int = 0
    """Fixes which starts come."""


class Control:
    """The world."""

    def __init__(self, config: ControlConfig | None = None) -> None:
        self.config = config or ControlConfig()
        self.turn = 0
        self.episodes = Episodes("control")

    def starts(self, seeds: Sequence[int]) -> Tensor:
        """[B, 3] where each episode begins: position in [-1, 1], at rest, target in [-1, 1]."""
        drawn = [2 * torch.rand(2, generator=torch.Generator().manual_seed(seed)) - 1 for seed in seeds]
        return torch.stack([torch.stack([d[0], torch.zeros(()), d[1]]) for d in drawn])

    def after(self, state: Tensor, action: Tensor) -> Tensor:
        """The state one step later. state: [..., 3]; action: [..., 1]."""
        push = action[..., 0].clamp(-1, 1)
        speed = state[..., 1] + self.config.seconds * push
        return torch.stack([state[..., 0] + self.config.seconds * speed, speed, state[..., 2]], dim=-1)

    def collect(self, policy: Policy) -> Rollout:
        """A rollout of the next turn. What is drawn depends on the seed and the turn alone."""
        config, actor = self.config, toy(policy)
        seeds = [seed_of(config.seed, "control", self.turn, b) for b in range(config.episodes)]
        generator = torch.Generator().manual_seed(seed_of(config.seed, "control", self.turn, "actions"))
        state, states, actions, logprobs = self.starts(seeds), [], [], []
        for _ in range(config.steps):
            action, logprob = actor.act(state, generator)
            states.append(state)
            actions.append(action)
            logprobs.append(logprob)
            state = self.after(state, action)
        with torch.no_grad():
            expected = actor.expected(state).cpu()
        self.turn += 1
        rows, action = config.episodes, torch.stack(actions, 1)
        return Rollout(
            observation=torch.stack(states, 1),
            observation_length=torch.full((rows,), config.steps),
            group=torch.arange(rows),
            action=action,
            length=torch.full((rows,), config.steps),
            mask=torch.ones(rows, config.steps, dtype=torch.bool),
            weight=torch.ones(rows),
            names=tuple(name_of("control", seed, 0, action[b]) for b, seed in enumerate(seeds)),
            logprob=torch.stack(logprobs, 1),
            done=torch.zeros(rows, config.steps, dtype=torch.bool),
            finished=torch.zeros(rows, dtype=torch.bool),
            next_value=expected,
        )

    def reward(self, rollout: Rollout) -> Tensor:
        """[B, T] minus the squared distance to the target after each push, minus what the push costs."""
        after = self.after(rollout.observation[rollout.group], rollout.action)
        away = (after[..., 0] - after[..., 2]).square()
        return -away - self.config.effort * rollout.action[..., 0].clamp(-1, 1).square()

    def keep(self, rollout: Rollout) -> list[tuple[Prompt, Sample]]:
        """Records of each episode; `episodes.content` has the bytes."""
        return self.episodes.keep(rollout)

    def compared(self, beliefs: Sequence[Preference]) -> Comparisons:
        """Beliefs about kept episodes as a batch."""
        return self.episodes.compared(beliefs)

    def shown(self, examples: Sequence[Demonstration]) -> Segment:
        """Kept episodes to imitate."""
        return self.episodes.shown(examples)

    def state_dict(self) -> dict[str, int]:
        """The turn, which is all that changes."""
        return {"turn": self.turn}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from a turn."""
        self.turn = int(state["turn"])

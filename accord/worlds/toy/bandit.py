"""A contextual bandit: see a context, choose one arm, be paid. Several answers per context, one step each."""

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


class BanditConfig(Settings):
    """What the bandit is like."""

    features: int = Field(default=4, ge=1)
    """Numbers in a context."""
    arms: int = Field(default=5, ge=2)
    """Choices."""
    contexts: int = Field(default=32, ge=1)
    """Contexts in one rollout."""
    answers: int = Field(default=4, ge=1)
    """Choices made in each context."""
    seed: int = 0
    """Fixes what each arm pays and which contexts come."""


class Bandit:
    """The world. An arm pays the scalar product of its own hidden direction with the context, without noise."""

    def __init__(self, config: BanditConfig | None = None) -> None:
        self.config = config or BanditConfig()
        generator = torch.Generator().manual_seed(seed_of(self.config.seed, "bandit", "arms"))
        directions = torch.randn(self.config.arms, self.config.features, generator=generator)
        self.directions = directions / directions.norm(dim=-1, keepdim=True)  # [arms, features]
        self.turn = 0
        self.episodes = Episodes("bandit")

    def contexts(self, starts: Sequence[int]) -> Tensor:
        """[G, features] the context of each start."""
        return torch.stack(
            [torch.randn(self.config.features, generator=torch.Generator().manual_seed(start)) for start in starts]
        )

    def collect(self, policy: Policy) -> Rollout:
        """A rollout of the next turn. What is drawn depends on the seed and the turn alone."""
        config = self.config
        starts = [seed_of(config.seed, "bandit", self.turn, g) for g in range(config.contexts)]
        seen = self.contexts(starts)
        group = torch.arange(config.contexts).repeat_interleave(config.answers)
        generator = torch.Generator().manual_seed(seed_of(config.seed, "bandit", self.turn, "actions"))
        action, logprob = toy(policy).act(seen[group], generator)
        self.turn += 1
        rows = len(group)
        return Rollout(
            observation=seen,
            observation_length=torch.full((config.contexts,), config.features),
            group=group,
            action=action[:, None],
            length=torch.ones(rows, dtype=torch.long),
            mask=torch.ones(rows, 1, dtype=torch.bool),
            weight=torch.ones(rows),
            names=tuple(
                name_of("bandit", starts[g], b % config.answers, action[b]) for b, g in enumerate(group.tolist())
            ),
            logprob=logprob[:, None],
            done=torch.ones(rows, 1, dtype=torch.bool),
            finished=torch.ones(rows, dtype=torch.bool),
        )

    def reward(self, rollout: Rollout) -> Tensor:
        """[B, 1] what the chosen arms pay."""
        return self.pay(rollout.observation)[rollout.group].gather(1, rollout.action)

    def best(self, rollout: Rollout) -> Tensor:
        """[B, 1] what the best arm would have paid."""
        return self.pay(rollout.observation).amax(-1, keepdim=True)[rollout.group]

    def pay(self, contexts: Tensor) -> Tensor:
        """[G, arms] what each arm would pay in each context [G, features]."""
        paid: Tensor = contexts @ self.directions.to(contexts).T
        return paid

    def keep(self, rollout: Rollout) -> list[tuple[Prompt, Sample]]:
        """Records of each choice; `episodes.content` has the bytes."""
        return self.episodes.keep(rollout)

    def compared(self, beliefs: Sequence[Preference]) -> Comparisons:
        """Beliefs about kept choices as a batch."""
        return self.episodes.compared(beliefs)

    def shown(self, examples: Sequence[Demonstration]) -> Segment:
        """Kept choices to imitate."""
        return self.episodes.shown(examples)

    def state_dict(self) -> dict[str, int]:
        """The turn, which is all that changes."""
        return {"turn": self.turn}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Go on from a turn."""
        self.turn = int(state["turn"])

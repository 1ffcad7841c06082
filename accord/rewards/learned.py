"""A reward that was learned: the score that a reward model gives to the text of an answer.

The rollout is turned into records and encoded again for the reward model, so that a text has one score, in
training, in PPO and in evaluation, also when policy and reward model use different tokenizers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from accord.batches import Rollout, at_end
from accord.records import Prompt, Sample

Answers = Sequence[tuple[Prompt, Sample]]


class Learned:
    """(score - mean) / std of each answer, at its last step. Implements protocols.Reward."""

    def __init__(
        self,
        keep: Callable[[Rollout], Answers],
        score: Callable[[Answers], Tensor],
        mean: float = 0.0,
        std: float = 1.0,
    ) -> None:
        """keep: a world's rollout as records. score: [B] raw scores of answers. mean, std: the score normaliser."""
        if not std > 0:
            raise ValueError(f"a score normaliser needs std > 0, got mean={mean}, std={std}")
        self.keep = keep
        self.score = score
        self.mean = mean
        self.std = std

    def __call__(self, rollout: Rollout) -> Tensor:
        """[B, T]: 0 but at the last step of each answer."""
        outcome = (self.score(self.keep(rollout)).to(rollout.logprob) - self.mean) / self.std
        return at_end(outcome, rollout.length, rollout.action.shape[1])

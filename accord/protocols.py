"""The verbs: what a policy, a world, a reward, a generator and a source of feedback promise each other.

Rooms that keep these promises can be exchanged without the others noticing. Anything with the right methods
fits; nothing has to be inherited.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from accord.records import Answer, Asked, Demonstration, Preference, Prompt, Sample

if TYPE_CHECKING:
    from torch import Tensor

    from accord.batches import Comparisons, Rollout, Segment


@dataclass(frozen=True)
class Evaluated:
    """A second look at actions that were taken."""

    logprob: Tensor
    """[B, T] fp32: log-probability of each action under the policy's own temperature; 0 where `present` is False."""
    entropy: Tensor
    """[B, T] fp32: entropy of the distribution that each action was drawn from, in nats."""
    value: Tensor | None
    """[B, T] fp32: expected return from just before each action; None when the policy has no critic."""


class Policy(Protocol):
    """Something that acts, and can say how likely its actions were."""

    def evaluate(self, segment: Segment) -> Evaluated: ...


class World(Protocol):
    """Where a policy acts, and the only place where records become batches and batches records.

    What changes as it goes on (its turn) is in its state, so that a resumed run collects what comes next.
    """

    def collect(self, policy: Policy) -> Rollout: ...

    def keep(self, rollout: Rollout) -> list[tuple[Prompt, Sample]]: ...

    def compared(self, beliefs: Sequence[Preference]) -> Comparisons: ...

    def shown(self, examples: Sequence[Demonstration]) -> Segment: ...

    def state_dict(self) -> Any: ...

    def load_state_dict(self, state: Any) -> Any: ...


class Reward(Protocol):
    """What actions are worth: [B, T], zero but at the last step when only the outcome counts.

    The rollout may lie in main memory (GRPO, best of n) or on the learner's device (PPO), and so may the answer.
    """

    def __call__(self, rollout: Rollout) -> Tensor: ...


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn."""

    temperature: float = 1.0
    """Divides the logits, in sampling and in scoring alike; 0 takes the likeliest token."""
    top_k: int = 0
    """Only the k likeliest tokens; 0 for all."""
    top_p: float = 1.0
    """Only the likeliest tokens that make up this much probability."""
    min_p: float = 0.0
    """Only tokens at least this times as likely as the likeliest."""
    max_tokens: int = 64
    """Cut after so many tokens; a cut answer is not `finished`."""
    count: int = 1
    """Answers per prompt."""
    stop: tuple[int, ...] = ()
    """Token ids that end an answer and belong to it (end of text)."""
    seed: int = 0
    """With the prompt's and the answer's number, fixes the answer whatever shares its batch."""
    numbers: tuple[int, ...] = ()
    """The number of each prompt, where chance should not depend on its place; empty for 0, 1, 2 ..."""
    stop_text: tuple[str, ...] = ()
    """Texts that end an answer and belong to it, for a generator that was told how tokens are spelt."""


@dataclass(frozen=True)
class Completion:
    """One answer to one prompt, in token ids."""

    prompt: int
    """Which of the prompts, counted from 0."""
    index: int
    """Which of its answers, counted from 0."""
    tokens: tuple[int, ...]
    """The answer, with the token that ended it."""
    logprobs: tuple[float, ...]
    """Log-probability of each token at the sampling temperature, before top-k, top-p and min-p."""
    finished: bool
    """Whether a stop token ended it."""


class Generator(Protocol):
    """Token ids in, token ids and log-probabilities out; it knows no text."""

    def generate(self, prompts: Sequence[Sequence[int]], sampling: Sampling) -> list[Completion]: ...

    def load(self, weights: Mapping[str, Tensor], version: str) -> None: ...


class FeedbackSource(Protocol):
    """Who answers when no person does; to the store, an annotator without a browser."""

    name: str

    def answer(self, asked: Sequence[Asked]) -> list[Answer | None]: ...

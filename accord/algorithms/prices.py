"""What drift from the reference and lost entropy cost, and how these prices adapt: of PPO, GRPO and its kin."""

from __future__ import annotations

from typing import Literal, Protocol

from pydantic import Field

from accord.algorithms.functional import Estimator
from accord.config import Settings


class KL(Settings):
    """What drift from the reference costs."""

    place: Literal["reward", "loss", "none"] = "reward"
    """In each token's reward (Ziegler et al. 2019), as a term of the loss, or nowhere."""
    estimator: Estimator = "k1"
    """k1, k2 or k3 of Schulman's note. In the loss choose k2 or k3: the gradient of k1 is zero on average."""
    coefficient: float = Field(default=0.05, ge=0)
    """Price of one nat. Higher stays nearer to the reference."""
    target: float | None = Field(default=None, gt=0)
    """Nats per answer that an adaptive price aims at; None keeps the price fixed."""
    horizon: int = Field(default=1000, ge=1)
    """Answers over which an adaptive price moves by a fifth at most; smaller reacts faster."""


class Priced(Protocol):
    """Settings of a method that pays for drift and earns by entropy."""

    @property
    def kl(self) -> KL: ...

    @property
    def entropy(self) -> float: ...

    @property
    def entropy_target(self) -> float | None: ...


class Prices:
    """The price of drift and of lost entropy; they adapt, so they belong to the checkpoint."""

    def __init__(self, config: Priced) -> None:
        self.config = config
        self.kl = config.kl.coefficient
        self.entropy = config.entropy

    def adapt(self, drift: float, entropy: float, answers: int) -> None:
        """Ziegler et al. 2019, section 2.2: price *= 1 + clip(KL / target - 1, -.2, .2) n / horizon.

        A rollout of more answers than the horizon counts as one of the horizon, or the price would fall below nothing.
        """
        if self.config.kl.target is not None:
            error = min(0.2, max(-0.2, drift / self.config.kl.target - 1))
            self.kl *= 1 + error * min(1.0, answers / self.config.kl.horizon)
        if self.config.entropy_target is not None:
            error = min(0.2, max(-0.2, 1 - entropy / self.config.entropy_target))
            self.entropy = min(1.0, max(1e-5, self.entropy) * (1 + error))

    def state_dict(self) -> dict[str, float]:
        """For the checkpoint."""
        return {"kl": self.kl, "entropy": self.entropy}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """From the checkpoint."""
        self.kl, self.entropy = state["kl"], state["entropy"]

"""What drift from the reference and lost entropy cost, and how these prices adapt: of PPO, GRPO and its kin."""

from __future__ import annotations

from typing import Protocol


class Drift(Protocol):
    """Settings of what drift costs."""

    @property
    def coefficient(self) -> float: ...

    @property
    def target(self) -> float | None: ...

    @property
    def horizon(self) -> int: ...


class Priced(Protocol):
    """Settings of a method that pays for drift and earns by entropy."""

    @property
    def kl(self) -> Drift: ...

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

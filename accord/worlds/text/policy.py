"""A language model as a policy: how likely were these tokens, how open was the choice, what was to be expected."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn

from accord.batches import Segment
from accord.protocols import Evaluated
from accord.run import ranks
from accord.worlds.text.logprobs import logprobs
from accord.worlds.text.scorer import Scorer, spread
from accord.worlds.text.trunk import Dropouts, Trunk

__all__ = ["Policy", "SamplerDrift", "Scorer", "drift", "exact"]


class Policy(nn.Module):
    """A causal language model, its temperature, and perhaps a critic."""

    def __init__(
        self, model: nn.Module, temperature: float = 1.0, critic: Scorer | Literal["shared"] | None = None
    ) -> None:
        """model: an `AutoModelForCausalLM`, adapted by PEFT or not.

        temperature: divides the logits, here as in sampling. critic: a Scorer with a trunk of its own, or "shared"
        for a value head on the policy's trunk, which costs no second pass and begins at zero.
        Raises ValueError when the temperature is not above zero.
        """
        super().__init__()
        if temperature <= 0:
            raise ValueError(f"temperature={temperature} has no probabilities; use one above 0 (1 changes nothing)")
        self.model = model
        self.temperature = temperature
        self.trunk = Trunk(model)
        self.critic = critic if isinstance(critic, Scorer) else None
        self.value: nn.Linear | None = None
        if critic == "shared":
            weight = next(model.parameters())
            self.value = nn.Linear(self.trunk.width, 1, dtype=weight.dtype, device=weight.device)
            nn.init.zeros_(self.value.weight)
            nn.init.zeros_(self.value.bias)
        self._dropouts = Dropouts(model)

    def evaluate(self, segment: Segment) -> Evaluated:
        """One packed pass over the segment (and one of the critic when it has its own trunk).

        Without gradient several processes share the rows, see `ranks.read`. Raises ValueError when a row acts at its
        first step with nothing before it, or when dropout is active in a pass without gradient.
        """
        self._dropouts.refuse()
        logprob, entropy, value = ranks.read(self._pass, segment)
        assert logprob is not None
        assert entropy is not None
        return Evaluated(logprob, entropy, value)

    def _pass(self, segment: Segment) -> tuple[Tensor, Tensor, Tensor | None]:
        """This process's own pass over these rows."""
        row = self.trunk.packed(segment, whole=False)
        self._seeing(segment)
        hidden, spoken = self.trunk.hidden(row, row.at), segment.action.flatten()[row.steps]
        logprob, entropy = logprobs(hidden, spoken, self.trunk.logits, self.trunk.vocabulary, self.temperature)
        shape = segment.action.shape
        value = None
        if self.value is not None:
            read = self.value(hidden)[:, 0]
            value = spread(read.to(logprob.dtype), row.steps, shape)
        elif self.critic is not None:
            value = self.critic.values(segment)
        return spread(logprob, row.steps, shape), spread(entropy, row.steps, shape), value

    @torch.no_grad()
    def reference(self, segment: Segment) -> Tensor:
        """[B, T] fp32: log-probabilities of the model that was started from, without a second copy of it.

        That is the adapter named "reference" where there is one (models.with_reference), else no adapter at all.

        Raises ValueError when the model has no adapter: then the reference is another model.
        """
        if not hasattr(self.model, "disable_adapter"):
            raise ValueError(
                "the policy has no adapter to switch off; evaluate a frozen copy of the first model instead"
            )
        self._dropouts.refuse()
        with _as_it_was(self.model):
            return ranks.read_one(self._likely, segment)

    @torch.no_grad()
    def likely(self, segment: Segment) -> Tensor:
        """[B, T] fp32: log-probabilities of the weights as they stand, without gradient and without the critic."""
        self._dropouts.refuse()
        return ranks.read_one(self._likely, segment)

    def _likely(self, segment: Segment) -> Tensor:
        """[B, T] log-probabilities alone."""
        row = self.trunk.packed(segment, whole=False)
        self._seeing(segment)
        hidden, spoken = self.trunk.hidden(row, row.at), segment.action.flatten()[row.steps]
        found, _ = logprobs(hidden, spoken, self.trunk.logits, self.trunk.vocabulary, self.temperature)
        return spread(found, row.steps, segment.action.shape)

    def _seeing(self, segment: Segment) -> None:
        """Refuse rows that act where nothing stands before them: only the first step of an empty prompt can be one."""
        groups, seen, said = segment.sizes
        silent = ((seen[groups] == 0) & (said > 0)).nonzero()[:, 0]
        if not len(silent):
            return
        acting = segment.mask[:, 0].cpu()[silent]
        if bool(acting.any()):
            blind = silent[acting].tolist()
            raise ValueError(
                f"{len(blind)} row(s) act with nothing before them, the first is {segment.names[blind[0]]!r}: "
                "begin its observation with the beginning-of-text token"
            )


@contextlib.contextmanager
def _as_it_was(model: Any) -> Iterator[None]:
    """The adapted model as its reference."""
    if "reference" not in model.peft_config:
        with model.disable_adapter():
            yield
        return
    model.set_adapter("reference")
    try:
        yield
    finally:
        model.set_adapter("default")


class SamplerDrift(ValueError):
    """The sampler and the trainer disagree about how likely the same tokens were."""


def drift(sampled: Tensor, evaluated: Tensor, mask: Tensor) -> tuple[float, float]:
    """Largest and mean distance of two log-probabilities [B, T] where mask [B, T] is True; (0, 0) where it never is."""
    apart = (sampled - evaluated).abs()[mask]
    return (float(apart.max()), float(apart.mean())) if len(apart) else (0.0, 0.0)


def exact(sampled: Tensor, evaluated: Tensor, segment: Segment, tolerance: float = 1e-4) -> float:
    """The largest distance between the sampler's and the trainer's log-probabilities [B, T].

    Raises SamplerDrift, naming the row, when it is above the tolerance or not a number.
    """
    apart = (sampled - evaluated).abs().masked_fill(~segment.mask, 0)
    worst = float(apart.max()) if apart.numel() else 0.0
    if not worst <= tolerance:
        row, step = divmod(int(apart.nan_to_num(torch.inf).argmax()), apart.shape[1])
        raise SamplerDrift(
            f"sampler and trainer differ by {worst:.3g} (allowed {tolerance:.3g}) at step {step} of row "
            f"{segment.names[row]!r}: {float(sampled[row, step]):.6f} against {float(evaluated[row, step]):.6f}; "
            "same weights? same temperature? dropout off? otherwise recompute the old log-probabilities"
        )
    return worst

"""A small actor-critic of two separate trunks, for discrete and for continuous actions."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from accord.batches import Segment
from accord.protocols import Evaluated

Kind = Literal["categorical", "gaussian"]


class ToyPolicy(nn.Module):
    """Features in, a distribution over actions out; the critic has a trunk of its own.

    categorical: `actions` choices, an action is an int64. gaussian: `actions` dimensions, an action is a vector of
    floats; the mean depends on the features, the spread is one learned number per dimension.
    """

    def __init__(self, features: int, actions: int, kind: Kind, width: int = 32, seed: int = 0) -> None:
        """seed: fixes the first weights, whatever was drawn before."""
        super().__init__()
        self.kind: Kind = kind
        self.actor = _trunk(features, actions, width)
        self.critic: nn.Module | None = _trunk(features, 1, width)
        self.log_std = nn.Parameter(torch.full((actions,), -0.5), requires_grad=kind == "gaussian")
        generator = torch.Generator().manual_seed(seed)
        for trunk, last in ((self.actor, 0.1), (self.critic, 1.0)):
            layers = [layer for layer in trunk.modules() if isinstance(layer, nn.Linear)]
            for layer in layers:
                gain = last if layer is layers[-1] else 1.0
                nn.init.orthogonal_(layer.weight, gain, generator=generator)
                nn.init.zeros_(layer.bias)

    @torch.no_grad()
    def act(self, features: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw actions. features: [N, D]. Returns (actions [N] int64 or [N, A] fp32, log-probabilities [N]).

        The worlds live on the CPU, so what is drawn there does not depend on where the policy computes.
        """
        out = self.actor(features.to(self.log_std.device))
        if self.kind == "categorical":
            action = torch.multinomial(out.softmax(-1).cpu(), 1, generator=generator)[:, 0].to(out.device)
        else:
            noise = torch.randn(out.shape, generator=generator).to(out.device)
            action = out + self.log_std.exp() * noise
        return action.cpu(), self._logprob(out, action).cpu()

    def expected(self, features: Tensor) -> Tensor:
        """[...] what the critic expects from features [..., D]."""
        assert self.critic is not None
        value: Tensor = self.critic(features.to(self.log_std.device))
        return value.squeeze(-1)

    def evaluate(self, segment: Segment) -> Evaluated:
        """Look again at actions. Observations are [G, D] for one step or [G, T, D] for several."""
        seen = segment.observation[segment.group]
        if seen.ndim == 2:
            seen = seen[:, None]
        out = self.actor(seen)
        if self.kind == "categorical":
            logits = out.log_softmax(-1)
            entropy = -(logits.exp() * logits).sum(-1)
        else:
            entropy = (self.log_std + 0.5 * math.log(2 * math.pi * math.e)).sum().expand(seen.shape[:2])
        logprob = torch.where(segment.present, self._logprob(out, segment.action), 0.0)
        return Evaluated(logprob, entropy, self.expected(seen) if self.critic is not None else None)

    def _logprob(self, out: Tensor, action: Tensor) -> Tensor:
        """Log-probability of actions under the trunk's output [..., A]."""
        if self.kind == "categorical":
            return out.log_softmax(-1).gather(-1, action[..., None])[..., 0]
        z = (action - out) / self.log_std.exp()
        return (-0.5 * z.square() - self.log_std - 0.5 * math.log(2 * math.pi)).sum(-1)


def toy(policy: object) -> ToyPolicy:
    """The same policy, known to be one that acts in toy worlds. Raises TypeError when it is none."""
    if not isinstance(policy, ToyPolicy):
        raise TypeError(f"a toy world is acted in by a ToyPolicy, not by a {type(policy).__name__}")
    return policy


def _trunk(features: int, outputs: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(features, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, outputs)
    )

"""Answers with what a reference policy thought of them, asked once before anything is learned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Any, Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor

from accord.batches import ROW, Segment, pack
from accord.config import Settings
from accord.protocols import Evaluated


class Anchor(Settings):
    """What drift is measured from, in PPO, GRPO, DPO and their kin."""

    reference: Literal["fixed", "ema"] = "fixed"
    """`fixed`: a version as it is (`--reference`, else the start). `ema`: an exponential moving average of the policy's
    weights, which begins at the start and follows at each optimiser step; the version of `--reference` is not asked."""
    decay: float = Field(default=0.99, ge=0, le=1)
    """Share of the average that stays at each step: 1 never follows, 0 is the policy itself and prices no drift."""


class Actor(Protocol):
    """A trainable policy, an nn.Module."""

    def evaluate(self, segment: Segment) -> Evaluated: ...


Reference = Callable[[Segment], Tensor]
"""Log-probabilities [B, T] of the same actions under the policy that drift is measured from."""


@dataclass(frozen=True)
class Referred(Segment):
    """Answers whose reference log-probability stays with its row in every micro-batch."""

    reference: Tensor = field(metadata=ROW)
    """[B] fp32: log-probability of each whole answer under the reference."""


def whole(logprob: Tensor, mask: Tensor) -> Tensor:
    """[B] log-probability of each answer: the sum over the tokens that the policy wrote. logprob, mask: [B, T]."""
    return torch.where(mask, logprob, 0.0).sum(1)


@torch.no_grad()
def whole_of(reference: Reference, segment: Segment, micro_tokens: int) -> Tensor:
    """[B] log-probability of each answer under a policy, without gradient."""
    found = torch.zeros(len(segment), device=segment.weight.device)
    for index in pack(segment, micro_tokens):
        micro = segment.rows(index)
        found[index] = whole(reference(micro), micro.mask).to(found)
    return found


def with_reference(segment: Segment, reference: Tensor) -> Referred:
    """The answers with [B] log-probabilities beside them."""
    plain: dict[str, Any] = {f.name: getattr(segment, f.name) for f in fields(Segment)}
    return Referred(**plain, reference=reference)


def referred(segment: Segment) -> Tensor:
    """[B] what the reference thought. Raises TypeError when it was not asked."""
    if not isinstance(segment, Referred):
        raise TypeError("this loss needs the reference's log-probabilities: give answers that are `Referred`")
    return segment.reference

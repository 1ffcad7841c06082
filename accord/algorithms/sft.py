"""Learning by imitation: pretraining on documents, fine-tuning on demonstrations.

Both maximise the likelihood of the tokens that count; they differ in their data alone, so they are one loop. For
pretraining every token of a document counts; for demonstrations only the assistant's do.
Ours: the mean is over tokens of the whole batch, weighted by example; not a mean of the examples' means.
"""

from __future__ import annotations

from typing import Protocol

import torch
from pydantic import Field
from torch import Tensor

from accord.batches import Segment
from accord.config import Settings, SettingsError
from accord.protocols import Evaluated
from accord.run import OptimiserConfig, Run


class Config(Settings):
    """Settings of pretraining and of supervised fine-tuning."""

    epochs: float = Field(default=1.0, gt=0)
    """How often each row is seen; parts of an epoch are allowed."""
    batch: int = Field(default=32, ge=1)
    """Rows (documents' chunks or demonstrations) per optimiser step."""
    micro_tokens: int = Field(default=8192, ge=1)
    """Tokens computed at once. Changes memory and speed, never the result."""
    check_every: int = Field(default=0, ge=0)
    """Measure the held-out loss after so many steps; 0 only at the end."""
    optimiser: OptimiserConfig = OptimiserConfig()
    """How the parameters move."""


class Imitator(Protocol):
    """A trainable policy, an nn.Module."""

    def evaluate(self, segment: Segment) -> Evaluated: ...


def negative_log_likelihood(logprob: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """-w_b log p(a_bt) where the token counts, else 0. logprob, mask: [B, T]; weight: [B]. Returns [B, T] in nats."""
    return -torch.where(mask, logprob, 0.0) * weight[:, None]


def steps(config: Config, rows: int) -> int:
    """Optimiser steps that the settings come to; a batch holds no row twice, so it is never larger than all rows."""
    return max(1, round(config.epochs * rows / min(config.batch, max(1, rows))))


def train(
    config: Config, policy: Imitator, examples: Segment, run: Run, held_out: Segment | None = None
) -> dict[str, float]:
    """Fit the policy to the examples. Returns the last figures: loss (nats per token), held_out_loss.

    Raises ValueError when no token of the examples counts.
    """
    if not len(examples):
        raise SettingsError(
            "there is not one example to learn from: are the files empty, all on the test side, or of pairs alone? "
            "Fine-tuning wants data.demonstrations; data.imitate=chosen makes them of the better answers of pairs"
        )
    if not examples.mask.any():
        raise ValueError(f"none of the {len(examples)} examples has a token to learn: look at their masks")
    total = steps(config, len(examples))
    run.optimise(config.optimiser, total, policy=policy)
    figures: dict[str, float] = {}
    for step in run.steps(total):
        batch = run.share(examples.rows(run.deal(len(examples), config.batch))).to(run.device)
        count = run.total((batch.mask * batch.weight[:, None]).sum())
        loss = torch.zeros((), device=run.device)
        for micro in run.split(batch, config.micro_tokens):
            with run.learning(policy):
                now = policy.evaluate(micro)
                part = negative_log_likelihood(now.logprob, micro.mask, micro.weight).sum() / count
                run.backward(part, micro.names)
            loss += part.detach()
        figures = run.step(loss=loss, tokens=batch.mask.sum())
        last = step + 1 == total
        if held_out is not None and (last or (config.check_every and (step + 1) % config.check_every == 0)):
            figures["held_out_loss"] = loss_on(policy, held_out.to(run.device), config.micro_tokens)
        run.log(**figures)
    return figures or run.last_figures()


@torch.no_grad()
def loss_on(policy: Imitator, examples: Segment, micro_tokens: int) -> float:
    """Mean loss per counted token, weighted by example, in nats."""
    lost = counted = 0.0
    for micro in examples.split(micro_tokens):
        lost += float(negative_log_likelihood(policy.evaluate(micro).logprob, micro.mask, micro.weight).sum())
        counted += float((micro.mask * micro.weight[:, None]).sum())
    return lost / max(counted, 1e-8)

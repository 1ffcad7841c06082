"""A process reward model: how likely each step of an answer is right, learned from places that people marked.

Uesato et al. 2022, Lightman et al. 2023: a head on a decoder reads the end of each step and says whether the steps so
far hold; with `per: token` it says of each token whether it lies in a fault (Wu et al. 2023). A causal trunk reads what
came before and nothing that follows, so one pass judges all steps.
Ours: labels may be unsure; one mean over all judged places of the batch.
"""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from accord.batches import Segment
from accord.config import Settings, SettingsError
from accord.marked import Marked
from accord.run import OptimiserConfig, Run


class Config(Settings):
    """Settings of learning which steps are right."""

    per: Literal["step", "token"] = "step"
    """`step`: each marked place is a step, right or wrong at its end. `token`: each token is wrong inside a marked
    fault and right elsewhere."""
    epochs: float = Field(default=1.0, gt=0)
    """How often each answer is seen."""
    batch: int = Field(default=32, ge=1)
    """Answers per optimiser step."""
    micro_tokens: int = Field(default=8192, ge=1)
    """Tokens computed at once. Changes memory and speed, never the result."""
    check_every: int = Field(default=0, ge=0)
    """Measure held-out accuracy after so many steps; 0 only at the end."""
    optimiser: OptimiserConfig = OptimiserConfig(learning_rate=3e-4, schedule="linear", warmup=0.1)
    """How the parameters move."""


class Reader(Protocol):
    """A trainable scorer, an nn.Module, that reads a number at each token."""

    def each(self, segment: Segment) -> Tensor: ...


def marked_loss(log_odds: Tensor, label: Tensor) -> Tensor:
    """-label log s(log_odds) - (1 - label) log s(-log_odds), in nats. All of one shape."""
    return binary_cross_entropy_with_logits(log_odds, label, reduction="none")


def counted(examples: Marked) -> Tensor:
    """[B, T] what each judged place counts."""
    return examples.judged * examples.weight[:, None]


def train(
    config: Config, scorer: Reader, examples: Marked, run: Run, held_out: Marked | None = None
) -> dict[str, float]:
    """Fit the scorer to the labels. Returns the last figures (docs/process_reward.md explains each).

    Raises SettingsError when no place was judged.
    """
    if not len(examples) or not examples.judged.any():
        raise SettingsError(f"none of the {len(examples)} answers has a judged place to learn from")
    total = max(1, round(config.epochs * len(examples) / min(config.batch, len(examples))))
    run.optimise(config.optimiser, total, scorer=scorer)
    figures: dict[str, float] = {}
    for step in run.steps(total):
        batch = run.share(examples.rows(run.deal(len(examples), config.batch))).to(run.device)
        count = run.total(counted(batch).sum())
        figures = {"loss": 0.0, "accuracy": 0.0, "right": 0.0}
        for micro in run.split(batch, config.micro_tokens):
            with run.learning(scorer):
                log_odds, share = scorer.each(micro), counted(micro) / count
                each = torch.where(micro.judged, marked_loss(log_odds, micro.label), 0.0)
                run.backward((each * share).sum(), micro.names)
            parts = {"loss": each.detach(), "accuracy": agreed(log_odds.detach(), micro.label), "right": micro.label}
            for name, part in parts.items():
                figures[name] += float((torch.where(micro.judged, part, 0.0) * share).sum())
        figures = run.step(**figures, places=float(batch.judged.sum()))
        last = step + 1 == total
        if held_out is not None and (last or (config.check_every and (step + 1) % config.check_every == 0)):
            figures |= looked(scorer, held_out.to(run.device), config.micro_tokens)
        run.log(**figures)
    return figures or run.last_figures()


def agreed(log_odds: Tensor, label: Tensor) -> Tensor:
    """1 where the head is on the side of the label, 1/2 where either says neither, else 0. All of one shape."""
    return (1 + torch.sign(log_odds) * torch.sign(label - 0.5)) / 2


@torch.no_grad()
def looked(scorer: Reader, examples: Marked, micro_tokens: int) -> dict[str, float]:
    """Mean loss and accuracy over judged places that are not trained on."""
    lost = right = count = 0.0
    for micro in examples.split(micro_tokens):
        log_odds, share = scorer.each(micro), counted(micro)
        lost += float((torch.where(micro.judged, marked_loss(log_odds, micro.label), 0.0) * share).sum())
        right += float((torch.where(micro.judged, agreed(log_odds, micro.label), 0.0) * share).sum())
        count += float(share.sum())
    return {"held_out_loss": lost / max(count, 1e-8), "held_out_accuracy": right / max(count, 1e-8)}

"""A head of its own for length, so that a score does not pay for it (ODIN, Chen et al. 2024, eq. 4 and 5).

Both heads together explain what was said; correlation with length is driven into the one and out of the other, and
only the other is used.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from accord.algorithms.judgements import correlation
from accord.algorithms.scales import Columns, Trunk
from accord.config import Settings


class Odin(Settings):
    """A head of its own for length (Chen et al. 2024, eq. 4 and 5)."""

    correlation: float = Field(default=0.0, ge=0)
    """Weight of |correlation of the quality with length| less that of the length head; 0 for no length head. The
    paper takes 1."""
    orthogonality: float = Field(default=1.0, ge=0)
    """Weight of the absolute product of both heads' weights."""


def added(scores: Tensor, longer: Tensor) -> Tensor:
    """[B, C] scores with what length adds to the main one: what the judgements are explained by."""
    return torch.cat([scores[:, :1] + longer[:, None], scores[:, 1:]], 1)


def away_from_length(config: Odin, quality: Tensor, longer: Tensor, size: Tensor) -> Tensor:
    """[2, B] slope of ODIN's |corr(quality, length)| - corr(length head, length) in both scores of each row.

    A correlation is of a whole batch, so its slope is found first, on scores without gradient, and then handed to
    whatever micro-batch a row is in. quality, longer: [B] the score and what length adds; size: [B] tokens.
    """
    both = torch.stack([quality, longer]).requires_grad_()
    with torch.enable_grad():
        apart = correlation(both[0], size.to(both)).abs() - correlation(both[1], size.to(both))
        (slope,) = torch.autograd.grad(config.correlation * apart, both)
    return slope


def crossing(scorer: Trunk, columns: Columns) -> Tensor:
    """|w_quality . w_length|: the scorer's own head is linear, so it reads its product off the other's weights."""
    assert columns.length is not None
    weight = columns.length.weight
    return (scorer.read(weight) - scorer.read(torch.zeros_like(weight))).abs().sum()

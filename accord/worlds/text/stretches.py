"""Stretches of a packed row that are computed together: those of like length, and their places."""

from __future__ import annotations

import torch
from torch import Tensor

SHRINK = 0.8
"""Stretches down to this share of the longest are padded to it and computed together."""
FLOOR = 16
"""Stretches that are at most so long are computed together whatever their lengths."""


def buckets(length: Tensor, shrink: float = SHRINK) -> list[Tensor]:
    """Numbers of the stretches, [n] int64 lengths, in parts of like length; within a part in their old order."""
    if len(length) == 0:
        return []
    kind = torch.ceil(torch.log(length.clamp(min=FLOOR).double() / FLOOR) / -torch.log(torch.tensor(shrink)))
    return [(kind == k).nonzero()[:, 0] for k in torch.unique(kind)]


def places(start: Tensor, length: Tensor) -> Tensor:
    """[n, longest] places of n stretches; a shorter one repeats its last place, so that padding brings nothing new."""
    step = torch.arange(int(length.max()), device=start.device)
    return start[:, None] + torch.minimum(step, length[:, None] - 1)

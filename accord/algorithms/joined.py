"""Rollouts end to end: what was collected at several times as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from accord.batches import Rollout


def joined(rollouts: Sequence[Rollout]) -> Rollout:
    """All rows in order, with as much padding as the longest needs; groups stay apart.

    A field that some have and others have not is left out. Raises ValueError when there is none to join.
    """
    if not rollouts:
        raise ValueError("no rollouts to join")
    places = max(r.observation.shape[1] for r in rollouts)
    steps = max(r.action.shape[1] for r in rollouts)
    before = [sum(len(r.observation_length) for r in rollouts[:i]) for i in range(len(rollouts))]
    taken: dict[str, Any] = {}
    for f in fields(Rollout):
        parts = [getattr(r, f.name) for r in rollouts]
        if any(part is None for part in parts):
            taken[f.name] = None
        elif f.name == "names":
            taken[f.name] = tuple(name for part in parts for name in part)
        elif f.name == "group":
            taken[f.name] = torch.cat([part + first for part, first in zip(parts, before, strict=True)])
        else:
            wide = {"observation": places}.get(f.name, steps if f.metadata.get("axis") == "step" else None)
            taken[f.name] = torch.cat(parts if wide is None else [padded(part, wide) for part in parts])
    return replace(rollouts[0], **taken)


def padded(values: Tensor, width: int) -> Tensor:
    """[N, W, ...] as [N, width, ...], zeros at the end."""
    more = width - values.shape[1]
    return torch.cat([values, values.new_zeros(len(values), more, *values.shape[2:])], dim=1)

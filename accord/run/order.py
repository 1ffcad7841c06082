"""In which order things are dealt to a loop: all once before any twice, by chance or by a rule such as a curriculum."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from accord.run.settings import seed_of

Order = Callable[[Any, int, int], Tensor]
"""(run, count, size) -> [size] int64: which of `count` things come at the run's step `at`."""


def shuffled(seed: int, turn: int, count: int) -> Tensor:
    """[count] the order of one round, by chance."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed_of(seed, "deal", turn)))


def dealt(order: Callable[[int], Tensor], at: int, count: int, size: int) -> Tensor:
    """[size] int64: what comes at step `at` when each round deals all of `count` things. order: round -> [count]."""
    size = min(size, count)
    first = at * size
    rounds = range(first // count, (first + size - 1) // count + 1)
    start = first - rounds[0] * count
    return torch.cat([order(turn) for turn in rounds])[start : start + size]

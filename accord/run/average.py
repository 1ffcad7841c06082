"""An average of weights over time: a policy that follows slowly, and is put in the place of the weights to be asked."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn


class Average:
    """The exponential moving average of what a module learns. It belongs to the checkpoint."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        """decay: share of the average that stays at each update. The average begins as the weights are now.

        Raises ValueError for a decay that is no share.
        """
        if not 0 <= decay <= 1:
            raise ValueError(f"decay={decay} is a share of the average: use one from 0 (the weights) to 1 (the start)")
        self.decay = decay
        self._weights = {name: p for name, p in module.named_parameters() if p.requires_grad}
        self._mean = {name: p.detach().float().clone() for name, p in self._weights.items()}

    @torch.no_grad()
    def follow(self) -> None:
        """mean = decay mean + (1 - decay) weights, in fp32: a small step would be lost in fewer bits."""
        for name, mean in self._mean.items():
            mean.lerp_(self._weights[name].float(), 1 - self.decay)

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """The average in the place of the weights. Nothing may learn inside."""
        kept = {name: p.data for name, p in self._weights.items()}
        try:
            for name, p in self._weights.items():
                p.data = self._mean[name].to(p.dtype)
            yield
        finally:
            for name, p in self._weights.items():
                p.data = kept[name]

    def state_dict(self) -> dict[str, Tensor]:
        """For the checkpoint."""
        return dict(self._mean)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """From the checkpoint. Raises ValueError when it is of another model."""
        if set(state) != set(self._mean) or any(state[name].shape != mean.shape for name, mean in self._mean.items()):
            raise ValueError(f"the checkpoint averages {len(state)} other weights than the {len(self._mean)} here")
        for name, mean in self._mean.items():
            mean.copy_(state[name])


def follow(things: Iterable[object]) -> None:
    """Let those that are averages follow their weights."""
    for thing in things:
        if isinstance(thing, Average):
            thing.follow()

"""From main memory to a GPU that is at work without waiting for it, and back with one wait that may come late.

A plain `tensor.to("cuda")` waits until the GPU has done all that it was asked for before. From memory that cannot be
swapped out (pinned) a copy is one more thing that it is asked for, and so is one into such memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor


def sent(tensor: Tensor, device: torch.device | str) -> Tensor:
    """The tensor on that device. Only a copy into main memory is waited for."""
    if tensor.device.type == "cpu" and torch.device(device).type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def together(tables: Sequence[Tensor], device: torch.device | str) -> tuple[Tensor, ...]:
    """Tables of one kind on that device, which are one copy where they are not there yet."""
    if not tables or tables[0].device.type == torch.device(device).type:
        return tuple(table.to(device) for table in tables)
    whole = sent(torch.cat([table.flatten() for table in tables]), device)
    parts = torch.split(whole, [table.numel() for table in tables])
    return tuple(part.view(table.shape) for part, table in zip(parts, tables, strict=True))


def moved(noun: Any, device: torch.device | str) -> dict[str, Any]:
    """The tensors of a noun on another device, by name."""
    return {f.name: sent(v, device) for f in fields(noun) if isinstance(v := getattr(noun, f.name), Tensor)}


class Coming:
    """A tensor on its way to main memory. What the GPU is asked for after it need not be waited for to have it."""

    def __init__(self, tensor: Tensor) -> None:
        """Asks for the copy."""
        self._tensor, self._event = tensor, None
        if tensor.device.type == "cuda":
            self._tensor = tensor.to("cpu", non_blocking=True)  # torch takes pinned memory for it
            self._event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._event.record()

    def here(self) -> Tensor:
        """The tensor in main memory, once the copy is done."""
        if self._event is not None:
            self._event.synchronize()
            self._event = None
        return self._tensor.cpu()

"""Where both sides of a comparison work: on the processor in fp32, or on a GPU in a named precision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

Told = dict[str, Any]


def place(job: Mapping[str, Any]) -> tuple[str, str]:
    """Device and precision of a job; the processor and `float32` where it names none."""
    return str(job.get("device", "cpu")), str(job.get("dtype", "float32"))


def weighed(work: Callable[[Told], Told], job: Mapping[str, Any]) -> Callable[[Told], Told]:
    """The work, which tells besides how many MB of a GPU's memory its tensors took at most (`gpu_mb`)."""
    if place(job)[0] != "cuda":
        return work

    def done(wish: Told) -> Told:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        told = work(wish)
        return {**told, "gpu_mb": torch.cuda.max_memory_allocated() / 2**20}

    return done

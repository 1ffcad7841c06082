"""What every run has in common, whatever it learns; and seeds by name."""

from __future__ import annotations

import hashlib
import json

from pydantic import Field

from accord.config import Settings
from accord.run.log import Tracker


class RunConfig(Settings):
    """What every run has in common, whatever it learns."""

    seed: int = 0
    """Fixes every random choice: the same seed and settings give the same weights."""
    device: str = "auto"
    """`cpu`, `cuda`, `cuda:1`; `auto` takes a GPU when there is one."""
    threads: int = Field(default=0, ge=0)
    """CPU threads for matrix products; 0 leaves it to torch. Another number may change the last bits of a result."""
    shard: bool = False
    """Of several processes each keeps only its share of weights, gradients and optimiser state (FSDP2), gathered layer
    by layer while it is used: less memory, more talk. Off, each holds them whole."""
    trackers: tuple[Tracker, ...] = ("tensorboard",)
    """Where the figures go besides `log.jsonl`."""
    checkpoint_seconds: float = Field(default=60, ge=0)
    """Least time between checkpoints; 0 writes one at every step. A crash costs at most this much."""
    keep: int = Field(default=2, ge=1)
    """How many checkpoints stay on the disk."""
    progress: bool = True
    """Show a bar with rate and remaining time."""


def seed_of(*parts: object) -> int:
    """A 63-bit seed from any parts, the same on every machine: what is drawn depends on names, not on order."""
    text = json.dumps(parts, default=str)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

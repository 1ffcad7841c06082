"""What a reference said of answers, kept in the run's folder: a run that is started again does not ask it anew.

The key is a digest of the reference's weights and of every token that it was asked about, so nothing else can ever be
taken for it.
"""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from accord.algorithms.referred import Actor, Reference, whole_of
from accord.batches import Segment
from accord.run import Run, ranks
from accord.run.account import HERE
from accord.whole import replacing


@dataclass(frozen=True)
class Frozen:
    """A reference that stands still: weights which nobody trains."""

    policy: Actor
    """Whose weights they are, so that it can be known whether they are the same."""
    ask: Reference | None = None
    """How they are asked where that is not `evaluate`: as the part of a policy that its adapter stands on."""

    def __call__(self, segment: Segment) -> Tensor:
        """[B, T] log-probabilities."""
        return self.policy.evaluate(segment).logprob if self.ask is None else self.ask(segment)


def asked_once(
    name: str, reference: Reference | None, policy: Actor, segment: Segment, micro_tokens: int, run: Run
) -> Tensor:
    """[B] log-probability of each answer under the reference, or under the policy as it is where there is none.

    Seconds and tokens stand in the log: of what comes before the first step, in that step's line.
    name: of the file in the run's folder; empty for a reference that moves, which is kept nowhere. Asked again all the
    same is a reference that does not say whose weights it asks (`Frozen`), one that several processes ask together, and
    what is not found whole under its key.
    """
    here, asked = segment.to(run.device), Frozen(policy) if reference is None else reference
    whose = asked.policy if isinstance(asked, Frozen) else None
    with HERE.asking(str(run.folder)):
        if not name or not isinstance(whose, nn.Module) or ranks.count() > 1:
            return whole_of(asked, here, micro_tokens)
        file, key = run.folder / f"{name}.safetensors", key_of(whose, segment)
        found = read(file, key)
        if found is None:
            found = whole_of(asked, here, micro_tokens)
            write(file, key, found)
        return found.to(run.device)


def key_of(policy: nn.Module, segment: Segment) -> str:
    """SHA-256 of weights, temperature and rows."""
    seen = hashlib.sha256(repr(getattr(policy, "temperature", None)).encode())
    said = {
        field: getattr(segment, field) for field in ("observation", "observation_length", "group", "action", "length")
    }
    for name, tensor in {**policy.state_dict(), **said, "mask": segment.mask}.items():
        plain: Any = tensor.detach().cpu().contiguous()
        seen.update(f"{name} {plain.dtype} {tuple(plain.shape)}".encode())
        seen.update(plain.reshape(-1).view(torch.uint8).numpy())
    return seen.hexdigest()


def read(file: Path, key: str) -> Tensor | None:
    """What is kept under that key; None when there is nothing, something else, or half of it."""
    try:
        with safe_open(str(file), "pt") as kept:
            return kept.get_tensor("logprob") if (kept.metadata() or {}).get("key") == key else None
    except (OSError, SafetensorError):
        return None


def write(file: Path, key: str, found: Tensor) -> None:
    """Whole or not at all; a full disk only means that it will be asked again."""
    with contextlib.suppress(OSError), replacing(file) as handle:
        handle.write(save({"logprob": found.cpu().contiguous()}, {"key": key}))

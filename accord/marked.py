"""The noun of what was said of single places of answers: which steps or tokens were judged, and how right they are."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from accord.batches import STEP, Segment


@dataclass(frozen=True)
class Marked(Segment):
    """Answers with labels at some of their tokens."""

    label: Tensor = field(metadata=STEP)
    """[B, T] fp32 in [0, 1]: how sure it is that what ends at this token, or the token itself, is right."""
    judged: Tensor = field(metadata=STEP)
    """[B, T] bool: where somebody said so; elsewhere the label says nothing."""

"""What a diagnosis is made of: thresholds, figures, findings, and how a log is read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from accord.config import Settings
from accord.evaluate.reward import RewardCard
from accord.records import Record
from accord.statistics import Interval

Level = Literal["ok", "watch", "fault"]
Rows = Sequence[Mapping[str, Any]]


class Thresholds(Settings):
    """Where a number becomes a finding."""

    uniform_share: float = Field(default=0.8, gt=0)
    """Loss above this share of log(vocabulary) at the end: the model has hardly learned to predict."""
    held_out_gap: float = Field(default=0.5, gt=0)
    """Nats per token by which the held-out loss may exceed the training loss."""
    chosen_gain: float = 0.0
    """Nats per token by which fine-tuning should lower the loss on answers that people chose."""
    ceiling_share: float = Field(default=0.9, gt=0, le=1)
    """Share of the agreement ceiling that a reward model should reach."""
    reward_gap: float = Field(default=0.2, gt=0)
    """How much a reward model's accuracy on training pairs may exceed that on held-out ones."""
    length_gap: float = Field(default=0.3, gt=0)
    """How much more often it may be right when the better answer is the longer one than when it is the shorter."""
    ece: float = Field(default=0.15, gt=0)
    """Calibration error from which scores should be divided by the temperature before they are trusted."""
    kl_budget: float = Field(default=20.0, gt=0)
    """Nats per answer that the policy may drift from the reference."""
    kl_least: float = Field(default=0.02, ge=0)
    """Nats per answer below which the policy has learned nothing."""
    entropy_share: float = Field(default=0.2, gt=0, lt=1)
    """Share of its first entropy per token below which a policy has collapsed."""
    finished_drop: float = Field(default=0.1, gt=0)
    """By how much the share of answers that end by themselves may fall."""
    clip_high: float = Field(default=0.4, gt=0)
    """Mean clip fraction above which updates are too large."""
    clip_low: float = Field(default=1e-5, ge=0)
    """Mean clip fraction below which updates never reach the clip: the learning rate may be too small."""
    flat_groups: float = Field(default=0.8, ge=0, le=1)
    """Share of prompts whose answers all earned the same, above which a method that compares them learns little."""
    explained_least: float = 0.0
    """Explained variance of the critic that its last iterations should exceed."""
    drift: float = Field(default=0.01, gt=0)
    """Nats per token by which sampler and trainer may differ on average."""
    first_ratio: float = Field(default=1e-3, gt=0)
    """How far the very first ratio of a rollout may be from 1."""
    length_factor: float = Field(default=1.8, gt=1)
    """By what factor the mean length of answers may grow or shrink."""
    early: float = Field(default=0.1, gt=0, le=0.5)
    """Share of a log that counts as its beginning, and as its end."""


class Figures(Record):
    """What was measured outside the logs; all of it may be missing. Keys are the names of stages in the logs."""

    vocabulary: int | None = Field(default=None, gt=1)
    """Tokens that there are; log of it is the loss of a model that knows nothing."""
    chosen_loss: dict[str, float] = Field(default_factory=dict)
    """Nats per token of each stage's policy on answers that people chose."""
    cards: dict[str, RewardCard] = Field(default_factory=dict)
    """Card of the reward model that each stage made."""
    win_rate: dict[str, Interval] = Field(default_factory=dict)
    """How often each stage's policy beats the one it started from, by gold or by fresh judges, never by the reward."""


class Finding(Record):
    """One check of one stage."""

    stage: str
    """Whose fault it is."""
    check: str
    """What was looked at."""
    level: Level
    """`ok`, `watch` (look at it) or `fault` (mend this first)."""
    text: str
    """What was found."""
    value: float
    """The number."""
    threshold: float
    """What it was held against."""
    remedy: str = ""
    """What to do."""


# --- reading logs ----------------------------------------------------------------------------------------------


def judge(
    stage: str, check: str, value: float, threshold: float, good: bool, text: str, remedy: str, bad: Level = "fault"
) -> Finding:
    """A finding that is `ok` or `bad`; what is ok needs no remedy."""
    level: Level = "ok" if good else bad
    return Finding(
        stage=stage,
        check=check,
        level=level,
        text=text,
        value=value,
        threshold=threshold,
        remedy="" if good else remedy,
    )


def series(rows: Rows, name: str) -> list[float]:
    """All finite values of one figure, in order."""
    found = [row.get(name) for row in rows]
    return [float(v) for v in found if isinstance(v, int | float) and math.isfinite(v)]


def begin(rows: Rows, name: str, limits: Thresholds) -> float | None:
    """Mean of a figure over the beginning of the log."""
    values = series(rows, name)
    part = values[: max(1, int(limits.early * len(values)))]
    return sum(part) / len(part) if part else None


def end(rows: Rows, name: str, limits: Thresholds) -> float | None:
    """Mean of a figure over the end of the log."""
    return begin(list(reversed(rows)), name, limits)


def newest(rows: Rows, name: str) -> float | None:
    """The last value of a figure that is not logged at every step."""
    values = series(rows, name)
    return values[-1] if values else None


def shown(interval: Interval) -> str:
    """A figure with its ends."""
    return f"{interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}]"

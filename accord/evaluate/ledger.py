"""What training changed, and at what price: named figures before and after, and a flag where something got worse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import Field

from accord.evaluate.rates import Clusters, share
from accord.records import Record
from accord.statistics import Interval, mean_interval, paired_difference

Wanted = Literal["higher", "lower", "neither"]
Verdict = Literal["better", "worse", "same", "changed", "new"]


class Line(Record):
    """One figure before and after."""

    name: str
    """What was measured."""
    kind: Literal["share", "mean"]
    """A share lies in 0..1 and is shown in per cent."""
    wanted: Wanted
    """Which direction is good."""
    before: Interval | None
    """Of the old version; None for what only the new one has, as drift."""
    after: Interval
    """Of the new version."""
    change: Interval | None
    """after - before, paired."""
    verdict: Verdict
    """`same`: the interval of the change holds 0, or the change is within the tolerance."""
    command: str = ""
    """What makes this figure again."""


class Ledger(Record):
    """All lines together."""

    lines: tuple[Line, ...] = Field(default=())
    """In the order in which they were entered."""

    def worse(self) -> tuple[Line, ...]:
        """What got worse."""
        return tuple(line for line in self.lines if line.verdict == "worse")

    def line(self, name: str) -> Line | None:
        """The line of that name, if there is one."""
        return next((line for line in self.lines if line.name == name), None)


def entry(
    name: str,
    before: ArrayLike | None,
    after: ArrayLike,
    clusters: Clusters | None = None,
    wanted: Wanted = "neither",
    kind: Literal["share", "mean"] = "share",
    tolerance: float = 0.0,
    command: str = "",
) -> Line:
    """One line from values that belong together in pairs: before[i] and after[i] were measured on the same thing.

    clusters: names of the prompts, so that several answers to one prompt do not pose as independent. A change counts
    when its 95 % interval excludes 0 and it is larger than `tolerance`. Values that are nan on either side (the
    measure does not apply) are left out as a pair. Raises ValueError when nothing is left or the lengths differ.
    """
    new = np.asarray(after, dtype=float).ravel()
    old = None if before is None else np.asarray(before, dtype=float).ravel()
    names = np.arange(new.size) if clusters is None else np.array([str(c) for c in clusters], dtype=object)
    if names.size != new.size or (old is not None and old.size != new.size):
        raise ValueError(f"{name}: {old.size if old is not None else 'no'} values before, {new.size} after")
    there = ~np.isnan(new) if old is None else ~(np.isnan(new) | np.isnan(old))
    if not there.any():
        raise ValueError(f"{name}: none of the {new.size} pairs has a value on both sides")
    measure = share if kind == "share" else mean_interval
    change = None if old is None else paired_difference(new[there], old[there], names[there])
    return Line(
        name=name,
        kind=kind,
        wanted=wanted,
        before=None if old is None else measure(old[there], names[there]),
        after=measure(new[there], names[there]),
        change=change,
        verdict=_verdict(change, wanted, tolerance),
        command=command,
    )


def ledger(lines: Sequence[Line]) -> Ledger:
    """The lines as one record. Raises ValueError when two have the same name."""
    names = [line.name for line in lines]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(f"entered twice: {', '.join(twice)}")
    return Ledger(lines=tuple(lines))


def _verdict(change: Interval | None, wanted: Wanted, tolerance: float) -> Verdict:
    """What a change means."""
    if change is None:
        return "new"
    if not change.excludes(0.0) or abs(change.estimate) <= tolerance:
        return "same"
    if wanted == "neither":
        return "changed"
    return "better" if (change.estimate > 0) == (wanted == "higher") else "worse"

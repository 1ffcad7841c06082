"""Whether a rule of choice pays: what is learned from its questions against as many drawn at random."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from accord.feedback import scout
from accord.feedback.select import Floats, Indices
from accord.records import Preference
from accord.statistics import Interval, mean_interval, paired_difference

LEAST = 60
"""Beliefs of each arm below which nothing is said."""


@dataclass(frozen=True)
class Arm:
    """One rule beside the control."""

    name: str
    """The rule."""
    beliefs: int
    """How many beliefs each side learned from."""
    accuracy: Interval
    """Share of held-out beliefs that it got right."""
    control: Interval
    """The same for as many beliefs of the control arm."""
    gain: Interval
    """The first less the second, prompts as clusters."""

    @property
    def pays(self) -> bool:
        """Whether the gain is surely above 0."""
        return self.gain.low > 0


def compare(
    beliefs: Sequence[Preference],
    arm_of: Mapping[str, str],
    rows: Mapping[str, int],
    features: Floats,
    generator: np.random.Generator,
    times: int = 5,
) -> list[Arm]:
    """Each rule against the control arm, by a scout taught with equally many beliefs of each and asked about others.

    arm_of: belief id -> arm. rows: sample id -> row of the features. A half of the control arm, by prompt, is held out
    in each of `times` draws: only there is every pair as likely as another. Ties are learned from and not asked.
    Arms with fewer than LEAST beliefs are left out.
    """
    known = [one for one in beliefs if one.chosen in rows and one.rejected in rows and one.id in arm_of]
    by_arm: dict[str, list[Preference]] = {}
    for one in known:
        by_arm.setdefault(arm_of[one.id], []).append(one)
    control = by_arm.pop("random", [])
    found = []
    for name, active in sorted(by_arm.items()):
        size = min(len(active), len(control) // 2)
        if size < LEAST:
            continue
        theirs, ours, prompts = list[float](), list[float](), list[str]()
        for _ in range(times):
            names = sorted({one.prompt for one in control})
            held = {names[i] for i in generator.permutation(len(names))[: len(names) // 2]}
            asked = [one for one in control if one.prompt in held and one.probability > 0.5]
            for source, right in ((active, theirs), (control, ours)):
                learn = [one for one in source if one.prompt not in held]
                learn = [learn[i] for i in generator.permutation(len(learn))[:size]]
                right += _right(learn, asked, rows, features, generator)
            prompts += [one.prompt for one in asked]
        found.append(
            Arm(
                name,
                size,
                mean_interval(theirs, prompts),
                mean_interval(ours, prompts),
                paired_difference(theirs, ours, prompts),
            )
        )
    return found


def _right(
    learn: Sequence[Preference],
    asked: Sequence[Preference],
    rows: Mapping[str, int],
    features: Floats,
    generator: np.random.Generator,
) -> list[float]:
    """For each belief asked about: 1 when the scout agrees, 0 when not, 1/2 when it cannot tell."""
    better, worse = _ends(learn, rows)
    chance = np.array([one.probability for one in learn])
    weight = np.array([one.weight for one in learn])
    worth = scout.fit(features, better, worse, chance, weight, generator, members=1)
    first, second = _ends(asked, rows)
    gap = worth[0, first] - worth[0, second] if len(worth) else np.zeros(len(asked))
    return [float(one) for one in (np.sign(gap) + 1) / 2]


def _ends(beliefs: Sequence[Preference], rows: Mapping[str, int]) -> tuple[Indices, Indices]:
    pairs = np.array([(rows[one.chosen], rows[one.rejected]) for one in beliefs], dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]

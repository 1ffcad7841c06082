"""Many simulated people, and how much agreement can be expected of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from accord.lab.atlas import dice
from accord.lab.gold import Gold
from accord.lab.people import Dials, Person
from accord.lab.reading import last_words
from accord.lab.world import Lab
from accord.records import Asked

Tastes = Literal["mixed", "direct", "indirect", "none"]


def crowd(lab: Lab, count: int, seed: int = 0, tastes: Tastes = "mixed", base: Dials | None = None) -> list[Person]:
    """A mixed crowd: some careful, some careless, with common tastes for length, confidence and agreement.

    `tastes` is the only difference between two populations: `direct` and `indirect` people have the same dials but for
    the sign of `tone`; a `mixed` crowd has every other person of each kind; `none` does not care. `base` sets the mean
    dials; reliability, carelessness and tastes are drawn around it.
    """
    gold, middle = Gold(lab), base or COMMON
    people = []
    for number in range(count):
        draw = dice(seed, "person", number)
        sign = {"mixed": 1 if number % 2 == 0 else -1, "direct": 1, "indirect": -1, "none": 0}[tastes]
        dials = Dials(
            reliability=middle.reliability * draw.uniform(0.7, 1.3),
            carelessness=min(1.0, middle.carelessness * draw.uniform(0.4, 1.6)),
            position=middle.position * draw.uniform(0.5, 1.5),
            length=middle.length * draw.uniform(0.5, 1.5),
            agreement=middle.agreement * draw.uniform(0.5, 1.5),
            confidence=middle.confidence * draw.uniform(0.5, 1.5),
            form=middle.form * draw.uniform(0.5, 1.5),
            tone=sign * middle.tone * draw.uniform(0.5, 1.5),
            tie=middle.tie,
        )
        people.append(Person(gold, f"person-{seed}-{number}", dials, seed))
    return people


COMMON = Dials(
    reliability=6.8, carelessness=0.08, position=0.25, length=1.2, agreement=0.4, confidence=1.1, form=0.2, tone=1.1
)
"""The middle of a crowd, set so that about three labels in ten differ from gold (docs/lab.md)."""


@dataclass(frozen=True)
class Agreement:
    """What can be expected of one label on the given pairs."""

    ceiling: float
    """Accuracy of the best predictor of one label that knows the texts, but neither person nor order shown. A tie is
    half a hit."""
    decided: float
    """The same of labels that are no ties: what an accuracy that leaves ties out is to be held against. Nan of none."""
    gold: float
    """Accuracy of gold as such a predictor."""
    pairs: int
    """How many pairs of different texts there were."""


def agreement(asked: Sequence[Asked], people: Sequence[Person]) -> Agreement:
    """Exact agreement over the noise model: every person equally likely, both orders equally likely.

    Raises ValueError when there is no pair of two different texts, or nobody to ask.
    """
    best = right = sure = decided = 0.0
    pairs = 0
    for one in asked:
        if len(one.samples) != 2 or last_words(one.samples[0].content) == last_words(one.samples[1].content):
            continue
        first, second = one.samples
        share = ahead = behind = 0.0
        for person in people:
            there, back = person.chances(one.prompt, first, second), person.chances(one.prompt, second, first)
            share += (there.first + there.tie / 2 + back.second + back.tie / 2) / 2 / len(people)
            ahead += (there.first + back.second) / 2 / len(people)
            behind += (there.second + back.first) / 2 / len(people)
        gap = people[0].truth(one.prompt, first) - people[0].truth(one.prompt, second) if people else 0.0
        best += max(share, 1 - share)
        sure, decided = sure + max(ahead, behind), decided + ahead + behind
        right += 0.5 if abs(gap) < 1e-9 else share if gap > 0 else 1 - share
        pairs += 1
    if not pairs or not people:
        raise ValueError(f"{pairs} pairs of different texts and {len(people)} people: nothing to agree about")
    return Agreement(best / pairs, sure / decided if decided else math.nan, right / pairs, pairs)


def ceiling(asked: Sequence[Asked], people: Sequence[Person]) -> float:
    """Accuracy of the best possible predictor of one noisy label from the texts alone (see `agreement`)."""
    return agreement(asked, people).ceiling

"""Rewards of single tokens: what a critic marks in an answer costs the tokens that it was written with.

Wu et al. 2023 (*Fine-grained human feedback gives better rewards*): a fault is paid for where it was made, so that the
rest of the answer is not blamed. The critic may be a person's critique, a judge or a rule; it marks spans of text.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Literal

import torch
from torch import Tensor

from accord.batches import Rollout
from accord.records import Span
from accord.rewards.learned import Answers

Range = tuple[int, int]
"""First code point of a part of a text, and one past its last."""
Places = Callable[[Rollout], Sequence[Sequence[Range]]]
"""Where each step of each row stands in the text of its answer; a step without text is empty (start = end)."""
Critic = Callable[[Answers], Sequence[Sequence[Span]]]
"""What is marked in each of some answers, counted in its last message."""
FAULTS = frozenset({"bad", "unsafe", "unsupported"})
"""Labels that cost."""


def touched(part: Range, places: Sequence[Range]) -> list[int]:
    """Numbers of the steps of which at least one character lies in that part of the text."""
    first, end = part
    return [t for t, (start, stop) in enumerate(places) if start < stop and start < end and first < stop]


def penalties(
    spans: Sequence[Span],
    places: Sequence[Range],
    price: float = 1.0,
    per: Literal["span", "token"] = "span",
    labels: Collection[str] = FAULTS,
) -> Tensor:
    """[T] fp32, at most 0: what the marked spans cost each step. places: T ranges.

    per `span`: each costs `price`, in equal parts on the tokens it touches, so that a long one costs no more than a
    short one, and one marked twice costs twice. per `token`: each token inside any of them costs `price`. A span that
    touches no token costs nothing.
    """
    cost = torch.zeros(len(places))
    for span in spans:
        if span.label in labels and (inside := touched((span.start, span.end), places)):
            if per == "token":
                cost[inside] = price
            else:
                cost[inside] += price / len(inside)
    return -cost


def runs(right: Sequence[float], places: Sequence[Range], least: float = 0.5, label: str = "bad") -> list[Span]:
    """Spans over neighbouring steps that are less likely right than `least`: what a head that reads tokens marks.

    right: [T] chance of each step. Steps without text neither begin nor end a span.
    """
    found: list[Range] = []
    open_ = False
    for chance, (start, end) in zip(right, places, strict=True):
        if start == end:
            continue
        if chance < least:
            found = [*found[:-1], (found[-1][0], end)] if open_ else [*found, (start, end)]
        open_ = chance < least
    return [Span(start=start, end=end, label=label) for start, end in found]


class Criticised:
    """Minus the price of what a critic marks, at the very tokens. Implements protocols.Reward.

    `marked` is the mean number of costly spans per answer of the last rollout.
    """

    def __init__(
        self,
        keep: Callable[[Rollout], Answers],
        places: Places,
        critic: Critic,
        price: float = 1.0,
        per: Literal["span", "token"] = "span",
        labels: Collection[str] = FAULTS,
    ) -> None:
        """keep: a world's rollout as records. places: where its steps stand in their texts."""
        self.keep, self.places, self.critic = keep, places, critic
        self.price, self.per, self.labels = price, per, frozenset(labels)
        self.marked = 0.0

    def __call__(self, rollout: Rollout) -> Tensor:
        """[B, T]."""
        found = torch.zeros(len(rollout), rollout.action.shape[1])
        count = 0
        pairs, where = self.keep(rollout), self.places(rollout)
        for row, (said, places) in enumerate(zip(self.critic(pairs), where, strict=True)):
            spans = [span for span in said if span.label in self.labels]
            count += len(spans)
            found[row, : len(places)] = penalties(spans, places, self.price, self.per, self.labels)
        self.marked = count / max(1, len(rollout))
        return found.to(rollout.logprob)

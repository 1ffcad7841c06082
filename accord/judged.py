"""The noun of what was said of answers in every form: pairs, rankings, ratings, scores and flags in one batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from accord.batches import Segment, filled, moved


class Kind(NamedTuple):
    """A way of judging that has a scale of its own."""

    form: str
    """`pair`, `ranking`, `rating` (levels), `score` (no levels) or `flag`."""
    criterion: str = ""
    """In what respect; empty for overall."""
    levels: int = 0
    """How many levels a rating can have; 0 for other forms."""


@dataclass(frozen=True)
class Judged:
    """What was said of rows, each thing in its own form. Each row is encoded once, however often it was judged.

    J judgements, each of one kind; E entries, each what one judgement says of one row. A row that a judgement does
    not speak of has no entry there: missing answers cost nothing.
    """

    segment: Segment
    kinds: tuple[Kind, ...]
    """The kinds that occur."""
    kind: Tensor
    """[J] int64: which of the kinds."""
    probability: Tensor
    """[J] fp32: of a pair, how sure that the first one is better; 1 for other forms."""
    margin: Tensor
    """[J] fp32 >= 0: of a pair, by how much, in steps of strength."""
    weight: Tensor
    """[J] fp32: how much each judgement counts."""
    said: Tensor
    """[E] int64: whose entry; rising."""
    row: Tensor
    """[E] int64: about which row of the segment."""
    value: Tensor
    """[E] fp32: pair: 1 0 the first is better, 1 1 a tie, 0 0 both bad; ranking: place, 0 the best; rating: level from
    0; score: itself; flag: 1 or 0."""
    names: tuple[str, ...]
    """J names (feedback or preference ids)."""

    def __len__(self) -> int:
        """Judgements."""
        return len(self.kind)

    def to(self, device: torch.device | str) -> Judged:
        """The same on another device."""
        return replace(self, segment=self.segment.to(device), **moved(self, device))

    def rows(self, index: Tensor) -> Tensor:
        """The rows that those judgements speak of, in order, each once."""
        return torch.unique(self.row[torch.isin(self.said, index)])

    def of(self, index: Tensor) -> Judged:
        """Those judgements, with only the rows they need (`rows`). index: [n] int64 judgement numbers, each once."""
        needed = self.rows(index)
        at = torch.full((len(self.segment),), -1, dtype=torch.long, device=needed.device)
        at[needed] = torch.arange(len(needed), device=needed.device)
        turn = torch.full((len(self),), len(index), dtype=torch.long, device=needed.device)
        turn[index] = torch.arange(len(index), device=needed.device)
        order = torch.argsort(turn[self.said], stable=True)[: int(torch.isin(self.said, index).sum())]
        taken = {name: getattr(self, name)[index] for name in ("kind", "probability", "margin", "weight")}
        return Judged(
            segment=self.segment.rows(needed),
            kinds=self.kinds,
            said=turn[self.said[order]],
            row=at[self.row[order]],
            value=self.value[order],
            names=tuple(self.names[i] for i in index.tolist()),
            **taken,
        )

    def groups(self) -> list[Tensor]:
        """Judgement numbers by the observation that they are about, in the order of the observations."""
        at = torch.zeros(len(self), dtype=torch.long, device=self.kind.device)
        at[self.said] = self.segment.group[self.row]
        counts = torch.bincount(at, minlength=len(self.segment.observation_length))
        return [part for part in torch.split(torch.argsort(at, stable=True), counts.tolist()) if len(part)]

    def split(self, tokens: int) -> Iterator[Tensor]:
        """Judgement numbers of micro-batches of whole groups, of at most `tokens` steps where a group allows it."""
        members, seen = self.segment.length, self.segment.observation_length
        sized = []
        for part in self.groups():
            rows = self.rows(part)
            sized.append((int(seen[self.segment.group[rows[0]]] + members[rows].sum()), part))
        for parts in filled(sized, tokens):
            yield torch.cat(parts)

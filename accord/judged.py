"""The noun of what was said of answers in every form: pairs, rankings, ratings, scores and flags in one batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from accord.batches import Segment, filled
from accord.sending import moved


class Kind(NamedTuple):
    """A way of judging that has a scale of its own."""

    form: str
    """`pair`, `ranking`, `rating` (levels), `score` (no levels) or `flag`."""
    criterion: str = ""
    """In what respect; empty for overall."""
    levels: int = 0
    """How many levels a rating can have; 0 for other forms."""

    @property
    def name(self) -> str:
        """In a log: `pair`, `rating5.tone`."""
        return f"{self.form}{self.levels or ''}" + (f".{self.criterion}" if self.criterion else "")


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

    def table(self) -> tuple[Tensor, Tensor]:
        """[J, K] row and value of each entry in a line of its judgement, the order of entries kept; row -1 is none."""
        count = torch.bincount(self.said, minlength=len(self))
        place = torch.arange(len(self.said), device=self.said.device) - (count.cumsum(0) - count)[self.said]
        row = torch.full((len(self), int(count.max()) if len(self) else 0), -1, device=self.said.device)
        value = torch.zeros(row.shape, dtype=self.value.dtype, device=self.said.device)
        row[self.said, place], value[self.said, place] = self.row, self.value
        return row, value

    def groups(self) -> list[Tensor]:
        """Judgement numbers by the observation that they are about, in the order of the observations."""
        about = self._about()
        counts = torch.bincount(about, minlength=len(self.segment.observation_length))
        return [part for part in torch.split(torch.argsort(about, stable=True), counts.tolist()) if len(part)]

    def _about(self) -> Tensor:
        """[J] the observation that each judgement is about."""
        about = torch.zeros(len(self), dtype=torch.long, device=self.kind.device)
        about[self.said] = self.segment.group[self.row]
        return about

    def split(self, tokens: int) -> Iterator[Tensor]:
        """Judgement numbers of micro-batches of whole groups, of at most `tokens` steps where a group allows it."""
        row = torch.unique(self.row)
        size = self.segment.observation_length.index_add(0, self.segment.group[row], self.segment.length[row]).tolist()
        sized = [(size[g], part) for g, part in zip(torch.unique(self._about()).tolist(), self.groups(), strict=True)]
        for parts in filled(sized, tokens):
            yield torch.cat(parts)

    def only(self, kinds: tuple[Kind, ...]) -> Judged:
        """The judgements of those kinds, numbered by them; a model's kinds are those of its own judgements."""
        at = {kind: k for k, kind in enumerate(kinds)}
        number = torch.tensor([at.get(kind, -1) for kind in self.kinds], dtype=torch.long, device=self.kind.device)
        known = self.of((number[self.kind] >= 0).nonzero()[:, 0])
        return replace(known, kinds=kinds, kind=number[known.kind])

    def without(self, *kinds: Kind) -> Judged:
        """All that was said but for some kinds: what a model learns from that is to show what those kinds add."""
        return self.only(tuple(kind for kind in self.kinds if kind not in kinds))

    def ordered(self, criterion: str = "") -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Pairs of rows that one judgement orders: [N] better, [N] worse, [N] weight, [N] whose.

        A judgement's weight is shared by its pairs; ties order nothing, nor does a belief of one half. All but the
        weight are int64.
        """
        row, value = self.table()
        device = row.device
        mine = torch.tensor([kind.criterion == criterion for kind in self.kinds], device=device)[self.kind]
        ranked = torch.tensor([kind.form == "ranking" for kind in self.kinds], device=device)[self.kind]
        worth = torch.where(ranked[:, None], -value, value)
        there = (row >= 0) & (mine & (self.probability != 0.5))[:, None]
        above = (worth[:, :, None] > worth[:, None, :]) & there[:, :, None] & there[:, None, :]
        whose, i, j = above.nonzero(as_tuple=True)
        share = self.weight / above.sum((1, 2)).clamp_min(1)
        return row[whose, i], row[whose, j], share[whose], whose

"""Between a score and what was said: a head for each criterion, a learnt scale for each kind of judgement."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from accord.algorithms.judgements import (
    acceptable,
    bernoulli,
    bradley_terry,
    davidson,
    gaussian,
    ordinal,
    plackett_luce,
    rao_kupper,
    rising,
)
from accord.batches import Segment
from accord.config import SettingsError
from accord.judged import Judged, Kind
from accord.run import seed_of

Ties = Literal["half", "davidson", "rao_kupper"]
FORMS = ("pair", "ranking", "rating", "score", "flag")
"""In the order in which they are asked for the unit of a criterion: the first of them has slope 1."""


class Columns(nn.Module):
    """One score for each criterion, read off the states of one trunk. The first is the scorer's own head's."""

    def __init__(self, width: int, criteria: Sequence[str], length: bool, seed: int) -> None:
        """width: of a state. criteria: the main one first. length: whether length has a head of its own.

        Heads start at N(0, 1 / sqrt(width + 1)) as a reward model's do; each is drawn by its own name.
        """
        super().__init__()
        self.criteria = tuple(criteria)
        self.others = nn.ModuleList(nn.Linear(width, 1) for _ in self.criteria[1:])
        self.length = nn.Linear(width, 1) if length else None
        heads = dict(zip(self.criteria[1:], self.others, strict=True))
        for name, head in {**heads, " length": self.length}.items():
            if isinstance(head, nn.Linear):
                draw = torch.Generator().manual_seed(seed_of(seed, "column", name))
                nn.init.normal_(head.weight, std=1 / math.sqrt(width + 1), generator=draw)
                nn.init.zeros_(head.bias)

    def forward(self, states: Tensor, main: Tensor) -> tuple[Tensor, Tensor]:
        """([B, C] score by criterion, [B] what length alone adds to the main one, 0 without its head).

        states: [B, D]; main: [B], the scorer's own score.
        """
        plain = states.to(main.dtype)
        columns = [main, *(head(plain)[:, 0] for head in self.others)]
        return torch.stack(columns, 1), torch.zeros_like(main) if self.length is None else self.length(plain)[:, 0]


class Trunk(Protocol):
    """A scorer in its two parts, an nn.Module: what was read of each row, and the score that its own head reads off."""

    def states(self, segment: Segment) -> Tensor: ...

    def read(self, states: Tensor) -> Tensor: ...


def looked(scorer: Trunk, columns: Columns, segment: Segment) -> tuple[Tensor, Tensor]:
    """([B, C] scores by criterion, [B] what length adds to the main one); the trunk reads each row once."""
    states = scorer.states(segment)
    found: tuple[Tensor, Tensor] = columns(states, scorer.read(states))
    return found


class Scale(nn.Module):
    """How one kind of judgement sees the score of its criterion."""

    centre: Tensor
    unit: Tensor

    def __init__(self, kind: Kind, value: Tensor, shape: tuple[int, bool], ties: Ties, first: bool) -> None:
        """value: [E] what was said, all of it; the scale starts where it says how often each thing is said.

        shape: the largest tie, and whether both were ever called bad. first: slope 1 for good.
        """
        super().__init__()
        self.form, self.ties = kind.form, ties
        self.log_slope = nn.Parameter(torch.zeros(()), requires_grad=not first)
        order, bad = shape
        tied = kind.form in ("pair", "ranking") and order > 1 and (kind.form == "ranking" or ties != "half")
        self.tie = nn.Parameter(torch.full((order - 1,), -1.0)) if tied else None
        self.level = nn.Parameter(torch.tensor(-2.0)) if kind.form == "pair" and bad else None
        if kind.form == "rating":
            counts = torch.bincount(value.long(), minlength=kind.levels).to(torch.float32) + 0.5
            start = torch.logit(counts.cumsum(0)[:-1] / counts.sum())
            self.raw = nn.Parameter(torch.cat([start[:1], torch.log(torch.expm1(start.diff().clamp_min(1e-3)))]))
        if kind.form == "flag":
            self.offset = nn.Parameter(torch.logit((value.sum() + 0.5) / (len(value) + 1)))
        if kind.form == "score":
            self.offset, self.log_spread = nn.Parameter(torch.zeros(())), nn.Parameter(torch.zeros(()))
            self.register_buffer("centre", value.mean())
            spread = value.std(correction=0)  # where all said the same, a share of the scale is the unit
            self.register_buffer("unit", torch.where(spread > 1e-3, spread, 1.0))

    def forward(self, score: Tensor, value: Tensor, there: Tensor, probability: Tensor, margin: Tensor) -> Tensor:
        """[J] loss in nats of each judgement. score, value, there: [J, K]; probability, margin: [J]."""
        seen = torch.exp(self.log_slope) * score
        if self.form == "pair":
            return self.pair(seen[:, 0], seen[:, 1], value, probability, margin)
        if self.form == "ranking":
            place = torch.where(there, value.round().long(), -1)
            return plackett_luce(seen, place, self.tie) / (there.sum(1) - 1).clamp_min(1)
        if self.form == "rating":
            each = ordinal(seen.flatten(), value.long().flatten(), rising(self.raw)).view_as(seen)
        elif self.form == "score":
            each = gaussian(seen + self.offset, (value - self.centre) / self.unit, self.log_spread)
        else:
            each = bernoulli(seen + self.offset, value)
        return torch.where(there, each, 0.0).sum(1) / there.sum(1)

    def pair(self, first: Tensor, second: Tensor, value: Tensor, probability: Tensor, margin: Tensor) -> Tensor:
        """Two answers: whether both are bad where that was ever said, and else which is better."""
        tie, wins = value[:, 0] == value[:, 1], value[:, 0] > value[:, 1]
        won = torch.where(wins, probability, 1 - probability)
        # Where they tie a scalar stands in: a tensor made of numbers here would be sent to the device at every batch.
        first_better, second_better = torch.where(tie, 0.0, won), torch.where(tie, 0.0, 1 - won)
        outcome = torch.stack([first_better, tie.to(won.dtype), second_better], 1)
        if self.tie is None:
            loss = bradley_terry(first, second, outcome, margin)
        elif self.ties == "davidson":
            loss = davidson(first, second, outcome, self.tie[0], margin)
        else:
            loss = rao_kupper(first, second, outcome, softplus(self.tie[0]) + 1e-4, margin)
        if self.level is None:
            return loss
        bad = tie & (value[:, 0] == 0)
        return acceptable(first, second, bad, self.level) + torch.where(bad, 0.0, loss)


class Scales(nn.Module):
    """The scale of every kind."""

    column: Tensor

    def __init__(self, judged: Sequence[Judged], criteria: Sequence[str], ties: Ties) -> None:
        """judged: what is learned from, and then whatever will be measured on, with the same kinds."""
        super().__init__()
        self.kinds = judged[0].kinds
        unknown = sorted({kind.form for kind in self.kinds} - set(FORMS))
        if unknown:
            raise SettingsError(
                f"no scale for judgements of the form {', '.join(unknown)}; there are {', '.join(FORMS)}"
            )
        self.register_buffer("column", torch.tensor([criteria.index(kind.criterion) for kind in self.kinds]), False)
        units = {c: min((k for k in self.kinds if k.criterion == c), key=rank, default=None) for c in criteria}
        said = [judged[0].value[judged[0].kind[judged[0].said] == k] for k in range(len(self.kinds))]
        self.scales = nn.ModuleList(
            Scale(kind, said[k], shape_of(judged, k), ties, kind == units[kind.criterion])
            for k, kind in enumerate(self.kinds)
        )

    def forward(self, scores: Tensor, judged: Judged, margin: float = 0.0) -> Tensor:
        """[J] loss of each judgement in nats. scores: [B, C] of the batch's rows. margin: per step of strength."""
        row, value = judged.table()
        there = row >= 0
        score = scores[row.clamp_min(0), self.column[judged.kind][:, None]]
        loss = torch.zeros(len(judged), dtype=scores.dtype, device=scores.device)
        for k, scale in enumerate(self.scales):
            at = (judged.kind == k).nonzero()[:, 0]
            if len(at):
                wide = int(there[at].sum(1).max())
                some = (part[at, :wide] for part in (score, value, there))
                each = scale(*some, judged.probability[at], margin * judged.margin[at])
                loss = loss.index_copy(0, at, each.to(loss.dtype))
        return loss

    def slopes(self) -> dict[str, float]:
        """How steeply each kind rises with the score, beside the kind that is its criterion's unit."""
        return {
            f"slope/{kind.name}": math.exp(float(scale.log_slope.detach()))
            for kind, scale in zip(self.kinds, self.scales, strict=True)
            if isinstance(scale, Scale) and scale.log_slope.requires_grad
        }


def rank(kind: Kind) -> int:
    """Place among the forms."""
    return FORMS.index(kind.form)


def shape_of(judged: Sequence[Judged], kind: int) -> tuple[int, bool]:
    """The largest tie among comparisons of a kind, and whether both answers were ever called bad."""
    order, bad = 1, False
    for part in judged:
        row, value = part.table()
        mine = (part.kind == kind).nonzero()[:, 0]
        form = part.kinds[kind].form
        if form not in ("pair", "ranking") or not len(mine):
            continue
        said, there = value[mine], row[mine] >= 0
        worst = (said[:, :2] == 0).all(1) & there[:, :2].all(1) if form == "pair" else torch.zeros(len(mine)).bool()
        bad = bad or bool(worst.any())
        same = (said[:, :, None] == said[:, None, :]) & there[:, :, None] & there[:, None, :]
        tied = same.sum(2)[~worst.to(same.device)]
        order = max(order, int(tied.max()) if tied.numel() else 1)
    return order, bad

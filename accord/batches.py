"""The nouns that are learned from: small typed bundles of tensors that live for a moment.

G groups (one observation each), B rows (one answer each), T steps, N comparisons. Rows of one group answer the
same observation, so it is stored, encoded and attended to once however many answers it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from accord.sending import moved, together

S = TypeVar("S", bound="Segment")
N = TypeVar("N")
GROUP: dict[str, Any] = {"axis": "group"}
ROW: dict[str, Any] = {"axis": "row"}
STEP: dict[str, Any] = {"axis": "step"}


class Sizes(NamedTuple):
    """Who answers what and how long it is, in main memory whatever device the rest lies on: layouts are made of it."""

    group: Tensor
    """[B] int64."""
    observation: Tensor
    """[G] int64: length of each observation."""
    length: Tensor
    """[B] int64."""


@dataclass(frozen=True)
class Segment:
    """Actions, and what was seen before them."""

    observation: Tensor = field(metadata=GROUP)
    """[G, P, ...] what the policy read: prompt token ids, padded at the end; states of an episode."""
    observation_length: Tensor = field(metadata=GROUP)
    """[G] int64: how much of each observation is real."""
    group: Tensor = field(metadata=ROW)
    """[B] int64: which observation a row answers."""
    action: Tensor = field(metadata=STEP)
    """[B, T, ...] what it did: token ids, padded at the end; moves."""
    length: Tensor = field(metadata=ROW)
    """[B] int64: how many steps of each row are real; what comes after is padding."""
    mask: Tensor = field(metadata=STEP)
    """[B, T] bool: where the policy itself acted. False on padding and on others' turns inside an answer."""
    weight: Tensor = field(metadata=ROW)
    """[B] fp32: how much each row counts."""
    names: tuple[str, ...] = field(metadata=ROW)
    """B names (sample ids), so that an error can say which row it was."""

    def __len__(self) -> int:
        """Rows."""
        return self.action.shape[0]

    @property
    def present(self) -> Tensor:
        """[B, T] bool: steps that are real, whoever acted."""
        return torch.arange(self.action.shape[1], device=self.length.device) < self.length[:, None]

    @property
    def tokens(self) -> int:
        """Steps to be read when each observation is read once."""
        return int(self.observation_length.sum() + self.length.sum())

    @cached_property
    def sizes(self) -> Sizes:
        """A GPU is asked for them once; what is made by `to`, `rows` and `split` knows them already."""
        tables = (self.group, self.observation_length, self.length)
        return Sizes(*together(tables, "cpu"))

    def to(self: S, device: torch.device | str) -> S:
        """The same on another device."""
        return knowing(replace(self, **moved(self, device)), sizes=self.sizes)

    def rows(self: S, index: Tensor) -> S:
        """Those rows in that order, with only the observations they need and no more padding than they need.

        index: [b] int64 row numbers. Groups keep the order of their first row.
        """
        at, sizes = index.cpu(), self.sizes
        wanted = sizes.group[at].tolist()
        seen: dict[int, int] = {}
        for g in wanted:
            seen.setdefault(g, len(seen))
        needed = torch.tensor(list(seen), dtype=torch.long)
        part = Sizes(
            torch.tensor([seen[g] for g in wanted], dtype=torch.long), sizes.observation[needed], sizes.length[at]
        )
        steps, places = (int(size.max()) if len(size) else 0 for size in (part.length, part.observation))
        mine, kept, group = together((at, needed, part.group), self.group.device)
        taken: dict[str, Any] = {}
        for f in fields(self):
            value, axis = getattr(self, f.name), f.metadata.get("axis")
            if value is None:
                continue
            if isinstance(value, tuple):
                taken[f.name] = tuple(value[i] for i in at.tolist())
            elif axis == "group":
                taken[f.name] = value[kept]
            elif axis == "step":
                taken[f.name] = value[mine, :steps]
            else:
                taken[f.name] = value[mine]
        taken["group"] = group
        if self.observation.ndim > 1:
            taken["observation"] = taken["observation"][:, :places]
        return knowing(replace(self, **taken), sizes=part)

    def members(self) -> list[Tensor]:
        """For each group, the numbers of its rows, in main memory."""
        order = torch.argsort(self.sizes.group, stable=True)
        counts = torch.bincount(self.sizes.group, minlength=len(self.observation_length))
        return list(torch.split(order, counts.tolist()))

    def split(self: S, tokens: int) -> Iterator[S]:
        """Micro-batches of at most `tokens` steps, each observation counted once.

        Groups are dealt in order of size, so that rows of like length lie together. A group that is too long is
        split by rows and its observation is read again; a single row that is too long goes alone.
        """
        for index in pack(self, tokens):
            yield self.rows(index)


def pack(segment: Segment, tokens: int) -> list[Tensor]:
    """Row numbers of each micro-batch of `Segment.split`, in main memory."""
    cost = segment.sizes.length.tolist()
    seen = segment.sizes.observation.tolist()
    pieces: list[tuple[int, list[int]]] = []
    for g, members in enumerate(segment.members()):
        rows: list[int] = []
        used = seen[g]
        for row in members.tolist():
            if rows and used + cost[row] > tokens:
                pieces.append((used, rows))
                rows, used = [], seen[g]
            rows.append(row)
            used += cost[row]
        if rows:
            pieces.append((used, rows))
    pieces.sort(key=lambda piece: -piece[0])
    bins: list[tuple[int, list[int]]] = []
    for used, rows in pieces:
        if bins and bins[-1][0] + used <= tokens:
            bins[-1] = (bins[-1][0] + used, bins[-1][1] + rows)
        else:
            bins.append((used, list(rows)))
    return [torch.tensor(rows, dtype=torch.long) for _, rows in bins]


def minibatches(segment: S, count: int, generator: torch.Generator) -> list[S]:
    """The rows dealt into `count` parts of nearly equal size, whole groups in random order.

    Raises ValueError when there are fewer groups than parts.
    """
    groups = len(segment.observation_length)
    if not 1 <= count <= groups:
        raise ValueError(f"minibatches={count} does not fit {groups} groups of {len(segment)} rows; use 1 to {groups}")
    members = segment.members()
    order = torch.randperm(groups, generator=generator).tolist()
    return [segment.rows(torch.cat([members[g] for g in order[part::count]])) for part in range(count)]


@dataclass(frozen=True)
class Comparisons:
    """Beliefs about pairs of rows. Each row is encoded once, in however many pairs it stands."""

    segment: Segment
    better: Tensor
    """[N] int64: row of the segment believed better."""
    worse: Tensor
    """[N] int64: row of the segment believed worse."""
    probability: Tensor
    """[N] fp32 in [.5, 1]: how sure; a tie is .5."""
    weight: Tensor
    """[N] fp32: how much each pair counts."""
    margin: Tensor
    """[N] fp32 >= 0: by how much, in steps of strength."""
    names: tuple[str, ...]
    """N names (preference ids)."""

    def __len__(self) -> int:
        """Pairs."""
        return len(self.better)

    @cached_property
    def sides(self) -> tuple[Tensor, Tensor]:
        """Better and worse rows in main memory; a GPU is asked for them once, as for `Segment.sizes`."""
        better, worse = together((self.better, self.worse), "cpu")
        return better, worse

    def to(self, device: torch.device | str) -> Comparisons:
        """The same on another device."""
        return knowing(replace(self, segment=self.segment.to(device), **moved(self, device)), sides=self.sides)

    def pairs(self, index: Tensor) -> Comparisons:
        """Those pairs, with only the rows they need. index: [n] int64 pair numbers."""
        at = index.cpu()
        better, worse = (side[at] for side in self.sides)
        needed = torch.unique(torch.cat([better, worse]))
        place = torch.full((len(self.segment),), -1, dtype=torch.long)
        place[needed] = torch.arange(len(needed))
        sides = place[better], place[worse]
        mine, better, worse = together((at, *sides), self.better.device)
        made = Comparisons(
            segment=self.segment.rows(needed),
            better=better,
            worse=worse,
            probability=self.probability[mine],
            weight=self.weight[mine],
            margin=self.margin[mine],
            names=tuple(self.names[i] for i in at.tolist()),
        )
        return knowing(made, sides=sides)

    def groups(self) -> list[Tensor]:
        """Pair numbers by the observation that they are about, in the order of the observations, in main memory."""
        sizes = self.segment.sizes
        at = sizes.group[self.sides[0]]
        order = torch.argsort(at, stable=True)
        counts = torch.bincount(at, minlength=len(sizes.observation))
        return [part for part in torch.split(order, counts.tolist()) if len(part)]

    def split(self, tokens: int) -> Iterator[Comparisons]:
        """Micro-batches of at most `tokens` steps, whole groups where they fit.

        A group that is too long is split by pairs: its observation is read again, and so is a row that stands in pairs
        of several parts. A single pair that is too long goes alone.
        """
        for parts in filled([piece for part in self.groups() for piece in self._pieces(part, tokens)], tokens):
            yield self.pairs(torch.cat(parts))

    def _pieces(self, part: Tensor, tokens: int) -> Iterator[tuple[int, Tensor]]:
        """Steps and pair numbers of each piece of a group."""
        sizes, (better, worse) = self.segment.sizes, self.sides
        cost = sizes.length.tolist()
        seen = int(sizes.observation[sizes.group[better[part[0]]]])
        mine: list[int] = []
        rows: set[int] = set()
        used = seen
        for pair, *both in zip(part.tolist(), better[part].tolist(), worse[part].tolist(), strict=True):
            more = sum(cost[row] for row in set(both) - rows)
            if mine and used + more > tokens:
                yield used, part.new_tensor(mine)
                mine, rows, used = [], set(), seen
                more = sum(cost[row] for row in set(both))
            mine.append(pair)
            rows.update(both)
            used += more
        yield used, part.new_tensor(mine)


@dataclass(frozen=True)
class Rollout(Segment):
    """Actions with what they brought. Everything after `finished` is filled in on the way to the learner."""

    logprob: Tensor = field(metadata=STEP)
    """[B, T] fp32: log-probability of each action when it was taken."""
    done: Tensor = field(metadata=STEP)
    """[B, T] bool: nothing follows this step. A time limit is not a death: there `done` stays False."""
    finished: Tensor = field(metadata=ROW)
    """[B] bool: the row ended by itself (end of text, terminal state) and was not cut."""
    reward: Tensor | None = field(default=None, metadata=STEP)
    """[B, T] fp32: worth of each step; an outcome stands at the last step."""
    reference: Tensor | None = field(default=None, metadata=STEP)
    """[B, T] fp32: log-probability of each action under the reference policy."""
    value: Tensor | None = field(default=None, metadata=STEP)
    """[B, T] fp32: expected return before each action, when it was taken."""
    next_value: Tensor | None = field(default=None, metadata=ROW)
    """[B] fp32: expected return after the last step of a row that was cut and goes on; else 0."""
    advantage: Tensor | None = field(default=None, metadata=STEP)
    """[B, T] fp32: how much better than expected each action was."""
    target: Tensor | None = field(default=None, metadata=STEP)
    """[B, T] fp32: what the value should have been."""

    def tensors(self) -> dict[str, Tensor]:
        """Fields that are set, by name, for a checkpoint."""
        return {f.name: v for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)}


def knowing(noun: N, **known: Any) -> N:
    """The noun, which need not find out again what was found out of it before."""
    vars(noun).update(known)
    return noun


def filled(sized: list[tuple[int, Tensor]], tokens: int) -> list[list[Tensor]]:
    """Parts of a size dealt into bins of at most so many tokens, the largest first."""
    bins: list[tuple[int, list[Tensor]]] = []
    for used, part in sorted(sized, key=lambda piece: -piece[0]):
        if bins and bins[-1][0] + used <= tokens:
            bins[-1] = (bins[-1][0] + used, [*bins[-1][1], part])
        else:
            bins.append((used, [part]))
    return [parts for _, parts in bins]


def padded(rows: Sequence[Sequence[int]], fill: int = 0) -> tuple[Tensor, Tensor]:
    """Ragged integers as ([B, T] int64 padded at the end, [B] lengths)."""
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.long)
    table = torch.full((len(rows), int(lengths.max()) if len(rows) else 0), fill, dtype=torch.long)
    for i, row in enumerate(rows):
        table[i, : len(row)] = torch.as_tensor(row, dtype=torch.long)
    return table, lengths


def at_end(outcome: Tensor, length: Tensor, steps: int) -> Tensor:
    """[B] outcomes as [B, T] rewards: everything at the last real step. A row of no steps keeps nothing."""
    last = (length - 1).clamp_min(0)
    placed = torch.zeros(len(outcome), steps, dtype=outcome.dtype, device=outcome.device)
    return placed.scatter(1, last[:, None], torch.where(length > 0, outcome, 0.0)[:, None])

"""The memory of a sampler: keys and values of each prompt once, and beside them those of every answer under way.

known    p0 p1 p2 p3 .     length 4     asked by slots 0 1 2        each answer's attention is two products:
         q0 q1 q2 q3 q4    length 5     asked by slots 3 4 .        with its prompt's keys, read once for all of
slots    0: a0 a1 a2 .                                              its answers, and with its own; both stand side
         1: b0 b1 b2 .                                              by side in one table, whose softmax says how
         2: ...                                                     much each place counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.sending import sent, together
from accord.worlds.text.attention import Rule, additive
from accord.worlds.text.heap import Broad
from accord.worlds.text.stretches import places
from accord.worlds.text.tables import Tables
from accord.worlds.text.tree import Block, Tree

CALL = 400
"""Places of padding that take as long as a further part of prompts: up to so many, prompts are read together."""


@dataclass
class Known:
    """Prompts of like length."""

    block: Block
    """Where they stand in the row from which they were read."""
    tall: NDArray[np.int64]
    """[g]: how many places of each are real, in main memory."""
    length: Tensor
    """The same where keys and values lie."""
    keys: dict[int, Tensor] = field(default_factory=dict)
    """Of each layer [g K, d, P]: transposed, as they are multiplied."""
    values: dict[int, Tensor] = field(default_factory=dict)
    """Of each layer [g K, P, d]."""
    asked: Tensor | None = None
    """[g, m] int64: slots whose answers go on from each prompt; where there are fewer, any slot."""
    _mask: Tensor | None = None

    def __post_init__(self) -> None:
        self.places = int(self.tall.max())
        """Of the longest."""
        self.even = int(self.tall.min()) == self.places
        """Whether all are as long."""

    def keep(self, alive: NDArray[np.bool_]) -> None:
        """Forget all prompts but those, [g] bool."""
        left = sent(torch.from_numpy(alive.nonzero()[0]), self.length.device)
        for memory in (self.keys, self.values):
            for layer, held in memory.items():
                memory[layer] = held.view(len(alive), -1, *held.shape[1:])[left].flatten(0, 1)
        self.tall, self.length, self._mask = self.tall[alive], self.length[left], None
        self.__post_init__()
        for layer in self.keys:
            self.keys[layer] = self.keys[layer][:, :, : self.places].contiguous()
            self.values[layer] = self.values[layer][:, : self.places]

    def mask(self, dtype: torch.dtype) -> Tensor | None:
        """[g, 1, 1, 1, P] to be added to products; None where all places are real."""
        if self._mask is None and not self.even:
            real = torch.arange(self.places, device=self.length.device) < self.length[:, None]
            self._mask = additive(real, dtype)[:, None, None, None]
        return self._mask


class Slots:
    """Keys and values [slots, K, places, d] of each layer for the answers, and what is known of their prompts.

    Who asks which prompt is kept in main memory, so that nobody has to wait for a GPU to know it.
    """

    def __init__(self, slots: int, places: int, device: torch.device) -> None:
        """places: tokens that an answer may have."""
        self.slots, self.places, self.device = slots, places, device
        self.keys: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}
        self.known: list[Known] = []
        self.prompt = np.zeros(slots, dtype=np.int64)
        """[slots]: prompt of each slot, counted through all that are known."""
        self.laid: Tensor | None = None
        """[l] int64: slots in the order in which prompts are asked, end to end; None where that is their own order."""
        self.home = torch.zeros(0, dtype=torch.long, device=device)
        """[n] int64: where each slot stands in that order."""
        self.arranged = 0
        """How often it was found out who asks which prompt."""

    @property
    def held(self) -> int:
        """Places of all prompts that are known."""
        return sum(len(k.tall) * k.places for k in self.known)

    def layer(self, rule: Rule, key: Tensor, value: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        """The answers' memory of one layer beside what is new, keys and values [n, K, 1, d]; made at its first use."""
        if rule.layer not in self.keys:
            for memory, like in ((self.keys, key), (self.values, value)):
                shape = (self.slots, like.shape[1], self.places, like.shape[3])
                memory[rule.layer] = Broad(math.prod(shape), like).take(*shape)
        return (self.keys[rule.layer], key), (self.values[rule.layer], value)

    def admit(
        self, start: NDArray[np.int64], length: NDArray[np.int64], source: NDArray[np.int64], first: int
    ) -> list[Known]:
        """Room for prompts that are about to be read, and who goes on from them.

        start, length: [g], where each prompt stands in the row. source: [n], prompt of each new slot;
        the new slots are first, first + 1, ..., first + n - 1.
        """
        parts = alike(length)
        ends = [(torch.from_numpy(start[part]), torch.from_numpy(length[part])) for part in parts]
        there = together([table for begin, tall in ends for table in (places(begin, tall), tall)], self.device)
        new = [
            Known(Block(place, tall), length[part], tall)
            for part, place, tall in zip(parts, there[::2], there[1::2], strict=True)
        ]
        number = np.empty_like(length)
        number[np.concatenate(parts)] = np.arange(len(length))
        self.prompt[first : first + len(source)] = number[source] + sum(len(k.tall) for k in self.known)
        self.known += new
        return new

    def move(self, source: NDArray[np.int64], target: NDArray[np.int64], used: int) -> None:
        """The first `used` places of some slots into others, [n] each."""
        self.prompt[target] = self.prompt[source]
        old, new = together([torch.from_numpy(source), torch.from_numpy(target)], self.device)
        for memory in (*self.keys.values(), *self.values.values()):
            memory[new, :, :used] = memory[old, :, :used]

    def arrange(self, count: int) -> None:
        """Find out who asks which prompt, when the first `count` slots are under way; forget prompts of nobody."""
        self.arranged += 1
        if not count:
            self.known = []
            return
        owner = self.prompt[:count]
        alive = np.zeros(sum(len(k.tall) for k in self.known), dtype=bool)
        alive[owner] = True
        kept, at = [], 0
        for known in self.known:
            mine = alive[at : at + len(known.tall)]
            at += len(mine)
            if mine.any():
                kept.append(known)
                if not mine.all():
                    known.keep(mine)
        self.known = kept
        owner[:] = (alive.cumsum() - 1)[owner]
        order = owner.argsort(kind="stable")
        ranked = owner[order]
        asking = np.bincount(ranked)
        column = np.arange(count) - (asking.cumsum() - asking)[ranked]
        home, tables = np.empty_like(owner), []
        at = laid = 0
        for known in self.known:
            g = len(known.tall)
            most = int(asking[at : at + g].max())
            some = slice(*np.searchsorted(ranked, (at, at + g)))
            where = (ranked[some] - at) * most + column[some]
            asked = np.zeros(g * most, dtype=np.int64)
            asked[where] = order[some]
            home[order[some]] = laid + where
            tables.append(asked.reshape(g, most))
            at, laid = at + g, laid + g * most
        self.home, *there = together([torch.from_numpy(t) for t in (home, *tables)], self.device)
        for known, table in zip(self.known, there, strict=True):
            known.asked = table
        straight = laid == count and np.array_equal(home, np.arange(count))
        self.laid = None if straight else torch.cat([table.flatten() for table in there])


@dataclass(frozen=True)
class Reading:
    """The layout that reads prompts, once each, and keeps what was read."""

    tree: Tree
    """The packed prompts: trunks without branches."""
    known: list[Known]
    """Where to put it."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, rule: Rule) -> Tensor:
        """query [1, H, N, d], key and value [1, K, N, d] -> [1, N, H, d]."""
        keys, values = (t[0].transpose(0, 1).contiguous() for t in (key, value))
        for known in self.known:
            known.keys[rule.layer] = known.block.known(keys).transpose(2, 3).flatten(0, 1)
            known.values[rule.layer] = known.block.known(values).flatten(0, 1)
        return self.tree.attend(query, key, value, rule)


class Writing:
    """The layout of one step: each of the first n slots adds one token to its answer and reads what is known."""

    def __init__(self, slots: Slots, spoken: Tensor, reach: tuple[int, int] | None = None) -> None:
        """spoken: [n] int64, how many tokens of each answer were read before this one. reach: the least and the most
        of them; without it shapes are the same whatever they are, so that a step can be recorded (played.py)."""
        self.slots, self.spoken = slots, spoken
        self.span = slots.places if reach is None else reach[1] + 1
        self.even = reach is not None and reach[0] == reach[1]
        self._masks: dict[tuple[int | None, int], Tensor] = {}
        self._tables: dict[tuple[int, ...], Tables] = {}

    def attend(self, query: Tensor, key: Tensor, value: Tensor, rule: Rule) -> Tensor:
        """query [n, H, 1, d], key and value [n, K, 1, d] -> [n, 1, H, d]."""
        count, heads, _, size = query.shape
        known = key.shape[1]
        keys, values = (self._written(memory, new) for memory, new in self.slots.layer(rule, key, value))
        tables = self._laid(query, (count, known, heads // known, size), value.shape[-1])
        asked = query.reshape(count, known, -1, size)  # queries that share a head of keys
        if rule.scaling == 1:
            tables.query.copy_(asked)
        else:
            torch.mul(asked, rule.scaling, out=tables.query)
        capped(torch.bmm(tables.each, keys.transpose(1, 2), out=tables.own), rule)
        if (mask := self._own(rule.window, query.dtype)) is not None:
            tables.wide.add_(mask)
        found, share = self._prompts(tables, rule)
        return torch.baddbmm(found, share, values).view(count, 1, heads, -1)

    def _laid(self, like: Tensor, shape: tuple[int, int, int, int], width: int) -> Tables:
        """The tables of this step for layers with queries [n, K, r, d] and values of such a width."""
        if (*shape, width) not in self._tables:
            parts = [(*k.asked.shape, k.places) for k in self.slots.known if k.asked is not None]
            self._tables[*shape, width] = Tables(like, shape, width, self.span, parts, self.slots.laid)
        return self._tables[*shape, width]

    def _written(self, memory: Tensor, new: Tensor) -> Tensor:
        """The answers' keys or values with their newest, [n K, span, d]. new: [n, K, 1, d]."""
        mine = memory[: len(self.spoken)]
        if self.even:
            mine.select(2, self.span - 1).copy_(new.squeeze(2))
        else:
            mine[torch.arange(len(mine), device=new.device), :, self.spoken] = new[:, :, 0]
        return mine.view(-1, *mine.shape[2:]).narrow(1, 0, self.span)

    def _prompts(self, tables: Tables, rule: Rule) -> tuple[Tensor, Tensor]:
        """What prompts say to the queries, and how much the answers' own places count beside them.

        Returns [n K, r, d] and [n K, r, S].
        """
        tables.line()
        for number, (known, part) in enumerate(zip(self.slots.known, tables.parts, strict=True)):
            capped(torch.bmm(part.asked, known.keys[rule.layer], out=part.products), rule)
            if (mask := self._seen(number, known, rule.window, part.products.dtype)) is not None:
                part.whole.add_(mask)
            torch.cat([part.whole, part.beside], -1, out=part.table)
            shares(part.table, part.share)
            torch.bmm(part.there, known.values[rule.layer], out=part.said)
            for target, source in part.back:
                target.copy_(source)
        found, share = tables.found, tables.share
        if tables.laid is not None:
            found, share = found.index_select(0, self.slots.home), share.index_select(0, self.slots.home)
        return found.flatten(0, 1), share.flatten(0, 1)

    def _own(self, window: int | None, dtype: torch.dtype) -> Tensor | None:
        """[n, 1, 1, span] to be added to the products with an answer's own keys; None when all are seen."""
        if window is not None and window >= self.span:
            window = None
        if self.even and window is None:
            return None
        if (window, -1) not in self._masks:
            past = self.spoken[:, None] - torch.arange(self.span, device=self.spoken.device)
            seen = past >= 0 if window is None else (past >= 0) & (past < window)
            self._masks[window, -1] = additive(seen, dtype)[:, None, None]
        return self._masks[window, -1]

    def _seen(self, number: int, known: Known, window: int | None, dtype: torch.dtype) -> Tensor | None:
        """[g, 1, 1 or m, 1, P] to be added to the products with prompts' keys; None when all are seen."""
        if window is None or window > known.places + self.span:
            return known.mask(dtype)
        if (window, number) not in self._masks:
            assert known.asked is not None
            place = torch.arange(known.places, device=self.spoken.device)
            ahead = known.length[:, None] + self.spoken[known.asked]
            seen = (place < known.length[:, None, None]) & (ahead[..., None] - place < window)
            self._masks[window, number] = additive(seen, dtype)[:, None, :, None]
        return self._masks[window, number]


def alike(length: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Numbers of prompts, [n] lengths, in parts that are read together: from the longest to the shortest."""
    order = np.argsort(-length, kind="stable")
    parts: dict[int, list[int]] = {}
    for width, number in zip(widths(length[order].tolist()), order.tolist(), strict=True):
        parts.setdefault(width, []).append(number)
    return [np.array(part) for part in parts.values()]


def widths(lengths: Iterable[int]) -> Iterator[int]:
    """Places that each prompt takes, from the longest to the shortest: as many as the longest of its part.

    A part ends where its padding would take longer to read than a part more.
    """
    longest = padding = 0
    for length in lengths:
        padding += longest - length
        if not longest or padding > CALL:
            longest, padding = length, 0
        yield longest


def capped(products: Tensor, rule: Rule) -> None:
    """Products of queries and keys, squashed in place where the family does that."""
    if rule.softcap is not None:
        products.div_(rule.softcap).tanh_().mul_(rule.softcap)


def shares(products: Tensor, out: Tensor) -> None:
    """Softmax over the last axis; in half precision torch computes it in fp32 and rounds the result."""
    torch.softmax(products, -1, out=out)

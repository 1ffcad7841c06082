"""The memory of a sampler: keys and values of each prompt once, and beside them those of every answer under way.

known    p0 p1 p2 p3 .     length 4     asked by slots 0 1 2        each answer's attention is two parts:
         q0 q1 q2 q3 q4    length 5     asked by slots 3 4 .        its prompt's, read once for all of its answers,
slots    0: a0 a1 a2 .                                              and its own; the sums of exponentials of
         1: b0 b1 b2 .                                              both say how much each part counts.
         2: ...
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from accord.worlds.text.attention import Rule
from accord.worlds.text.tree import Block, Tree, buckets, places

LIKE = 0.6
"""Prompts down to this share of the longest are kept and asked together."""


@dataclass
class Known:
    """Prompts of like length."""

    block: Block
    """Where they stand in the row from which they were read."""
    length: Tensor
    """[g] int64: how many places of each are real."""
    keys: dict[int, Tensor] = field(default_factory=dict)
    """Of each layer [g, K, P, d]."""
    values: dict[int, Tensor] = field(default_factory=dict)
    asked: Tensor | None = None
    """[g, m] int64: slots whose answers go on from each prompt; where there are fewer, any slot."""

    @property
    def places(self) -> int:
        """Of the longest."""
        return next(iter(self.keys.values())).shape[2] if self.keys else 0

    def keep(self, alive: Tensor) -> None:
        """Forget all prompts but those, [g] bool."""
        self.length = self.length[alive]
        longest = int(self.length.max())
        for memory in (self.keys, self.values):
            for layer, held in memory.items():
                memory[layer] = held[alive, :, :longest]


class Slots:
    """Keys and values [slots, K, places, d] of each layer for the answers, and what is known of their prompts."""

    def __init__(self, slots: int, places: int, device: torch.device) -> None:
        """places: tokens that an answer may have."""
        self.slots, self.places = slots, places
        self.keys: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}
        self.known: list[Known] = []
        self.prompt = torch.zeros(slots, dtype=torch.long, device=device)
        """[slots] int64: prompt of each slot, counted through all that are known."""
        self.home = self.prompt
        """[n] int64: where each slot stands among all that ask, prompts laid end to end."""
        self.arranged = 0
        """How often it was found out who asks which prompt."""

    @property
    def held(self) -> int:
        """Places of all prompts that are known."""
        return sum(k.length.numel() * k.places for k in self.known)

    def layer(self, rule: Rule, like: Tensor) -> tuple[Tensor, Tensor]:
        """The answers' memory of one layer, made at its first use after the shape of its keys [n, K, 1, d]."""
        if rule.layer not in self.keys:
            shape = (self.slots, like.shape[1], self.places, like.shape[3])
            self.keys[rule.layer], self.values[rule.layer] = like.new_zeros(shape), like.new_zeros(shape)
        return self.keys[rule.layer], self.values[rule.layer]

    def admit(self, start: Tensor, length: Tensor, source: Tensor, first: int) -> list[Known]:
        """Room for prompts that are about to be read, and who goes on from them.

        start, length: [g] int64, where each prompt stands in the row. source: [n] int64, prompt of each new slot;
        the new slots are first, first + 1, ..., first + n - 1.
        """
        parts = buckets(length, LIKE)
        new = [Known(Block(places(start[i], length[i]), length[i]), length[i]) for i in parts]
        number = torch.empty_like(length)
        number[torch.cat(parts)] = torch.arange(len(length), device=length.device)
        self.prompt[first : first + len(source)] = number[source] + sum(len(k.length) for k in self.known)
        self.known += new
        return new

    def move(self, source: Tensor, target: Tensor, used: int) -> None:
        """The first `used` places of some slots into others, [n] int64 each."""
        self.prompt[target] = self.prompt[source]
        for memory in (*self.keys.values(), *self.values.values()):
            memory[target, :, :used] = memory[source, :, :used]

    def arrange(self, count: int) -> None:
        """Find out who asks which prompt, when the first `count` slots are under way; forget prompts of nobody."""
        self.arranged += 1
        owner = self.prompt[:count]
        alive = torch.zeros(sum(len(k.length) for k in self.known), dtype=torch.bool, device=owner.device)
        alive[owner] = True
        kept, at = [], 0
        for known in self.known:
            mine = alive[at : at + len(known.length)]
            at += len(mine)
            if bool(mine.any()):
                kept.append(known)
                if not bool(mine.all()):
                    known.keep(mine)
        self.known = kept
        owner.copy_((alive.cumsum(0) - 1)[owner])
        self.home = torch.empty_like(owner)
        order = torch.argsort(owner, stable=True)
        ranked = owner[order]
        asking = torch.bincount(ranked, minlength=int(alive.sum()))
        rank = torch.arange(count, device=owner.device) - (asking.cumsum(0) - asking)[ranked]
        at = laid = 0
        for known in self.known:
            g = len(known.length)
            some = (ranked >= at) & (ranked < at + g)
            row, column, most = ranked[some] - at, rank[some], int(asking[at : at + g].max())
            known.asked = torch.zeros(g, most, dtype=torch.long, device=owner.device)
            known.asked[row, column] = order[some]
            self.home[order[some]] = laid + row * most + column
            at, laid = at + g, laid + g * most


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
            known.keys[rule.layer] = known.block.known(keys).contiguous()
            known.values[rule.layer] = known.block.known(values).contiguous()
        return self.tree.attend(query, key, value, rule)


class Writing:
    """The layout of one step: each of the first n slots adds one token to its answer and reads what is known."""

    def __init__(self, slots: Slots, spoken: Tensor, steady: bool = False) -> None:
        """spoken: [n] int64, how many tokens of each answer were read before this one. steady: shapes are the same
        whatever it holds, and no number is asked of the device, so that a step can be recorded (played.py)."""
        self.slots, self.spoken = slots, spoken
        self.steady = steady
        self.span = slots.places if steady else int(spoken.max()) + 1
        self.even = not steady and int(spoken.min()) + 1 == self.span
        self._masks: dict[tuple[int | None, int], Tensor | None] = {}

    def attend(self, query: Tensor, key: Tensor, value: Tensor, rule: Rule) -> Tensor:
        """query [n, H, 1, d], key and value [n, K, 1, d] -> [n, 1, H, d]."""
        count, heads, _, size = query.shape
        mine = [memory[:count] for memory in self.slots.layer(rule, key)]
        for memory, new in zip(mine, (key, value), strict=True):
            if self.even:
                memory[:, :, self.span - 1] = new[:, :, 0]
            else:
                memory[torch.arange(count, device=query.device), :, self.spoken] = new[:, :, 0]
        # Queries that share a head of keys stand in one column: [n, K, H / K, d].
        query = query.reshape(count, key.shape[1], -1, size)
        keys, values = (memory[:, :, : self.span] for memory in mine)
        own, own_total = partly(query, keys, values, self._own(rule.window, query.dtype), rule)
        theirs, their_total = self._prompts(query, rule)
        share = torch.sigmoid(their_total - own_total)[..., None].to(own.dtype)
        return torch.lerp(own, theirs, share).reshape(count, 1, heads, -1)

    def _prompts(self, query: Tensor, rule: Rule) -> tuple[Tensor, Tensor]:
        """What the prompts answer to queries [n, K, r, d]: [n, K, r, d] and the logarithm of the sum, [n, K, r]."""
        answers, totals = [], []
        for number, known in enumerate(self.slots.known):
            assert known.asked is not None
            g, m = known.asked.shape
            asked = query.index_select(0, known.asked.flatten()).view(g, m, *query.shape[1:])
            mask = self._seen(number, known, rule.window, query)
            found, total = partly(
                asked.transpose(1, 2).flatten(2, 3), known.keys[rule.layer], known.values[rule.layer], mask, rule
            )
            own = (g, query.shape[1], m, query.shape[2])
            answers.append(found.reshape(*own, -1).transpose(1, 2).flatten(0, 1))
            totals.append(total.reshape(own).transpose(1, 2).flatten(0, 1))
        home = self.slots.home
        return torch.cat(answers).index_select(0, home), torch.cat(totals).index_select(0, home)

    def _own(self, window: int | None, dtype: torch.dtype) -> Tensor | None:
        """[n, 1, 1, span] to be added to the products with an answer's own keys; None when all are seen."""
        if window is not None and window >= self.span:
            window = None
        if (window, -1) not in self._masks:
            past = self.spoken[:, None] - torch.arange(self.span, device=self.spoken.device)
            seen = past >= 0 if window is None else (past >= 0) & (past < window)
            whole = self.even and window is None
            self._masks[window, -1] = None if whole else lowered(seen, dtype)[:, None, None]
        return self._masks[window, -1]

    def _seen(self, number: int, known: Known, window: int | None, query: Tensor) -> Tensor | None:
        """[g, 1, 1 or m r, P] to be added to the products with prompts' keys; None when all are seen."""
        assert known.asked is not None
        places = known.places
        if window is not None and window > places + self.span:
            window = None
        if (window, number) not in self._masks:
            place = torch.arange(places, device=query.device)
            seen = (place < known.length[:, None])[:, None, None]
            if window is not None:
                ahead = (known.length[:, None] + self.spoken[known.asked]).repeat_interleave(query.shape[2], 1)
                seen = seen & (ahead[..., None] - place < window)[:, None]
            whole = window is None and not self.steady and bool(seen.all())
            self._masks[window, number] = None if whole else lowered(seen, query.dtype)
        return self._masks[window, number]


def lowered(seen: Tensor, dtype: torch.dtype) -> Tensor:
    """0 where seen, else so low that it counts nothing, yet finite: a prompt may be out of sight altogether."""
    return torch.zeros_like(seen, dtype=dtype).masked_fill_(~seen, torch.finfo(dtype).min / 4)


def partly(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, rule: Rule) -> tuple[Tensor, Tensor]:
    """Attention over a part of what is seen, and the logarithm of the sum of exponentials over that part.

    query [n, K, r, d], key and value [n, K, S, d]; mask: added to the products, None where all is seen.
    Returns [n, K, r, d] and [n, K, r]. Parts are put together by their sums, as in flash attention (Dao et al. 2022).
    """
    if query.device.type == "cpu" and rule.softcap is None and value.shape[-1] == query.shape[-1]:
        found: tuple[Tensor, Tensor] = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query, key, value, attn_mask=mask, scale=rule.scaling
        )
        return found
    products = query @ key.transpose(-1, -2) * rule.scaling
    if rule.softcap is not None:
        products = torch.tanh(products / rule.softcap) * rule.softcap
    products = products.to(torch.promote_types(query.dtype, torch.float32))
    products = products if mask is None else products + mask
    total = torch.logsumexp(products, -1)
    return (products - total[..., None]).exp().to(value.dtype) @ value, total

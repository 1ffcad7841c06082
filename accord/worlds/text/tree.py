"""Who sees whom in a packed row, block by block, without an N x N mask.

What is found out about the row is found out in main memory, and only when somebody asks: slices and FlexAttention need
no blocks.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from accord.sending import together
from accord.worlds.text import flex
from accord.worlds.text.attention import Rule, additive, attended
from accord.worlds.text.slices import WORTH, Slices, back, each_head, forth, slices
from accord.worlds.text.stretches import buckets, places
from accord.worlds.text.tails import Tails, tails


@dataclass(frozen=True)
class Block:
    """n stretches of the packed row that are computed together."""

    place: Tensor
    """[n, L] int64: places that ask and are read; a shorter stretch repeats its last place."""
    length: Tensor
    """[n] int64: how many of them are real."""
    prompt: Tensor | None = None
    """[g, P] int64: places of the prompts that branches read before themselves; None for trunks."""
    read: Tensor | None = None
    """[n] int64: how many places of its prompt are real."""
    source: Tensor | None = None
    """[n] int64: which of the g prompts a branch reads."""
    masks: dict[tuple[int | None, torch.dtype], Tensor | None] = field(default_factory=dict)
    """Masks made so far: the layers of one pass share them."""

    @property
    def padding(self) -> Tensor | None:
        """[n, L] bool: places that are repeated; None when none is."""
        width = self.place.shape[1]
        if int(self.length.min()) == width:
            return None
        return torch.arange(width, device=self.place.device) >= self.length[:, None]

    def mask(self, window: int | None, dtype: torch.dtype) -> Tensor | None:
        """[n or 1, 1, L, P + L] to be added; None where plain causality says it all."""
        longest = self.place.shape[1] + (0 if self.prompt is None else self.prompt.shape[1])
        if window is not None and window >= longest:
            window = None
        if (window, dtype) not in self.masks:
            self.masks[window, dtype] = self._mask(window, dtype)
        return self.masks[window, dtype]

    def _mask(self, window: int | None, dtype: torch.dtype) -> Tensor | None:
        width = self.place.shape[1]
        step = torch.arange(width, device=self.place.device)
        past = step[:, None] - step  # [L, L]
        own = past >= 0 if window is None else (past >= 0) & (past < window)
        if self.prompt is None or self.read is None:
            return None if window is None else additive(own[None, None], dtype)
        place = torch.arange(self.prompt.shape[1], device=self.place.device)
        seen = (place < self.read[:, None])[:, None].expand(-1, width, -1)  # [n, L, P]
        if window is not None:
            seen = seen & (self.read[:, None, None] + step[:, None] - place < window)
        return additive(torch.cat([seen, own.expand(len(seen), -1, -1)], -1)[:, None], dtype)

    def asked(self, row: Tensor) -> Tensor:
        """[N, heads, d] -> [n, heads, L, d]: the stretches themselves."""
        return _rows(row, self.place).transpose(1, 2)

    def known(self, row: Tensor) -> Tensor:
        """[N, heads, d] -> [n, heads, P + L, d]: the stretches with their prompts before them."""
        own = _rows(row, self.place)
        if self.prompt is not None and self.source is not None:
            own = torch.cat([_rows(row, self.prompt).index_select(0, self.source), own], 1)
        return own.transpose(1, 2)


@dataclass(frozen=True)
class Tree:
    """The layout of a packed row: trunks are causal blocks, branches read their prompt and themselves."""

    total: int
    """Tokens of the row."""
    trunks: Tensor
    """[n, 2] int64: start and length of each trunk."""
    branches: Tensor
    """[m, 4] int64: start and length of each branch and of its prompt."""
    device: torch.device
    """Where the row lies; trunks and branches are in main memory."""

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All stretches, those of like length together."""
        return self._laid[0]

    @property
    def home(self) -> Tensor:
        """[N] int64: where each place of the row stands in the blocks' places laid end to end."""
        return self._laid[1]

    @cached_property
    def _laid(self) -> tuple[tuple[Block, ...], Tensor]:
        """Both, on the row's device."""
        blocks = _blocks(self.trunks, self.branches)
        home, laid = torch.empty(self.total, dtype=torch.long), 0
        for block in blocks:
            width = block.place.shape[1]
            row, place = (torch.arange(width) < block.length[:, None]).nonzero(as_tuple=True)
            home[block.place[row, place]] = laid + row * width + place
            laid += block.place.numel()
        names = ("place", "length", "prompt", "read", "source")
        filled = [[name for name in names if getattr(block, name) is not None] for block in blocks]
        tables = [getattr(block, name) for block, some in zip(blocks, filled, strict=True) for name in some]
        home, *there = together([home, *tables], self.device)
        own = iter(there)
        made: list[dict[str, Any]] = [{name: next(own) for name in some} for some in filled]
        return tuple(Block(**one) for one in made), home

    @cached_property
    def _slices(self) -> Slices:
        return slices(self.trunks, self.branches)

    @cached_property
    def places(self) -> flex.Places:
        """The row as FlexAttention sees it."""
        return flex.places(self.total, self.trunks, self.branches, self.device)

    @cached_property
    def _longest(self) -> int:
        """Tokens of the longest text."""
        texts = [self.trunks[:, 1], self.branches[:, 1] + self.branches[:, 3]]
        return int(torch.cat(texts).max()) if len(self.trunks) else 0

    def sliced(self, query: Tensor, rule: Rule) -> Slices | None:
        """The row as slices, where that is exact and quicker than gathering. query: [N, H, d]."""
        whole = rule.window is None or rule.window >= self._longest
        return self._slices if whole and len(query) >= WORTH * self._slices.calls else None

    def tails(self, state: Tensor, rule: Rule, at: Tensor) -> Tails | None:
        """How the places `at` see where they alone ask, where the row [N, ...] is sliced and that is worth while."""
        if (whole := self.sliced(state, rule)) is None:
            return None
        made = tails(self.trunks, self.branches, at)
        more = 0 if made is None else len(made.parts) - whole.calls
        return made if len(state) - len(at) >= 2 * WORTH * more else None  # each call more spares as many places

    def attend(self, query: Tensor, key: Tensor, value: Tensor, rule: Rule) -> Tensor:
        """query [1, H, N, d], key and value [1, K, N, d] -> [1, N, H, d]."""
        if flex.fits(query, value):
            return flex.attend(query, key, value, self.places, rule)
        q, k, v = (t[0].transpose(0, 1).contiguous() for t in (query, key, value))  # [N, heads, d]
        if rule.softcap is None and query.device.type == "cpu" and value.shape[-1] == query.shape[-1]:
            made: Tensor = TreeAttention.apply(q, k, v, self, rule)  # type: ignore[no-untyped-call]
            return made[None]
        found = [
            attended(
                block.asked(q),
                block.known(k),
                block.known(v),
                block.mask(rule.window, q.dtype),
                rule.scaling,
                rule.softcap,
            )
            for block in self.blocks
        ]
        return self.gathered(found)[None]

    def gathered(self, parts: list[Tensor]) -> Tensor:
        """What the blocks found, [n, heads, L, d] each, as [N, heads, d]."""
        return _rows(torch.cat([part.transpose(1, 2).flatten(0, 1) for part in parts]), self.home)


class TreeAttention(torch.autograd.Function):
    """The same on CPU, keeping queries, keys and values once for backward and not once per answer."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, tree: Tree, rule: Rule) -> Tensor:
        """q [N, H, d], k and v [N, K, d] -> [N, H, d]."""
        answer, kept = seen(tree, rule, q, k, v)
        ctx.tree, ctx.rule = tree, rule
        ctx.save_for_backward(q, k, v, answer, *kept)
        return answer

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """The gradients of queries, keys and values."""
        q, k, v, answer, *kept = ctx.saved_tensors
        return *unseen(ctx.tree, ctx.rule, grad.contiguous(), q, k, v, answer, kept), None, None


def seen(tree: Tree, rule: Rule, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Attention on CPU: q [N, H, d], k and v [N, K, d] -> [N, H, d], and what `unseen` needs beside all these."""
    if (whole := tree.sliced(q, rule)) is not None:
        return whole.forward(q, each_head(k, q), each_head(v, q), rule.scaling)
    found, sums = [], []
    for block in tree.blocks:
        mask = block.mask(rule.window, q.dtype)
        answer, total = forth(
            block.asked(q), *_grouped(q, block.known(k), block.known(v)),
            is_causal=mask is None, attn_mask=mask, scale=rule.scaling,
        )  # fmt: skip
        found.append(answer)
        sums.append(total)
    return tree.gathered(found), sums


def unseen(
    tree: Tree, rule: Rule, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, answer: Tensor, sums: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of q, k and v from that of the answer [N, H, d].

    Where rows were gathered, they are gathered again, block by block. A padded place repeats a real one, so its
    gradient is set to zero on the way in; nothing else has to be undone, for padded keys are seen by padded queries
    alone.
    """
    if (whole := tree.sliced(q, rule)) is not None:
        by_query, *both = whole.backward(grad, q, each_head(k, q), each_head(v, q), answer, sums, rule.scaling)
        if k.shape[1] < q.shape[1]:
            both = [t.view(*k.shape[:2], -1, k.shape[2]).sum(2) for t in both]
        return by_query, both[0], both[1]
    parts: list[list[Tensor]] = [[], [], []]
    shared: list[tuple[Block, Tensor, Tensor]] = []
    for block, total in zip(tree.blocks, sums, strict=True):
        mask = block.mask(rule.window, q.dtype)
        into = _rows(grad, block.place)
        if (padding := block.padding) is not None:
            into[padding] = 0
        keys, values = _grouped(q, block.known(k), block.known(v))
        by = back(
            into.transpose(1, 2), block.asked(q), keys, values, block.asked(answer), total,
            0.0, mask is None, attn_mask=mask, scale=rule.scaling,
        )  # fmt: skip
        by_key, by_value = (_ungrouped(t, k.shape[1]) for t in by[1:])
        if block.prompt is not None:
            width = block.prompt.shape[1]
            shared.append((block, by_key[:, :, :width], by_value[:, :, :width]))
            by_key, by_value = by_key[:, :, width:], by_value[:, :, width:]
        for part, new in zip(parts, (by[0], by_key, by_value), strict=True):
            part.append(new)
    by_query, by_keys, by_values = (tree.gathered(part) for part in parts)
    for block, more_key, more_value in shared:
        _add(by_keys, block, more_key)
        _add(by_values, block, more_value)
    return by_query, by_keys, by_values


def _grouped(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values [n, K, S, d] repeated for the H heads of the queries [N, H, d]."""
    times = query.shape[1] // key.shape[1]
    return (key, value) if times == 1 else (key.repeat_interleave(times, 1), value.repeat_interleave(times, 1))


def _ungrouped(grad: Tensor, heads: int) -> Tensor:
    """[n, H, S, d] summed over the queries' heads that share one of the K heads: [n, K, S, d]."""
    return grad if grad.shape[1] == heads else grad.view(grad.shape[0], heads, -1, *grad.shape[2:]).sum(2)


def _add(total: Tensor, block: Block, part: Tensor) -> None:
    """Add what branches [n, K, P, d] bring to their prompts to the row's gradient [N, K, d], in place."""
    assert block.prompt is not None
    assert block.source is not None
    assert block.read is not None
    each = part.transpose(1, 2).flatten(1)
    count, times = len(block.prompt), len(each) // len(block.prompt)
    if torch.equal(block.source, torch.arange(count, device=each.device).repeat_interleave(times)):
        brought = each.view(count, times, -1).sum(
            1
        )  # as many branches to each prompt: much faster than adding by index
    else:
        brought = each.new_zeros(count, each.shape[1]).index_add_(0, block.source, each)
    length = torch.empty(len(block.prompt), dtype=torch.long, device=part.device)
    length[block.source] = block.read
    real = torch.arange(block.prompt.shape[1], device=part.device) < length[:, None]
    place = block.prompt[real]  # each place once, so that reading, adding and writing back is safe
    total[place] = _rows(total, place) + brought.view(*block.prompt.shape, *total.shape[1:])[real]


def _rows(row: Tensor, place: Tensor) -> Tensor:
    """row[place] of a contiguous row [N, ...] at places of any shape; a plain copy of whole rows, which is fast."""
    flat = row.flatten(1).index_select(0, place.flatten())
    return flat.view(*place.shape, *row.shape[1:])


def tree(
    total: int,
    trunk_start: Tensor,
    trunk_length: Tensor,
    start: Tensor,
    length: Tensor,
    prompt_start: Tensor,
    prompt_length: Tensor,
    device: torch.device,
) -> Tree:
    """The layout of a row of `total` tokens from its trunks and its branches (start and length of each, [n] int64).

    device: where the row lies; the tables lie in main memory.
    """
    branches = torch.stack([start, length, prompt_start, prompt_length], 1)
    return Tree(total, torch.stack([trunk_start, trunk_length], 1), branches, device)


def _blocks(trunks: Tensor, branches: Tensor) -> list[Block]:
    """Trunks first, then branches, in parts of like length."""
    start, length = trunks.unbind(1)
    blocks = [Block(places(start[i], length[i]), length[i]) for i in buckets(length)]
    start, length, prompt_start, prompt_length = branches.unbind(1)
    for i in buckets(prompt_length + length):
        prompts, source = torch.unique(prompt_start[i], return_inverse=True)
        lengths = torch.empty_like(prompts)
        lengths[source] = prompt_length[i]
        own = places(start[i], length[i])
        blocks.append(Block(own, length[i], places(prompts, lengths), prompt_length[i], source))
    return blocks

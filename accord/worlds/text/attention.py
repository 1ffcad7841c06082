"""Who sees whom, block by block: attention over a packed row without an N x N mask."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

NAME = "accord"
SHRINK = 0.8
"""Blocks down to this share of the longest are padded to it and computed together."""
FLOOR = 16
"""Blocks that are at most so long are computed together whatever their lengths."""


@dataclass(frozen=True)
class Rule:
    """What a layer asks of its attention beside queries, keys and values."""

    layer: int
    """Number of the layer."""
    scaling: float
    """Multiplies the products of queries and keys."""
    window: int | None = None
    """A token sees this many tokens, itself among them; None for all of its past."""
    softcap: float | None = None
    """Products are squashed to (-softcap, softcap) by tanh; None leaves them."""


class Layout(Protocol):
    """Who sees whom in one pass."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, rule: Rule) -> Tensor:
        """query [R, H, N, d], key and value [R, K, N, d] -> [R, N, H, d]."""
        ...


def attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    softcap: float | None = None,
    sliding_window: int | None = None,
    layout: Layout | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """What `transformers` calls in each layer: the layout decides; without one, plain attention under the mask."""
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    if layout is not None:
        rule = Rule(int(module.layer_idx), scaling, sliding_window, softcap)  # type: ignore[arg-type]
        return layout.attend(query, key, value, rule), None
    if softcap is None:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others
        )
    length, seen = query.shape[2], key.shape[2]
    if attention_mask is None:
        attention_mask = torch.ones(length, seen, dtype=torch.bool, device=query.device).tril(seen - length)
    return attended(query, key, value, additive(attention_mask, query.dtype), scaling, softcap).transpose(1, 2), None


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, sdpa_mask)


def additive(visible: Tensor, dtype: torch.dtype) -> Tensor:
    """A mask of bools as one to be added: 0 where seen, else minus infinity."""
    return (
        torch.zeros_like(visible, dtype=dtype).masked_fill_(~visible, -torch.inf)
        if visible.dtype == torch.bool
        else visible
    )


def attended(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float, softcap: float | None
) -> Tensor:
    """Attention [n, H, L, d] of queries [n, H, L, d] over keys [n, K, S, d]; causal when there is no mask.

    H is a multiple of K (grouped queries, Ainslie et al. 2023). mask: added to the products, [n or 1, 1, L, S].
    """
    grouped = query.shape[1] != key.shape[1]
    if softcap is None:
        return scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=mask is None, scale=scaling, enable_gqa=grouped
        )
    if grouped:
        key = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
        value = value.repeat_interleave(query.shape[1] // value.shape[1], 1)
    products = torch.tanh(query @ key.transpose(-1, -2) * (scaling / softcap)) * softcap
    if mask is None:
        size = products.shape[-2:]
        mask = additive(torch.ones(size, dtype=torch.bool, device=query.device).tril(), query.dtype)
    share = torch.softmax(products + mask, -1, dtype=torch.promote_types(query.dtype, torch.float32))
    return share.to(query.dtype) @ value


@dataclass(frozen=True)
class Block:
    """n stretches of the packed row that are computed together."""

    query: Tensor
    """[n, L] int64: places that ask; shorter stretches repeat their last place."""
    prompt: Tensor | None
    """[n, P] int64: places of the prompt that a branch reads before itself; None for a trunk."""
    read: Tensor | None
    """[n] int64: how many of them are real."""
    masks: dict[tuple[int | None, torch.dtype], Tensor | None] = field(default_factory=dict)
    """Masks made so far: the layers of one pass share them."""

    def mask(self, window: int | None, dtype: torch.dtype) -> Tensor | None:
        """[n or 1, 1, L, S] to be added, S = P + L; None where plain causality says it all."""
        longest = self.query.shape[1] + (0 if self.prompt is None else self.prompt.shape[1])
        if window is not None and window >= longest:
            window = None
        if (window, dtype) not in self.masks:
            self.masks[window, dtype] = self._mask(window, dtype)
        return self.masks[window, dtype]

    def _mask(self, window: int | None, dtype: torch.dtype) -> Tensor | None:
        length = self.query.shape[1]
        step = torch.arange(length, device=self.query.device)
        past = step[:, None] - step  # [L, L]
        own = past >= 0 if window is None else (past >= 0) & (past < window)
        if self.prompt is None or self.read is None:
            return None if window is None else additive(own[None, None], dtype)
        place = torch.arange(self.prompt.shape[1], device=self.query.device)
        seen = (place < self.read[:, None])[:, None].expand(-1, length, -1)  # [n, L, P]
        if window is not None:
            seen = seen & (self.read[:, None, None] + step[:, None] - place < window)
        return additive(torch.cat([seen, own.expand(len(seen), -1, -1)], -1)[:, None], dtype)


@dataclass(frozen=True)
class Tree:
    """The layout of a packed row: trunks are causal blocks, branches read their prompt and themselves."""

    blocks: tuple[Block, ...]
    """All stretches, those of like length together."""
    home: Tensor
    """[N] int64: where each place of the row stands in the blocks' answers laid end to end."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, rule: Rule) -> Tensor:
        """query [1, H, N, d], key and value [1, K, N, d] -> [1, N, H, d]."""
        q, k, v = (t[0].transpose(0, 1) for t in (query, key, value))  # [N, heads, d]
        found = []
        for block in self.blocks:
            asks, keys, values = q[block.query], k[block.query], v[block.query]
            if block.prompt is not None:
                keys, values = torch.cat([k[block.prompt], keys], 1), torch.cat([v[block.prompt], values], 1)
            mask = block.mask(rule.window, query.dtype)
            asks, keys, values = (t.transpose(1, 2) for t in (asks, keys, values))
            answer = attended(asks, keys, values, mask, rule.scaling, rule.softcap)
            found.append(answer.transpose(1, 2).flatten(0, 1))
        return torch.cat(found)[self.home][None]


def tree(
    total: int,
    trunk_start: Tensor,
    trunk_length: Tensor,
    start: Tensor,
    length: Tensor,
    prompt_start: Tensor,
    prompt_length: Tensor,
) -> Tree:
    """The layout of a row of `total` tokens from its trunks and its branches (start and length of each, [n] int64)."""
    blocks = [Block(_places(trunk_start[i], trunk_length[i]), None, None) for i in buckets(trunk_length)]
    lengths = [trunk_length[i] for i in buckets(trunk_length)]
    for i in buckets(prompt_length + length):
        prompt = _places(prompt_start[i], prompt_length[i])
        blocks.append(Block(_places(start[i], length[i]), prompt, prompt_length[i]))
        lengths.append(length[i])
    home = torch.empty(total, dtype=torch.long, device=start.device)
    laid = 0
    for block, real in zip(blocks, lengths, strict=True):
        row, place = (torch.arange(block.query.shape[1], device=start.device) < real[:, None]).nonzero(as_tuple=True)
        home[block.query[row, place]] = laid + row * block.query.shape[1] + place
        laid += block.query.numel()
    return Tree(tuple(blocks), home)


def buckets(length: Tensor) -> list[Tensor]:
    """Numbers of the stretches, [n] int64 lengths, in parts of like length; within a part in their old order."""
    if len(length) == 0:
        return []
    kind = torch.ceil(torch.log(length.clamp(min=FLOOR).double() / FLOOR) / -torch.log(torch.tensor(SHRINK)))
    return [(kind == k).nonzero()[:, 0] for k in torch.unique(kind)]


def _places(start: Tensor, length: Tensor) -> Tensor:
    """[n, longest] places of n stretches; a shorter one repeats its last place, so that padding brings nothing new."""
    step = torch.arange(int(length.max()), device=start.device)
    return start[:, None] + torch.minimum(step, length[:, None] - 1)

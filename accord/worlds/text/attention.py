"""Accord's attention inside the models of `transformers`: each layer asks the layout of the pass who sees whom.

Their code is imported when there is such a model and not before: it brings 120 MB of other libraries with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

NAME = "accord"


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


def _asked(layout: Layout, query: Tensor, key: Tensor, value: Tensor, rule: Rule) -> Tensor:
    """What the layout says."""
    return layout.attend(query, key, value, rule)


_ASK: list[Callable[[Layout, Tensor, Tensor, Tensor, Rule], Tensor]] = [_asked]


def keep_the_compiler_out() -> None:
    """From now on what a layout says is no part of a compiled layer, which is cut in two there."""
    _ASK[0] = torch.compiler.disable(_asked)  # type: ignore[no-untyped-call]


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
        return _ASK[0](layout, query, key, value, rule), None
    if softcap is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **others
        )
    length, seen = query.shape[2], key.shape[2]
    if attention_mask is None:
        attention_mask = torch.ones(length, seen, dtype=torch.bool, device=query.device).tril(seen - length)
    return attended(query, key, value, additive(attention_mask, query.dtype), scaling, softcap).transpose(1, 2), None


@cache
def registered() -> str:
    """The name by which `transformers` calls `attention` from now on."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(NAME, attention)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    return NAME


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

"""The layers of the Llama family in a row: the same numbers as in `transformers`, without what it does around them.

A step of the sampler reads one token for each answer. There the calls around the arithmetic (masks, caches, wrappers,
keyword arguments through every layer) take as long as the arithmetic. What is computed, and in which order, is the
same to the last bit, and the modules are the model's own, LoRA layers included.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from accord.worlds.text.attention import Layout, Rule

if TYPE_CHECKING:
    from accord.worlds.text.trunk import Trunk

FAMILIES = {"LlamaModel", "MistralModel", "Qwen2Model", "Qwen3Model"}
"""Bodies of `transformers` whose layers are those of Llama; heads may be normalised (Qwen 3) or see a window."""

Read = Callable[[Tensor, Tensor, Layout], Tensor]
"""What `Trunk.read` is: ids and positions [R, N] -> [R, N, D]."""


def reader(trunk: Trunk) -> Read:
    """The quicker way to read with this model: `read` below for a family that it knows, else `trunk.read`.

    Modules with hooks (weights in shares, somebody's probes) want to be called by their own names.
    """
    body = trunk.body
    if not known(body) or not trunk.shares:
        return trunk.read
    rules = [rule_of(layer.self_attn, body.config) for layer in body.layers]
    return lambda ids, position, layout: read(body, rules, ids, position, layout)


def known(body: Any) -> bool:
    """Whether a body has the layers of a family above, and nobody listens to its modules.

    The word table may be listened to, for it is called by its own name: `transformers` does so for checkpointing.
    """
    if type(body).__name__ not in FAMILIES:
        return False
    table = body.get_input_embeddings()
    return not any(m._forward_hooks or m._forward_pre_hooks for m in body.modules() if m is not table)


def rule_of(own: Any, config: Any) -> Rule:
    """How one layer attends."""
    window = getattr(own, "sliding_window", None)
    if type(own).__name__ == "MistralAttention":
        window = getattr(config, "sliding_window", None)
    return Rule(int(own.layer_idx), own.scaling, window)


def read(body: Any, rules: list[Rule], ids: Tensor, position: Tensor, layout: Layout) -> Tensor:
    """[R, N, D] last hidden states of ids [R, N] at their positions."""
    rows, width = ids.shape
    state = body.embed_tokens(ids).flatten(0, 1)  # [R N, D]
    turn = [t.flatten(0, 1)[:, None] for t in body.rotary_emb(state, position_ids=position)]  # [R N, 1, d]
    for layer, rule in zip(body.layers, rules, strict=True):
        own, mlp = layer.self_attn, layer.mlp
        seen = normed(layer.input_layernorm, state)
        query, key, value = (
            part(seen).view(rows * width, -1, own.head_dim) for part in (own.q_proj, own.k_proj, own.v_proj)
        )
        if hasattr(own, "q_norm"):
            query, key = normed(own.q_norm, query), normed(own.k_norm, key)
        query, key = (turned(t, *turn) for t in (query, key))
        query, key, value = (t.view(rows, width, -1, own.head_dim).transpose(1, 2) for t in (query, key, value))
        state = state + own.o_proj(layout.attend(query, key, value, rule).reshape(rows * width, -1))
        seen = normed(layer.post_attention_layernorm, state)
        state = state + mlp.down_proj(mlp.act_fn(mlp.gate_proj(seen)).mul_(mlp.up_proj(seen)))
    return normed(body.norm, state).view(rows, width, -1)


def normed(norm: Any, state: Tensor) -> Tensor:
    """Root mean square norm (Zhang and Sennrich 2019) over the last axis, in fp32."""
    exact = state.to(torch.float32)
    spread = exact.pow(2).mean(-1, keepdim=True).add_(norm.variance_epsilon).rsqrt_()
    made: Tensor = norm.weight * (exact * spread).to(state.dtype)
    return made


def turned(heads: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021): heads [M, h, d], cos and sin [M, 1, d]."""
    left, right = heads.chunk(2, -1)
    return (heads * cos).add_(torch.cat((-right, left), -1).mul_(sin))

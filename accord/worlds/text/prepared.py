"""Layers made ready for one call of the sampler: weights joined and transposed, so that a step is few large products.

A step of the sampler multiplies a few dozen rows with every weight. With weights [in, out] instead of [out, in] such a
product takes four fifths of the time on a CPU, and queries, keys and values are one product, as are gate and up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from accord.worlds.text.attention import Layout, Rule
from accord.worlds.text.layer import Weights, circled, mingled, normed, turn
from accord.worlds.text.layers import reader, rule_of
from accord.worlds.text.llama import fits, weights_of
from accord.worlds.text.trunk import Trunk

MOST = 1 << 29
"""Bytes of weights above which nothing is copied."""

Read = Callable[[Tensor, Tensor, Layout, Tensor | None], Tensor]
"""ids and positions [R, N], layout, and flat places [m] whose states are wanted (None for all) -> [m, D]."""


@dataclass(frozen=True)
class Ready:
    """One layer."""

    rule: Rule
    size: int
    """Of a head."""
    heads: int
    known: int
    """Heads of keys."""
    epsilon: float
    before: Tensor
    joined: Tensor
    """[D, (heads + 2 known) size]: queries, keys, values."""
    bias: Tensor | None
    query_norm: Tensor | None
    key_norm: Tensor | None
    out: Tensor
    after: Tensor
    opened: Tensor
    """[D, 2 F]: gate and up."""
    down: Tensor


def prepared(trunk: Trunk) -> Read:
    """The quickest way to read without gradient, while the weights stay as they are: `layers.reader` or by copies."""
    body = trunk.body
    known = trunk.shares and trunk.whole_layers and fits(body)
    if known and sum(w.numel() * w.element_size() for w in body.layers.parameters()) <= MOST:
        layers = [_ready(layer, body.config) for layer in body.layers]
        return lambda ids, position, layout, at: _read(body, layers, ids, position, layout, at)
    plain = reader(trunk)

    def read(ids: Tensor, position: Tensor, layout: Layout, at: Tensor | None) -> Tensor:
        state = plain(ids, position, layout).flatten(0, 1)
        return state if at is None else state[at]

    return read


def _ready(layer: Any, config: Any) -> Ready:
    size = int(layer.self_attn.head_dim)
    w = mingled(Weights(*weights_of(layer)), size)  # type: ignore[arg-type]
    biases = [bias for bias in (w.query_bias, w.key_bias, w.value_bias) if bias is not None]
    return Ready(
        rule_of(layer.self_attn, config), size, len(w.query) // size, len(w.key) // size,
        layer.input_layernorm.variance_epsilon, w.before, _turned(w.query, w.key, w.value),
        torch.cat(biases) if biases else None, w.query_norm, w.key_norm,
        _turned(w.out), w.after, _turned(w.gate, w.up), _turned(w.down),
    )  # fmt: skip


def _turned(*weights: Tensor) -> Tensor:
    """Some weights [out, in] as one [in, sum of out]."""
    return torch.cat(weights).t().contiguous()


def _read(body: Any, layers: list[Ready], ids: Tensor, position: Tensor, layout: Layout, at: Tensor | None) -> Tensor:
    rows, width = ids.shape
    state: Tensor = body.embed_tokens(ids).flatten(0, 1)  # [R N, D]
    cos, sin = (t.flatten(0, 1) for t in body.rotary_emb(state, position_ids=position))
    circle = circled(cos, sin, layers[0].heads + layers[0].known)
    for w in layers:
        read = normed(state, w.before, w.epsilon)
        every = read @ w.joined if w.bias is None else torch.addmm(w.bias, read, w.joined)
        heads = every.view(rows * width, -1, w.size)
        if w.query_norm is not None and w.key_norm is not None:
            for norm, part in ((w.query_norm, heads[:, : w.heads]), (w.key_norm, heads[:, w.heads : -w.known])):
                part.copy_(normed(part, norm, w.epsilon))
        turn(every[:, : (w.heads + w.known) * w.size], circle)
        each = heads.view(rows, width, -1, w.size).transpose(1, 2)
        q, k, v = torch.split(each, [w.heads, w.known, w.known], 1)
        found = layout.attend(q, k, v, w.rule).reshape(rows * width, -1)
        if at is not None and w is layers[-1]:
            state, found = state[at], found[at]
        state = torch.addmm(state, found, w.out)
        gate, up = (normed(state, w.after, w.epsilon) @ w.opened).chunk(2, -1)
        state = state.addmm_(torch.nn.functional.silu(gate).mul_(up), w.down)
    made: Tensor = body.norm(state)
    return made

"""Layers made ready for one call of the sampler: weights joined and transposed, so that a step is few large products.

A step of the sampler multiplies a few dozen rows with every weight. With weights [in, out] instead of [out, in] such a
product takes four fifths of the time on a CPU, and queries, keys and values are one product, as are gate and up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from accord.worlds.text.attention import Layout, Rule
from accord.worlds.text.heap import Broad
from accord.worlds.text.layer import Weights, circled, mingled, turn
from accord.worlds.text.layers import reader, rule_of
from accord.worlds.text.llama import fits, weights_of
from accord.worlds.text.trunk import Trunk

MOST = 1 << 29
"""Bytes of weights above which nothing is copied."""
ROWS, STEPS = 4, 32
"""With fewer rows to a step, or fewer steps, a copy of the output layer does not pay."""

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
    epsilon: Tensor
    """[] of every norm."""
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
    if _copied(trunk):
        room = Broad(_size(body.layers), body.layers[0].mlp.down_proj.weight)
        layers = [_ready(layer, body.config, room) for layer in body.layers]
        return lambda ids, position, layout, at: _read(body, layers, ids, position, layout, at)
    plain = reader(trunk)

    def read(ids: Tensor, position: Tensor, layout: Layout, at: Tensor | None) -> Tensor:
        state = plain(ids, position, layout).flatten(0, 1)
        return state if at is None else state[at]

    return read


def worded(trunk: Trunk, rows: int, steps: int) -> Callable[[Tensor], Tensor]:
    """The quickest way from states [m, D] to logits [m, V], of so many rows at each of so many steps."""
    head = trunk.head
    plain = type(head) is nn.Linear and type(head.weight) is nn.Parameter and head.bias is None
    heard = plain and any((head._forward_hooks, head._forward_pre_hooks))
    finished = trunk.scale == 1 and trunk.cap is None
    if heard or not (plain and finished and rows >= ROWS and steps >= STEPS and _copied(trunk, head)):
        return trunk.logits
    weight = _turned(Broad(head.weight.numel(), head.weight), head.weight)
    return lambda state: state @ weight


def _copied(trunk: Trunk, *more: nn.Module) -> bool:
    """Whether the layers of a model, and what else is named, may be copied."""
    if not (trunk.shares and trunk.whole_layers and fits(trunk.body)):
        return False
    size = sum(map(_size, (trunk.body.layers, *more)))
    return size * int(trunk.body.embed_tokens.weight.element_size()) <= MOST


def _size(part: nn.Module) -> int:
    """Weights of a part of a model."""
    return sum(w.numel() for w in part.parameters())


def _ready(layer: Any, config: Any, room: Broad) -> Ready:
    size = int(layer.self_attn.head_dim)
    w = mingled(Weights(*weights_of(layer)), size)  # type: ignore[arg-type]
    biases = [bias for bias in (w.query_bias, w.key_bias, w.value_bias) if bias is not None]
    return Ready(
        rule_of(layer.self_attn, config), size, len(w.query) // size, len(w.key) // size,
        w.before.new_tensor(layer.input_layernorm.variance_epsilon), w.before, _turned(room, w.query, w.key, w.value),
        torch.cat(biases) if biases else None, w.query_norm, w.key_norm,
        _turned(room, w.out), w.after, _turned(room, w.gate, w.up), _turned(room, w.down),
    )  # fmt: skip


def _turned(room: Broad, *weights: Tensor) -> Tensor:
    """Some weights [out, in] as one [in, sum of out]."""
    joined = torch.cat(weights) if len(weights) > 1 else weights[0]
    return room.take(*joined.t().shape).copy_(joined.t())


def _normed(state: Tensor, weight: Tensor, epsilon: Tensor) -> Tensor:
    """`layer.normed` in fewer steps, for a few rows."""
    size = torch.linalg.vector_norm(state, dim=-1, keepdim=True)
    size = torch.addcmul(epsilon, size, size, value=1 / state.shape[-1]).rsqrt_()
    return (state * size).mul_(weight)


def _read(body: Any, layers: list[Ready], ids: Tensor, position: Tensor, layout: Layout, at: Tensor | None) -> Tensor:
    rows, width = ids.shape
    state: Tensor = body.embed_tokens(ids).flatten(0, 1)  # [R N, D]
    cos, sin = (t.flatten(0, 1) for t in body.rotary_emb(state, position_ids=position))
    circle = circled(cos, sin, layers[0].heads + layers[0].known)
    for w in layers:
        read = _normed(state, w.before, w.epsilon)
        every = read @ w.joined if w.bias is None else torch.addmm(w.bias, read, w.joined)
        heads = every.view(rows * width, -1, w.size)
        if w.query_norm is not None and w.key_norm is not None:
            for norm, part in ((w.query_norm, heads[:, : w.heads]), (w.key_norm, heads[:, w.heads : -w.known])):
                part.copy_(_normed(part, norm, w.epsilon))
        turn(every[:, : (w.heads + w.known) * w.size], circle)
        each = heads.view(rows, width, -1, w.size).transpose(1, 2)
        q, k, v = torch.split(each, [w.heads, w.known, w.known], 1)
        found = layout.attend(q, k, v, w.rule).reshape(rows * width, -1)
        if at is not None and w is layers[-1]:
            state, found = state[at], found[at]
        state = torch.addmm(state, found, w.out)
        gate, up = (_normed(state, w.after, w.epsilon) @ w.opened).chunk(2, -1)
        state = state.addmm_(torch.nn.functional.silu(gate).mul_(up), w.down)
    made: Tensor = body.norm(state)
    return made

"""Layers made ready for one call of the sampler: weights joined and transposed, so that a step is few large products.

A step of the sampler multiplies a few dozen rows with every weight. With weights [in, out] instead of [out, in] such a
product takes four fifths of the time on a CPU, and queries, keys and values are one product, as are gate and up. What
multiplies each number of a state (the weights of norms, the scale of queries) is in the copies already.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
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

PAGE, LINE = 4096, 64
"""Bytes: rows a whole number of pages apart fall upon each other in the cache, and a line more keeps them apart."""
STEADY = {"default", "linear", "llama3", "yarn"}
"""Rotary positions that do not hang on how long a text is."""
TURNS = 256
"""Places more than needed for which turns are found out at a time."""

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
    joined: Tensor
    """[D, (heads + 2 known) size]: the first norm's weights in queries, keys, values."""
    bias: Tensor | None
    query_norm: Tensor | None
    key_norm: Tensor | None
    out: Tensor
    opened: Tensor
    """[D, 2 F]: the second norm's weights in gate and up."""
    down: Tensor


def prepared(trunk: Trunk) -> Read:
    """The quickest way to read without gradient, while the weights stay as they are: `layers.reader` or by copies."""
    body = trunk.body
    if _copied(trunk):
        like = body.layers[0].mlp.down_proj.weight
        lines = sum(m.in_features for m in body.layers.modules() if isinstance(m, nn.Linear)) * LINE
        room = Broad(_size(body.layers) + lines // like.element_size(), like)
        layers = [_ready(layer, body.config, room) for layer in body.layers]
        turns = _turns(body)
        return lambda ids, position, layout, at: _read(body, layers, turns, ids, position, layout, at)
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
    weight = _turned(Broad(head.in_features * _apart(head.out_features, head.weight), head.weight), head.weight)
    return lambda state: state @ weight


def _copied(trunk: Trunk, *more: nn.Module) -> bool:
    """Whether the layers of a model, and what else is named, may be copied."""
    if not (trunk.shares and trunk.whole_layers and fits(trunk.body)):
        return False
    if trunk.body.norm.variance_epsilon != trunk.body.layers[0].input_layernorm.variance_epsilon:
        return False
    size = sum(map(_size, (trunk.body.layers, *more)))
    return size * int(trunk.body.embed_tokens.weight.element_size()) <= MOST


def _size(part: nn.Module) -> int:
    """Weights of a part of a model."""
    return sum(w.numel() for w in part.parameters())


def _ready(layer: Any, config: Any, room: Broad) -> Ready:
    size, rule = int(layer.self_attn.head_dim), rule_of(layer.self_attn, config)
    w = mingled(Weights(*weights_of(layer)), size)  # type: ignore[arg-type]
    query, bias, norm = w.query, w.query_bias, w.query_norm
    if norm is not None:
        norm = norm * rule.scaling
    else:
        query, bias = query * rule.scaling, None if bias is None else bias * rule.scaling
    biases = [some for some in (bias, w.key_bias, w.value_bias) if some is not None]
    return Ready(
        replace(rule, scaling=1.0), size, len(w.query) // size, len(w.key) // size,
        w.before.new_tensor(layer.input_layernorm.variance_epsilon),
        _turned(room, query, w.key, w.value).mul_(w.before[:, None]), torch.cat(biases) if biases else None,
        norm, w.key_norm, _turned(room, w.out), _turned(room, w.gate, w.up).mul_(w.after[:, None]),
        _turned(room, w.down),
    )  # fmt: skip


def _apart(width: int, like: Tensor) -> int:
    """How many numbers rows of so many should lie apart, see `PAGE`."""
    size = like.element_size()
    return width if width * size % PAGE else width + LINE // size


def _turned(room: Broad, *weights: Tensor) -> Tensor:
    """Some weights [out, in] as one [in, sum of out]."""
    joined = torch.cat(weights) if len(weights) > 1 else weights[0]
    width, rows = joined.shape
    return room.take(rows, _apart(width, joined))[:, :width].copy_(joined.t())


def _turns(body: Any) -> Callable[[Tensor, Tensor], Tensor]:
    """How each place [M] turns half a head, [M, size / 2] complex; where it can be, from a table that grows."""
    table = torch.empty(0)

    def told(state: Tensor, position: Tensor) -> Tensor:
        cos, sin = body.rotary_emb(state, position_ids=position[None])
        return circled(cos[0], sin[0], 1)

    def looked(state: Tensor, position: Tensor) -> Tensor:
        nonlocal table
        if len(table) <= (most := int(position.max())):
            table = told(state, torch.arange(most + TURNS))
        return table.index_select(0, position)

    return looked if getattr(body.rotary_emb, "rope_type", None) in STEADY else told


def _united(state: Tensor, epsilon: Tensor) -> Tensor:
    """A state [..., D] over its root mean square, in few steps, for a few rows."""
    size = torch.linalg.vector_norm(state, dim=-1, keepdim=True)
    return state * torch.addcmul(epsilon, size, size, value=1 / state.shape[-1]).rsqrt_()


def _read(
    body: Any,
    layers: list[Ready],
    turns: Callable[[Tensor, Tensor], Tensor],
    ids: Tensor,
    position: Tensor,
    layout: Layout,
    at: Tensor | None,
) -> Tensor:
    rows, width = ids.shape
    state: Tensor = body.embed_tokens(ids).flatten(0, 1)  # [R N, D]
    circle = turns(state, position.flatten()).repeat(1, layers[0].heads + layers[0].known)
    for w in layers:
        read = _united(state, w.epsilon)
        every = torch.mm(read, w.joined) if w.bias is None else torch.addmm(w.bias, read, w.joined)
        heads = every.view(rows * width, -1, w.size)
        if w.query_norm is not None and w.key_norm is not None:
            for norm, part in ((w.query_norm, heads[:, : w.heads]), (w.key_norm, heads[:, w.heads : -w.known])):
                torch.mul(_united(part, w.epsilon), norm, out=part)
        turn(every[:, : (w.heads + w.known) * w.size], circle)
        each = heads.view(rows, width, -1, w.size).transpose(1, 2)
        q, k, v = torch.split(each, [w.heads, w.known, w.known], 1)
        found = layout.attend(q, k, v, w.rule).reshape(rows * width, -1)
        if at is not None and w is layers[-1]:
            state, found = state[at], found[at]
        state = torch.addmm(state, found, w.out)
        gate, up = torch.mm(_united(state, w.epsilon), w.opened).chunk(2, -1)
        state = state.addmm_(torch.nn.functional.silu(gate).mul_(up), w.down)
    return _united(state, layers[0].epsilon).mul_(body.norm.weight)

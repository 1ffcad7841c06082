"""Packed rows through bodies of the Llama family whose layers are plain: each layer is one function (layer.py)."""

from __future__ import annotations

from dataclasses import fields
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from accord.worlds.text.layer import Layer, Plan, Weights, circled
from accord.worlds.text.layers import known, rule_of
from accord.worlds.text.low import Low, inside, low, understood
from accord.worlds.text.picked import picked
from accord.worlds.text.tree import Tree
from accord.worlds.text.words import words

PARTS = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")


@torch.no_grad()
def weights_of(layer: Any) -> tuple[Tensor | None, ...]:
    """The weights that act in a layer of `transformers`, adapters in them, in the order of `Weights`."""
    lows, given = lows_of(layer), _bare(layer)
    return tuple(
        lows[f.name].merged(weight) if f.name in lows and weight is not None else weight
        for f, weight in zip(fields(Weights), given, strict=True)
    )


def _bare(layer: Any) -> tuple[Tensor | None, ...]:
    """The weights of a layer alone."""
    own, mlp = layer.self_attn, layer.mlp
    q, k, v, out = (inside(getattr(own, name)) for name in PARTS[0])
    gate, up, down = (inside(getattr(mlp, name)) for name in PARTS[1])
    norms = [getattr(getattr(own, name, None), "weight", None) for name in ("q_norm", "k_norm")]
    return (
        layer.input_layernorm.weight, q.weight, k.weight, v.weight, out.weight,
        layer.post_attention_layernorm.weight, gate.weight, up.weight, down.weight, q.bias, k.bias, v.bias, *norms,
    )  # fmt: skip


def lows_of(layer: Any) -> dict[str, Low]:
    """The adapters that act in a layer, by the fields of `Weights`."""
    parts = [getattr(layer.self_attn, name) for name in PARTS[0]] + [getattr(layer.mlp, name) for name in PARTS[1]]
    names = ("query", "key", "value", "out", "gate", "up", "down")
    return {name: found for name, part in zip(names, parts, strict=True) if (found := low(part)) is not None}


def plain(layer: Any) -> bool:
    """Whether a layer is made of nothing but what `Layer` computes: no hooks, other biases, adapters or activations.

    A layer that torch was asked to compile wants to be called by its name.
    """
    own, mlp = layer.self_attn, layer.mlp
    parts = [getattr(own, name) for name in PARTS[0]] + [getattr(mlp, name) for name in PARTS[1]]
    linear = list(map(inside, parts))
    norms = [layer.input_layernorm, layer.post_attention_layernorm]
    norms += [norm for name in ("q_norm", "k_norm") if (norm := getattr(own, name, None)) is not None]
    return (
        all(map(understood, parts))
        and all(part.bias is None for part in linear[3:])
        and all(type(part.weight) is nn.Parameter for part in [*linear, *norms])
        and len({norm.variance_epsilon for norm in norms}) == 1
        and type(mlp.act_fn).__name__ in ("SiLU", "SiLUActivation")
        and layer._compiled_call_impl is None
    )


def fits(body: Any) -> bool:
    """Whether the whole of a body can be read by `read`."""
    weight = body.get_input_embeddings().weight
    return (
        weight.device.type == "cpu"
        and weight.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and known(body)
        and not any(m._backward_hooks or m._backward_pre_hooks for m in body.modules())
        and all(map(plain, body.layers))
    )


def read(body: Any, ids: Tensor, position: Tensor, tree: Tree, at: Tensor) -> tuple[Tensor, int, int]:
    """[m, D] last hidden states at the places `at` [m] of a packed row, ids and position [1, N].

    And for how many places of the row the last layer went no further than attention, and how many pairs of places it
    left out there because those did not attend either (0 where they did).
    """
    state = words(body.embed_tokens, ids)
    cos, sin = (t[0] for t in body.rotary_emb(state, position_ids=position))
    forth, back = (circled(cos, way * sin, body.config.num_attention_heads) for way in (1, -1))
    state, last = state[0], len(body.layers) - 1
    wanted = torch.zeros(len(state), dtype=torch.bool)
    wanted[at] = True
    some = None if bool(wanted.all()) else wanted.nonzero()[:, 0]
    for number, layer in enumerate(body.layers):
        given, own = _bare(layer), layer.self_attn
        lows = lows_of(layer)
        given += tuple(side for one in lows.values() for side in (one.down, one.up))
        learning = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (state, *given))
        rule, asked = rule_of(own, body.config), some if number == last else None
        plan = Plan(
            tree, rule, own.head_dim, layer.input_layernorm.variance_epsilon, forth, back, asked, learning,
            None if asked is None else tree.tails(state, rule, asked), tuple((n, one.scale) for n, one in lows.items()),
        )  # fmt: skip
        if learning and layer.training and getattr(layer, "gradient_checkpointing", False):
            again = partial(checkpoint, use_reentrant=False, preserve_rng_state=False)
            state = again(Layer.apply, state, plan, *given)
        else:
            state = Layer.apply(state, plan, *given)  # type: ignore[no-untyped-call]
    made: Tensor = body.norm(state)
    left = 0 if plan.tails is None else int((position[0] + 1)[~wanted].sum())
    return picked(made, at if some is None else (wanted.cumsum(0) - 1)[at]), len(wanted) - len(made), left

"""One layer of the Llama family as one function: little is kept for backward, and the rest computed again in stretches.

    forward    x -> norm -> q k v -> turn -> attention -> h = x + o Wo' -> norm -> y = h + (silu(g) * u) Wd'
    kept       x, turned q and k, v, o, h, g, u          (5 widths of the state and two of the inner layer)
               and how long x and h were                 (a number a row)
    again      x and h over their lengths, silu(g) * u

All of it but attention is done for some rows after the other: many enough for products at the machine's rate, few
enough that what is made on the way stays small. The last layer need not go beyond attention where nobody reads its
states.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from accord.run.gradients import held
from accord.worlds.text.attention import Rule
from accord.worlds.text.tree import Tree, seen, unseen

ROWS = 1024
"""Rows that are worked on at a time. Products of 256 rows run at nine tenths of the rate of products of a thousand."""


@dataclass(frozen=True)
class Plan:
    """What a layer is told beside its weights."""

    tree: Tree
    rule: Rule
    size: int
    """Of a head."""
    epsilon: float
    """Of every norm."""
    forth: Tensor
    """[N, heads size / 2] complex: the turn of each place, see `circled`."""
    back: Tensor
    """The same the other way."""
    at: Tensor | None
    """[m] int64: the only places whose states are wanted, in order and each once; None for all."""
    learning: bool
    """Whether anything is kept for backward."""


@dataclass(frozen=True)
class Weights:
    """A layer's weights, in the order of the fields; None for what it has not."""

    before: Tensor
    query: Tensor
    key: Tensor
    value: Tensor
    out: Tensor
    after: Tensor
    gate: Tensor
    up: Tensor
    down: Tensor
    query_bias: Tensor | None = None
    key_bias: Tensor | None = None
    value_bias: Tensor | None = None
    query_norm: Tensor | None = None
    key_norm: Tensor | None = None


COUNT = 14
"""Fields of `Weights`."""


class Layer(torch.autograd.Function):
    """x [N, D] -> y [N or m, D], by hand."""

    @staticmethod
    def forward(ctx: Any, state: Tensor, plan: Plan, *given: Tensor | None) -> Tensor:
        """state: [N, D]; given: `weights_of` the layer."""
        w = mingled(Weights(*given), plan.size)  # type: ignore[arg-type]
        before, after = (state.new_empty(len(state), 1) for _ in range(2))
        q, k, v, raw = _asked(state, w, plan, before)
        answer, sums = seen(plan.tree, plan.rule, q, k, v)
        o, x = answer.flatten(1), state
        if plan.at is not None:
            o, x = o[plan.at], x[plan.at]
        h, made = torch.empty_like(x), torch.empty_like(x)
        rows = len(x) if plan.learning else min(len(x), ROWS)
        gate, up = (x.new_empty(rows, len(w.gate)) for _ in range(2))
        for s in stretches(len(x)):
            kept = s if plan.learning else slice(0, s.stop - s.start)
            torch.addmm(x[s], o[s], w.out.t(), out=h[s])
            read = _read(h[s], w.after, plan.epsilon, after[s])
            g, u = torch.mm(read, w.gate.t(), out=gate[kept]), torch.mm(read, w.up.t(), out=up[kept])
            torch.addmm(h[s], torch.nn.functional.silu(g).mul_(u), w.down.t(), out=made[s])
        if plan.learning:
            ctx.plan, ctx.sums, ctx.own = plan, len(sums), given
            ctx.save_for_backward(*given, state, q, k, v, answer, h, gate, up, before, after, *sums, *raw)
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of the state and of every weight that wants one."""
        plan: Plan = ctx.plan
        kept = ctx.saved_tensors
        w = mingled(Weights(*kept[:COUNT]), plan.size)
        state, q, k, v, answer, h, gate, up, before, after, *rest = kept[COUNT:]
        wants = Weights(*ctx.needs_input_grad[2:])
        sums, raw = rest[: ctx.sums], rest[ctx.sums :]
        grad = grad.contiguous()
        o = answer.flatten(1) if plan.at is None else answer.flatten(1)[plan.at]
        own = {
            f.name: into
            for f, weight in zip(fields(Weights), ctx.own, strict=True)
            if f.name not in MINGLED and (into := held(weight)) is not None
        }
        by = dict(own)
        by_h, by_o = torch.empty_like(h), torch.empty_like(o)
        for s in stretches(len(h)):
            g, u = gate[s], up[s]
            risen = torch.nn.functional.silu(g)
            into = grad[s] @ w.down
            if wants.down:
                _gain(by, "down", grad[s], risen * u)
            by_up = into * risen
            by_gate = torch.ops.aten.silu_backward(into.mul_(u), g)
            unit = h[s] * after[s]
            read = unit * w.after
            if wants.gate:
                _gain(by, "gate", by_gate, read)
            if wants.up:
                _gain(by, "up", by_up, read)
            into = torch.mm(by_gate, w.gate).addmm_(by_up, w.up)
            torch.addcmul(
                grad[s], _unnormed(into, w.after, unit, by, "after" if wants.after else ""), after[s], out=by_h[s]
            )
            if wants.out:
                _gain(by, "out", by_h[s], o[s])
            torch.mm(by_h[s], w.out, out=by_o[s])
        if plan.at is not None:
            by_h = by_h.new_zeros(state.shape).index_copy_(0, plan.at, by_h)
            by_o = by_o.new_zeros(len(state), by_o.shape[1]).index_copy_(0, plan.at, by_o)
        by_q, by_k, by_v = unseen(plan.tree, plan.rule, by_o.view(answer.shape), q, k, v, answer, sums)
        by_state = _before(state, before, (by_q, by_k, by_v), by_h, raw, w, wants, plan, by)
        for name in MINGLED & by.keys():
            by[name] = apart(by[name], plan.size)
        rest_of = (None if f.name in own else by.get(f.name) for f in fields(Weights))  # what is not added already
        return by_state if ctx.needs_input_grad[0] else None, None, *rest_of


def _asked(state: Tensor, w: Weights, plan: Plan, size: Tensor) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    """Turned queries and keys, and values, [N, heads, d] each; and queries and keys before their norms, if any.

    size: [N, 1], to be filled with one over the length of each state.
    """
    count = len(state)
    q, k, v = (state.new_empty(count, len(part)) for part in (w.query, w.key, w.value))
    raw = [torch.empty_like(t) for t in (q, k)] if w.query_norm is not None else []
    for s in stretches(count):
        read = _read(state[s], w.before, plan.epsilon, size[s])
        for made, part, bias in ((q, w.query, w.query_bias), (k, w.key, w.key_bias), (v, w.value, w.value_bias)):
            torch.mm(read, part.t(), out=made[s])
            if bias is not None:
                made[s].add_(bias)
        for n, (made, norm) in enumerate(((q, w.query_norm), (k, w.key_norm))):
            if norm is not None:
                raw[n][s] = made[s]
                heads = made[s].view(s.stop - s.start, -1, plan.size)
                heads.copy_(normed(heads, norm, plan.epsilon))
            turn(made[s], plan.forth[s])
    q, k, v = (t.view(count, -1, plan.size) for t in (q, k, v))
    return q, k, v, raw


def _before(
    state: Tensor,
    size: Tensor,
    heads: tuple[Tensor, Tensor, Tensor],
    by_h: Tensor,
    raw: list[Tensor],
    w: Weights,
    wants: Weights,
    plan: Plan,
    by: dict[str, Tensor],
) -> Tensor:
    """The gradient of the state, from those of queries, keys and values [N, heads, d], added to by_h [N, D]."""
    for s in stretches(len(state)):
        unit = state[s] * size[s]
        read = unit * w.before
        into: Tensor | None = None
        for n, name in enumerate(("query", "key", "value")):
            part = heads[n][s]
            if n < 2:
                turn(part.flatten(1), plan.back[s])
                norm = w.query_norm if n == 0 else w.key_norm
                if norm is not None:
                    own, own_size = united(raw[n][s].view(part.shape), plan.epsilon)
                    learns = name + "_norm" if getattr(wants, name + "_norm") else ""
                    part = _unnormed(part, norm, own, by, learns).mul_(own_size)
            part = part.flatten(1)
            if getattr(wants, name):
                _gain(by, name, part, read)
            if getattr(wants, name + "_bias"):
                _add(by, name + "_bias", part.sum(0))
            weight = getattr(w, name)
            into = part @ weight if into is None else into.addmm_(part, weight)
        assert into is not None
        by_h[s].addcmul_(_unnormed(into, w.before, unit, by, "before" if wants.before else ""), size[s])
    return by_h


def stretches(count: int) -> list[slice]:
    """Rows in parts."""
    return [slice(first, min(first + ROWS, count)) for first in range(0, count, ROWS)]


def united(state: Tensor, epsilon: float) -> tuple[Tensor, Tensor]:
    """State [..., D] over its root mean square, and one over that [..., 1]."""
    size = torch.linalg.vector_norm(state, dim=-1, keepdim=True)
    size = size.square_().div_(state.shape[-1]).add_(epsilon).rsqrt_()
    return state * size, size


def normed(state: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """Root mean square norm (Zhang and Sennrich 2019) over the last axis."""
    return united(state, epsilon)[0].mul_(weight)


def _read(state: Tensor, weight: Tensor, epsilon: float, size: Tensor) -> Tensor:
    """`normed`, with one over the root mean square of each row put into `size` [n, 1]."""
    unit, found = united(state, epsilon)
    size.copy_(found)
    return unit.mul_(weight)


def _unnormed(grad: Tensor, weight: Tensor, unit: Tensor, by: dict[str, Tensor], name: str) -> Tensor:
    """Gradient of the state over `size`, from that of `unit weight`, which is overwritten.

    That is g - unit mean(g unit) for g = grad weight. name: of the weight in `by`; empty when it does not learn.
    """
    along = grad * unit
    if name:
        _add(by, name, along.flatten(0, -2).sum(0))
    mean = (along @ weight).div_(len(weight))[..., None]
    return grad.mul_(weight).addcmul_(unit, mean, value=-1)


def circled(cos: Tensor, sin: Tensor, heads: int) -> Tensor:
    """Turns [N, heads size / 2] as complex numbers, of cos and sin [N, size] whose halves are the same."""
    half = cos.shape[-1] // 2
    return torch.complex(cos[:, :half], sin[:, :half]).repeat(1, heads)


def turn(heads: Tensor, circle: Tensor) -> None:
    """Rotary positions (Su et al. 2021) in place: heads [n, h size] of mingled halves, circle [n, H size / 2].

    Left and right halves of a head stand side by side, as real and imaginary parts, and one product turns them all.
    """
    numbers = torch.view_as_complex(heads.view(len(heads), -1, 2))
    numbers.mul_(circle[:, : numbers.shape[1]])


MINGLED = {"query", "key", "query_bias", "key_bias", "query_norm", "key_norm"}
"""Weights that queries and keys come from."""


def mingled(w: Weights, size: int) -> Weights:
    """Weights whose queries and keys have both halves of each head side by side; their products stay the same."""
    changed = {name: mixed(part, size) for name in MINGLED if (part := getattr(w, name)) is not None}
    return replace(w, **changed)


def mixed(weight: Tensor, size: int) -> Tensor:
    """[heads size, ...]: l0 l1 l2 r0 r1 r2 of each head as l0 r0 l1 r1 l2 r2."""
    return weight.view(-1, 2, size // 2, *weight.shape[1:]).transpose(1, 2).reshape(weight.shape)


def apart(weight: Tensor, size: int) -> Tensor:
    """The way back from `mixed`."""
    return weight.view(-1, size // 2, 2, *weight.shape[1:]).transpose(1, 2).reshape(weight.shape)


def _gain(by: dict[str, Tensor], name: str, grad: Tensor, read: Tensor) -> None:
    """Add grad' read to the gradient of a weight."""
    if name in by:
        by[name].addmm_(grad.t(), read)
    else:
        by[name] = grad.t() @ read


def _add(by: dict[str, Tensor], name: str, part: Tensor) -> None:
    """Add to the gradient of a vector."""
    by[name] = by[name].add_(part) if name in by else part

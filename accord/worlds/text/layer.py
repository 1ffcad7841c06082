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

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from accord.run.gradients import held
from accord.worlds.text.attention import Rule
from accord.worlds.text.low import Low, gain
from accord.worlds.text.norms import add, normed, told, united, unnormed
from accord.worlds.text.tails import Tails
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
    tails: Tails | None = None
    """How those places see, where they alone ask; None where every place does."""
    lows: tuple[tuple[str, float], ...] = ()
    """Which weights have an adapter, and its scale: their A and B come behind the weights."""

    @property
    def asks(self) -> Tensor | None:
        """[m] int64: the places that ask; None for all."""
        return None if self.tails is None else self.at


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
        """state: [N, D]; given: `weights_of` the layer, and A and B of each of the plan's `lows`."""
        w, _ = _weights(plan, given)
        before, after = (state.new_empty(len(state), 1) for _ in range(2))
        q, k, v, raw = _asked(state, w, plan, before)
        answer, sums = (
            seen(plan.tree, plan.rule, q, k, v)
            if plan.tails is None
            else plan.tails.forward(q, k, v, plan.rule.scaling)
        )
        o, x = answer.flatten(1), state
        if plan.at is not None:
            o, x = o if plan.tails else o[plan.at], x[plan.at]
        h, made = torch.empty_like(x), torch.empty_like(x)
        rows = len(x) if plan.learning else min(len(x), ROWS)
        gate, up = (x.new_empty(rows, len(w.gate)) for _ in range(2))
        for s in stretches(len(x)):
            kept = s if plan.learning else slice(0, s.stop - s.start)
            torch.addmm(x[s], o[s], w.out.t(), out=h[s])
            read = told(h[s], w.after, plan.epsilon, after[s])
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
        w, lows = _weights(plan, kept)
        count = COUNT + 2 * len(lows)
        state, q, k, v, answer, h, gate, up, before, after, *rest = kept[count:]
        needs = zip(fields(Weights), ctx.needs_input_grad[2 : 2 + COUNT], strict=True)
        wants = {f.name for f, needed in needs if needed or f.name in lows}
        sums, raw = rest[: ctx.sums], rest[ctx.sums :]
        grad = grad.contiguous()
        o = answer.flatten(1) if plan.at is None or plan.tails else answer.flatten(1)[plan.at]
        own = {
            f.name: into
            for f, weight in zip(fields(Weights), ctx.own[:COUNT], strict=True)
            if f.name not in MINGLED and (into := held(weight)) is not None
        }
        by = dict(own)
        by_h, by_o = torch.empty_like(h), torch.empty_like(o)
        for s in stretches(len(h)):
            g, u = gate[s], up[s]
            risen = torch.nn.functional.silu(g)
            into = grad[s] @ w.down
            if "down" in wants:
                gain(by, "down", grad[s], risen * u, lows.get("down"))
            by_up = into * risen
            by_gate = torch.ops.aten.silu_backward(into.mul_(u), g)
            unit = h[s] * after[s]
            read = unit * w.after
            if "gate" in wants:
                gain(by, "gate", by_gate, read, lows.get("gate"))
            if "up" in wants:
                gain(by, "up", by_up, read, lows.get("up"))
            into = torch.mm(by_gate, w.gate).addmm_(by_up, w.up)
            torch.addcmul(
                grad[s], unnormed(into, w.after, unit, by, "after" if "after" in wants else ""), after[s], out=by_h[s]
            )
            if "out" in wants:
                gain(by, "out", by_h[s], o[s], lows.get("out"))
            torch.mm(by_h[s], w.out, out=by_o[s])
        if plan.at is not None:
            by_h = by_h.new_zeros(state.shape).index_copy_(0, plan.at, by_h)
            if not plan.tails:
                by_o = by_o.new_zeros(len(state), by_o.shape[1]).index_copy_(0, plan.at, by_o)
        by_o = by_o.view(answer.shape)
        by_heads = (
            unseen(plan.tree, plan.rule, by_o, q, k, v, answer, sums)
            if plan.tails is None
            else plan.tails.backward(by_o, q, k, v, answer, sums[0], plan.rule.scaling)
        )
        by_state = _before(state, before, by_heads, by_h, raw, w, wants, plan, by, lows)
        for name in (MINGLED | {part + "/up" for part in MINGLED}) & by.keys():
            by[name] = apart(by[name], plan.size)
        rest_of = (None if f.name in own else by.get(f.name) for f in fields(Weights))  # what is not added already
        low = (by.get(name + side) for name in lows for side in ("/down", "/up"))
        return by_state if ctx.needs_input_grad[0] else None, None, *rest_of, *low


def _weights(plan: Plan, given: Sequence[Tensor | None]) -> tuple[Weights, dict[str, Low]]:
    """The weights that act, adapters in them, and the adapters; those of queries and keys mingled."""
    w, lows = Weights(*given[:COUNT]), {}  # type: ignore[arg-type]
    for n, (name, scale) in enumerate(plan.lows):
        down, up = given[COUNT + 2 * n : COUNT + 2 * n + 2]
        assert down is not None
        assert up is not None
        w = replace(w, **{name: Low(down, up, scale).merged(getattr(w, name))})
        lows[name] = Low(down, mixed(up, plan.size) if name in MINGLED else up, scale)
    return mingled(w, plan.size), lows


def _asked(state: Tensor, w: Weights, plan: Plan, size: Tensor) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    """Turned queries [n, heads, d], turned keys, and values [N, heads, d]; queries and keys before their norms, if any.

    size: [N, 1], to be filled with one over the length of each state.
    """
    count, at = len(state), plan.asks
    q = state.new_empty(count if at is None else len(at), len(w.query))
    k, v = (state.new_empty(count, len(part)) for part in (w.key, w.value))
    raw = [torch.empty_like(t) for t in (q, k)] if w.query_norm is not None else []

    def linear(n: int, read: Tensor, circle: Tensor, s: slice) -> None:
        """The queries, keys or values (n = 0, 1, 2) of some rows."""
        made = (q, k, v)[n][s]
        torch.mm(read, (w.query, w.key, w.value)[n].t(), out=made)
        if (bias := (w.query_bias, w.key_bias, w.value_bias)[n]) is not None:
            made.add_(bias)
        if n == 2:
            return
        if (norm := (w.query_norm, w.key_norm)[n]) is not None:
            raw[n][s] = made
            heads = made.view(len(made), -1, plan.size)
            heads.copy_(normed(heads, norm, plan.epsilon))
        turn(made, circle)

    for s in stretches(count):
        read = told(state[s], w.before, plan.epsilon, size[s])
        for n in (0, 1, 2) if at is None else (1, 2):
            linear(n, read, plan.forth[s], s)
    if at is not None:
        for s in stretches(len(at)):
            some = at[s]
            linear(0, (state[some] * size[some]).mul_(w.before), plan.forth[some], s)
    q, k, v = (t.view(len(t), -1, plan.size) for t in (q, k, v))
    return q, k, v, raw


def _before(
    state: Tensor,
    size: Tensor,
    heads: tuple[Tensor, Tensor, Tensor],
    by_h: Tensor,
    raw: list[Tensor],
    w: Weights,
    wants: set[str],
    plan: Plan,
    by: dict[str, Tensor],
    lows: dict[str, Low],
) -> Tensor:
    """The gradient of the state, from those of queries, keys and values [n or N, heads, d], added to by_h [N, D]."""

    def linear(n: int, read: Tensor, circle: Tensor, s: slice, into: Tensor | None) -> Tensor:
        """What queries, keys or values (n = 0, 1, 2) of some rows bring to what they were read from."""
        part, name = heads[n][s], ("query", "key", "value")[n]
        if n < 2:
            turn(part.flatten(1), circle)
            norm = w.query_norm if n == 0 else w.key_norm
            if norm is not None:
                own, own_size = united(raw[n][s].view(part.shape), plan.epsilon)
                learns = name + "_norm" if name + "_norm" in wants else ""
                part = unnormed(part, norm, own, by, learns).mul_(own_size)
        part = part.flatten(1)
        if name in wants:
            gain(by, name, part, read, lows.get(name))
        if name + "_bias" in wants:
            add(by, name + "_bias", part.sum(0))
        weight: Tensor = getattr(w, name)
        return part @ weight if into is None else into.addmm_(part, weight)

    at, brought = plan.asks, state.new_empty(0)
    if at is not None:
        brought = state.new_empty(len(at), state.shape[1])
        for s in stretches(len(at)):
            some = at[s]
            brought[s] = linear(0, (state[some] * size[some]).mul_(w.before), plan.back[some], s, None)
    for s in stretches(len(state)):
        unit = state[s] * size[s]
        read = unit * w.before
        into: Tensor | None = None
        for n in (0, 1, 2) if at is None else (1, 2):
            into = linear(n, read, plan.back[s], s, into)
        assert into is not None
        if at is not None:
            first, last = torch.searchsorted(at, torch.tensor([s.start, s.stop])).tolist()
            into.index_add_(0, at[first:last] - s.start, brought[first:last])
        by_h[s].addcmul_(unnormed(into, w.before, unit, by, "before" if "before" in wants else ""), size[s])
    return by_h


def stretches(count: int) -> list[slice]:
    """Rows in parts."""
    return [slice(first, min(first + ROWS, count)) for first in range(0, count, ROWS)]


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

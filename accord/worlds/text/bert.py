"""Encoders of BERT's kind read texts end to end without padding; the last layer does no more than what is asked of it.

ids        a a a a a | b b b | c c c c        every operation but attention sees one row of 12 tokens
attention  each text over the whole of itself; texts of equal length in one call
last layer its queries, and all that follows, for the first token of each text alone: the pooler reads no other
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from accord.worlds.text.picked import picked
from accord.worlds.text.slices import back, forth, split
from accord.worlds.text.words import words

Part = tuple[slice, slice, int]
"""Where some texts of equal length ask, where they are read, and how many they are."""


@dataclass(frozen=True)
class Texts:
    """Texts laid end to end."""

    ids: Tensor
    """[N] int64."""
    position: Tensor
    """[N] int64: place of each token in its text."""
    first: Tensor
    """[b] int64: where each text begins."""
    whole: tuple[Part, ...]
    """Parts in which every token asks."""
    heads: tuple[Part, ...]
    """Parts in which the first token of each text asks alone."""


def laid(ids: Tensor, length: Tensor) -> Texts:
    """Rows of a padded table [b, L] without their padding."""
    step = torch.arange(ids.shape[1], device=ids.device)
    row, place = (step < length[:, None]).nonzero(as_tuple=True)
    whole: list[Part] = []
    heads: list[Part] = []
    at = 0
    for text, size in enumerate(length.tolist()):
        before = heads[-1] if heads else None
        if before is not None and before[1].stop - before[1].start == before[2] * size:
            known, count = slice(before[1].start, at + size), before[2] + 1
            whole[-1], heads[-1] = (known, known, count), (slice(before[0].start, text + 1), known, count)
        else:
            known = slice(at, at + size)
            whole.append((known, known, 1))
            heads.append((slice(text, text + 1), known, 1))
        at += size
    return Texts(ids[row, place], place, length.cumsum(0) - length, tuple(whole), tuple(heads))


def fits(body: Any) -> bool:
    """Whether a body is one that `first_states` can read: a BERT on a CPU, no dropout active, nobody listening."""
    if type(body).__name__ != "BertModel" or body.pooler is None or body.config.is_decoder:
        return False
    weight = body.embeddings.word_embeddings.weight
    if weight.device.type != "cpu" or body.encoder.layer[0].__class__.__name__ != "BertLayer":
        return False
    return not any(
        module._forward_hooks
        or module._forward_pre_hooks
        or (module.training and (getattr(module, "gradient_checkpointing", False) or _noisy(module)))
        for module in body.modules()
    )


def _noisy(module: Any) -> bool:
    return isinstance(module, torch.nn.Dropout) and module.p > 0


def first_states(body: Any, texts: Texts) -> Tensor:
    """[b, D]: the last hidden state of the first token of each text."""
    table = body.embeddings
    given = words(table.word_embeddings, texts.ids[None])
    state: Tensor = table(inputs_embeds=given, position_ids=texts.position[None])[0]
    layers = list(body.encoder.layer)
    for layer in layers:
        own, last = layer.attention.self, layer is layers[-1]
        asking = picked(state, texts.first) if last else state
        q, k, v = (
            part(read).view(len(read), -1, own.attention_head_size)
            for part, read in ((own.query, asking), (own.key, state), (own.value, state))
        )
        found = Apart.apply(q, k, v, texts.heads if last else texts.whole, own.scaling)  # type: ignore[no-untyped-call]
        state = layer.attention.output(found.flatten(1), asking)
        state = layer.output(layer.intermediate(state), state)
    return state


class Apart(torch.autograd.Function):
    """Attention of texts that do not see each other, each over the whole of itself."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, parts: tuple[Part, ...], scale: float) -> Tensor:
        """q [n, H, d], k and v [N, H, d] -> [n, H, d]."""
        q, k, v = (t[None].transpose(1, 2) for t in (q, k, v))
        found, sums = [], []
        for asked, known, count in parts:
            answer, total = forth(*_cut(q, k, v, asked, known, count), scale=scale)
            found.append(answer.transpose(1, 2).flatten(0, 1))
            sums.append(total)
        made = torch.cat(found)
        ctx.parts, ctx.scale = parts, scale
        ctx.save_for_backward(q, k, v, made, *sums)
        return made

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        """The gradients of q, k and v."""
        q, k, v, made, *sums = ctx.saved_tensors
        grad, made = (t[None].transpose(1, 2) for t in (grad.contiguous(), made))
        by: list[list[Tensor]] = [[], [], []]
        for (asked, known, count), total in zip(ctx.parts, sums, strict=True):
            cut = _cut(q, k, v, asked, known, count)
            into, answer = (split(t[:, :, asked], count) for t in (grad, made))
            for held, part in zip(by, back(into, *cut, answer, total, 0.0, False, scale=ctx.scale), strict=True):
                held.append(part.transpose(1, 2).flatten(0, 1))
        by_query, by_key, by_value = (torch.cat(part) for part in by)
        return by_query, by_key, by_value, None, None


def _cut(q: Tensor, k: Tensor, v: Tensor, asked: slice, known: slice, count: int) -> list[Tensor]:
    return [split(t[:, :, at], count) for t, at in ((q, asked), (k, known), (v, known))]

"""Attention on slices of the packed row, where texts are long enough: nothing is gathered, masked or padded.

    p p p a a | b b b | c c            trunk     [p a] over itself, causal
                                       sisters   [b b b c c] over p, all of it seen
                                       own       b over b and c over c, causal
The two parts of a branch are put together by their sums of exponentials (Dao et al. 2022): with
s = logaddexp(s1, s2), o = exp(s1 - s) o1 + exp(s2 - s) o2. Given o and s of the whole, the backward pass of each part
is that of its own products alone, so gradients need no more than the same slices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

WORTH = 24
"""Tokens that a call must bring on average: below, stretches of like length are gathered and computed together."""

forth = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
back = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


@dataclass(frozen=True)
class Family:
    """A trunk and the branches that go on from its prompt: they follow it in the row, one after the other."""

    trunk: slice
    """Prompt and first answer."""
    prompt: slice
    """What the branches read before themselves."""
    sisters: slice
    """All branches; empty for none."""
    own: tuple[tuple[slice, int], ...]
    """Stretches of branches of equal length, and how many each holds."""


@dataclass(frozen=True)
class Slices:
    """A packed row as families, in the order of the row."""

    families: tuple[Family, ...]
    calls: int
    """How many calls of the kernel one layer takes forward."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, list[Tensor]]:
        """q, k, v [N, H, d] -> [N, H, d] and the logarithms of the sums, [1, H, n] of each trunk and sisterhood."""
        q, k, v = (t[None].transpose(1, 2) for t in (q, k, v))  # [1, H, N, d]
        found, sums = [], []
        for one in self.families:
            answer, total = forth(*_cut(one.trunk, q, k, v), is_causal=True, scale=scale)
            found.append(_flat(answer))
            sums.append(total)
            if not one.own:
                continue
            by_prompt, first = forth(q[:, :, one.sisters], *_cut(one.prompt, k, v), scale=scale)
            parts = [_own(part, count, q, k, v, scale) for part, count in one.own]
            by_own, second = (_joined([part[i] for part in parts]) for i in (0, 1))
            share = torch.sigmoid(first.transpose(1, 2) - second)  # [1, n, H]
            share = share.to(by_own.dtype)  # sums are float32 whatever the heads are
            found.append(torch.lerp(by_own, by_prompt.transpose(1, 2), share[..., None])[0])
            sums.append(torch.logaddexp(first.transpose(1, 2), second).transpose(1, 2))
        return torch.cat(found), sums

    def backward(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, answer: Tensor, sums: Sequence[Tensor], scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The gradients of q, k and v [N, H, d] from that of the answer, and what `forward` gave."""
        grad, q, k, v, answer = (t[None].transpose(1, 2) for t in (grad, q, k, v, answer))
        parts: list[list[Tensor]] = [[], [], []]
        ahead = iter(sums)
        for one in self.families:
            total = next(ahead)
            by = back(*_cut(one.trunk, grad, q, k, v, answer), total, 0.0, True, scale=scale)
            more: list[list[Tensor]] = [[], [], []]
            if one.own:
                total = next(ahead)
                asked = _cut(one.sisters, grad, q)
                read = _cut(one.prompt, k, v)
                shared = back(*asked, *read, answer[:, :, one.sisters], total, 0.0, False, scale=scale)
                for at, part in zip((1, 2), shared[1:], strict=True):
                    by[at][:, :, : part.shape[2]] += part
                first = one.sisters.start
                for stretch, count in one.own:
                    cut = [split(t, count) for t in _cut(stretch, grad, q, k, v, answer)]
                    sum_of = split(total[:, :, stretch.start - first : stretch.stop - first, None], count)[..., 0]
                    for held, part in zip(more, back(*cut, sum_of, 0.0, True, scale=scale), strict=True):
                        held.append(part.transpose(1, 2).flatten(0, 1))
                more[0] = [torch.cat(more[0]).add_(_flat(shared[0]))]
            for held, trunk, branches in zip(parts, by, more, strict=True):
                held += [_flat(trunk), *branches]
        by_query, by_key, by_value = (torch.cat(part) for part in parts)
        return by_query, by_key, by_value


def _cut(at: slice, *heads: Tensor) -> list[Tensor]:
    """A stretch of each of some [1, H, N, d]."""
    return [t[:, :, at] for t in heads]


def _flat(heads: Tensor) -> Tensor:
    """[1, H, n, d] as [n, H, d]."""
    return heads[0].transpose(0, 1)


def split(heads: Tensor, count: int) -> Tensor:
    """Some stretches of equal length [1, H, count n, d] as [count, H, n, d]."""
    return heads if count == 1 else heads[0].view(heads.shape[1], count, -1, heads.shape[3]).transpose(0, 1)


def _own(at: slice, count: int, q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Branches of equal length, each over itself: [1, count n, H, d] and [1, count n, H]."""
    answer, total = forth(*(split(t, count) for t in _cut(at, q, k, v)), is_causal=True, scale=scale)
    return answer.transpose(1, 2).flatten(0, 1)[None], total.transpose(1, 2).flatten(0, 1)[None]


def _joined(parts: list[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)


def each_head(known: Tensor, query: Tensor) -> Tensor:
    """Keys or values [N, K, d] repeated for the H heads of the queries [N, H, d]."""
    times = query.shape[1] // known.shape[1]
    return known if times == 1 else known.repeat_interleave(times, 1)


def slices(trunks: Tensor, branches: Tensor) -> Slices:
    """From start and length of each trunk [n, 2] and start, length, prompt's start and length of each branch [m, 4]."""
    after: dict[int, list[list[int]]] = {}
    for branch in sorted(branches.tolist()):
        after.setdefault(branch[2], []).append(branch)
    families, calls = [], 0
    for start, length in sorted(trunks.tolist()):
        mine = after.get(start, [])
        own: list[tuple[slice, int]] = []
        for at, size, _, _ in mine:
            if own and (own[-1][0].stop - own[-1][0].start) == own[-1][1] * size:
                own[-1] = (slice(own[-1][0].start, at + size), own[-1][1] + 1)
            else:
                own.append((slice(at, at + size), 1))
        end = start + length
        prompt = slice(start, start + (mine[0][3] if mine else 0))
        families.append(
            Family(slice(start, end), prompt, slice(end, mine[-1][0] + mine[-1][1] if mine else end), tuple(own))
        )
        calls += 1 + (1 + len(own) if own else 0)
    return Slices(tuple(families), calls)

"""Attention of the last layer, where the ends of texts alone ask: everybody's keys and values, few queries.

    p p p a a | b b | c c      a policy asks at     p3 a1 a2 | b1 b2 | c1 c2
                               a reward model at    a2 | b2 | c2
    parts                      p3 a a  over p1 p2, all of it seen, and over themselves, causal
                               b b c c over p p p, all of it seen
                               b over b and c over c, causal
Parts are put together as in slices.py, by their sums of exponentials.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from accord.worlds.text.slices import back, each_head, forth, split


@dataclass(frozen=True)
class Part:
    """One call of the kernel: some queries over some keys."""

    asked: slice
    """Queries, counted among those that ask."""
    read: slice
    """Keys and values, as places of the row."""
    causal: bool
    """Whether each query sees the keys up to its own place alone; else it sees all of them."""
    count: int = 1
    """Of a causal part: how many stretches of equal length stand side by side, each over itself."""


@dataclass(frozen=True)
class Tails:
    """The parts in order: of the queries of each, those before it have already been begun or none of them has."""

    parts: tuple[Part, ...]
    begins: tuple[bool, ...]
    """For each part whether it is the first of its queries."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, list[Tensor]]:
        """q [m, H, d], k and v [N, K, d] -> [m, H, d] and the logarithms of the sums [m, H]."""
        answer, sums = torch.empty_like(q), None
        q, k, v = (t[None].transpose(1, 2) for t in (q, each_head(k, q), each_head(v, q)))  # [1, H, m or N, d]
        for part, begins in zip(self.parts, self.begins, strict=True):
            cut = (q[:, :, part.asked], k[:, :, part.read], v[:, :, part.read])
            found, total = forth(*(split(t, part.count) for t in cut), is_causal=part.causal, scale=scale)
            found, total = found.transpose(1, 2).flatten(0, 1), total.transpose(1, 2).flatten(0, 1)  # [n, H, d], [n, H]
            if sums is None:
                sums = total.new_empty(answer.shape[:2])
            if begins:
                answer[part.asked], sums[part.asked] = found, total
                continue
            so_far = sums[part.asked]
            answer[part.asked].lerp_(found, torch.sigmoid(total - so_far).to(found.dtype)[..., None])
            sums[part.asked] = torch.logaddexp(so_far, total)
        assert sums is not None
        return answer, [sums]

    def backward(
        self, grad: Tensor, q: Tensor, k: Tensor, v: Tensor, answer: Tensor, sums: Tensor, scale: float
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The gradients of q [m, H, d] and of k and v [N, K, d] from that of the answer, and what `forward` gave."""
        shape, (k, v) = k.shape, (each_head(t, q) for t in (k, v))
        by_query, by_key, by_value = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        grad, q, k, v, answer = (t[None].transpose(1, 2) for t in (grad, q, k, v, answer))
        total = sums.t()[None, ..., None]
        for part, begins in zip(self.parts, self.begins, strict=True):
            mine, read = part.asked, part.read
            cut = (grad[:, :, mine], q[:, :, mine], k[:, :, read], v[:, :, read], answer[:, :, mine], total[:, :, mine])
            *heads, sum_of = (split(t, part.count) for t in cut)
            by = back(*heads, sum_of[..., 0], 0.0, part.causal, scale=scale)
            by_q, by_k, by_v = (t.transpose(1, 2).flatten(0, 1) for t in by)
            if begins:
                by_query[mine] = by_q
            else:
                by_query[mine] += by_q
            by_key[read] += by_k
            by_value[read] += by_v
        if shape[1] < by_query.shape[1]:
            by_key, by_value = (t.view(*shape[:2], -1, shape[2]).sum(2) for t in (by_key, by_value))
        return by_query, by_key, by_value


def tails(trunks: Tensor, branches: Tensor, at: Tensor) -> Tails | None:
    """How the places `at` [m], in order and each once, see what they see; None where those of a text have gaps.

    trunks, branches: as `slices.slices` takes them.
    """
    own = {start: (length, start, 0) for start, length in trunks.tolist()}
    own |= {start: (length, home, read) for start, length, home, read in branches.tolist()}
    starts = sorted(own)
    number = torch.bucketize(at, torch.tensor(starts), right=True) - 1
    which, count = torch.unique_consecutive(number, return_counts=True)
    parts: list[Part] = []
    begins: list[bool] = []
    done, family = 0, -1
    shared: list[int] = []
    for text, asks in zip(which.tolist(), count.tolist(), strict=True):
        start = starts[text]
        _, home, read = own[start]
        mine, first = slice(done, done + asks), int(at[done])
        done += asks
        if int(at[done - 1]) != first + asks - 1:
            return None
        if read and home == family:
            shared[1] = mine.stop
            parts[shared[0]] = Part(slice(parts[shared[0]].asked.start, mine.stop), parts[shared[0]].read, False)
        elif read:
            shared, family = [len(parts), mine.stop], home
            parts.append(Part(mine, slice(home, home + read), False))
            begins.append(True)
        ahead = first + (asks == 1)  # one query sees itself as it sees what is before it
        if ahead > start:
            parts.append(Part(mine, slice(start, ahead), False))
            begins.append(not read)
        if asks == 1:
            continue
        if read and _goes_on(parts[-1], mine, first, asks):
            before = parts[-1]
            asked, seen = slice(before.asked.start, mine.stop), slice(before.read.start, first + asks)
            parts[-1] = Part(asked, seen, True, before.count + 1)
        else:
            parts.append(Part(mine, slice(first, first + asks), True))
            begins.append(not read and ahead == start)
    return Tails(tuple(parts), tuple(begins))


def _goes_on(part: Part, asked: slice, first: int, length: int) -> bool:
    """Whether a stretch stands right behind those of a part and is as long as each of them."""
    beside = part.asked.stop == asked.start and part.read.stop == first
    return part.causal and beside and part.asked.stop - part.asked.start == part.count * length

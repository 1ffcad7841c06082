"""The packed row: each prompt once, its answers after it, group after group, nothing padded.

    ids        p0 p1 p2 | a0 a1 | b0 b1 b2 || q0 q1 | c0 c1 c2 || r0 | d0 ...
    position    0  1  2 |  3  4 |  3  4  5 ||  0  1 |  2  3  4 ||  0 |  1
    sees        its own past, and the past of its prompt; never a sister, never another group

                p0 p1 p2 a0 a1 b0 b1 b2 q0 ...
            p0   x
            p1   x  x                              trunk:  p and a, a plain causal block
            p2   x  x  x
            a0   x  x  x  x
            a1   x  x  x  x  x
            b0   x  x  x        x                  branch: b over [p; b]
            b1   x  x  x        x  x
            b2   x  x  x        x  x  x
            q0                           x         the next trunk

The token after a place is predicted from that place: `a0` and `b0` both from `p2`. So the last token of an answer
need not be read at all when only predictions are wanted.

Where everything stands is worked out in main memory, from lengths alone, and sent as one table: a GPU is not asked.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from accord.batches import Segment
from accord.sending import together
from accord.worlds.text.tree import Tree, tree


@dataclass(frozen=True)
class Packed:
    """A segment as the trunk reads it. N tokens in R rows; R is 1 for the packed row."""

    ids: Tensor
    """[R, N] int64: token ids."""
    position: Tensor
    """[R, N] int64: position of each token in its own text."""
    before: Tensor
    """[B, T] int64 in main memory: flat place from which each step is predicted; -1 where nothing stands before it or
    no step is."""
    steps: Tensor
    """[M] int64: flat numbers (T row + step) of the steps that are predicted."""
    at: Tensor
    """[M] int64: flat places from which they are: those of `before`."""
    last: Tensor
    """[B] int64: flat place of the last token of each row; -1 for a row without any."""
    tree: Tree | None
    """Who sees whom, for the packed row; None for plain rows."""
    real: Tensor | None = None
    """[R, N] int64: 1 where a plain row is not padding; None for the packed row."""


def packed(segment: Segment, whole: bool = True) -> Packed:
    """The segment as one packed row.

    whole: read the last token of each answer too. Without it (when only predictions are wanted) `last` is not to be
    used, and last tokens are read only where there is nothing else to read. The order of rows and groups in the
    segment does not matter.
    """
    groups, prompt, length = segment.sizes
    used = length if whole else (length - 1).clamp(min=0)
    order = torch.argsort(groups, stable=True)
    group, prompt = groups[order], prompt.clone()
    first = torch.ones_like(group, dtype=torch.bool)
    first[1:] = group[1:] != group[:-1]
    prompt[torch.bincount(group, minlength=len(prompt)) == 0] = 0
    taken = used[order]
    before_rows = taken.cumsum(0) - taken
    through_prompts = prompt.cumsum(0)
    prompt_start = through_prompts - prompt
    per_group = torch.zeros_like(prompt).index_add_(0, group, taken)
    prompt_start = prompt_start + per_group.cumsum(0) - per_group
    start = torch.empty_like(length)
    start[order] = before_rows + through_prompts[group]

    total = int(taken.sum() + prompt.sum())
    if total == 0 and not whole:  # nothing predicts anything here, and no model reads a row of no tokens
        return packed(segment)
    table = segment.observation.shape
    source, position = torch.empty(2, total, dtype=torch.long)
    _lay(source, position, (0, table[1]), prompt_start, prompt, torch.zeros_like(prompt))
    _lay(source, position, (table.numel(), segment.action.shape[1]), start, used, prompt[groups])

    steps = torch.arange(segment.action.shape[1])
    before = start[:, None] + steps - 1
    own = prompt[groups]
    if before.shape[1]:
        before[:, 0] = torch.where(own > 0, prompt_start[groups] + own - 1, torch.full_like(own, -1))
    before = before.masked_fill(steps >= length[:, None], -1)
    last = torch.where(length > 0, start + length - 1, prompt_start[groups] + own - 1)
    last = last.masked_fill(length + own == 0, -1)

    leads = torch.zeros_like(first)
    leads[first] = True
    at = order[leads]
    branch = order[~leads]
    silent = prompt[groups[branch]] == 0
    trunk_start = torch.cat([torch.where(own[at] > 0, prompt_start[groups[at]], start[at]), start[branch[silent]]])
    trunk_length = torch.cat([own[at] + used[at], used[branch[silent]]])
    branch = branch[~silent & (used[branch] > 0)]
    keep = trunk_length > 0
    layout = tree(
        total,
        trunk_start[keep],
        trunk_length[keep],
        start[branch],
        used[branch],
        prompt_start[groups[branch]],
        own[branch],
        segment.group.device,
    )
    asked = (before >= 0).flatten().nonzero()[:, 0]
    numbers = (source, position, asked, before.flatten()[asked], last)
    source, position, asked, at, last = together(numbers, segment.group.device)
    ids = torch.cat([segment.observation.flatten(), segment.action.flatten()])[source]
    return Packed(ids[None], position[None], before, asked, at, last, layout)


def plain(segment: Segment) -> Packed:
    """The segment as one padded row per answer, prompt and all: for models that cannot read the packed row."""
    groups, seen, said = segment.sizes
    own = seen[groups]
    length = own + said
    count, width = len(length), int(length.max()) if len(length) else 0
    places = torch.arange(width)
    read, (rows, spoken) = segment.observation.shape[1], segment.action.shape
    prompt = groups[:, None] * read + places
    answer = segment.observation.numel() + torch.arange(rows)[:, None] * spoken + places - own[:, None]
    asked = torch.where(places < own[:, None], prompt, answer)
    real = places < length[:, None]
    offset = torch.arange(count)[:, None] * width
    steps = torch.arange(spoken)
    before = own[:, None] + steps - 1
    before = torch.where((steps < said[:, None]) & (before >= 0), before + offset, torch.full_like(before, -1))
    last = torch.where(length > 0, length - 1 + offset[:, 0], torch.full_like(length, -1))
    told = (before >= 0).flatten().nonzero()[:, 0]
    where = real.flatten().nonzero()[:, 0]
    numbers = (where, asked.flatten()[where], places, told, before.flatten()[told], last, real.long())
    where, asked, places, told, at, last, there = together(numbers, segment.group.device)
    ids = torch.zeros(count * width, dtype=torch.long, device=where.device)
    ids[where] = torch.cat([segment.observation.flatten(), segment.action.flatten()])[asked]
    ids = ids.view(count, width)
    return Packed(ids, places.expand_as(ids), before, told, at, last, None, there)


def _lay(
    source: Tensor, position: Tensor, table: tuple[int, int], start: Tensor, length: Tensor, offset: Tensor
) -> None:
    """Note for the real part of each row of a padded table where it comes from, with positions counted from offset.

    table: its first number and its width, where all tables stand end to end.
    """
    first, width = table
    places = torch.arange(width)
    row, place = (places < length[:, None]).nonzero(as_tuple=True)
    to = start[row] + place
    source[to] = first + row * width + place
    position[to] = offset[row] + place

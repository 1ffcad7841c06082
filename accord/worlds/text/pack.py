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
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from accord.batches import Segment
from accord.worlds.text.tree import Tree, tree


@dataclass(frozen=True)
class Packed:
    """A segment as the trunk reads it. N tokens in R rows; R is 1 for the packed row."""

    ids: Tensor
    """[R, N] int64: token ids."""
    position: Tensor
    """[R, N] int64: position of each token in its own text."""
    before: Tensor
    """[B, T] int64: flat place from which each step is predicted; -1 where nothing stands before it or no step is."""
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
    device = segment.group.device
    present, length = segment.present, segment.length
    used = length if whole else (length - 1).clamp(min=0)
    order = torch.argsort(segment.group, stable=True)
    group = segment.group[order]
    prompt = segment.observation_length.clone()
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
    ids = torch.empty(total, dtype=torch.long, device=device)
    position = torch.empty(total, dtype=torch.long, device=device)
    _lay(ids, position, segment.observation, prompt_start, prompt, torch.zeros_like(prompt))
    _lay(ids, position, segment.action, start, used, prompt[segment.group])

    steps = torch.arange(segment.action.shape[1], device=device)
    before = start[:, None] + steps - 1
    own = prompt[segment.group]
    if before.shape[1]:
        before[:, 0] = torch.where(own > 0, prompt_start[segment.group] + own - 1, torch.full_like(own, -1))
    before = before.masked_fill(~present, -1)
    last = torch.where(length > 0, start + length - 1, prompt_start[segment.group] + own - 1)
    last = last.masked_fill(length + own == 0, -1)

    leads = torch.zeros_like(first)
    leads[first] = True
    at = order[leads]
    branch = order[~leads]
    silent = prompt[segment.group[branch]] == 0
    trunk_start = torch.cat(
        [torch.where(own[at] > 0, prompt_start[segment.group[at]], start[at]), start[branch[silent]]]
    )
    trunk_length = torch.cat([own[at] + used[at], used[branch[silent]]])
    branch = branch[~silent & (used[branch] > 0)]
    keep = trunk_length > 0
    layout = tree(
        total,
        trunk_start[keep],
        trunk_length[keep],
        start[branch],
        used[branch],
        prompt_start[segment.group[branch]],
        own[branch],
    )
    return Packed(ids[None], position[None], before, last, layout)


def plain(segment: Segment) -> Packed:
    """The segment as one padded row per answer, prompt and all: for models that cannot read the packed row."""
    own = segment.observation_length[segment.group]
    length = own + segment.length
    places = torch.arange(int(length.max()) if len(length) else 0, device=length.device)
    ids = torch.zeros(len(length), len(places), dtype=torch.long, device=length.device)
    prompt = segment.observation[segment.group]
    seen = torch.arange(prompt.shape[1], device=length.device) < own[:, None]
    row, place = seen.nonzero(as_tuple=True)
    ids[row, place] = prompt[row, place]
    row, place = segment.present.nonzero(as_tuple=True)
    ids[row, own[row] + place] = segment.action[row, place]
    offset = torch.arange(len(length), device=length.device)[:, None] * len(places)
    steps = torch.arange(segment.action.shape[1], device=length.device)
    ahead = own[:, None] + steps - 1
    before = torch.where(segment.present & (ahead >= 0), ahead + offset, torch.full_like(ahead, -1))
    last = torch.where(length > 0, length - 1 + offset[:, 0], torch.full_like(length, -1))
    position = places.expand_as(ids)
    return Packed(ids, position, before, last, None, (places < length[:, None]).long())


def _lay(ids: Tensor, position: Tensor, table: Tensor, start: Tensor, length: Tensor, offset: Tensor) -> None:
    """Copy the real part of each row of a padded table to its start, with positions counted from offset."""
    places = torch.arange(table.shape[1], device=table.device)
    row, place = (places < length[:, None]).nonzero(as_tuple=True)
    to = start[row] + place
    ids[to] = table[row, place]
    position[to] = offset[row] + place

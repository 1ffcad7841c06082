"""Who gets what: rows, pairs and judgements dealt by tokens to several processes, so that nobody waits for another."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from accord.batches import Comparisons, Segment
from accord.judged import Judged


def dealt(costs: Sequence[float], parts: int) -> list[list[int]]:
    """Things dealt into parts of nearly equal cost: the dearest first, each to the part that has least so far.

    At most 4/3 of the best possible largest part (Graham 1969). Each part keeps the order of the things.
    """
    loads = [0.0] * parts
    found: list[list[int]] = [[] for _ in range(parts)]
    for i in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
        part = loads.index(min(loads))
        loads[part] += costs[i]
        found[part].append(i)
    return [sorted(part) for part in found]


def rows(segment: Segment, parts: int) -> list[Tensor]:
    """Row numbers of each of `parts` parts, dealt by tokens: whole groups, unless one is more than a fair part.

    They lie in main memory, as those of pairs do.
    """
    cost, seen = segment.sizes.length.tolist(), segment.sizes.observation.tolist()
    groups = [members.tolist() for members in segment.members()]
    fair = -(-sum(seen[g] + sum(cost[r] for r in members) for g, members in enumerate(groups) if members) // parts)
    pieces: list[list[int]] = []
    prices: list[float] = []
    for g, members in enumerate(groups):
        for row in members:
            if row == members[0] or prices[-1] + cost[row] > fair:
                pieces.append([])
                prices.append(seen[g])
            pieces[-1].append(row)
            prices[-1] += cost[row]
    return [
        torch.tensor(sorted(row for i in part for row in pieces[i]), dtype=torch.long) for part in dealt(prices, parts)
    ]


def pairs(comparisons: Comparisons, parts: int) -> list[Tensor]:
    """Pair numbers of each of `parts` parts, dealt by tokens, all pairs of a prompt together."""
    sizes, groups, sides = comparisons.segment.sizes, comparisons.groups(), comparisons.sides
    cost, seen = sizes.length.tolist(), sizes.observation.tolist()
    prices = []
    for part in groups:
        answers = torch.unique(torch.cat([side[part] for side in sides])).tolist()
        prices.append(seen[int(sizes.group[answers[0]])] + sum(cost[row] for row in answers))
    none = torch.zeros(0, dtype=torch.long)
    return [torch.cat([none, *(groups[i] for i in part)]) for part in dealt(prices, parts)]


def judgements(judged: Judged, parts: int) -> list[Tensor]:
    """Judgement numbers of each of `parts` parts, dealt by tokens, all that was said of a prompt together."""
    groups, segment = judged.groups(), judged.segment
    prices = []
    for part in groups:
        answers = judged.rows(part)
        prices.append(int(segment.observation_length[segment.group[answers[0]]] + segment.length[answers].sum()))
    none = torch.zeros(0, dtype=torch.long, device=judged.kind.device)
    return [torch.cat([none, *(groups[i] for i in part)]) for part in dealt(prices, parts)]

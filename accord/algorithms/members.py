"""An ensemble of heads on one trunk, made of nothing but data: each member is a criterion with its own resample.

A member hears every overall judgement as often as a bootstrap of the prompts says (Poisson(1) times, Oza 2005), so the
members agree where many prompts speak and differ where few do. The trunk reads each answer once for all of them; they
differ less than whole models do, and cost next to nothing (Eisenstein et al. 2023 compare both).
"""

from __future__ import annotations

from dataclasses import replace

import torch

from accord.judged import Judged
from accord.run import seed_of


def member(main: str, number: int) -> str:
    """The criterion of one member, counted from 1."""
    return f"{main}#{number}"


def with_members(judged: Judged, count: int, main: str = "", seed: int = 0) -> Judged:
    """The judgements, and those of the main criterion again for each of `count` members with weights of its own.

    Weigh prompts first (`reward_heads.weighed`) and learn with `share_prompts` off, or the resample is undone. What a
    prompt weighs for a member depends on the seed, the member and the prompt's place alone; a draw by which a member
    would hear nothing is made again. Raises ValueError when nothing is said of the main criterion.
    """
    mine = torch.tensor([kind.criterion == main for kind in judged.kinds])[judged.kind.cpu()].nonzero()[:, 0]
    if not len(mine):
        raise ValueError(f"no judgement is about {main!r}, so there is nothing for {count} members to hear")
    mine, kinds = mine.to(judged.kind.device), list(judged.kinds)
    prompt = torch.zeros(len(judged), dtype=torch.long, device=judged.kind.device)
    prompt[judged.said] = judged.segment.group[judged.row]
    entries = torch.isin(judged.said, mine)
    turn = torch.full((len(judged),), -1, dtype=torch.long, device=judged.kind.device)
    turn[mine] = torch.arange(len(mine), device=judged.kind.device)
    kind, weight, said = [judged.kind], [judged.weight], [judged.said]
    for m in range(1, count + 1):
        number = {}
        for k in sorted(set(judged.kind[mine].tolist())):
            number[k] = len(kinds)
            kinds.append(judged.kinds[k]._replace(criterion=member(main, m)))
        draw = torch.Generator().manual_seed(seed_of(seed, "member", m))
        times = torch.poisson(torch.ones(len(judged.segment.observation_length)), generator=draw)
        while not bool(times[prompt[mine].cpu()].any()):
            times = torch.poisson(torch.ones(len(times)), generator=draw)
        kind.append(torch.tensor([number[k] for k in judged.kind[mine].tolist()], device=judged.kind.device))
        weight.append(judged.weight[mine] * times.to(judged.weight)[prompt[mine]])
        said.append(turn[judged.said[entries]] + len(judged) + (m - 1) * len(mine))
    names = tuple(judged.names[i] for i in mine.tolist())
    return replace(
        judged,
        kinds=tuple(kinds),
        kind=torch.cat(kind),
        weight=torch.cat(weight),
        said=torch.cat(said),
        probability=torch.cat([judged.probability, *([judged.probability[mine]] * count)]),
        margin=torch.cat([judged.margin, *([judged.margin[mine]] * count)]),
        row=torch.cat([judged.row, *([judged.row[entries]] * count)]),
        value=torch.cat([judged.value, *([judged.value[entries]] * count)]),
        names=judged.names + names * count,
    )

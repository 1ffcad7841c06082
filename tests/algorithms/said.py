"""Judgements of every form on planted tastes: what each word is worth is known, and so is who likes what."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from accord.batches import Segment
from accord.judged import Judged, Kind

WORDS, STEPS = 24, 6
Said = tuple[Kind, Sequence[tuple[int, float]]]
"""A kind, and what is said of which rows."""


class Taste(nn.Module):
    """Mean over words of a small table, and one linear head: a scorer in two parts that counts what it reads."""

    def __init__(self, width: int = 6, seed: int = 0, dropout: float = 0.0) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.table, self.head = nn.Embedding(WORDS, width), nn.Linear(width, 1)
        nn.init.normal_(self.table.weight, generator=draw)
        nn.init.normal_(self.head.weight, std=0.3, generator=draw)
        nn.init.zeros_(self.head.bias)
        self.drop = nn.Dropout(dropout)
        self.rows = 0
        self.eval()

    def states(self, segment: Segment) -> Tensor:
        self.rows += len(segment)
        seen = torch.where(segment.present[..., None], self.drop(self.table(segment.action)), 0.0)
        return seen.sum(1) / STEPS

    def read(self, states: Tensor) -> Tensor:
        return self.head(states)[:, 0]

    def score(self, segment: Segment) -> Tensor:
        return self.read(self.states(segment))


def answers(prompts: int, each: int, seed: int = 0) -> Segment:
    """Random answers of 2 to 6 words, `each` to a prompt."""
    draw = torch.Generator().manual_seed(seed)
    rows = prompts * each
    length = torch.randint(2, STEPS + 1, (rows,), generator=draw)
    present = torch.arange(STEPS) < length[:, None]
    return Segment(
        observation=torch.randint(0, WORDS, (prompts, 3), generator=draw),
        observation_length=torch.full((prompts,), 3),
        group=torch.arange(rows) // each,
        action=torch.randint(0, WORDS, (rows, STEPS), generator=draw) * present,
        length=length,
        mask=present,
        weight=torch.ones(rows),
        names=tuple(f"row{i}" for i in range(rows)),
    )


def worth(segment: Segment, seed: int = 5, scale: float = 3.0) -> Tensor:
    """[B] what the answers are really worth: a mean over their words, spread over about `scale`."""
    table = torch.randn(WORDS, generator=torch.Generator().manual_seed(seed))
    table -= table.mean()  # longer is not better
    seen = torch.where(segment.present, table[segment.action], 0.0).sum(1)
    return scale * (seen - seen.mean()) / seen.std()


def judged(
    segment: Segment, said: Sequence[Said], probability: float = 1.0, margin: float = 0.0, weight: Tensor | None = None
) -> Judged:
    """Judgements as a batch."""
    kinds = tuple(dict.fromkeys(kind for kind, _ in said))
    entries = [(j, row, value) for j, (_, about) in enumerate(said) for row, value in about]
    return Judged(
        segment=segment,
        kinds=kinds,
        kind=torch.tensor([kinds.index(kind) for kind, _ in said], dtype=torch.long),
        probability=torch.tensor([probability if kind.form == "pair" else 1.0 for kind, _ in said]),
        margin=torch.full((len(said),), margin),
        weight=torch.ones(len(said)) if weight is None else weight,
        said=torch.tensor([j for j, _, _ in entries], dtype=torch.long),
        row=torch.tensor([row for _, row, _ in entries], dtype=torch.long),
        value=torch.tensor([value for _, _, value in entries], dtype=torch.float32),
        names=tuple(f"said{j}" for j in range(len(said))),
    )


PAIR, RANKING = Kind("pair"), Kind("ranking")


def pairs(segment: Segment, value: Tensor, criterion: str = "") -> list[Said]:
    """For each prompt its first two answers, the better one first."""
    found: list[Said] = []
    for members in segment.members():
        i, j = sorted(members[:2].tolist(), key=lambda row: -float(value[row]))
        found.append((Kind("pair", criterion), [(i, 1.0), (j, 0.0)]))
    return found


def rankings(segment: Segment, value: Tensor) -> list[Said]:
    """For each prompt all its answers, drawn one after another by Plackett and Luce (Gumbel's trick)."""
    draw = torch.Generator().manual_seed(9)
    noise = -torch.log(-torch.log(torch.rand(len(value), generator=draw)))
    found: list[Said] = []
    for members in segment.members():
        order = sorted(members.tolist(), key=lambda row: -float(value[row] + noise[row]))
        found.append((RANKING, [(row, float(order.index(row))) for row in members.tolist()]))
    return found


def ratings(segment: Segment, value: Tensor, criterion: str, levels: int, one: bool = False) -> list[Said]:
    """For each prompt the level of each answer (of the first with `one`), by equal shares and with noise."""
    draw = torch.Generator().manual_seed(11)
    seen = value + torch.logit(torch.rand(len(value), generator=draw))
    edges = torch.quantile(seen, torch.linspace(0, 1, levels + 1)[1:-1])
    level = torch.bucketize(seen, edges)
    return [
        (
            Kind("rating", criterion, levels),
            [(row, float(level[row])) for row in (members[:1] if one else members).tolist()],
        )
        for members in segment.members()
    ]


def spearman(a: Tensor, b: Tensor) -> float:
    """Correlation of ranks."""
    ranks = torch.stack([x.argsort().argsort().double() for x in (a, b)])
    return float(torch.corrcoef(ranks)[0, 1])

"""In which order things are learned: by difficulty, as an order of data and not as code in a loss.

`run.order = Curriculum(...)` before any loop that deals (imitation, reward models, DPO, KTO) is all. What comes at a
step depends on the step, the seed and the difficulties alone, so a resumed run goes on in the same place.
Bengio et al. 2009 (easy first); Platanios et al. 2019 (competence: draw from the part that is easy enough by now).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from accord.algorithms.functional import group_sum
from accord.batches import Comparisons, Segment
from accord.config import Settings
from accord.run import Run, seed_of
from accord.run.order import dealt, shuffled

Schedule = Literal["random", "easy", "hard", "competence"]
Measure = Literal["length", "disagreement", "margin"]


class Config(Settings):
    """The order in which prompts are learned from."""

    schedule: Schedule = "random"
    """`random`: no order, the control. `easy`: each round from easy to hard; `hard`: the reverse, the other control.
    `competence`: drawn at random from the easiest part, which grows to everything."""
    measure: Measure = "length"
    """What is hard: long answers; people who disagree; pairs that a reward model scores nearly alike or the wrong way
    round."""
    start: float = Field(default=0.1, gt=0, le=1)
    """Share of the data, the easiest, that `competence` begins with."""
    whole_at: float = Field(default=0.5, gt=0, le=1)
    """Share of all steps after which `competence` draws from everything."""
    power: float = Field(default=2.0, gt=0)
    """Of the growth: 1 in a line, 2 as a root (Platanios et al. found it better), so that new things come ever more
    slowly."""


class Curriculum:
    """Which numbers come at each step; stands in a run's `order`."""

    def __init__(self, config: Config, difficulty: Tensor) -> None:
        """difficulty: [N], higher is harder, of the things that the loop deals. Raises ValueError unless finite."""
        if difficulty.ndim != 1 or not len(difficulty) or not torch.isfinite(difficulty).all():
            bad = int((~torch.isfinite(difficulty)).sum())
            raise ValueError(
                f"difficulty of shape {tuple(difficulty.shape)} with {bad} no numbers: give one of each thing"
            )
        self.config = config
        self.difficulty = difficulty.detach().cpu().double()

    def __call__(self, run: Run, count: int, size: int) -> Tensor:
        """[size] int64: what comes at this step. Raises ValueError when other things are dealt than were measured."""
        if count != len(self.difficulty):
            raise ValueError(f"{count} things are dealt, and the difficulty of {len(self.difficulty)} is known")
        seed, schedule = run.config.seed, self.config.schedule
        if schedule == "competence":
            pool = self.ranked(seed, 0)[: self.grown(run.at, run.total_steps, min(size, count))]
            return pool[torch.randperm(len(pool), generator=run.generator("curriculum"))[:size]]
        if schedule == "random":
            return dealt(lambda turn: shuffled(seed, turn, count), run.at, count, size)
        return dealt(lambda turn: self.ranked(seed, turn, schedule == "hard"), run.at, count, size)

    def ranked(self, seed: int, turn: int, hardest: bool = False) -> Tensor:
        """[N] numbers from easy to hard, or the reverse; equal ones in an order drawn for this round."""
        mixed = torch.randperm(
            len(self.difficulty), generator=torch.Generator().manual_seed(seed_of(seed, "ties", turn))
        )
        return mixed[torch.argsort(self.difficulty[mixed], descending=hardest, stable=True)]

    def grown(self, step: int, steps: int, least: int) -> int:
        """How many of the easiest are drawn from: N min(1, (t (1 - start^p) / T + start^p)^(1/p)), at least `least`."""
        p, start = self.config.power, self.config.start**self.config.power
        done = min(1.0, step / max(1.0, self.config.whole_at * steps))
        share = (done * (1 - start) + start) ** (1 / p)
        return min(len(self.difficulty), max(least, math.ceil(float(share) * len(self.difficulty))))


def by_length(segment: Segment) -> Tensor:
    """[B] steps that the policy itself wrote: what imitation and KTO deal are rows."""
    return segment.mask.sum(1).double()


def by_pass_rate(passed: Tensor, tried: Tensor) -> Tensor:
    """[N] share of tries that failed, drawn towards one half where few were made: (failed + 1) / (tried + 2)."""
    return (tried - passed + 1).double() / (tried + 2).double()


def of_prompts(comparisons: Comparisons, measure: Measure, score: Tensor | None = None) -> Tensor:
    """[groups] difficulty of each prompt that has comparisons, in the order in which reward models and DPO deal them.

    length: mean length of both answers. disagreement: entropy of the belief, in nats. margin: how far the score
    [B], of any model, falls short of preferring what people prefer. Means over a prompt's pairs by their weights.
    Raises ValueError for `margin` without scores.
    """
    better, worse = comparisons.better, comparisons.worse
    if measure == "length":
        size = by_length(comparisons.segment)
        each = (size[better] + size[worse]) / 2
    elif measure == "disagreement":
        p = comparisons.probability.double()
        each = -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p))
    elif score is None:
        raise ValueError("measure=margin: a reward model's score of each answer is needed")
    else:
        each = (score[worse] - score[better]).double()
    groups = comparisons.groups()
    number = torch.empty(len(comparisons), dtype=torch.long, device=better.device)
    for g, members in enumerate(groups):
        number[members] = g
    weight = comparisons.weight.double().clamp_min(1e-12)
    return group_sum(each * weight, number, len(groups)) / group_sum(weight, number, len(groups))

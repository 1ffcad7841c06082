"""In which order things are learned: by difficulty, as an order of data and not as code in a loss.

`run.order = Curriculum(...)` before any loop that deals (imitation, reward models, DPO, KTO) is all; a world that asks
prompts (PPO, GRPO, best of n) has `Curriculum.prompts` for its `order`. What comes at a step depends on the step, the
seed and the difficulties alone, so a resumed run goes on in the same place.
Bengio et al. 2009 (easy first); Platanios et al. 2019 (competence: draw from the part that is easy enough by now).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from accord.algorithms.functional import group_sum
from accord.batches import Comparisons, Segment
from accord.config import Settings
from accord.judged import Judged
from accord.run import Run, seed_of
from accord.run.order import dealt, shuffled

Schedule = Literal["random", "easy", "hard", "competence"]
Measure = Literal["length", "disagreement", "margin", "pass_rate"]


class Config(Settings):
    """The order in which prompts are learned from."""

    schedule: Schedule = "random"
    """`random`: no order, the control. `easy`: each round from easy to hard; `hard`: the reverse, the other control.
    `competence`: drawn at random from the easiest part, which grows to everything."""
    measure: Measure = "length"
    """What is hard: long answers (or prompts, where these are to be answered); people who disagree; pairs that a reward
    model scores nearly alike or the wrong way round; prompts where answers of the start seldom earn enough."""
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
        return self.comes(run.config.seed, run.at, run.total_steps, size, run.generator("curriculum"))

    def comes(self, seed: int, at: int, steps: int, size: int, draw: torch.Generator) -> Tensor:
        """[size] int64: what comes at one of so many steps."""
        schedule, count = self.config.schedule, len(self.difficulty)
        if schedule == "competence":
            pool = self.ranked(seed, 0)[: self.grown(at, steps, min(size, count))]
            return pool[torch.randperm(len(pool), generator=draw)[:size]]
        if schedule == "random":
            return dealt(lambda turn: shuffled(seed, turn, count), at, count, size)
        return dealt(lambda turn: self.ranked(seed, turn, schedule == "hard"), at, count, size)

    def prompts(self, seed: int, steps: int, size: int) -> Callable[[int], list[int]]:
        """For a world: collection -> numbers of the prompts that are asked, each once."""

        def asked(turn: int) -> list[int]:
            draw = torch.Generator().manual_seed(seed_of(seed, "curriculum", turn))
            come = self.comes(seed, turn, steps, size, draw).tolist()
            rest = self.ranked(seed, turn, self.config.schedule == "hard").tolist()
            return list(dict.fromkeys([*come, *rest]))[:size]  # where one round ends and the next begins

        return asked

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
    elif score is None or measure != "margin":
        raise ValueError(f"measure={measure}: a reward model's score of each answer is needed, for margin")
    else:
        each = (score[worse] - score[better]).double()
    groups = comparisons.groups()
    number = torch.empty(len(comparisons), dtype=torch.long, device=better.device)
    for g, members in enumerate(groups):
        number[members] = g
    weight = comparisons.weight.double().clamp_min(1e-12)
    return group_sum(each * weight, number, len(groups)) / group_sum(weight, number, len(groups))


def of_judged(judged: Judged, measure: Measure, score: Tensor | None = None) -> Tensor:
    """[groups] difficulty of each prompt that has judgements, in the order in which `reward_heads` deals them.

    length: mean length of its answers. margin: as `of_prompts`, over all pairs that its judgements order. disagreement:
    entropy, in nats, of how often its pairs were ordered either way. A prompt of which nothing is ordered is as hard as
    the mean. Raises ValueError for `margin` without scores.
    """
    places = torch.unique(judged.segment.group[judged.row]).tolist()
    count = len(judged.segment.observation_length)
    if measure == "length":
        size, rows = by_length(judged.segment), torch.ones(len(judged.segment), dtype=torch.float64)
        each = group_sum(size, judged.segment.group, count) / group_sum(rows, judged.segment.group, count).clamp_min(1)
        return each[places]
    if measure == "margin" and score is None:
        raise ValueError("measure=margin: a reward model's score of each answer is needed")
    found: dict[int, list[float]] = {}
    ways: dict[tuple[int, int], list[float]] = {}
    for criterion in dict.fromkeys(kind.criterion for kind in judged.kinds):
        better, worse, weight, whose = judged.ordered(criterion)
        sure = judged.probability[whose].tolist()
        for i, j, w, p in zip(better.tolist(), worse.tolist(), weight.tolist(), sure, strict=True):
            if score is not None and measure == "margin":
                found.setdefault(int(judged.segment.group[i]), []).append(float(score[j] - score[i]))
            votes = ways.setdefault((min(i, j), max(i, j)), [0.0, 0.0])
            votes[int(i > j)] += w * p
            votes[int(i < j)] += w * (1 - p)
    if measure == "disagreement":
        for (i, _), votes in ways.items():
            share = torch.tensor(votes, dtype=torch.float64) / max(sum(votes), 1e-12)
            found.setdefault(int(judged.segment.group[i]), []).append(float(-torch.xlogy(share, share).sum()))
    means = {place: sum(all_) / len(all_) for place, all_ in found.items()}
    middle = sum(means.values()) / max(1, len(means))
    return torch.tensor([means.get(place, middle) for place in places], dtype=torch.float64)

"""Labels that a model gives itself: unlabelled pairs that it is sure of, learned from in rounds, with a stop.

Pseudo-labels (Lee 2013) by an ensemble whose confidence was calibrated on pairs that it has not seen; a pair is taken
when it is likely enough, the members agree, and every paraphrase of it says the same (Xie et al. 2020). Round 0 learns
from people's labels alone: it is the control, and the answer when no later round is better on held-out labels.
Ours: soft labels (the calibrated probability) of less weight, classes kept in balance, every round from a fresh start
on people's labels and the new ones, so that early mistakes are not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from pydantic import Field
from torch import Tensor

from accord.algorithms.reward_model import Scorer, correct, scores_of
from accord.batches import Comparisons
from accord.config import Settings, SettingsError
from accord.statistics import fit_temperature


class Config(Settings):
    """Settings of self-training."""

    rounds: int = Field(default=3, ge=0)
    """Rounds of labelling and learning after the supervised one; 0 is the control alone."""
    threshold: float = Field(default=0.9, gt=0.5, le=1)
    """Least calibrated probability of a label that is taken. Higher takes fewer and better ones."""
    agreement: float = Field(default=1.0, gt=0.5, le=1)
    """Least share of the members that order the pair as their mean does."""
    balance: float = Field(default=1.0, ge=0)
    """Labels taken of the commonest class for each of the rarest; 0 takes all."""
    weight: float = Field(default=0.5, gt=0)
    """How much a label of the model's own counts against one of people's."""
    patience: int = Field(default=1, ge=1)
    """Rounds without a better held-out accuracy before it stops."""
    micro_tokens: int = Field(default=8192, ge=1)
    """Tokens scored at once."""


@dataclass(frozen=True)
class Chosen:
    """Pairs that were given a label."""

    index: Tensor
    """[n] int64: which pairs, in order."""
    first: Tensor
    """[n] bool: whether `better` of the pair is the better one, or `worse` is."""
    probability: Tensor
    """[n] fp32 > .5: calibrated."""


@dataclass(frozen=True)
class Round:
    """What one round did."""

    labels: int
    """Pairs that had a label of the model's own; 0 in the supervised round."""
    temperature: float
    """What its members' mean gap was divided by to choose them; 1 in the supervised round."""
    accuracy: float
    """On the held-out pairs that decide the stop; report on others."""


@dataclass(frozen=True)
class Taught:
    """The rounds, and the members of the best of them."""

    members: Sequence[Scorer]
    """The scorers of the best round."""
    best: int
    """Which round; 0 is supervised alone."""
    rounds: list[Round] = field(default_factory=list)
    """All of them."""


Teach = Callable[[str, Comparisons], Sequence[Scorer]]
"""(name of the round, what to learn from) -> members, each fresh and in a run of that name, so that rounds resume."""


def choose(
    gaps: Tensor,
    config: Config,
    temperature: float = 1.0,
    paraphrased: Tensor | None = None,
    kind: Tensor | None = None,
) -> Chosen:
    """The pairs that are sure enough. gaps: [M, N] score of `better` less that of `worse` by each member.

    probability = sigmoid(|mean gap| / temperature). paraphrased: [R, N] mean gaps of the same pairs in other words,
    none of which may turn the order round. kind: [N] int64 classes to be kept in balance, the side that wins when
    None; the surest of a class are taken first.
    """
    mean = gaps.mean(0)
    first = mean > 0
    probability = torch.sigmoid(mean.abs() / temperature)
    sure = (probability >= config.threshold) & (mean != 0)
    sure &= ((gaps > 0) == first).float().mean(0) >= config.agreement
    if paraphrased is not None:
        sure &= ((paraphrased > 0) == first).all(0)
    index = sure.nonzero()[:, 0]
    if config.balance and len(index):
        side = (first.long() if kind is None else kind)[index]
        classes = [0, 1] if kind is None else sorted(set(kind.tolist()))
        most = int(config.balance * min(int((side == one).sum()) for one in classes))
        kept = []
        for one in classes:
            mine = index[side == one]
            order = torch.argsort(probability[mine], descending=True, stable=True)
            kept.append(mine[order[:most]])
        index = torch.cat(kept).sort().values
    return Chosen(index, first[index], probability[index].float())


def labelled_by(pool: Comparisons, people: Tensor, chosen: Chosen, weight: float) -> Comparisons:
    """People's pairs as they are, and the chosen ones turned as the model has it, with its probability.

    people: [N] bool, which pairs of the pool have people's labels; whatever the pool says of the others is not read.
    Raises ValueError when a chosen pair has people's label already.
    """
    if bool(people[chosen.index].any()):
        raise ValueError(f"{int(people[chosen.index].sum())} of the chosen pairs have people's labels; choose others")
    index = torch.cat([people.nonzero()[:, 0], chosen.index])
    number = int(people.sum())
    taken = pool.pairs(index)
    turned = torch.cat([torch.zeros(number, dtype=torch.bool, device=index.device), ~chosen.first])
    own = torch.arange(len(index), device=index.device) >= number
    probability = taken.probability.clone()
    probability[own] = chosen.probability.to(probability)
    return replace(
        taken,
        better=torch.where(turned, taken.worse, taken.better),
        worse=torch.where(turned, taken.better, taken.worse),
        probability=probability,
        weight=torch.where(own, weight, taken.weight),
        margin=torch.where(own, 0.0, taken.margin),
    )


def self_train(
    config: Config,
    teach: Teach,
    pool: Comparisons,
    people: Tensor,
    calibration: Comparisons,
    held: Comparisons,
    paraphrases: Sequence[Comparisons] = (),
    kind: Tensor | None = None,
) -> Taught:
    """Learn from people's labels, then in rounds from people's and one's own. Returns the best round on `held`.

    pool: pairs with and without labels, over one segment; people: [N] bool, which have one. calibration: labelled pairs
    of other prompts, for the temperature. held: labelled pairs of yet other prompts, for the stop. paraphrases: the
    pool's pairs in other words. kind: [N] classes for `choose`. Raises SettingsError when people labelled nothing.
    """
    if not bool(people.any()):
        raise SettingsError(f"none of {len(pool)} pairs has a label of people's: there is nothing to begin with")
    open_ones = (~people).nonzero()[:, 0]
    members = teach("round0", pool.pairs(people.nonzero()[:, 0]))
    rounds = [Round(0, 1.0, accuracy(members, held, config.micro_tokens))]
    best, best_members, without = 0, members, 0
    for number in range(1, config.rounds + 1):
        seen = gaps_of(members, calibration, config.micro_tokens).mean(0)
        temperature = fit_temperature(seen.cpu().numpy(), calibration.probability.cpu().numpy())
        gaps = gaps_of(members, pool, config.micro_tokens)[:, open_ones]
        others = [gaps_of(members, said, config.micro_tokens).mean(0)[open_ones] for said in paraphrases]
        found = choose(
            gaps,
            config,
            temperature,
            torch.stack(others) if others else None,
            None if kind is None else kind[open_ones],
        )
        if not len(found.index):
            break
        chosen = replace(found, index=open_ones[found.index])
        members = teach(f"round{number}", labelled_by(pool, people, chosen, config.weight))
        rounds.append(Round(len(chosen.index), temperature, accuracy(members, held, config.micro_tokens)))
        if rounds[-1].accuracy > rounds[best].accuracy:
            best, best_members, without = number, members, 0
        elif (without := without + 1) >= config.patience:
            break
    return Taught(best_members, best, rounds)


def gaps_of(members: Sequence[Scorer], comparisons: Comparisons, micro_tokens: int) -> Tensor:
    """[M, N] score of `better` less that of `worse`, by each member."""
    scores = torch.stack([scores_of(member, comparisons.segment, micro_tokens) for member in members])
    return scores[:, comparisons.better] - scores[:, comparisons.worse]


def accuracy(members: Sequence[Scorer], comparisons: Comparisons, micro_tokens: int) -> float:
    """Share of the weight of pairs that the members' mean orders right; equal scores count half."""
    gap = gaps_of(members, comparisons, micro_tokens).mean(0)
    return float((correct(gap, torch.zeros_like(gap)) * comparisons.weight).sum() / comparisons.weight.sum())

"""Which way of believing foretells votes best: log loss on votes that were held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from accord.quality.annotators import LEFT, RIGHT, skene_of_pairs
from accord.quality.believe import METHODS, BelieveConfig, Method, probabilities, weighed
from accord.quality.sharpness import preferred, see
from accord.quality.votes import Floats, Table, Vote
from accord.statistics import Interval, log_losses, mean_interval, paired_difference


@dataclass(frozen=True)
class HeldOut:
    """How well one way of believing foretells votes that it did not see."""

    method: Method
    """Which way."""
    loss: Interval
    """Mean log loss in nats over decided votes, pairs as clusters; 0.693 is a coin."""
    against: Interval
    """The same less that of majority; below 0 is better than counting heads."""


def held_out(
    votes: Sequence[Vote], generator: np.random.Generator, config: BelieveConfig | None = None, folds: int = 5
) -> list[HeldOut]:
    """Foretell each decided vote from the other folds' votes, by each method.

    Votes are dealt into folds at random. Only votes count whose pair and person have votes in the rest, so that all
    methods are asked what each can know. A vote is foretold for the person who gave it, with what the method knows
    of that person. Raises ValueError when no vote can be foretold.
    """
    config = config or BelieveConfig()
    fold = generator.permutation(len(votes)) % folds
    losses: dict[Method, list[Floats]] = {method: [] for method in METHODS}
    clusters: list[str] = []
    for number in range(folds):
        rest = weighed([vote for vote, at in zip(votes, fold, strict=True) if at != number], config)
        pairs, people = ({name: i for i, name in enumerate(names)} for names in (rest.pairs, rest.people))
        asked = [
            vote
            for vote, at in zip(votes, fold, strict=True)
            if at == number and vote.outcome != "tie" and vote.pair in pairs and vote.annotator in people
        ]
        if not asked:
            continue
        pair = np.array([pairs[vote.pair] for vote in asked])
        person = np.array([people[vote.annotator] for vote in asked])
        side = np.array([{"a": 1.0, "b": -1.0, "": 0.0}[vote.left] for vote in asked])
        outcome = np.array([float(vote.outcome == "a") for vote in asked])
        clusters += [str(vote.pair) for vote in asked]
        for method in METHODS:
            chance = np.clip(foretell(rest, config, method, pair, person, side), 1e-6, 1 - 1e-6)
            losses[method].append(log_losses(chance, outcome))
    if not clusters:
        raise ValueError(
            f"none of {len(votes)} votes can be foretold: no pair has votes of two people who vote elsewhere"
        )
    joined = {method: np.concatenate(parts) for method, parts in losses.items()}
    return [
        HeldOut(method, mean_interval(loss, clusters), paired_difference(loss, joined["majority"], clusters))
        for method, loss in joined.items()
    ]


def foretell(
    table: Table, config: BelieveConfig, method: Method, pair: np.ndarray, person: np.ndarray, side: Floats
) -> Floats:
    """[N] chance that each person chooses the first sample of the pair, given that they choose one.

    majority: the belief itself. dawid_skene: sum_z q(z) confusion_j(z, a) / sum_z q(z) (confusion_j(z, a) +
    confusion_j(z, b)). bradley_terry: with the person's own sharpness and leaning. side: as in `Table`.
    """
    if method == "majority":
        return probabilities(table, config, "majority")[pair]
    if method == "bradley_terry":
        seen = see(table)
        chance = np.empty(len(pair))
        for j in np.unique(person):
            mine = person == j
            for s in np.unique(side[mine]):
                here = mine & (side == s)
                chance[here] = preferred(seen, float(seen.sharpness[j]), float(seen.leaning[j] * s))[pair[here]]
        return chance
    skene = skene_of_pairs(table, "full", config.trust)
    turned = side < 0
    q = np.where(turned[:, None], skene.posterior[pair][:, ::-1], skene.posterior[pair])
    left = (q * skene.confusion[person, :, LEFT]).sum(1)
    right = (q * skene.confusion[person, :, RIGHT]).sum(1)
    return np.asarray(np.where(turned, right, left) / (left + right))

"""Who can be relied on, learned from votes alone: Dawid-Skene (full and one-coin) and MACE.

Labels of any kind are handled, and pairs in particular: there the truth is a side, each vote is read from where the
person sat (`flip`), so that a habit of choosing the left answer is told apart from carelessness.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy

from accord.quality.votes import Floats, Indices, Table
from accord.statistics import Interval, wilson

ROUNDS, TOLERANCE = 200, 1e-6
LEFT, RIGHT, TIE = 0, 1, 2


@dataclass(frozen=True)
class Skene:
    """What Dawid and Skene's model believes of items and people."""

    posterior: Floats
    """[items, classes] probability of each truth."""
    confusion: Floats
    """[people, classes, labels] probability that a person says a label when a class is true."""
    prior: Floats
    """[classes] how common each truth is."""
    right: Floats
    """[people] expected number of right labels among those that name a class."""
    named: Floats
    """[people] number of labels that name a class (ties, for instance, do not)."""
    rounds: int
    """Rounds of expectation-maximisation until the posterior stood still, or the limit."""


def dawid_skene(
    item: Indices,
    person: Indices,
    label: Indices,
    classes: int,
    *,
    labels: int | None = None,
    flip: np.ndarray | None = None,
    evidence: Floats | None = None,
    kind: Literal["full", "one_coin"] = "full",
    shrinkage: float = 4.0,
    balanced: bool = False,
) -> Skene:
    """Truths and reliabilities that explain the labels best (Dawid and Skene 1979, Applied Statistics 28).

    E: q_i(z) ~ prior_z * prod_n confusion[j_n, z, label_n];  M: confusion_j ~ sum_n q_{i_n}(z) [label_n] + shrinkage
    * pool_z, where `pool` is the confusion of all people together, with ten imagined votes of accuracy .75: someone
    with few votes is taken for an ordinary person. `one_coin`: one number per person, right with r_j, else any wrong
    class alike. item, person, label: [N]. Labels beyond `classes` (a tie) name no class but may be a habit. flip: [N]
    bool, with two classes: this vote saw the item turned round, so class and label 0 and 1 change places. balanced:
    hold the prior at equal shares, as symmetry asks of pairs. Raises ValueError when there is nothing to learn from.
    """
    if not item.size:
        raise ValueError("no labels: reliability cannot be learned from nothing")
    width = classes if labels is None else labels
    items, people = int(item.max()) + 1, int(person.max()) + 1
    weight = np.ones(item.size) if evidence is None else evidence
    turned = np.zeros(item.size, dtype=bool) if flip is None else flip.astype(bool)
    if turned.any() and classes != 2:
        raise ValueError(f"flip swaps two classes; there are {classes}")
    posterior = _vote_shares(item, np.where(turned & (label < 2), 1 - label, label), weight, items, classes)
    prior = np.full(classes, 1 / classes)
    confusion = np.zeros((people, classes, width))
    rounds = 0
    while rounds < ROUNDS:
        rounds += 1
        belief = _turn(posterior[item], turned)
        counts = np.zeros((people, width, classes))
        np.add.at(counts, (person, label), weight[:, None] * belief)
        confusion = _confusions(counts.transpose(0, 2, 1), kind, shrinkage)
        if not balanced:
            prior = (posterior.sum(0) + 1) / (items + classes)
        seen = _turn(np.log(confusion[person, :, label]), turned) * weight[:, None]
        logits = np.tile(np.log(prior), (items, 1))
        np.add.at(logits, item, seen)
        before, posterior = posterior, scipy.special.softmax(logits, axis=1)
        if np.abs(posterior - before).max() < TOLERANCE:
            break
    naming = label < classes
    hit = _turn(posterior[item], turned)[np.arange(item.size), np.minimum(label, classes - 1)]
    right = np.bincount(person, weights=weight * naming * hit, minlength=people).astype(float)
    named = np.bincount(person, weights=weight * naming, minlength=people).astype(float)
    return Skene(posterior, confusion, prior, right, named, rounds)


def skene_of_pairs(table: Table, kind: Literal["full", "one_coin"] = "full", shrinkage: float = 4.0) -> Skene:
    """Dawid-Skene for votes on pairs: class 0 is "a is better"; classes and labels of a person are left, right, tie."""
    turned = table.side < 0
    says_a = np.where(table.outcome == 0.5, TIE, np.where(table.outcome == 1, LEFT, RIGHT))
    label = np.where((says_a != TIE) & turned, 1 - says_a, says_a).astype(np.int64)
    return dawid_skene(
        table.pair,
        table.person,
        label,
        2,
        labels=3,
        flip=turned,
        evidence=table.evidence,
        kind=kind,
        shrinkage=shrinkage,
        balanced=True,
    )


def accuracy_intervals(table: Table, shrinkage: float = 4.0, level: float = 0.95) -> list[Interval]:
    """Accuracy of each person on decided votes: mean and middle `level` of its posterior.

    p(r) ~ Beta(r; s * pool, s * (1 - pool)) * prod_n (h_n r + (1 - h_n)(1 - r)), on a grid of 400, where h_n is the
    chance, by one-coin Dawid-Skene, that what vote n says is true in the eyes of all *other* votes: a person's own
    vote does not confirm itself, and a pair that is open says little of who was right.
    """
    skene = skene_of_pairs(table, "one_coin", shrinkage)
    pool = (skene.right.sum() + 7.5) / (skene.named.sum() + 10)
    own = skene.confusion[:, 0, 0] / skene.confusion[:, 0, :2].sum(1)
    chosen = np.where(table.outcome == 1, 0, 1)
    held = skene.posterior[table.pair, chosen].clip(1e-12, 1 - 1e-12)
    others = scipy.special.expit(scipy.special.logit(held) - table.evidence * scipy.special.logit(own[table.person]))
    grid = (np.arange(400) + 0.5) / 400
    prior = scipy.stats.beta.logpdf(grid, shrinkage * pool, shrinkage * (1 - pool))
    found = []
    for j in range(len(table.people)):
        mine = (table.person == j) & table.decided
        h = others[mine][:, None]
        seen = (table.evidence[mine][:, None] * np.log(h * grid + (1 - h) * (1 - grid))).sum(0)
        share = scipy.special.softmax(prior + seen)
        low, high = np.interp([(1 - level) / 2, (1 + level) / 2], np.cumsum(share) - share / 2, grid)
        found.append(Interval(float(share @ grid), float(low), float(high), level, int(mine.sum())))
    return found


@dataclass(frozen=True)
class Reliability:
    """What is known of one person's votes; evidence for a human, never a verdict."""

    name: str
    """Pseudonym."""
    votes: int
    """Votes given, ties too."""
    ties: int
    """Votes that were ties."""
    accuracy: Interval
    """Share of decided votes that agree with what all together make likely (one-coin Dawid-Skene)."""
    left: Interval
    """Share of decided votes for the answer shown first; .5 is no habit. nan when the order is not known."""
    effective: float
    """Perfect votes that these votes are worth."""


def reliabilities(table: Table, shrinkage: float = 4.0) -> dict[str, Reliability]:
    """Reliability of everybody who voted, by one-coin Dawid-Skene."""
    if not table.people:
        return {}
    accuracy = accuracy_intervals(table, shrinkage)
    count = len(table.people)
    votes = np.bincount(table.person, minlength=count)
    decided = np.bincount(table.person[table.decided], minlength=count)
    sided = table.decided & (table.side != 0)
    placed = np.bincount(table.person[sided], minlength=count)
    took_left = np.bincount(table.person[sided & ((table.outcome == 1) == (table.side > 0))], minlength=count)
    return {
        name: Reliability(
            name,
            int(votes[j]),
            int(votes[j] - decided[j]),
            accuracy[j],
            wilson(int(took_left[j]), int(placed[j])),
            effective_votes(accuracy[j].estimate, float(decided[j])),
        )
        for j, name in enumerate(table.people)
    }


def effective_votes(accuracy: float, votes: float) -> float:
    """Perfect votes that carry as much: votes * (1 - H2(accuracy)), H2 in bits (Shannon 1948, the symmetric channel).

    A coin is worth nothing; somebody who is always wrong is worth as much as one who is always right.
    """
    r = min(max(accuracy, 0.0), 1.0)
    return float(votes * (1 - (scipy.special.entr(r) + scipy.special.entr(1 - r)) / np.log(2)))


@dataclass(frozen=True)
class Mace:
    """What MACE believes of items and people."""

    posterior: Floats
    """[items, classes] probability of each truth."""
    honest: Floats
    """[people] probability that a label is meant rather than spammed."""
    habit: Floats
    """[people, classes] what a person says when not meaning it."""


def mace(item: Indices, person: Indices, label: Indices, classes: int, smoothing: float = 0.5) -> Mace:
    """Label = truth with probability honest_j, else drawn from habit_j (Hovy et al. 2013, NAACL), by EM.

    Ours: smoothing of Beta(2s, s) on honesty and s/classes on habit in place of variational Bayes, one start from
    vote shares in place of many random ones. item, person, label: [N].
    """
    if not item.size:
        raise ValueError("no labels: honesty cannot be learned from nothing")
    items, people = int(item.max()) + 1, int(person.max()) + 1
    rows = np.arange(item.size)
    posterior = _vote_shares(item, label, np.ones(item.size), items, classes)
    honest, habit = np.full(people, 0.7), np.full((people, classes), 1 / classes)
    total = np.bincount(person, minlength=people).astype(float)
    for _ in range(ROUNDS):
        spam = (1 - honest[person]) * habit[person, label]
        # Given that the label is the truth, it may still have been spammed by luck.
        meant = posterior[item, label] * honest[person] / (honest[person] + spam)
        honest = (np.bincount(person, weights=meant, minlength=people) + 2 * smoothing) / (total + 3 * smoothing)
        counts = np.full((people, classes), smoothing / classes)
        np.add.at(counts, (person, label), 1 - meant)
        habit = counts / counts.sum(1, keepdims=True)
        spam = (1 - honest[person]) * habit[person, label]
        likely = np.repeat(spam[:, None], classes, axis=1)
        likely[rows, label] += honest[person]
        logits = np.zeros((items, classes))
        np.add.at(logits, item, np.log(likely))
        before, posterior = posterior, scipy.special.softmax(logits, axis=1)
        if np.abs(posterior - before).max() < TOLERANCE:
            break
    return Mace(posterior, honest, habit)


def difficulty(posterior: Floats) -> Floats:
    """[items] how open each item still is: entropy of its posterior over that of not knowing, 0 clear to 1 open."""
    return np.asarray(scipy.special.entr(posterior).sum(1) / np.log(posterior.shape[1]))


def _vote_shares(item: Indices, label: Indices, weight: Floats, items: int, classes: int) -> Floats:
    """[items, classes] share of votes, half a vote to each class at first."""
    shares = np.full((items, classes), 0.5)
    named = label < classes
    np.add.at(shares, (item[named], label[named]), weight[named])
    return np.asarray(shares / shares.sum(1, keepdims=True))


def _turn(values: Floats, turned: np.ndarray) -> Floats:
    """[N, classes] with the two classes exchanged in the turned rows."""
    return np.where(turned[:, None], values[:, ::-1], values) if turned.any() else values


def _confusions(counts: Floats, kind: str, shrinkage: float) -> Floats:
    """[people, classes, labels] smoothed confusion from expected counts of the same shape."""
    _, classes, width = counts.shape
    diagonal = np.arange(classes)
    if kind == "one_coin":
        right = counts[:, diagonal, diagonal].sum(1)
        named = counts[:, :, :classes].sum((1, 2))
        other = counts[:, :, classes:].sum(1)  # [people, labels that name no class]
        pool = (right.sum() + 7.5) / (named.sum() + 10)
        r = (right + shrinkage * pool) / (named + shrinkage)
        pooled = (other.sum(0) + 0.1) / (counts.sum() + 1)
        rest = (other + shrinkage * pooled) / (counts.sum((1, 2)) + shrinkage)[:, None]
        found = np.repeat(rest[:, None, :], classes, axis=1)
        wrong = ((1 - r) / max(1, classes - 1))[:, None, None] * np.ones((1, classes, classes))
        wrong[:, diagonal, diagonal] = r[:, None]
        return np.concatenate([wrong * (1 - rest.sum(1))[:, None, None], found], axis=2)
    base = np.full((classes, width), 2.5 / max(1, classes - 1))
    base[diagonal, diagonal] = 7.5
    base[:, classes:] = 0.5
    pool_counts = counts.sum(0) + base
    pool_all = pool_counts / pool_counts.sum(1, keepdims=True)
    smooth = counts + shrinkage * pool_all
    return np.asarray(smooth / smooth.sum(2, keepdims=True))

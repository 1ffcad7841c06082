"""Which model is best: Bradley-Terry with ties, Plackett-Luce for rankings, Elo for the ticker only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy

from accord.quality.votes import Floats, Indices
from accord.statistics import Interval, percentiles

RIDGE = 1e-2
"""Precision of a weak normal prior on log strengths, so that a player who won everything stays finite."""


@dataclass(frozen=True)
class Game:
    """One meeting of two players."""

    a: str
    """First player, for instance a model version."""
    b: str
    """Second player."""
    outcome: Literal["a", "b", "tie"]
    """Who won."""
    cluster: str = ""
    """What it shares with other games, as the prompt; empty when it stands alone."""


@dataclass(frozen=True)
class Standing:
    """Where a player stands."""

    name: str
    """Player."""
    strength: Interval
    """Log strength, mean 0 over all players; 1 more is odds of e to 1 in decided games."""
    best: int
    """Lowest rank that cannot be excluded; 1 is first."""
    worst: int
    """Highest rank that cannot be excluded."""
    games: int
    """Games played."""


def bradley_terry(
    games: Sequence[Game], generator: np.random.Generator, draws: int = 200, level: float = 0.95
) -> list[Standing]:
    """Players by strength, best first, with bootstrap intervals over clusters (prompts) of games.

    Davidson (1970, JASA 65): P(a) : P(tie) : P(b) = e^(u_a) : nu e^((u_a + u_b)/2) : e^(u_b). Maximum likelihood with
    a weak prior. Ranks are the range over the draws. Raises ValueError when there are no games.
    """
    if not games:
        raise ValueError("no games: a tournament needs at least one")
    names: dict[str, int] = {}
    a = np.array([names.setdefault(game.a, len(names)) for game in games])
    b = np.array([names.setdefault(game.b, len(names)) for game in games])
    result = np.array([{"a": 0, "tie": 1, "b": 2}[game.outcome] for game in games])
    label = [game.cluster or f"\0{i}" for i, game in enumerate(games)]
    _, cluster = np.unique(np.asarray(label), return_inverse=True)
    clusters, players = int(cluster.max()) + 1, len(names)
    # Games that look alike are counted, so that a fit costs the same for a thousand games and for a million.
    kinds, kind = np.unique(np.stack([a, b, result]), axis=1, return_inverse=True)
    first = davidson(kinds, np.bincount(kind).astype(float), players)[0]
    drawn = np.empty((draws, players))
    for i in range(draws):
        times = np.bincount(generator.integers(clusters, size=clusters), minlength=clusters).astype(float)
        drawn[i] = davidson(kinds, np.bincount(kind, weights=times[cluster]).astype(float), players, first)[0]
    ranks = 1 + (drawn[:, None, :] > drawn[:, :, None]).sum(2)
    tail = [(1 - level) / 2, (1 + level) / 2]
    played = np.bincount(a, minlength=players) + np.bincount(b, minlength=players)
    standings = []
    for name, j in names.items():
        low, high = np.quantile(ranks[:, j], tail, method="closest_observation")
        strength = percentiles(float(first[j]), drawn[:, j], clusters, level)
        standings.append(Standing(name, strength, int(low), int(high), int(played[j])))
    return sorted(standings, key=lambda standing: -standing.strength.estimate)


def davidson(kinds: Indices, times: Floats, players: int, start: Floats | None = None) -> tuple[Floats, float]:
    """Log strengths (mean 0) and log nu of Davidson's model.

    kinds: [3, K] first player, second player, result (0 first won, 1 tie, 2 second won). times: [K] how often.
    """
    a, b, result = kinds
    tied = float(times[result == 1].sum())

    def loss(values: Floats) -> tuple[float, Floats]:
        u, nu = values[:players], values[players]
        logits = np.stack([u[a], nu + (u[a] + u[b]) / 2, u[b]])
        share = scipy.special.softmax(logits, axis=0)
        value = -float(times @ scipy.special.log_softmax(logits, axis=0)[result, np.arange(len(a))])
        error = times * (share - (np.arange(3)[:, None] == result))
        by_a, by_b = error[0] + error[1] / 2, error[2] + error[1] / 2
        slope = np.bincount(a, by_a, players) + np.bincount(b, by_b, players) + RIDGE * u
        return value + RIDGE / 2 * float(u @ u + nu * nu), np.append(slope, error[1].sum() + RIDGE * nu)

    guess = np.zeros(players + 1) if start is None else np.append(start, 0.0)
    # Without a tie nu would run to zero for ever; it is held at odds that no one can see.
    bounds = [(None, None)] * players + [(-10.0, 10.0) if tied else (-10.0, -10.0)]
    if not tied:
        guess[-1] = -10.0
    found = scipy.optimize.minimize(loss, guess, jac=True, method="L-BFGS-B", bounds=bounds).x
    return found[:players] - found[:players].mean(), float(found[players])


def plackett_luce(rankings: Sequence[Sequence[Sequence[str]]]) -> dict[str, float]:
    """Log strengths (mean 0) from rankings, each a list of places from best to worst with the names that share it.

    P(order) = prod_k e^(u_k) / sum_{l not better than k} e^(u_l) (Plackett 1975; Luce 1959), with the weak prior of
    `bradley_terry`. Names in one place are each chosen out of everything from that place down (Breslow 1974).
    """
    names: dict[str, int] = {}
    picks: list[int] = []
    pools: list[list[int]] = []
    for ranking in rankings:
        places = [[names.setdefault(name, len(names)) for name in place] for place in ranking]
        for k, place in enumerate(places[:-1] if len(places[-1]) == 1 else places):
            below = [j for later in places[k:] for j in later]
            picks += place
            pools += [below] * len(place)
    if not picks:
        return dict.fromkeys(names, 0.0)
    row = np.repeat(np.arange(len(pools)), [len(pool) for pool in pools])
    member = np.concatenate([np.asarray(pool) for pool in pools])
    chosen, players = np.asarray(picks), len(names)

    def loss(u: Floats) -> tuple[float, Floats]:
        worth = np.exp(u - u.max())
        total = np.bincount(row, worth[member])
        value = float(np.log(total).sum() + len(chosen) * u.max() - u[chosen].sum())
        slope = np.bincount(member, worth[member] / total[row], players) - np.bincount(chosen, minlength=players)
        return value + RIDGE / 2 * float(u @ u), slope + RIDGE * u

    found = scipy.optimize.minimize(loss, np.zeros(players), jac=True, method="L-BFGS-B").x
    return {name: float(found[j] - found.mean()) for name, j in names.items()}


def elo(games: Sequence[Game], step: float = 16.0, start: float = 1000.0) -> dict[str, float]:
    """A rating that moves with each game: r += step * (score - 1 / (1 + 10^((other - r) / 400))) (Elo 1978).

    For a moving display only: it depends on the order of the games and has no interval. To rank, use `bradley_terry`.
    """
    rating: dict[str, float] = {}
    for game in games:
        a, b = rating.get(game.a, start), rating.get(game.b, start)
        gain = step * ({"a": 1.0, "tie": 0.5, "b": 0.0}[game.outcome] - 1 / (1 + 10 ** ((b - a) / 400)))
        rating[game.a], rating[game.b] = a + gain, b - gain
    return rating

"""Tournaments against planted strengths, brute force and real votes."""

import math
from itertools import permutations

import numpy as np
import pytest

from accord.quality.tournament import Game, bradley_terry, davidson, elo, plackett_luce


def played(seed: int, strength: dict[str, float], nu: float, count: int, shared: float = 0.0) -> list[Game]:
    g = np.random.default_rng(seed)
    names, games = list(strength), []
    for i in range(count):
        a, b = g.choice(len(names), 2, replace=False)
        u, v = (strength[names[x]] + shared * math.sin(i // 10 * (x + 1)) for x in (a, b))
        odds = np.array([math.exp(u), nu * math.exp((u + v) / 2), math.exp(v)])
        outcome = ("a", "tie", "b")[g.choice(3, p=odds / odds.sum())]
        games.append(Game(names[a], names[b], outcome, f"prompt{i // 10}"))
    return games


def test_planted_strengths_are_covered():
    strength, hits = {"w": 1.0, "x": 0.3, "y": -0.2, "z": -1.1}, 0
    for seed in range(12):
        standings = bradley_terry(played(seed, strength, 0.7, 400), np.random.default_rng(seed), 80)
        hits += sum(not s.strength.excludes(strength[s.name]) for s in standings)
        assert standings[0].best == 1
        assert all(s.best <= place <= s.worst for place, s in enumerate(standings, 1))
    assert hits / 48 > 0.85


def test_davidson_is_the_maximum():
    g = np.random.default_rng(1)
    kinds = np.array([[0, 0, 0, 1, 1, 2], [1, 1, 1, 2, 2, 0], [0, 1, 2, 0, 2, 1]])
    times = np.array([5.0, 3, 2, 4, 4, 6])
    u, nu = davidson(kinds, times, 3)

    def slow(u, nu) -> float:
        total = 0.0
        for a, b, result, n in zip(*kinds, times, strict=True):
            odds = [math.exp(u[a]), math.exp(nu + (u[a] + u[b]) / 2), math.exp(u[b])]
            total += n * math.log(odds[result] / sum(odds))
        return total - 0.005 * (float(u @ u) + nu * nu)

    assert all(slow(u + g.normal(size=3) * 0.05, nu + g.normal() * 0.05) < slow(u, nu) for _ in range(200))


def test_without_ties_two_players_have_the_log_odds():
    games = [Game("x", "y", "a", str(i)) for i in range(60)] + [Game("y", "x", "a", str(i)) for i in range(30)]
    first, second = bradley_terry(games, np.random.default_rng(0), 50)
    assert (first.name, first.games) == ("x", 90)
    assert first.strength.estimate - second.strength.estimate == pytest.approx(math.log(2), abs=0.01)


def test_who_won_everything_stays_finite_and_no_games_are_refused():
    [first, _] = bradley_terry([Game("x", "y", "a")] * 20, np.random.default_rng(0), 20)
    assert 0 < first.strength.estimate < 10
    with pytest.raises(ValueError, match="no games"):
        bradley_terry([], np.random.default_rng(0))


def test_plackett_luce_of_full_rankings_by_brute_force():
    g, truth = np.random.default_rng(2), np.array([1.0, 0.4, 0.0, -1.4])
    rankings = []
    for _ in range(1500):
        order = np.argsort(-(truth + g.gumbel(size=4)))
        rankings.append([[str(j)] for j in order])
    found = plackett_luce(rankings)
    assert [found[str(j)] for j in range(4)] == pytest.approx(truth, abs=0.12)

    def chance(order) -> float:
        left, p = list(order), 1.0
        for j in order:
            p *= math.exp(found[j]) / sum(math.exp(found[k]) for k in left)
            left.remove(j)
        return p

    assert sum(chance(order) for order in permutations("0123")) == pytest.approx(1)
    seen = sum([r[0] for r in ranking] == ["0", "1", "2", "3"] for ranking in rankings) / 1500
    assert chance("0123") == pytest.approx(seen, abs=0.03)


def test_tied_places_pull_together():
    rankings = [[["x", "y"], ["z"]]] * 50
    found = plackett_luce(rankings)
    assert found["x"] == pytest.approx(found["y"], abs=1e-3)
    assert found["x"] > found["z"] + 1
    assert plackett_luce([[["x", "y"]]]) == pytest.approx({"x": 0.0, "y": 0.0}, abs=1e-6)


def test_elo_conserves_points_and_depends_on_order():
    games = played(3, {"w": 1.0, "x": 0.0, "y": -1.0}, 0.5, 300)
    rating = elo(games)
    assert sum(rating.values()) == pytest.approx(3000)
    assert sorted(rating, key=rating.get) == ["y", "x", "w"]
    assert elo(games[::-1])["w"] != rating["w"]


def test_real_models_are_ranked(judged):
    games = [
        Game(r["model_a"], r["model_b"], r["label"], str(r["prompt"]))
        for r in judged
        if r["source"].startswith("mt_bench") and r["annotator_type"] == "human"
    ]
    standings = bradley_terry(games, np.random.default_rng(0), 50)
    names = [s.name for s in standings]
    assert names[0] == "gpt-4"
    assert names[-1] in {"llama-13b", "alpaca-13b"}
    wins = {
        n: np.mean([(g.outcome == "a") == (g.a == n) for g in games if n in (g.a, g.b) and g.outcome != "tie"])
        for n in names
    }
    assert wins[names[0]] > wins[names[-1]]

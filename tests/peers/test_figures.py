"""Gwet's AC, Kendall's tau, ties, Elo, calibration and sample sizes are those of libraries that have them too.

Gwet: irrCAC. Kendall: choix, which counts pairs of places that are the other way round. Ties: evalica's Newman has
Davidson's model with 2 v for nu. Order and calibration: scikit-learn. Paired means and sample sizes: statsmodels.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from accord.quality import agreement
from accord.quality.believe import BelieveConfig, probabilities
from accord.quality.tournament import Game, bradley_terry, davidson, elo
from accord.quality.votes import Vote, tabulate
from accord.statistics import (
    auroc,
    brier,
    detectable,
    expected_calibration_error,
    isotonic,
    log_loss,
    needed,
    paired_difference,
    reliability_curve,
)
from tests.peers.oracles import DATA, needs_peers, told
from tests.peers.test_votes import ratings

pytestmark = needs_peers


def test_gwets_agreement_is_irrcacs(tmp_path: Path) -> None:
    rows, draw = ratings(0, [1, 2, 3, 5], items=120, share=0.3), np.random.default_rng(0)
    names = {"nominal": "identity", "ordinal": "linear", "interval": "quadratic"}
    ranked = [(i, j, {1: 0, 2: 1, 3: 2, 5: 3}[v]) for i, j, v in rows]  # ours takes ordinal values by their rank
    job = {m: ("gwet", ranked if m == "ordinal" else rows, weights) for m, weights in names.items()}
    theirs = told(tmp_path, **job)
    for measure in names:
        counts = agreement.count(*zip(*rows, strict=True))
        assert (counts.table.sum(1) == 1).sum() > 20
        ours = agreement.gwet(counts, draw, measure, 10).interval.estimate  # type: ignore[arg-type]
        print(f"Gwet ({measure}): {ours:.6f}, irrCAC {theirs[measure]:.6f}")
        assert ours == pytest.approx(theirs[measure], abs=1e-9)


def test_kendalls_tau_counts_what_choix_counts(tmp_path: Path) -> None:
    draw = np.random.default_rng(2)
    rankings = [[draw.permutation(7).tolist() for _ in range(2)] for _ in range(12)]
    theirs = told(tmp_path, **{f"{i}": ("kendall", *pair) for i, pair in enumerate(rankings)})
    taus = [1 - 2 * theirs[f"{i}"] / 21 for i in range(12)]
    assert agreement.kendall(rankings).interval.estimate == pytest.approx(np.mean(taus), abs=1e-12)


def games(seed: int, count: int) -> list[tuple[int, int, str]]:
    """Meetings of six players under Davidson's model, nu = .8."""
    draw, worth = np.random.default_rng(seed), np.random.default_rng(seed + 1).normal(0, 1, 6)
    played = []
    for _ in range(count):
        a, b = (int(i) for i in draw.choice(6, 2, replace=False))
        share = np.exp([worth[a], np.log(0.8) + (worth[a] + worth[b]) / 2, worth[b]])
        played.append((a, b, str(draw.choice(["a", "tie", "b"], p=share / share.sum()))))
    return played


def test_strengths_with_ties_are_those_of_newman_in_evalica(tmp_path: Path) -> None:
    told_games = games(3, 6000)
    theirs = told(tmp_path, ties=("newman", told_games, 6))["ties"]
    standings = bradley_terry([Game(str(a), str(b), who) for a, b, who in told_games], np.random.default_rng(0), 20)  # type: ignore[arg-type]
    for one in standings:
        assert one.strength.estimate == pytest.approx(theirs["strengths"][int(one.name)], abs=2e-3)
    kinds = np.array([(a, b, ["a", "tie", "b"].index(who)) for a, b, who in told_games]).T
    nu = float(np.exp(davidson(kinds, np.ones(len(told_games)), 6)[1]))
    print(f"nu {nu:.4f}, evalica {theirs['nu']:.4f}, planted .8")
    assert nu == pytest.approx(theirs["nu"], rel=2e-3)


def test_elo_is_evalicas(tmp_path: Path) -> None:
    told_games = games(5, 300)
    theirs = told(tmp_path, elo=("elo", told_games, 6, 16.0))["elo"]
    ours = elo([Game(str(a), str(b), who) for a, b, who in told_games], step=16.0)  # type: ignore[arg-type]
    for i, rating in enumerate(theirs):
        assert ours[str(i)] == pytest.approx(rating, abs=1e-6)


def test_order_and_calibration_are_scikit_learns(tmp_path: Path) -> None:
    draw = np.random.default_rng(4)
    p = np.round(draw.random(400), 2)
    y = (draw.random(400) < p**1.5).astype(int)
    p = p.clip(0.01, 0.99)
    theirs = told(tmp_path, it=("foretold", p.tolist(), y.tolist()))["it"]
    assert auroc(p, y) == pytest.approx(theirs["auroc"], abs=1e-12)
    assert brier(p, y) == pytest.approx(theirs["brier"], abs=1e-12)
    assert log_loss(p, y) == pytest.approx(theirs["log_loss"], abs=1e-12)
    assert np.allclose(np.interp(np.linspace(0, 1, 101), *isotonic(p, y)), theirs["isotonic"], atol=1e-12)
    away = p[~np.isclose(p * 10 % 1, 0)], y[~np.isclose(p * 10 % 1, 0)]  # on an edge of bins the two choose sides
    inner = told(tmp_path, it=("foretold", away[0].tolist(), away[1].tolist()))["it"]
    curve = reliability_curve(*away)
    assert [b.observed for b in curve] == pytest.approx(inner["observed"])
    assert [b.predicted for b in curve] == pytest.approx(inner["predicted"])
    error = sum(b.count * abs(o - q) for b, o, q in zip(curve, inner["observed"], inner["predicted"], strict=True))
    assert expected_calibration_error(*away) == pytest.approx(error / len(away[0]))


def test_paired_means_and_sample_sizes_are_statsmodels(tmp_path: Path) -> None:
    draw = np.random.default_rng(6)
    a, b = draw.normal(size=30), draw.normal(size=30) + 0.3
    cases = [(0.05, 0.5, 0.8), (0.1, 0.3, 0.9), (0.02, 0.45, 0.8)]
    theirs = told(tmp_path, paired=("paired", a.tolist(), b.tolist()), **{f"{c}": ("needed", *c) for c in cases})
    ours = paired_difference(a, b)
    assert [ours.low, ours.high] == pytest.approx(theirs["paired"], abs=1e-9)
    for case in cases:
        difference, deviation, power = case
        assert needed(difference, deviation, power=power) == int(np.ceil(theirs[f"{case}"]))
        assert detectable(theirs[f"{case}"], deviation, power=power) == pytest.approx(difference, rel=1e-5)


def real_pairs() -> dict[str, list[dict[str, Any]]]:
    """The real votes on pairs, by source. Skips with the reason where they are not."""
    path = DATA / "multi_annotator.jsonl.gz"
    if not path.exists():
        pytest.skip(f"the real votes are not here: {path.name} is not in shared/data beside the repository")
    found: dict[str, list[dict[str, Any]]] = {}
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
        for row in map(json.loads, file):
            if row["annotator_type"] == "human":
                found.setdefault(row["source"], []).append(row)
    return found


def test_agreement_and_majorities_on_real_pairs_are_theirs(tmp_path: Path) -> None:
    job, ours, coded = {}, {}, {"a": 0, "b": 1, "tie": 2}
    for source, said in real_pairs().items():
        # One who judged a pair twice counts with the last word on both sides.
        last = {(row["item_id"], row["annotator_id"]): row["label"] for row in said}
        rows = [(item, person, coded[label]) for (item, person), label in last.items()]
        counts = agreement.count(*zip(*rows, strict=True))
        if (counts.table.sum(1) > 1).sum() < 2:
            continue
        draw = np.random.default_rng(0)
        figures = {
            "alpha": agreement.krippendorff(counts, "nominal", draw, 10),
            "gwet": agreement.gwet(counts, draw, draws=10),
        }
        ours[source] = ({name: one.interval.estimate for name, one in figures.items()}, last)
        job[f"alpha {source}"] = ("alpha", rows, "nominal")
        job[f"gwet {source}"] = ("gwet", rows, "identity")
        job[f"majority {source}"] = ("majority", rows)
    theirs = told(tmp_path, **job)
    assert ours
    for source, (figures, last) in ours.items():
        for name, figure in figures.items():
            other = theirs[f"{name} {source}"]
            print(f"{source}: {name} {figure:.6f}, theirs {other:.6f}, {len(last)} votes")
            assert figure == pytest.approx(other, abs=1e-6)
        votes = [
            Vote("p", f"{item}/a", f"{item}/b", label, person, f"{k}", strength=int(label != "tie"))
            for k, ((item, person), label) in enumerate(last.items())
        ]
        table = tabulate(votes)
        found = probabilities(table, BelieveConfig(shrinkage=1e-9), "majority")
        shares = theirs[f"majority {source}"]
        for (_, a, _, _), p in zip(table.pairs, found, strict=True):
            share = shares[a[:-2]]
            assert p == pytest.approx(share.get("0", 0.0) + share.get("2", 0.0) / 2, abs=1e-6)

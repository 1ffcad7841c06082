"""Runs in the other environment: figures of crowd-kit, evalica, choix and statsmodels. `python votes_side.py FOLDER`.

The folder holds `job.json`, names of oracles with their arguments; this writes `told.json`, the answers by name. It
must not import accord: whatever both sides shared would not be compared.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path

import choix
import evalica
import numpy as np
import pandas as pd
import statsmodels.api as sm
from crowdkit.aggregation.classification import MACE, DawidSkene, OneCoinDawidSkene
from crowdkit.aggregation.pairwise import NoisyBradleyTerry
from statsmodels.stats.inter_rater import cohens_kappa, fleiss_kappa
from statsmodels.stats.proportion import proportion_confint

CROWD = {"dawid_skene": DawidSkene, "one_coin": OneCoinDawidSkene, "mace": MACE}


def alpha(rows, measure):
    """rows: item, person, value."""
    frame = pd.DataFrame(rows, columns=["item", "person", "value"])
    wide = frame.pivot_table(index="person", columns="item", values="value", aggfunc="last")
    return evalica.alpha(wide, distance=measure).alpha


def fleiss(table):
    return float(fleiss_kappa(np.array(table)))


def cohen(table, weights):
    return float(cohens_kappa(np.array(table), wt=weights, return_results=False))


def crowd(rows, kind):
    """rows: item, person, label. Probability of each class of each item, and what is known of each person."""
    frame = pd.DataFrame(rows, columns=["task", "worker", "label"])
    model = CROWD[kind](**({"random_state": 0} if kind == "mace" else {"n_iter": 500, "tol": 1e-8}))
    posterior = model.fit_predict_proba(frame)
    skills = None
    if kind == "one_coin":
        skills = {str(k): float(v) for k, v in model.skills_.items()}
    if kind == "dawid_skene":
        skills = {
            f"{w} {true} {said}": float(value)
            for (w, said), row in model.errors_.iterrows()
            for true, value in row.items()
        }
    return {
        "posterior": {str(i): {str(c): float(p) for c, p in row.items()} for i, row in posterior.iterrows()},
        "skills": skills,
    }


def noisy(rows):
    """rows: person, left, right, winner. Scores of the samples and skill of each person."""
    frame = pd.DataFrame(rows, columns=["worker", "left", "right", "label"])
    model = NoisyBradleyTerry(n_iter=500, random_state=0).fit(frame)
    return {
        "scores": {str(k): float(v) for k, v in model.scores_.items()},
        "skills": {str(k): float(v) for k, v in model.skills_.items()},
    }


def bradley_terry(games, players):
    """games: winner, loser as numbers. By choix and by evalica, log strengths with mean 0."""
    winners = [evalica.Winner.X] * len(games)
    found = evalica.bradley_terry([a for a, _ in games], [b for _, b in games], winners, tolerance=1e-10, limit=10_000)
    scores = np.log([found.scores[i] for i in range(players)])
    return {
        "choix": choix.ilsr_pairwise(players, [tuple(game) for game in games], max_iter=1000).tolist(),
        "evalica": (scores - scores.mean()).tolist(),
    }


def plackett_luce(rankings, players):
    return choix.ilsr_rankings(players, [tuple(row) for row in rankings], max_iter=1000).tolist()


def clustered(values, clusters):
    """Mean and its standard error, clustered, without small-sample factors."""
    fit = sm.OLS(np.array(values), np.ones(len(values))).fit(
        cov_type="cluster", cov_kwds={"groups": np.array(clusters), "use_correction": False}
    )
    return [float(fit.params[0]), float(fit.bse[0])]


def wilson(successes, n):
    return [float(end) for end in proportion_confint(successes, n, method="wilson")]


ORACLES = {
    one.__name__: one for one in (alpha, fleiss, cohen, crowd, noisy, bradley_terry, plackett_luce, clustered, wilson)
}

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    job = json.loads((folder / "job.json").read_text())
    told = {name: ORACLES[oracle](*given) for name, (oracle, given) in job.items()}
    told["versions"] = {name: version(name) for name in ("crowd-kit", "evalica", "choix", "statsmodels")}
    (folder / "told.json").write_text(json.dumps(told))

"""Runs in the other environment: figures of those who have them too. `python votes_side.py FOLDER`.

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
from crowdkit.aggregation.classification import MACE, DawidSkene, MajorityVote, OneCoinDawidSkene
from crowdkit.aggregation.pairwise import NoisyBradleyTerry
from irrCAC.raw import CAC
from sklearn import calibration, isotonic, metrics
from statsmodels.stats.inter_rater import cohens_kappa, fleiss_kappa
from statsmodels.stats.power import NormalIndPower
from statsmodels.stats.proportion import proportion_confint
from statsmodels.stats.weightstats import DescrStatsW

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


def gwet(rows, weights):
    """rows: item, person, value. Gwet's AC1 or AC2 by the author's own method, as irrCAC has it."""
    frame = pd.DataFrame(rows, columns=["item", "person", "value"])
    wide = frame.pivot_table(index="item", columns="person", values="value", aggfunc="last")
    # Left to find the values itself, irrCAC 0.4.4 takes "nothing said" for one of them under pandas 3.
    values = sorted(frame["value"].unique().tolist())
    return float(CAC(wide, weights=weights, categories=values, digits=12).gwet()["est"]["coefficient_value"])


def majority(rows):
    """rows: item, person, label. Share of each label of each item."""
    frame = pd.DataFrame(rows, columns=["task", "worker", "label"])
    shares = MajorityVote().fit_predict_proba(frame)
    return {str(i): {str(c): float(p) for c, p in row.items()} for i, row in shares.iterrows()}


def kendall(first, second):
    """How many pairs of places two rankings without ties have the other way round."""
    return int(choix.kendalltau_dist(np.array(first), np.array(second)))


def played(games):
    """games: a, b, outcome."""
    won = {"a": evalica.Winner.X, "b": evalica.Winner.Y, "tie": evalica.Winner.Draw}
    return [a for a, _, _ in games], [b for _, b, _ in games], [won[outcome] for _, _, outcome in games]


def newman(games, players):
    """Log strengths with mean 0 and nu of Davidson's model of ties, by Newman's iteration."""
    found = evalica.newman(*played(games), tolerance=1e-12, limit=10_000)
    scores = np.log([found.scores[i] for i in range(players)])
    return {"strengths": (scores - scores.mean()).tolist(), "nu": 2 * float(found.v)}


def elo(games, players, step):
    found = evalica.elo(*played(games), k=step)
    return [float(found.scores[i]) for i in range(players)]


def foretold(probability, outcome):
    """Order and calibration by scikit-learn."""
    observed, predicted = calibration.calibration_curve(outcome, probability, n_bins=10, strategy="uniform")
    fitted = isotonic.IsotonicRegression(out_of_bounds="clip").fit(probability, outcome)
    return {
        "auroc": float(metrics.roc_auc_score(outcome, probability)),
        "brier": float(metrics.brier_score_loss(outcome, probability)),
        "log_loss": float(metrics.log_loss(outcome, probability)),
        "observed": observed.tolist(),
        "predicted": predicted.tolist(),
        "isotonic": fitted.predict(np.linspace(0, 1, 101)).tolist(),
    }


def paired(a, b):
    """Ends of the t interval of the mean difference."""
    return [float(end) for end in DescrStatsW(np.array(a) - np.array(b)).tconfint_mean(0.05)]


def needed(difference, deviation, power):
    """Items of one sample that show a difference, by the normal approximation."""
    solved = NormalIndPower().solve_power(difference / deviation, alpha=0.05, power=power, ratio=0)
    return float(np.squeeze(solved))


ORACLES = {
    one.__name__: one
    for one in (
        alpha, fleiss, cohen, crowd, noisy, bradley_terry, plackett_luce, clustered, wilson, gwet, majority, kendall,
        newman, elo, foretold, paired, needed,
    )
}  # fmt: skip
NAMES = ("crowd-kit", "evalica", "choix", "statsmodels", "scikit-learn", "irrCAC")

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    job = json.loads((folder / "job.json").read_text())
    told = {name: ORACLES[oracle](*given) for name, (oracle, given) in job.items()}
    told["versions"] = {name: version(name) for name in NAMES}
    (folder / "told.json").write_text(json.dumps(told))

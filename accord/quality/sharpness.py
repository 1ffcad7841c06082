"""Bradley-Terry with persons in it: how good each answer is, how sharply each person sees it, and who leans left."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy

from accord.quality.votes import Floats, Indices, Table
from accord.statistics import Interval


@dataclass(frozen=True)
class Seen:
    """What the model believes of answers and people."""

    score: Floats
    """[samples] how good each sample is; only differences within a prompt mean something."""
    gap: Floats
    """[pairs] score of the first sample less that of the second."""
    variance: Floats
    """[pairs] how unsure the gap is."""
    sharpness: Floats
    """[people] how strongly a gap moves the person: 0 a coin, 1 an ordinary person, below 0 the contrary taste."""
    leaning: Floats
    """[people] log odds that the person adds to the answer shown first; 0 is no habit."""
    sharpness_error: Floats
    """[people] standard error, given the scores."""
    leaning_error: Floats
    """[people] standard error, given the scores."""
    ordinary: float
    """Mean sharpness over all votes."""

    def intervals(self, level: float = 0.95) -> list[tuple[Interval, Interval]]:
        """Sharpness and leaning of each person; given the scores, so a little too narrow when there are few votes."""
        z = float(scipy.stats.norm.ppf(0.5 + level / 2))
        rows = zip(self.sharpness, self.sharpness_error, self.leaning, self.leaning_error, strict=True)
        return [
            (Interval(float(s), s - z * e, s + z * e, level), Interval(float(t), t - z * f, t + z * f, level))
            for s, e, t, f in rows
        ]


def see(table: Table, spread: float = 1.5, habit: float = 1.0) -> Seen:
    """Fit P(j says a over b) = sigmoid(sharpness_j * (score_a - score_b) + leaning_j * side) to all votes.

    Posterior mode under score ~ N(0, spread^2), sharpness ~ N(1, 1), leaning ~ N(0, habit^2), by L-BFGS; ties count
    half for each side. CrowdBT (Chen et al. 2013, WSDM) and NoisyBT (Bugakova et al. 2019) have such persons; here the
    sharpness scales the gap, where CrowdBT mixes in coins, and priors hold what the votes leave open.
    Raises ValueError when there are no votes.
    """
    if not table.pairs:
        raise ValueError("no votes: scores cannot be learned from nothing")
    names: dict[tuple[str, str], int] = {}
    ends: Indices = np.array(
        [[names.setdefault((x, pair[3]), len(names)) for x in pair[1:3]] for pair in table.pairs], dtype=np.int64
    )
    first, second = ends[table.pair].T
    samples, people, weight, side = len(names), len(table.people), table.evidence, table.side

    def loss(values: Floats) -> tuple[float, Floats]:
        score, sharp, lean = np.split(values, [samples, samples + people])
        gap = score[first] - score[second]
        logit = sharp[table.person] * gap + lean[table.person] * side
        fit = float(weight @ (np.logaddexp(0, logit) - table.outcome * logit))
        away = (score @ score) / spread**2 + ((sharp - 1) @ (sharp - 1)) + (lean @ lean) / habit**2
        error = weight * (scipy.special.expit(logit) - table.outcome)
        pull = error * sharp[table.person]
        by_score = np.bincount(first, pull, samples) - np.bincount(second, pull, samples) + score / spread**2
        by_sharp = np.bincount(table.person, error * gap, people) + sharp - 1
        by_lean = np.bincount(table.person, error * side, people) + lean / habit**2
        return fit + float(away) / 2, np.concatenate([by_score, by_sharp, by_lean])

    start = np.concatenate([np.zeros(samples), np.ones(people), np.zeros(people)])
    found = scipy.optimize.minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
    score, sharp, lean = np.split(found.x, [samples, samples + people])
    gap = score[ends[:, 0]] - score[ends[:, 1]]
    logit = sharp[table.person] * gap[table.pair] + lean[table.person] * side
    known = (
        weight * scipy.special.expit(logit) * scipy.special.expit(-logit)
    )  # Fisher information of each vote about its logit
    about_gap = np.bincount(table.pair, known * sharp[table.person] ** 2, len(table.pairs))
    # Two by two information of each person's sharpness and leaning, inverted by hand.
    ss = np.bincount(table.person, known * gap[table.pair] ** 2, people) + 1
    tt = np.bincount(table.person, known * side**2, people) + 1 / habit**2
    st = np.bincount(table.person, known * gap[table.pair] * side, people)
    area = ss * tt - st**2
    return Seen(
        score=score,
        gap=gap,
        variance=1 / (about_gap + 1 / (2 * spread**2)),
        sharpness=sharp,
        leaning=lean,
        sharpness_error=np.sqrt(tt / area),
        leaning_error=np.sqrt(ss / area),
        ordinary=float(weight @ sharp[table.person] / weight.sum()),
    )


def preferred(seen: Seen, sharpness: Floats | float | None = None, leaning: Floats | float = 0.0) -> Floats:
    """[pairs] chance that a person of such sharpness and leaning (to the first) chooses the first sample of each pair.

    E sigmoid(s * gap + l) with gap ~ N(gap, variance), by sigmoid(mean / sqrt(1 + pi * variance / 8)) (MacKay 1992).
    By default an ordinary person without a habit.
    """
    sharp = seen.ordinary if sharpness is None else sharpness
    mean = sharp * seen.gap + leaning
    return np.asarray(scipy.special.expit(mean / np.sqrt(1 + np.pi / 8 * sharp**2 * seen.variance)))

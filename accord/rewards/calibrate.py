"""From a score to a probability that can be believed: temperature, Platt's line, or a rising step; fitted held out.

A pair's probability is s(gap / T) (Guo et al. 2017); whether a single answer is safe, or right, is s(a score + b)
(Platt 1999, his prior too); isotonic regression (Zadrozny and Elkan 2002) supposes only that a higher score is not less
likely and wants some hundreds of answers. Fit on prompts that neither the reward model nor the figures have seen.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import scipy
import torch
from numpy.typing import ArrayLike, NDArray
from pydantic import Field
from torch import Tensor

from accord.batches import Rollout, at_end
from accord.protocols import Reward
from accord.records import Record
from accord.statistics import expected_calibration_error, fit_temperature, isotonic, log_loss

Kind = Literal["temperature", "platt", "isotonic"]


class Calibration(Record):
    """A map from scores, or gaps of scores, to probabilities; plain numbers, so that it is kept with the weights."""

    kind: Kind
    """Which map."""
    slope: float = 1.0
    """1 / temperature, or Platt's a."""
    offset: float = 0.0
    """Platt's b; 0 for a temperature."""
    knots: tuple[tuple[float, float], ...] = ()
    """Score and probability at each step of isotonic regression, both rising."""
    rows: int = Field(default=0, ge=0)
    """Answers or pairs that it was fitted on."""

    def __call__(self, score: ArrayLike) -> NDArray[np.float64]:
        """The probability at each score, of the same shape."""
        x = np.asarray(score, dtype=float)
        if self.kind == "isotonic":
            at, height = np.array(self.knots).T
            return np.asarray(np.interp(x, at, height))
        return np.asarray(scipy.special.expit(self.slope * x + self.offset))

    def log_odds(self, score: ArrayLike) -> NDArray[np.float64]:
        """Log-odds of the probability, what the safety gate wants; at most those of 1 in 1e6."""
        if self.kind != "isotonic":
            most = scipy.special.logit(1 - 1e-6)
            return np.clip(self.slope * np.asarray(score, dtype=float) + self.offset, -most, most)
        return np.asarray(scipy.special.logit(np.clip(self(score), 1e-6, 1 - 1e-6)))


def calibrate(score: ArrayLike, outcome: ArrayLike, kind: Kind = "temperature") -> Calibration:
    """The map of one kind that fits best: score [N], outcome [N] in 0..1 (probabilities of a belief may be given).

    Temperature and Platt minimise the log loss, isotonic the squared error (from both sides for pairs: give each pair
    and its reverse). Of n+ rows with outcome 1 and n- with 0, Platt counts the former as (n+ + 1) / (n+ + 2) and the
    latter as 1 / (n- + 2) (Platt 1999, sec. 2.2), so few rows that are told apart make nothing certain. Raises
    ValueError on nothing, on unequal lengths, and for Platt and isotonic on one outcome alone.
    """
    x, y = np.asarray(score, dtype=float).ravel(), np.asarray(outcome, dtype=float).ravel()
    if not x.size or x.size != y.size:
        raise ValueError(f"{x.size} scores and {y.size} outcomes: a calibration needs some of both, one each")
    if kind != "temperature" and y.min() == y.max():
        raise ValueError(
            f"all {y.size} outcomes are {y[0]:g}: there is nothing to tell apart; use held-out rows of both"
        )
    if kind == "temperature":
        return Calibration(kind=kind, slope=1 / fit_temperature(x, y), rows=x.size)
    if kind == "isotonic":
        at, height = isotonic(x, y)
        return Calibration(kind=kind, knots=tuple(zip(at.tolist(), height.tolist(), strict=True)), rows=x.size)
    ones, centre, unit = float(y.sum()), float(x.mean()), float(x.std()) or 1.0
    most, least = (ones + 1) / (ones + 2), 1 / (y.size - ones + 2)
    x, y = (x - centre) / unit, least + (most - least) * y

    def loss(line: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        z = line[0] * x + line[1]
        apart = scipy.special.expit(z) - y
        return float(np.mean(np.logaddexp(0, z) - y * z)), np.array([np.mean(apart * x), np.mean(apart)])

    line = scipy.optimize.minimize(loss, np.zeros(2), jac=True, method="BFGS", options={"gtol": 1e-8}).x
    slope = float(line[0]) / unit
    return Calibration(kind=kind, slope=slope, offset=float(line[1]) - slope * centre, rows=x.size)


def fitted_across(
    score: ArrayLike, outcome: ArrayLike, clusters: ArrayLike, kind: Kind
) -> tuple[float, float, float, float]:
    """(log loss before, after, ECE before, after), each half of the prompts judged by the map fitted on the other.

    clusters: [N] prompt names. Before is s(score). Raises ValueError when there are fewer than two prompts.
    """
    x, y, names = np.asarray(score, dtype=float), np.asarray(outcome, dtype=float), np.asarray(clusters)
    order = {name: n for n, name in enumerate(dict.fromkeys(names.tolist()))}
    if len(order) < 2:
        raise ValueError(f"{len(order)} prompt(s): a calibration is judged on other prompts than it was fitted on")
    half = np.array([order[name] % 2 for name in names.tolist()], dtype=bool)
    after = np.empty_like(x)
    for mine in (half, ~half):
        after[mine] = np.clip(calibrate(x[~mine], y[~mine], kind)(x[mine]), 1e-6, 1 - 1e-6)
    before = scipy.special.expit(x)
    return (
        log_loss(before, y),
        log_loss(after, y),
        expected_calibration_error(before, y),
        expected_calibration_error(after, y),
    )


class Chance:
    """The calibrated probability of an answer, such as that of a flag, as a reward. Implements protocols.Reward."""

    def __init__(self, reward: Reward, calibration: Calibration) -> None:
        """reward: the raw score that the calibration was fitted on."""
        self.reward = reward
        self.calibration = calibration

    def __call__(self, rollout: Rollout) -> Tensor:
        """[B, T]: 0 but at the last step of each answer."""
        outcome = self.reward(rollout).to(rollout.logprob).sum(1)
        chance = torch.from_numpy(self.calibration(outcome.cpu().numpy())).to(outcome)
        return at_end(chance, rollout.length, rollout.action.shape[1])


class Calibrated:
    """A reward in log-odds, by a calibration. Implements protocols.Reward; what `mix.Gate` wants of its safety."""

    def __init__(self, reward: Reward, calibration: Calibration) -> None:
        self.reward = reward
        self.calibration = calibration

    def __call__(self, rollout: Rollout) -> Tensor:
        """[B, T]: 0 but at the last step of each answer."""
        outcome = self.reward(rollout).to(rollout.logprob).sum(1)
        odds = torch.from_numpy(self.calibration.log_odds(outcome.cpu().numpy())).to(outcome)
        return at_end(odds, rollout.length, rollout.action.shape[1])

"""What is known of answers by where they came from: the strength of each source, as a light prior of their worth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Literal

import numpy as np

from accord.algorithms.reward_heads import Config
from accord.config import SettingsError
from accord.project import Project
from accord.quality.judged import Judgement, by_source
from accord.quality.tournament import Game, bradley_terry, elo
from accord.records import Sample, Version

POINTS = math.log(10) / 400
"""Log-odds of one point of Elo's."""


def prior(project: Project, config: Config, said: Sequence[Judgement]) -> list[Judgement]:
    """Light pairs of answers to train prompts from sources of different strength, as the settings want; else nothing.

    said: judgements of train prompts, from which strengths are fitted unless the settings give them. Raises
    SettingsError when they speak of fewer than two sources.
    """
    if config.prior == "none" and not config.strengths:
        return []
    known = {version.name: version.id for version in map(project.version, config.strengths) if version is not None}
    samples = {sample.id: sample for sample in project.store.all(Sample, split="train")}
    strength = {known.get(name, name): float(value) for name, value in config.strengths.items()}
    strength = strength or strengths(games(said, samples), config.prior)
    found = by_source(samples.values(), strength, config.prior_weight)
    if not found:
        told = "strengths" if config.strengths else f"prior={config.prior}"
        named = {version.id: version.name for version in project.store.all(Version)}
        there = sorted({named.get(source(sample), source(sample)) or "no source" for sample in samples.values()})
        raise SettingsError(
            f"reward_heads.{told}: no prompt has answers from two sources of different strength; the answers are from "
            f"{', '.join(there[:6]) or 'nowhere'}. A sample's source is the version or the `model` that made it"
        )
    return found


def source(sample: Sample) -> str:
    """Where an answer came from: the version that gave it, else its source."""
    return sample.version or sample.source


def games(said: Sequence[Judgement], samples: Mapping[str, Sample]) -> list[Game]:
    """Each choice between answers of two sources; a ranking is as many as it orders pairs."""
    found = []
    for one in said:
        if one.form not in ("pair", "ranking") or one.criterion:
            continue
        worth = one.values if one.form == "pair" else tuple(-place for place in one.values)
        for i, j in combinations(range(len(one.samples)), 2):
            first, second = (samples.get(one.samples[k]) for k in (i, j))
            if first is None or second is None or source(first) == source(second):
                continue
            won = 0 if one.probability == 0.5 else (worth[i] > worth[j]) - (worth[i] < worth[j])
            outcome: Literal["a", "tie", "b"] = "a" if won > 0 else "b" if won < 0 else "tie"
            found.append(Game(source(first), source(second), outcome, one.prompt))
    return found


def strengths(played: Sequence[Game], rule: str) -> dict[str, float]:
    """Source -> log-odds, mean 0: by Bradley and Terry's likelihood with ties, or by Elo in the order of the games."""
    if not played:
        return {}
    if rule == "elo":
        points = elo(played)
        middle = sum(points.values()) / len(points)
        return {name: (value - middle) * POINTS for name, value in points.items()}
    # The ends of the intervals are drawn; the strengths themselves are not, so two draws are enough.
    standings = bradley_terry(played, np.random.default_rng(0), draws=2)
    return {one.name: one.strength.estimate for one in standings}

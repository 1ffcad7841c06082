"""What rules of choice win over chance on real preferences, by the scout: `python -m bench.asking`.

A third of the pairs is held out. The scout learns from 200 pairs at random; then each rule chooses 300 more from the
rest (a fifth of them at random), gets the labels that are known, and the scout learns again. Figures: held-out accuracy
and its difference from `random`, mean and 95 % interval over seeds.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np

from accord.feedback import scout
from accord.feedback.coverage import language
from accord.feedback.select import RULES, Floats, Indices, Pool, choose
from accord.statistics import mean_interval

DATA = Path(__file__).resolve().parents[1] / "../shared/data"
SETS = ("hh_helpful", "oasst_pairs", "ultrafeedback")
FIRST, MORE, SEEDS = 200, 300, 30


def read(name: str) -> tuple[list[str], list[str]]:
    """Answers, better and worse in turn, and the language of each prompt."""
    answers, topics = [], []
    with gzip.open(DATA / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        for row in map(json.loads, file):
            said = [
                row[end] if isinstance(row[end], str) else row[end][-1]["content"] for end in ("chosen", "rejected")
            ]
            answers += said
            topics.append(language(row["prompt"] if isinstance(row["prompt"], str) else row["prompt"][-1]["content"]))
    return answers, topics


def taught(features: Floats, pairs: Indices, generator: np.random.Generator, members: int) -> Floats:
    """Scores by a scout that knows these pairs."""
    one = np.ones(len(pairs))
    return scout.fit(features, 2 * pairs, 2 * pairs + 1, one, one, generator, members)


def once(features: Floats, topics: list[str], seed: int) -> dict[str, float]:
    """Held-out accuracy by rule; all rules start from the same pairs."""
    order = np.random.default_rng(seed).permutation(len(topics))
    held, first, rest = np.split(order, [len(order) // 3, len(order) // 3 + FIRST])
    worth = taught(features, first, np.random.default_rng([seed, 1]), 8)
    names = [topics[i] for i in rest]
    pool = Pool(np.arange(len(rest)), 2 * rest, 2 * rest + 1, names, features, worth)
    found = {}
    for number, rule in enumerate(RULES):
        draw = np.random.default_rng([seed, 2, number])
        asked = np.concatenate([first, rest[[one.index for one in choose(pool, MORE, rule, draw)]]])
        score = taught(features, asked, draw, 4).mean(0)
        found[rule] = float(((np.sign(score[2 * held] - score[2 * held + 1]) + 1) / 2).mean())
    return found


def main() -> None:
    """Print the table."""
    print("| pairs | " + " | ".join(RULES) + " |")
    print("|---" * (len(RULES) + 1) + "|")
    for name in SETS:
        if not (DATA / f"{name}.jsonl.gz").exists():
            print(f"| {name}: not in shared/data beside the repository |")
            continue
        answers, topics = read(name)
        features = scout.features(answers)
        runs = [once(features, topics, seed) for seed in range(SEEDS)]
        cells = [f"{100 * np.mean([run['random'] for run in runs]):.1f} %"]
        for rule in RULES[1:]:
            gain = mean_interval([100 * (run[rule] - run["random"]) for run in runs])
            cells.append(f"{gain.estimate:+.1f} [{gain.low:+.1f}, {gain.high:+.1f}]")
        print(f"| {name} ({len(topics)}) | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()

"""Planted worlds whose truth is known, and the real votes when they are there."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from accord.quality.votes import Vote

DATA = Path(__file__).parents[2] / "../shared/data"


def rows_of(name: str) -> list[dict]:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"the real votes are not here: {path.name} is not in shared/data beside the repository")
    with gzip.open(path, "rt", encoding="utf-8", newline="\n") as file:
        return [json.loads(line) for line in file]


@pytest.fixture(scope="session")
def judged() -> list[dict]:
    return rows_of("multi_annotator.jsonl.gz")


@pytest.fixture(scope="session")
def rated() -> list[dict]:
    return rows_of("multi_annotator_ratings.jsonl.gz")


@pytest.fixture(scope="session")
def real_votes(judged) -> Callable[[str], list[Vote]]:
    def of(source: str) -> list[Vote]:
        return [
            Vote(
                prompt=row["prompt"],
                a=row["item_id"] + "/a",
                b=row["item_id"] + "/b",
                outcome=row["label"],
                annotator=row["annotator_id"],
                feedback=f"{row['item_id']}-{row['annotator_id']}",
                strength=int(row["label"] != "tie"),
            )
            for row in judged
            if row["source"].startswith(source) and row["annotator_type"] == "human"
        ]

    return of


class Crowd:
    """People who judge pairs of which `a` is better where `truth` is 1: each with a reliability, a pull to the left
    and a taste (1 as the truth, -1 its contrary)."""

    def __init__(self, seed: int, pairs: int) -> None:
        self.generator = np.random.default_rng(seed)
        self.truth = self.generator.integers(0, 2, pairs)
        self.votes: list[Vote] = []

    def person(self, name: str, right: float, left: float = 0.0, share: float = 1.0, taste: np.ndarray | None = None):
        """`right`: chance of the true side when looking; `left`: chance of not looking and pressing left."""
        truth = self.truth if taste is None else taste
        for i in np.flatnonzero(self.generator.random(len(truth)) < share):
            shown_left = "a" if self.generator.random() < 0.5 else "b"
            if self.generator.random() < left:
                outcome = shown_left
            else:
                outcome = "ab"[int((self.generator.random() < right) != (truth[i] == 1))]
            self.votes.append(
                Vote(f"p{i}", f"{i}a", f"{i}b", outcome, name, f"{name}-{i}", strength=1, left=shown_left)
            )
        return self

    def truth_of(self, table) -> np.ndarray:
        """[pairs] truth in the order of a table."""
        return np.array([self.truth[int(pair[0][1:])] for pair in table.pairs])


@pytest.fixture
def crowd() -> type[Crowd]:
    return Crowd

"""A store in a temporary folder, and small records to put into it."""

import time
from pathlib import Path

import pytest

from accord.records import Comparison, Feedback, Message, Prompt, Question, Sample, Text
from accord.store import Claim, Store
from bench.postgres import cluster, why_not


@pytest.fixture(scope="session")
def server():
    """A PostgreSQL server for all tests of this room."""
    if why := why_not():
        pytest.skip(why)
    with cluster() as made:
        yield made


@pytest.fixture
def postgresql(server) -> str:
    """An empty data base on it."""
    return server.base(f"test{time.monotonic_ns()}")


@pytest.fixture
def store(tmp_path: Path):
    with Store.open(tmp_path / "store.db") as opened:
        yield opened


def text(said: str, role: str = "user") -> Text:
    return Text(messages=(Message(role=role, content=said),))


def pairs(count: int, wanted: int = 1, project: str = "default") -> list:
    """Prompts p0.., samples s0a s0b.., questions q0.. ."""
    found: list = []
    for i in range(count):
        found.append(Prompt(id=f"p{i}", content=text(f"question {i}")))
        found += [Sample(id=f"s{i}{side}", prompt=f"p{i}", content=text(side, "assistant")) for side in "ab"]
        found.append(Question(id=f"q{i}", prompt=f"p{i}", samples=(f"s{i}a", f"s{i}b"), wanted=wanted, project=project))
    return found


def said(claim: Claim, **more) -> Feedback:
    """The first of the samples shown is better."""
    shown = tuple(sample.id for sample in claim.asked.samples)
    fields = {"answer": Comparison(better=shown[0]), "shown": shown, "annotator": claim.annotator, **more}
    return Feedback(question=claim.asked.question.id, **fields)

"""A lab that is made in a second, and what can be compared of two experiments in it."""

from typing import Any

import pytest

from accord.project import text_of
from accord.proofs.ground import Ground
from tests.flow.circle import TINY

CHANGES: dict[str, Any] = {
    **{key: value for key, value in TINY.items() if key not in ("name", "collect", "ppo")},
    "data": {"documents": 120, "demonstrations": 64, "lab": {"entities": 8}},
    "collect": {"people": 4},
    "ppo": {"minibatches": 2, "missing_end_penalty": -2.0},
}
"""The tiny recipe of the circle's tests, without what experiments set themselves."""


@pytest.fixture
def told_apart(monkeypatch):
    """Pairs by length, the longer answer better: a start of so few steps says nothing that gold would tell apart."""

    def length(sample):
        return len(text_of(sample).messages[-1].content)

    monkeypatch.setattr(Ground, "gap", lambda ground, two: length(two.first) - length(two.second))

"""Each method, killed at any instant through the door, ends with the very weights of one that is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.flow.circle import LENGTH, taught
from tests.flow.kill import assert_killed_ends_alike

LONG = {
    "grpo": {"iterations": 8 * LENGTH, "minibatches": 2, "kl": {"target": 1.0, "horizon": 100}},
    "best_of_n": {"iterations": 8 * LENGTH, "updates": 2, "batch": 4, "missing_end_penalty": None},
    "best_of": 3,
    "dpo": {"batch": 5, "epochs": 6 * LENGTH},
    "kto": {"batch": 8, "epochs": 6 * LENGTH},
}


@pytest.fixture(scope="module")
def shared(quick_shelf: Path) -> Path:
    """A project up to the reward model of its first round."""
    return taught(quick_shelf, **LONG)[0].folder


@pytest.mark.parametrize("method", ["dpo", "kto", "dapo", "best_of_n"])
def test_a_killed_method_ends_bit_identical(method: str, shared: Path, quick_folder: Path) -> None:
    assert_killed_ends_alike(shared, quick_folder, method, *(() if method in ("dpo", "kto") else ("--reward", "worth")))

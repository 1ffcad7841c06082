"""PPO and RLOO in dialogues, killed at any instant through the door, end with the very weights of ones left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from accord.project import Project
from accord.recipe import recipe
from tests.flow.circle import LENGTH, TINY, taught
from tests.flow.kill import assert_killed_ends_alike

TALKS = {
    "ppo": {**TINY["ppo"], "iterations": 6 * LENGTH},  # type: ignore[dict-item]
    "grpo": {"iterations": 8 * LENGTH, "minibatches": 2, "kl": {"target": 1.0, "horizon": 100}},
    "sft": {"epochs": 25, "batch": 16, "optimiser": {"learning_rate": 0.02}},
    "draw": {"max_tokens": 16, "temperature": 0.7},
    "dialogue": {"turns": 3, "user_tokens": 8, "brief": "what now ?"},
}


@pytest.fixture(scope="module")
def shared(quick_shelf: Path) -> Path:
    """A project up to the reward model of its first round, whose answers are parts of dialogues."""
    return taught(quick_shelf, **TALKS)[0].folder


@pytest.mark.parametrize(("method", "user"), [("ppo", None), ("rloo", "sft")])
def test_a_killed_method_ends_bit_identical(method: str, user: str | None, shared: Path, quick_folder: Path) -> None:
    given = ("--reward", "worth", *(("--dialogue.user", user) if user else ()))
    calm, _ = assert_killed_ends_alike(shared, quick_folder, method, *given)
    made = Project(calm, recipe(calm / "project.yaml")).version("new")
    assert made is not None
    assert made.config["dialogue"]["turns"] == 3  # type: ignore[index, call-overload]
    assert made.figures["answers_per_dialogue"] > 1.3

"""Stages that learn worth, or are bounded by costs, killed at any instant through the door, end bit-identical."""

from __future__ import annotations

from pathlib import Path

import pytest

from accord.records import Question
from accord.run import read_log
from tests.flow.circle import LENGTH, taught
from tests.flow.kill import assert_killed_ends_alike

LONG = {
    "reward_heads": {"batch": 4, "epochs": 8 * LENGTH, "aside": 0.4},
    "grpo": {"iterations": 6 * LENGTH, "minibatches": 2},
    "dpo": {"batch": 5, "epochs": 6 * LENGTH},
}


@pytest.fixture(scope="module")
def shared(quick_shelf: Path) -> Path:
    """A project with people's rankings, questions that nobody answered, and a reward model."""
    project, answers, questions = taught(quick_shelf, **LONG)
    prompts = {prompt.id for prompt, _ in answers[::2]}
    project.store.put(
        Question(id=f"open-{one.id}", prompt=one.prompt, samples=one.samples[:2], project="open")
        for one in questions
        if one.prompt in prompts
    )
    return project.folder


STAGES: dict[str, tuple[str, ...]] = {
    "heads": ("reward_heads",),
    "several": (
        "reward_heads", "--reward-heads.members", "2", "--reward-heads.calibrate", "temperature",
        "--reward-heads.epochs", "2", "--reward-heads.pseudo.rounds", "1", "--reward-heads.pseudo.threshold", "0.5001",
        "--reward-heads.pseudo.agreement", "0.6", "--reward-heads.pseudo.balance", "0",
    ),
    "bounded": ("ppo", "--reward", "worth", "--cost", "worth", "--cost.constraint.rate", "0.7",
                "--cost.constraint.memory", "0.5"),
    "filtered": ("dapo", "--reward", "worth", "--cost", "worth", "--cost.constraint.limit", "-0.3"),
    "ordered": ("dpo", "--order.dpo.schedule", "competence"),
}  # fmt: skip


@pytest.mark.parametrize("stage", STAGES)
def test_a_killed_stage_ends_bit_identical(stage: str, shared: Path, quick_folder: Path) -> None:
    _, logs = assert_killed_ends_alike(shared, quick_folder, *STAGES[stage])
    if stage in ("bounded", "filtered"):
        prices = [row["price/worth"] for row in read_log(logs[0])]
        assert len(set(prices[:4])) == 4, "it moves; in a long run it may come to rest at its floor or its ceiling"
    if stage == "several":
        assert [log.parent.name for log in logs] == [f"new-round{n}-{m}" for n in range(2) for m in (1, 2)]

"""Stages that learn worth, or are bounded by costs, killed at any instant through the door, end bit-identical."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from accord import build
from accord.cli import main
from accord.loop import act, ask, believed, respond, start
from accord.project import Project
from accord.recipe import recipe
from accord.records import Question
from accord.run import read_log
from tests.flow.circle import LENGTH, kept, weights, write_recipe
from tests.flow.kill import KILLS, killed_and_resumed
from tests.flow.test_loop import _figures, command

LONG = {
    "reward_heads": {"batch": 4, "epochs": 8 * LENGTH, "aside": 0.4},
    "grpo": {"iterations": 6 * LENGTH, "minibatches": 2},
    "dpo": {"batch": 5, "epochs": 6 * LENGTH},
}


@pytest.fixture(scope="module")
def shared(quick_shelf: Path) -> Path:
    """A project with people's rankings, questions that nobody answered, and a reward model."""
    project = Project(quick_shelf / "shared", recipe(write_recipe(quick_shelf / "tiny.yaml", **LONG)))
    project.prepare()
    before = start(project, lambda _: None)
    answers = act(project, before, 1, lambda _: None)
    questions = ask(project, answers, 1)
    respond(project, questions, lambda _: None)
    build.train(project, "reward_model", "worth", start="sft", beliefs=believed(project, questions))
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
    smooth, rough = quick_folder / "smooth", quick_folder / "rough"
    for folder in (smooth, rough):
        shutil.copytree(shared, folder)
    method, *settings = STAGES[stage]
    given = ["--start", "sft", "--name", "new", *settings]
    assert main(["train", method, "--project", str(smooth), *given]) == 0
    logs = sorted((smooth / "runs").glob("new*/**/log.jsonl"))
    rows = [row for log in logs for row in read_log(log)]
    kills = max(1, KILLS // 2)
    times = [row["time"] for row in rows]
    words = command("train", method, "--project", rough, *given)
    killed_and_resumed(words, kills, seed=5, folder=rough / "runs", span=0.6 * (max(times) - min(times)) / kills)
    assert weights(rough) == weights(smooth)
    assert weights(smooth)["new"] != weights(smooth)["sft"]
    assert kept(rough) == kept(smooth)
    if stage in ("bounded", "filtered"):
        prices = [row["price/worth"] for row in read_log(logs[0])]
        assert len(set(prices[:4])) == 4, "it moves; in a long run it may come to rest at its floor or its ceiling"
    if stage == "several":
        assert [log.parent.name for log in logs] == [f"new-round{n}-{m}" for n in range(2) for m in (1, 2)]
    for log in logs:
        assert _figures(rough / log.relative_to(smooth)) == _figures(log)

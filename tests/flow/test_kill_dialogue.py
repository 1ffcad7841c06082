"""PPO and RLOO in dialogues, killed at any instant through the door, end with the very weights of ones left alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from accord import build
from accord.cli import main
from accord.loop import act, ask, believed, respond, start
from accord.project import Project
from accord.recipe import recipe
from accord.run import read_log
from tests.flow.circle import LENGTH, TINY, kept, weights, write_recipe
from tests.flow.kill import KILLS, killed_and_resumed
from tests.flow.test_loop import _figures, command

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
    project = Project(quick_shelf / "shared", recipe(write_recipe(quick_shelf / "tiny.yaml", **TALKS)))
    project.prepare()
    before = start(project, lambda _: None)
    questions = ask(project, act(project, before, 1, lambda _: None), 1)
    respond(project, questions, lambda _: None)
    build.train(project, "reward_model", "worth", start="sft", beliefs=believed(project, questions))
    return project.folder


@pytest.mark.parametrize(("method", "user"), [("ppo", None), ("rloo", "sft")])
def test_a_killed_method_ends_bit_identical(method: str, user: str | None, shared: Path, quick_folder: Path) -> None:
    smooth, rough = quick_folder / "smooth", quick_folder / "rough"
    for folder in (smooth, rough):
        shutil.copytree(shared, folder)
    given = ["--start", "sft", "--reward", "worth", "--name", "new", *(["--dialogue.user", user] if user else [])]
    assert main(["train", method, "--project", str(smooth), *given]) == 0
    log = smooth / "runs" / "new" / "log.jsonl"
    rows = read_log(log)
    kills = max(1, KILLS // 2)
    span = 0.6 * (rows[-1]["time"] - rows[0]["time"]) / kills
    words = command("train", method, "--project", rough, *given)
    killed_and_resumed(words, kills, seed=5, folder=rough / "runs" / "new", span=span)
    assert weights(rough)["new"] == weights(smooth)["new"] != weights(smooth)["sft"]
    assert kept(rough) == kept(smooth)  # figures of the version too: what was counted of dialogues is not forgotten
    assert _figures(rough / "runs" / "new" / "log.jsonl") == _figures(log)
    made = Project(smooth, recipe(smooth / "project.yaml")).version("new")
    assert made is not None
    assert made.config["dialogue"]["turns"] == 3  # type: ignore[index, call-overload]
    assert made.figures["answers_per_dialogue"] > 1.3

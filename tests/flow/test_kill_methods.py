"""Each method, killed at any instant through the door, ends with the very weights of one that is left alone."""

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
from tests.flow.circle import LENGTH, kept, weights, write_recipe
from tests.flow.kill import KILLS, killed_and_resumed
from tests.flow.test_loop import _figures, command

LONG = {
    "grpo": {"iterations": 8 * LENGTH, "minibatches": 2, "kl": {"target": 1.0, "horizon": 100}},
    "best_of_n": {"iterations": 8 * LENGTH, "updates": 2, "batch": 4},
    "best_of": 3,
    "dpo": {"batch": 5, "epochs": 6 * LENGTH},
    "kto": {"batch": 8, "epochs": 6 * LENGTH},
}


@pytest.fixture(scope="module")
def shared(quick_shelf: Path) -> Path:
    """A project up to the reward model of its first round."""
    project = Project(quick_shelf / "shared", recipe(write_recipe(quick_shelf / "tiny.yaml", **LONG)))
    project.prepare()
    before = start(project, lambda _: None)
    questions = ask(project, act(project, before, 1, lambda _: None), 1)
    respond(project, questions, lambda _: None)
    build.train(project, "reward_model", "worth", start="sft", beliefs=believed(project, questions))
    return project.folder


@pytest.mark.parametrize("method", ["dpo", "kto", "dapo", "best_of_n"])
def test_a_killed_method_ends_bit_identical(method: str, shared: Path, quick_folder: Path) -> None:
    smooth, rough = quick_folder / "smooth", quick_folder / "rough"
    for folder in (smooth, rough):
        shutil.copytree(shared, folder)
    given = ["--start", "sft", *([] if method in ("dpo", "kto") else ["--reward", "worth"]), "--name", "new"]
    assert main(["train", method, "--project", str(smooth), *given]) == 0
    log = smooth / "runs" / "new" / "log.jsonl"
    rows = read_log(log)
    kills = max(1, KILLS // 2)
    span = 0.6 * (rows[-1]["time"] - rows[0]["time"]) / kills
    words = command("train", method, "--project", rough, *given)
    killed_and_resumed(words, kills, seed=5, folder=rough / "runs" / "new", span=span)
    assert weights(rough)["new"] == weights(smooth)["new"] != weights(smooth)["sft"]
    assert kept(rough) == kept(smooth)
    assert _figures(rough / "runs" / "new" / "log.jsonl") == _figures(log)

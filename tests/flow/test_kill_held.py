"""PPO with texts beside it and an average for its reference, killed at any instant, ends with the very same weights."""

from __future__ import annotations

import shutil
from pathlib import Path

from accord import build
from accord.cli import main
from accord.loop import act, ask, believed, respond, start
from accord.project import Project
from accord.recipe import recipe
from accord.run import read_log
from tests.flow.circle import kept, weights, write_recipe
from tests.flow.kill import KILLS, killed_and_resumed
from tests.flow.test_loop import _figures, command

HELD = ("--ptx.weight", "0.5", "--ptx.rows", "5", "--anchor.reference", "ema", "--anchor.decay", "0.9")


def test_a_killed_run_that_is_held_ends_bit_identical(quick_folder: Path) -> None:
    project = Project(quick_folder / "shared", recipe(write_recipe(quick_folder / "tiny.yaml")))
    project.prepare()
    questions = ask(project, act(project, start(project, lambda _: None), 1, lambda _: None), 1)
    respond(project, questions, lambda _: None)
    build.train(project, "reward_model", "worth", start="sft", beliefs=believed(project, questions))
    smooth, rough = quick_folder / "smooth", quick_folder / "rough"
    for folder in (smooth, rough):
        shutil.copytree(project.folder, folder)
    given = ["--start", "sft", "--reward", "worth", "--name", "new", *HELD]
    assert main(["train", "ppo", "--project", str(smooth), *given]) == 0
    log = smooth / "runs" / "new" / "log.jsonl"
    rows = read_log(log)
    kills = max(1, KILLS // 2)
    span = 0.6 * (rows[-1]["time"] - rows[0]["time"]) / kills
    words = command("train", "ppo", "--project", rough, *given)
    killed_and_resumed(words, kills, seed=6, folder=rough / "runs" / "new", span=span)
    assert weights(rough)["new"] == weights(smooth)["new"] != weights(smooth)["sft"]
    assert kept(rough) == kept(smooth)
    assert _figures(rough / "runs" / "new" / "log.jsonl") == _figures(log)

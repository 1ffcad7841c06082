"""`torchrun -m accord train`: what two processes keep in a project is what one keeps, written once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file
from torch.distributed.run import parse_args

from accord.cli import main
from accord.records import Version
from accord.store import Store
from tests.flow.circle import TINY, write_recipe

ROOT = Path(__file__).resolve().parents[2]


def together(*words: object, processes: int = 2) -> subprocess.CompletedProcess[str]:
    """The program as a person starts it in several processes."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    here = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [*launch, "-m", "accord", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=here, check=False)


@pytest.fixture
def recipe(quick_folder: Path) -> Path:
    return write_recipe(
        quick_folder / "tiny.yaml", sft={**TINY["sft"], "epochs": 1}, ppo={**TINY["ppo"], "iterations": 2}
    )


def versions(project: Path) -> list[Version]:
    with Store.open(project / "store.db") as store:
        return sorted(store.all(Version), key=lambda version: version.name)


def test_a_stage_in_two_processes_is_the_stage(recipe: Path, quick_folder: Path) -> None:
    one, two = quick_folder / "one", quick_folder / "two"
    assert main(["train", "sft", str(recipe), "--project", str(one)]) == 0
    done = together("train", "sft", recipe, "--project", two)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("sft: ") == 1, "one process speaks"
    (alone,), (shared,) = versions(one), versions(two)
    assert (alone.id, alone.data_digest, alone.config) == (shared.id, shared.data_digest, shared.config)
    assert alone.figures == pytest.approx(shared.figures, abs=1e-5)
    mine, theirs = (load_file(folder / "versions" / "sft" / "model.safetensors") for folder in (one, two))
    assert mine.keys() == theirs.keys()
    assert max(float((mine[name] - theirs[name]).abs().max()) for name in mine) < 1e-5
    assert [path.name for path in (two / "versions").iterdir() if path.name.startswith(".")] == []


def test_a_version_written_from_shares_is_whole(recipe: Path, quick_folder: Path) -> None:
    one, shares = quick_folder / "one", quick_folder / "shares"
    assert main(["train", "sft", str(recipe), "--project", str(one)]) == 0
    done = together("train", "sft", recipe, "--project", shares, "--run.shard")
    assert done.returncode == 0, done.stderr[-3000:]
    mine, theirs = (load_file(folder / "versions" / "sft" / "model.safetensors") for folder in (one, shares))
    assert mine.keys() == theirs.keys()
    assert max(float((mine[name] - theirs[name]).abs().max()) for name in mine) < 1e-5
    first, second = ((folder / "versions" / "sft" / "config.json").read_text() for folder in (one, shares))
    assert first == second


def test_the_circle_is_for_one_process(recipe: Path, quick_folder: Path) -> None:
    refused = together("loop", recipe, "--project", quick_folder / "circle")
    assert refused.returncode != 0
    assert refused.stderr.count("several processes share `accord train`; start the circle in one") == 1, "said once"


def test_help_leads_to_several_processes_and_to_what_every_run_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    (line,) = [line.split() for line in capsys.readouterr().out.splitlines() if "torchrun" in line]
    assert parse_args(["--nproc-per-node", "2", *line[3:]]).training_script == "accord"
    for method in ("sft", "ppo"):
        assert main(["train", method, "--help"]) == 0
        told = capsys.readouterr().out
        assert "--run.*" in told
        assert ("--engine.*" in told) == (method == "ppo")


def test_torchrun_hands_on_what_the_page_says() -> None:
    """Without the two dashes torchrun takes --start for the beginning of an option of its own, and stops."""
    lines = (ROOT / "docs" / "processes.md").read_text().splitlines()
    told = [line.split() for line in lines if line.startswith("    torchrun ")]
    assert any("--start" in words for words in told)
    for words in told:
        given = parse_args(words[1:])
        assert (given.training_script, given.training_script_args[0]) == ("accord", "train")
        assert given.training_script_args == words[words.index("train") :]

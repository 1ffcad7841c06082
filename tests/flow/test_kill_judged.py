"""Killed at any instants, or shared by two processes, the newer reward methods end with the same weights and prices."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from tests.flow.circle import figures
from tests.flow.judged_run import METHODS, fingerprint, learn
from tests.flow.kill import KILLS, killed_and_resumed

SCRIPT = str(Path(__file__).with_name("judged_run.py"))


@pytest.mark.parametrize("method", METHODS)
def test_a_killed_run_ends_bit_identical(method: str, quick_folder: Path) -> None:
    calm, rough = quick_folder / "calm", quick_folder / "rough"
    undisturbed = fingerprint(learn(method, calm))
    killed = killed_and_resumed(
        [sys.executable, SCRIPT, method, str(rough)], KILLS, seed=7, folder=rough, span=0.5 / KILLS
    )
    assert killed.strip() == undisturbed
    assert figures(rough / "log.jsonl") == figures(calm / "log.jsonl")


def test_two_processes_learn_what_one_does(quick_folder: Path) -> None:
    """Correlation with length, centring and all: each is of the whole batch, whoever reads which part of it."""
    alone, both = learn("shared", quick_folder / "alone"), quick_folder / "both"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    here = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [*launch, SCRIPT, "shared", str(both)], capture_output=True, text=True, env=here, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (load_file(both / f"weights-{rank}.safetensors") for rank in (0, 1))
    for name, value in alone.state_dict().items():
        assert (first[name] - value).abs().max() < 1e-4, name
        assert first[name].equal(second[name]), name
    for mine, theirs in zip(figures(both / "log.jsonl"), figures(quick_folder / "alone/log.jsonl"), strict=True):
        assert {k for k in mine if "/" not in k} == {k for k in theirs if "/" not in k}
        assert mine["tokens"] == theirs["tokens"], "a prompt's answers stay together, so none is read twice"
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=1e-3)

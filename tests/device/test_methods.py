"""Whole runs on the claimed GPU: the figures and weights of the CPU; after a kill the very bits of an unbroken run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.device.whole import WEIGHTS, figures, there
from tests.run.ranked_run import learn

ROOT = Path(__file__).parents[2]
EVERY = ("lora", "checkpointing", "bert", "ppo", "grpo", "dpo", "kto", "reward_heads", "best_of_n")
KILLED = {"ppo": 5, "grpo": 3, "best_of_n": 3, "reward_heads": 5}
"""Methods, and after how many updates a kill comes: in the middle of an iteration, where a rollout is in hand."""


class Runs(dict[str, tuple[Path, dict[str, torch.Tensor]]]):
    """Unbroken runs, each made when it is asked for: method -> folder and weights."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder

    def __missing__(self, method: str) -> tuple[Path, dict[str, torch.Tensor]]:
        place = self.folder / method
        self[method] = (place, there(place, method))
        return self[method]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    return Runs(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("method", EVERY)
def test_a_method_learns_there_what_it_learns_here(method: str, whole: Runs, tmp_path: Path) -> None:
    place, found = whole[method]
    wanted = learn(method, tmp_path / method).state_dict()
    one, other = figures(place), figures(tmp_path / method)
    if method == "kto":  # nothing was learned before step 0: the sign of what is rounded decides who is right there
        for rows in (one, other):
            del rows[0]["accuracy"]
    assert len(one) == len(other) > 1
    for mine, its in zip(one, other, strict=True):
        assert mine == pytest.approx(its, rel=1e-3, abs=1e-4)
    assert found.keys() == wanted.keys()
    for name, weight in wanted.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-3, atol=1e-4, msg=name)


def started(folder: Path, method: str, **env: str) -> subprocess.CompletedProcess[str]:
    """The same as a process of its own."""
    here = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **env}
    words = [sys.executable, "-m", "tests.device.whole", str(folder), method]
    return subprocess.run(words, capture_output=True, text=True, env=here, timeout=300, check=False)


@pytest.mark.parametrize("method", KILLED if os.environ.get("ACCORD_NIGHTLY") == "1" else ("ppo", "reward_heads"))
def test_a_killed_run_goes_on_there_bit_for_bit(method: str, whole: Runs, tmp_path: Path) -> None:
    cut = tmp_path / method
    died = started(cut, method, DIE=f"{method} {KILLED[method]} 0 kill")
    assert died.returncode == -signal.SIGKILL, died.stderr[-3000:]
    place, wanted = whole[method]
    assert 0 < len(figures(cut)) < len(figures(place)), "it had begun and not ended"
    done = started(cut, method)
    assert done.returncode == 0, done.stderr[-3000:]
    found = load_file(cut / WEIGHTS)
    assert found.keys() == wanted.keys()
    assert [name for name, weight in wanted.items() if not torch.equal(found[name], weight)] == []
    assert figures(cut) == figures(place)

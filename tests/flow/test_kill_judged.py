"""Killed at any instants, the newer reward methods end with the same weights, scales and prices."""

import sys
from pathlib import Path

import pytest

from tests.flow.judged_run import METHODS, fingerprint, learn
from tests.flow.kill import KILLS, killed_and_resumed
from tests.flow.test_kill_toy import _figures

SCRIPT = str(Path(__file__).with_name("judged_run.py"))


@pytest.mark.parametrize("method", METHODS)
def test_a_killed_run_ends_bit_identical(method: str, quick_folder: Path) -> None:
    calm, rough = quick_folder / "calm", quick_folder / "rough"
    undisturbed = fingerprint(learn(method, calm))
    killed = killed_and_resumed(
        [sys.executable, SCRIPT, method, str(rough)], KILLS, seed=7, folder=rough, span=0.5 / KILLS
    )
    assert killed.strip() == undisturbed
    assert _figures(rough / "log.jsonl") == _figures(calm / "log.jsonl")

"""A run that is killed at any instants ends with the very weights of one that is left alone."""

import sys
from pathlib import Path

import pytest

from tests.flow.circle import figures
from tests.flow.kill import KILLS, killed_and_resumed
from tests.flow.toy_run import HELD, METHODS, fingerprint, learn

SCRIPT = str(Path(__file__).with_name("toy_run.py"))


@pytest.mark.parametrize("method", [*METHODS, *HELD])
def test_a_killed_run_ends_bit_identical(method: str, quick_folder: Path) -> None:
    calm, rough = quick_folder / "calm", quick_folder / "rough"
    undisturbed = fingerprint(learn(method, calm))
    killed = killed_and_resumed(
        [sys.executable, SCRIPT, method, str(rough)], KILLS, seed=7, folder=rough, span=0.5 / KILLS
    )
    assert killed.strip() == undisturbed
    calm_log, rough_log = (figures(folder / "log.jsonl") for folder in (calm, rough))
    assert rough_log == calm_log
    assert [row["step"] for row in rough_log] == list(range(len(rough_log)))

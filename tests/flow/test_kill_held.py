"""PPO with texts beside it and an average for its reference, killed at any instant, ends with the very same weights."""

from __future__ import annotations

from pathlib import Path

from tests.flow.circle import taught
from tests.flow.kill import assert_killed_ends_alike

HELD = ("--ptx.weight", "0.5", "--ptx.rows", "5", "--anchor.reference", "ema", "--anchor.decay", "0.9")


def test_a_killed_run_that_is_held_ends_bit_identical(quick_folder: Path) -> None:
    project, _, _ = taught(quick_folder)
    assert_killed_ends_alike(project.folder, quick_folder, "ppo", "--reward", "worth", *HELD, seed=6)

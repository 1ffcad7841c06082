"""Two processes in one folder: the second is told so, and a dead one holds nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from accord.config import SettingsError
from accord.run.alone import alone

HOLD = """
import sys
from pathlib import Path
from accord.run.alone import alone
held = alone(Path(sys.argv[1]))
print("mine", flush=True)
sys.stdin.read()
"""


def test_a_folder_belongs_to_one_process_until_that_is_killed(tmp_path: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "mine\n"
    with pytest.raises(SettingsError, match=f"process {other.pid} is at work in"):
        alone(tmp_path)
    other.kill()
    other.communicate()
    mine = alone(tmp_path)
    assert mine is not None
    assert (tmp_path / "lock").read_text() == str(os.getpid())


def test_one_process_may_come_back_to_its_own_folder(tmp_path: Path) -> None:
    assert alone(tmp_path) is not None
    assert alone(tmp_path) is not None

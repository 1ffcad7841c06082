"""The examples run as they stand, are short, and what they teach is learned."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_short_and_learns(example):
    assert len(example.read_text().splitlines()) < 40
    there = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, example], capture_output=True, text=True, timeout=120, env=there)
    assert done.returncode == 0, done.stderr
    before, after = (float(number) for number in re.findall(r"(-?\d+\.\d+)", done.stdout)[:2])
    assert after > before + 0.3, done.stdout

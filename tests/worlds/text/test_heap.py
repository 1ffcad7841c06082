"""Freed memory stays with the process: the same pages serve the next pass."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROBE = """
import resource, sys
import torch
from accord.worlds.text.heap import keep
print(keep() if sys.argv[1] == "keep" else None)
def work(size):
    for _ in range(4):
        held = [torch.ones(size).mul_(2) for _ in range(12)]  # as the layers of a pass, given back together
        del held
count = 0
for size in (500_000, 2_000_000, 5_000_000):
    work(size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    work(size)
    count += resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(count)
"""


def faults(how: str, **more: str) -> tuple[str, int]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    made = subprocess.run(
        [sys.executable, "-c", PROBE, how], env={**plain, **more}, capture_output=True, text=True, check=True
    )
    agreed, count = made.stdout.split()
    return agreed, int(count)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the setting belongs to glibc on Linux")
def test_a_second_pass_faults_in_no_new_pages():
    agreed, kept = faults("keep")
    if agreed != "True":
        pytest.skip("this C library does not take mallopt")
    _, dropped = faults("leave")
    assert kept < dropped / 10


def test_what_the_environment_says_about_memory_is_left_alone():
    assert faults("keep", MALLOC_ARENA_MAX="2")[0] == "False"

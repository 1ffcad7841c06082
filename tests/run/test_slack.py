"""Freed memory between what stays is given back, and what was said of memory is said again."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys
import torch
from accord.run import slack
def held():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")) // 1024
KEPT
parts = [torch.ones(2**18) for _ in range(200)]
stays = parts[::10]
full = held()
del parts
before, said = held(), []
slack.MARKED.append(lambda: said.append(held()))
had = slack.give_back()
print(full, before, held(), had, len(said), all(bool((one == 1).all()) for one in stays))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc gives back what lies between")
@pytest.mark.parametrize("kept", ["", "from accord.worlds.text.heap import keep; assert keep()"])
def test_holes_are_given_back_and_marks_are_made_again(kept):
    """200 MB in pieces of 1 MB, of which every tenth stays."""
    made = subprocess.run(
        [sys.executable, "-c", CODE.replace("KEPT", kept)], capture_output=True, text=True, check=True
    )
    full, before, after, had, said, whole = made.stdout.split()
    if kept:
        assert had == "True"
        assert int(before) > int(full) - 20, "kept, as heap.keep() asks"
    assert int(after) < int(full) - 150
    assert (said, whole) == ("1", "True")

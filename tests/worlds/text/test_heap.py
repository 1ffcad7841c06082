"""Freed memory stays with the process: the same pages serve the next pass."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from accord.worlds.text.heap import PAGE, Broad

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


BROAD = """
import resource, sys
import torch
from accord.worlds.text.heap import keep
if sys.argv[1] == "little":
    room = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + (300 << 20)
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
def held(name):
    return next(int(line.split()[1]) >> 10 for line in open("/proc/self/smaps_rollup") if line.startswith(name))
before = held("Rss:")
agreed = keep()
used = held("Rss:") - before
tensors = [torch.ones(2_000_000) for _ in range(12)]
print(agreed, used, held("AnonHugePages:"))
"""


def broad(how: str) -> tuple[bool, int, int]:
    """Whether it agreed, MB that it used by itself, and MB of large pages under a hundred MB of tensors."""
    large = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not large.is_file() or "[never]" in large.read_text() or not Path("/proc/self/smaps_rollup").is_file():
        pytest.skip("this kernel has no large pages, or does not tell of them")
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    made = subprocess.run([sys.executable, "-c", BROAD, how], env=plain, capture_output=True, text=True, check=True)
    agreed, used, found = made.stdout.split()
    return agreed == "True", int(used), int(found)


def test_what_is_kept_lies_in_large_pages_and_nothing_is_used_before_it_is_needed():
    agreed, used, found = broad("much")
    if not agreed:
        pytest.skip("this C library does not take mallopt")
    assert used <= 2
    assert found >= 60


def test_where_there_is_no_room_to_mark_everything_goes_on_as_before():
    assert broad("little")[:2] == (True, 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("large", [False, True])
def test_what_is_taken_is_zero_and_belongs_to_one_tensor(dtype, large):
    like = torch.ones(1, dtype=dtype)
    room = Broad(400 * 600 + 7 + large * PAGE, like)
    one, other = room.take(400, 600), room.take(7)
    assert (one.shape, one.dtype, other.shape) == ((400, 600), dtype, (7,))
    assert one.is_contiguous()
    one += 1
    assert not other.any()
    assert one.double().sum() == 240_000
    with pytest.raises(RuntimeError):
        room.take(1 + large * PAGE)
    del room, other
    assert one.double().sum() == 240_000  # it keeps its memory when everything else is gone


AGAIN = """
import resource
import torch
from accord.worlds.text.heap import PAGE, Broad, keep
def held():
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() // PAGE
def call():
    return [Broad(4 * PAGE, torch.ones(1)).take(4 * PAGE).add_(1) for _ in range(3)]
agreed = keep()
before = held()
for _ in range(16):  # at first a little that lies between two rooms keeps a third from fitting
    call()
after = held()
for _ in range(8):
    call()
print(agreed, after - before, held() - after, len(call()))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells of its pages")
def test_what_one_call_took_is_there_for_the_next():
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    made = subprocess.run([sys.executable, "-c", AGAIN], env=plain, capture_output=True, text=True, check=True)
    agreed, kept, more, count = made.stdout.split()
    if agreed != "True":
        pytest.skip("this C library does not take mallopt")
    assert int(count) * 16 == 48, "large pages in one call"
    assert int(kept) >= 47, "they stay with the process"
    assert int(more) == 0, "and serve later calls"


LARGE = """
import mmap, re, torch
from pathlib import Path
from accord.worlds.text.heap import PAGE, Broad

def asked(tensor):
    for part in re.split(r"\\n(?=[0-9a-f]+-[0-9a-f]+ )", Path("/proc/self/smaps").read_text()):
        first, last = (int(end, 16) for end in part.split()[0].split("-"))
        if first <= tensor.data_ptr() + tensor.nbytes // 2 < last:
            return " hg" in part.split("VmFlags:")[1]
    return False

plain = mmap.mmap(-1, PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
print(asked(Broad(PAGE, torch.ones(1)).take(PAGE)), asked(torch.frombuffer(plain, dtype=torch.uint8)))
"""


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="only Linux tells of its pages")
@pytest.mark.parametrize("changes", [{}, {"MALLOC_ARENA_MAX": "2"}], ids=["kept", "not kept"])
def test_large_pages_are_asked_for(changes):
    """In a process of its own: one that has kept memory from elsewhere may take it from there."""
    if not Path("/sys/kernel/mm/transparent_hugepage/enabled").exists():
        pytest.skip("this kernel has no large pages")
    plain = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    made = subprocess.run(
        [sys.executable, "-c", LARGE], env={**plain, **changes}, capture_output=True, text=True, check=True
    )
    assert made.stdout.split() == ["True", "False"]

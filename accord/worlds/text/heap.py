"""Keep the memory that tensors give back, instead of handing it to the kernel and faulting it in again page by page."""

from __future__ import annotations

import ctypes
import math
import mmap
import os
import sys
from functools import cache

import torch
from torch import Tensor

PAGE = 1 << 21
"""Bytes of a large page."""

_TRIM, _MMAP = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h


@cache
def keep() -> bool:
    """Ask the C library of this process, once, to keep up to 2 GB of freed memory; whether it agreed.

    A pass over a tiny model makes and drops hundreds of tensors of some megabytes. By default glibc maps each of them
    anew, and the page faults take as long as the arithmetic (2 times slower passes, measured in docs/pass.md).
    Does nothing outside glibc, or where the environment sets MALLOC_... itself.
    """
    if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        library = ctypes.CDLL(None)
        mallopt = library.mallopt
    except (OSError, AttributeError):
        return False
    agreed = bool(mallopt(_MMAP, 1 << 30)) and bool(mallopt(_TRIM, 2000 << 20))
    if agreed:
        _broaden(library)
    return agreed


def _broaden(library: ctypes.CDLL, size: int = 900 << 20) -> None:
    """Ask Linux to give the memory that will be kept in large pages: finding out where 4 KB each lie costs 2 % of PPO.

    Nothing is used by it: the room is asked for, marked and given back, and stays with the process as what is kept.
    """
    library.malloc.restype, library.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    library.free.argtypes, library.madvise.argtypes = (
        [ctypes.c_void_p],
        [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int],
    )
    rooms = [room for room in (library.malloc(size), library.malloc(size)) if room]
    for room in rooms:
        begin = -(-room // PAGE) * PAGE
        library.madvise(begin, (room + size - begin) // PAGE * PAGE, getattr(mmap, "MADV_HUGEPAGE", 14))
    for room in reversed(rooms):
        library.free(room)


class Broad:
    """Memory for tensors that are read through at every step, in pages of 2 MB where the system gives them.

    A step of the sampler reads every weight and every key once. In pages of 4 KB finding out where they lie takes up to
    a tenth of its time. Where freed memory is kept (`keep`) it is a part of that, so that the next call finds it again:
    memory that goes back to the system between two calls is dear to get back, above all in a virtual machine, which
    may have handed it on. Elsewhere (not Linux, not a CPU, less than a page) it is memory as any other.
    """

    def __init__(self, size: int, like: Tensor) -> None:
        """size: how many numbers of the kind of `like` will be taken in all."""
        self._left = _zeros(size, like)

    def take(self, *shape: int) -> Tensor:
        """The next of them, all zero. Raises RuntimeError when there are not as many left."""
        taken, self._left = self._left.split_with_sizes([size := math.prod(shape), len(self._left) - size])
        return taken.view(shape)


def _zeros(size: int, like: Tensor) -> Tensor:
    """[size] zeros."""
    length = size * like.element_size()
    if like.device.type != "cpu" or length < PAGE or not hasattr(mmap, "MADV_HUGEPAGE") or keep():
        return like.new_zeros(size)
    pages = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    try:
        pages.madvise(mmap.MADV_HUGEPAGE)
    except OSError:  # a kernel without them
        return like.new_zeros(size)
    return torch.frombuffer(pages, dtype=like.dtype)

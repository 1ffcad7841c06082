"""Keep the memory that tensors give back, instead of handing it to the kernel and faulting it in again page by page."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

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
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(_MMAP, 1 << 30)) and bool(mallopt(_TRIM, 2000 << 20))

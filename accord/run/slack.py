"""Memory that was freed and is still held: given back once, before something large that stays is made."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable

MARKED: list[Callable[[], None]] = []
"""What has to be said again of memory that comes anew: see `worlds/text/heap.py`."""


def give_back() -> bool:
    """Ask the C library to hand free pages to the system, those between others too; whether it had any.

    Between the tensors of a pass lie holes that are too small for what is made next. Does nothing outside glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return False
    trim.argtypes = [ctypes.c_size_t]
    had = bool(trim(0))
    for mark in MARKED:
        mark()
    return had

"""Told to end: SIGTERM, which by itself ends a process without a word, does what Ctrl+C does."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def ended() -> Iterator[None]:
    """Inside, SIGTERM raises KeyboardInterrupt with its number: what is half written goes, and a message can follow.

    Not in a process of several that share a stage: what they are told by torchrun is the matter of `run.leaving`.
    """
    if threading.current_thread() is not threading.main_thread() or "WORLD_SIZE" in os.environ:
        yield
        return

    def stop(*_: object) -> None:
        raise KeyboardInterrupt(signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def status(stop: KeyboardInterrupt) -> int:
    """The exit status of a process that was told to end, as a shell has it: 128 and the number of the signal."""
    return 128 + (stop.args[0] if stop.args else signal.SIGINT)

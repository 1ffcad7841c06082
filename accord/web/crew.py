"""Several processes at one door: forked when everything is imported, begun again when one falls, ended together.

A forked process shares what was imported before; one that is spawned imports it anew, a second of work each. The parent
must have no thread, no event loop and no open store when it comes here.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

PATIENCE = 20.0
"""Seconds that a worker has for what it is about when all shall end; a second signal ends it at once."""
PAUSE = 1.0
"""Seconds between two starts in the place of workers that fell, so that a bad day is no storm."""
_LOOK = 0.5
_NEVER = 3
Make = Callable[[], Callable[[], object]]
Note = Callable[[Exception], None]


def possible() -> bool:
    """Whether this system can fork and be told of signals in its own time (Linux can; macOS and Windows cannot)."""
    return hasattr(os, "fork") and hasattr(signal, "sigtimedwait")


def crew(make: Make, count: int, note: Note) -> int:
    """So many workers until SIGINT or SIGTERM comes; the status to end with, which is 0 unless they could not begin.

    SIGINT (Ctrl+C) raises KeyboardInterrupt when all have ended, as it would have without them; SIGTERM is how those
    who watch over services end one, and 0 what they call a good end.

    make: called in each worker; what it returns is run until a signal ends it. One that falls is replaced; when one of
    the first cannot even be made, all end, and later ones are tried again. note: told of an error, in the worker.
    When this process dies, by whatever signal, the workers see a pipe close and end by themselves.
    """
    heard = {signal.SIGINT, signal.SIGTERM, signal.SIGCHLD}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, heard)
    here, there = os.pipe()
    alive: set[int] = set()
    gc.freeze()  # pages that no collection touches stay shared

    def begin() -> int:
        return os.fork() or _work(make, note, before, here, there)

    try:
        first = {begin() for _ in range(count)}
        alive |= first
        soonest = time.monotonic()
        while not (told := _told(_LOOK)):
            if any(pid in first and status == _NEVER for pid, status in _gone(alive)):
                return _NEVER
            if len(alive) < count and time.monotonic() >= soonest:
                alive.add(begin())
                soonest = time.monotonic() + PAUSE
        if told == signal.SIGINT:
            raise KeyboardInterrupt
        return 0
    finally:
        _end(alive)
        os.close(here)
        os.close(there)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(
    make: Make, note: Callable[[Exception], None], before: set[int | signal.Signals], here: int, there: int
) -> int:
    """The whole life of a worker; it does not return."""
    status = _NEVER
    try:
        os.close(there)
        for one in (signal.SIGINT, signal.SIGTERM):
            signal.signal(one, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        threading.Thread(target=_orphaned, args=(here,), name="orphaned", daemon=True).start()
        run = make()
        status = 1
        run()
        status = 0
    except Exception as error:
        note(error)
    finally:
        sys.stderr.flush()
        os._exit(status)


def _orphaned(pipe: int) -> None:
    """Wait until nobody holds the other end, then end as if told to."""
    os.read(pipe, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PATIENCE)
    os._exit(1)


def _told(seconds: float) -> int:
    """The signal by which somebody wants the end, or 0; waits for it, or for the end of a worker, at most so long."""
    got = signal.sigtimedwait({signal.SIGINT, signal.SIGTERM, signal.SIGCHLD}, seconds)
    return 0 if got is None or got.si_signo == signal.SIGCHLD else got.si_signo


def _gone(alive: set[int]) -> list[tuple[int, int]]:
    """Those that have ended, with their status; they are taken out."""
    found = [
        (pid, os.waitstatus_to_exitcode(how)) for pid, how in (os.waitpid(one, os.WNOHANG) for one in alive) if pid
    ]
    alive.difference_update(pid for pid, _ in found)
    return found


def _end(alive: set[int]) -> None:
    """Tell all to end and wait for them; those that go on beyond all patience, or after a second signal, are killed."""
    _send(alive, signal.SIGTERM)
    end = time.monotonic() + PATIENCE
    while _gone(alive) or alive:
        if _told(_LOOK) or time.monotonic() > end:
            _send(alive, signal.SIGKILL)


def _send(alive: set[int], what: signal.Signals) -> None:
    for one in alive:  # none of them was waited for, so no number is somebody else's
        os.kill(one, what)

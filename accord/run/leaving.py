"""How one of several processes ends: at once, with its status, and what all would say is said once."""

from __future__ import annotations

import atexit
import contextlib
import io
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import NoReturn

from accord.run import ranks

MOMENT = 2.0
"""Seconds for which a rank that failed waits before it says why: torchrun ends it meanwhile if rank 0 failed too."""


def leave(work: Callable[[], int]) -> NoReturn:
    """Do the work, then end this process with its status, one of several at once and without Python's own farewell.

    With shared weights gloo's threads outlive `end`; one that lets go of a tensor while Python ends aborts the process.
    What all ranks would say is said once: rank 0 speaks at once, and what another has to say is heard when it fails.
    """
    if ranks.count() == 1:
        sys.exit(work())
    held = io.StringIO()
    _listen(held)
    with contextlib.redirect_stderr(held if ranks.rank() else sys.stderr):
        status = _status(work)
    if ranks.rank() and status:
        time.sleep(MOMENT)
        print(f"rank {ranks.rank()} of {ranks.count()}:\n{held.getvalue()[-8000:]}", end="", file=sys.stderr)
    atexit._run_exitfuncs()  # not before: the others end when they lose this one, and torchrun then ends all
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


def _listen(held: io.StringIO) -> None:
    """Let rank 1 say why it ends when torchrun ends it: rank 0, killed without a word, can say nothing.

    In a thread of its own, for the main one may be waiting for the others in C. Where rank 1 failed of itself, rank 0
    has said the same.
    """
    if ranks.rank() != 1:
        return
    heard, calls = os.pipe()
    os.set_blocking(calls, False)
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.set_wakeup_fd(calls)

    def told() -> None:
        while os.read(heard, 1)[0] != signal.SIGTERM:
            pass
        own = held.getvalue()
        if not own or "lost the others" in own:
            print(
                f"accord: rank 1 of {ranks.count()} was told to end (SIGTERM), for another process ended first: it has "
                "said why, or was killed without a word (`kill -9`, too little memory); torchrun tells which. A stage "
                "that had begun goes on from its last checkpoint with the same command.",
                file=sys.__stderr__,
                flush=True,
            )
        os._exit(128 + signal.SIGTERM)

    threading.Thread(target=told, name="told to end", daemon=True).start()


def _status(work: Callable[[], int]) -> int:
    """What the work returns, or what it ends Python with; 1, and where it was, after an error."""
    try:
        return work()
    except SystemExit as said:
        if isinstance(said.code, str):
            print(said.code, file=sys.stderr)
        return said.code if isinstance(said.code, int) else int(said.code is not None)
    except BaseException as error:
        if isinstance(error, RuntimeError) and re.search(r"gloo|nccl|peer", str(error), re.IGNORECASE):
            print(f"accord: {ranks.lost(error)}", file=sys.stderr)  # of FSDP, which talks by itself
        else:
            traceback.print_exc()
        return 1

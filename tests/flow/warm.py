"""Programs that begin at once: forked from a process that has read the libraries already, which takes them seconds."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

READ = ["tests.flow.toy_run", "tests.flow.judged_run", "accord.build", "accord.methods", "accord.tell"]
"""What the programs of these tests import, directly or not. What is not read before is read by each."""


class Begun:
    """`python SCRIPT WORD ...` or `python -c TEXT WORD ...`, begun by a fork; it leads a group of its own."""

    def __init__(self, command: Sequence[str], errors: Path) -> None:
        """command: as for subprocess, Python first. errors: file for what it says on stderr."""
        server = multiprocessing.get_context("forkserver")
        server.set_forkserver_preload(READ)
        self._errors = errors
        self._process = server.Process(target=_become, args=(list(command), str(errors)))
        self._process.start()

    def over(self) -> bool:
        """Whether it has ended by itself."""
        return not self._process.is_alive()

    def kill(self) -> int | None:
        """End it by SIGKILL, with all that it has begun. Returns its status: -9 where nothing else was faster."""
        pid = self._process.pid
        assert pid is not None
        try:
            os.killpg(pid, signal.SIGKILL)
        except ProcessLookupError:  # so young that it leads no group yet
            self._process.kill()
        self._process.join()
        return self._process.exitcode

    def said(self) -> str:
        """What it wrote to stderr at last, and how it ended."""
        words = self._errors.read_text(errors="replace")[-3000:] if self._errors.exists() else ""
        return f"rc {self._process.exitcode}:\n{words}"


class Fresh:
    """The same, begun as a person begins it."""

    def __init__(self, command: Sequence[str], errors: Path) -> None:
        """See `Begun`."""
        self._errors = errors
        with errors.open("wb") as file:
            self._process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=file, env=alone(), start_new_session=True
            )

    def over(self) -> bool:
        """Whether it has ended by itself."""
        return self._process.poll() is not None

    def kill(self) -> int:
        """End it by SIGKILL, with all that it has begun. Returns its status."""
        if not self.over():
            os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait()

    def said(self) -> str:
        """What it wrote to stderr at last, and how it ended."""
        return f"rc {self._process.returncode}:\n{self._errors.read_text(errors='replace')[-3000:]}"


def alone() -> dict[str, str]:
    """The environment with one thread and this checkout importable."""
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}


def _become(command: list[str], errors: str) -> None:
    """Be the program that a command starts."""
    import torch

    os.setsid()
    torch.set_num_threads(1)
    for stream, place in ((1, os.devnull), (2, errors)):
        os.dup2(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    if command[1] == "-c":
        sys.argv = ["-c", *command[3:]]
        exec(compile(command[2], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = command[1:]
        runpy.run_path(command[1], run_name="__main__")

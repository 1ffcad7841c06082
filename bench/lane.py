"""One side of a comparison in a process of its own: asked by lines of JSON, one side at work while the other waits.

This file knows neither Accord nor a peer, so both sides use the same clock and the same scales.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
ASLEEP = {"GOMP_SPINCOUNT": "20000"}
"""Threads of both sides sleep while they wait, as `accord` has it: what little else the machine does spoils less."""
KEPT = {
    "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    "MALLOC_TRIM_THRESHOLD_": str(2000 << 20),
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}
"""What accord.worlds.text.heap asks of the C library, as an environment: lent to a peer it counts as its best."""


class Lane:
    """A process that does one kind of work whenever it is told to."""

    def __init__(self, python: str, module: str, job: Mapping[str, Any], threads: int, kept: bool = False) -> None:
        """python: whose environment; module: `bench.ours` or `bench.theirs`; kept: lend it `KEPT`."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_", "PYTHON"))}
        quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TQDM_DISABLE": "1", "PYTHONPATH": str(ROOT)}
        self.name = module + " (kept heap)" * kept
        self.noise = Path(job["folder"]) / f"{module}{'.kept' * kept}.{job['work']}.txt"
        with self.noise.open("w") as noise:
            self.process = subprocess.Popen(
                [python, "-m", module, json.dumps(job)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=noise,
                text=True,
                cwd=ROOT,
                env={**ASLEEP, **clean, **quiet, **(KEPT if kept else {}), "OMP_NUM_THREADS": str(threads)},
            )
        self.about: dict[str, Any] | None = None

    def ready(self) -> Lane:
        """This lane once it has loaded everything. Lanes that are started together load together."""
        self.about = self.about or self._answer()
        return self

    def do(self, **wish: Any) -> dict[str, Any]:
        """One piece of work. Raises RuntimeError with the end of what the process said when it fails."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(wish) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def end(self) -> None:
        """Let it go."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(60)

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended:\n{self.noise.read_text()[-3000:]}")
        told: dict[str, Any] = json.loads(line)
        return told


def serve(work: Callable[[dict[str, Any]], dict[str, Any]], **about: Any) -> None:
    """Answer wishes until nobody asks any more. Whatever a library prints goes to the side."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def tell(told: dict[str, Any]) -> None:
        out.write(json.dumps(told) + "\n")
        out.flush()

    tell(about)
    for line in sys.stdin:
        tell(work(json.loads(line)))
        gc.collect()  # the model of this piece of work is gone before that of the next one is loaded


class Watch:
    """Seconds and memory of one piece of work, from `begin` to the last `tick`.

    Memory above the idle process is counted from when the libraries were loaded and no model was.
    """

    def __init__(self) -> None:
        self.idle = memory("VmRSS")

    def begin(self) -> None:
        """Now."""
        gc.collect()
        Path("/proc/self/clear_refs").write_text("5")  # the highest memory so far is forgotten
        self.losses: list[float] = []
        self.norms: list[float] = []
        self.begun = self.last = time.perf_counter()
        self.worked = self.working = time.process_time()
        self.asked = self.asking = kernel()
        self.tokens = self.learned = 0

    def count(self, tokens: Any, learned: Any) -> None:
        """Tokens of a batch as texts have them, each with its own prompt, and those that are learned from."""
        self.tokens += int(tokens)
        self.learned += int(learned)

    def tick(self, loss: float, norm: float) -> None:
        """An optimiser step is done."""
        self.last, self.working, self.asking = time.perf_counter(), time.process_time(), kernel()
        self.losses.append(loss)
        self.norms.append(norm)
        self.peak = memory("VmHWM")

    def told(self) -> dict[str, Any]:
        """What was seen; memory in MB."""
        return {
            "seconds": self.last - self.begun,
            "cpu_seconds": self.working - self.worked,
            "kernel_seconds": self.asking - self.asked,
            "steps": len(self.losses),
            "losses": self.losses,
            "norms": self.norms,
            "tokens": self.tokens,
            "learned": self.learned,
            "peak_mb": self.peak,
            "grew_mb": self.peak - self.idle,
        }


def kernel() -> float:
    """CPU seconds of this process in the kernel so far: most of them give it memory that it did not have."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_stime


def memory(name: str) -> float:
    """MB that this process holds (`VmRSS`) or held at most (`VmHWM`)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name + ":"))

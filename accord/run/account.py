"""What a run spends: operations, tokens, padding, memory and seconds, beside what the machine can do."""

from __future__ import annotations

import contextlib
import resource
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import torch

MEASURED = ("seconds/", "speed/", "memory/")
"""Names in a log that begin like this depend on the machine, not on the seed."""
RATE_SECONDS = 0.1
"""How long the machine's rate is measured, once per process."""
_HELD: dict[str, float] = {}
"""Most bytes held on a GPU before its rate was measured there: what measuring held is not the run's."""


@dataclass
class Counts:
    """Work of models in one process. What is computed a second time (checkpointing, chunks) counts once."""

    flops: float = 0.0
    """Floating-point operations of all passes and of sampling; a multiplication and an addition are two."""
    tokens: float = 0.0
    """Tokens that were read or drawn, each prompt as often as it was really read."""
    places: float = 0.0
    """Places that went through the model: tokens and padding."""
    prompts: float = 0.0
    """Prompt tokens among the tokens."""
    unshared: float = 0.0
    """Prompt tokens that would have been read if each answer had read its own."""
    reference: float = 0.0
    """Tokens among them that a reference was asked about in DPO and KTO."""


class Account:
    """What this process has spent since it was last asked. Time inside a time counts for the inner name alone."""

    def __init__(self) -> None:
        self.counts = Counts()
        self._seconds: dict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._since = time.perf_counter()
        self._ahead: dict[str, tuple[Counts, float]] = {}

    def add(self, flops: float, tokens: float, places: float, prompts: float = 0.0, unshared: float = 0.0) -> None:
        """One pass more."""
        seen = self.counts
        seen.flops += flops
        seen.tokens += tokens
        seen.places += places
        seen.prompts += prompts
        seen.unshared += unshared

    @contextlib.contextmanager
    def time(self, name: str) -> Iterator[None]:
        """Give the time spent inside to a name, and not to the name around it."""
        self._mark()
        self._open.append(name)
        try:
            yield
        finally:
            self._mark()
            self._open.pop()

    @contextlib.contextmanager
    def asking(self, run: str) -> Iterator[None]:
        """Time and work of asking a reference; what is asked before a run's first step is told with that step.

        run: whose step that is, by its folder.
        """
        before, spent_before = asdict(self.counts), self._seconds["reference"]
        with self.time("reference"):
            yield
        done = Counts(**{name: value - before[name] for name, value in asdict(self.counts).items()})
        self.counts.reference += done.tokens
        done.reference = done.tokens
        counts, seconds = self._ahead.get(run, (Counts(), 0.0))
        counts = Counts(**{name: value + getattr(counts, name) for name, value in asdict(done).items()})
        self._ahead[run] = counts, seconds + self._seconds["reference"] - spent_before

    def begin(self, run: str) -> None:
        """Forget what was spent so far, but for what a reference was asked for this run."""
        counts, seconds = self._ahead.get(run, (Counts(), 0.0))
        self.take()
        self.counts = counts
        if seconds:
            self._seconds["reference"] = seconds

    def take(self) -> tuple[Counts, dict[str, float]]:
        """(counts, seconds by name) since the last time; time that nobody named is `other`. Begins anew."""
        self._mark()
        counts, seconds = self.counts, dict(self._seconds)
        self.counts, self._seconds, self._ahead = Counts(), defaultdict(float), {}
        return counts, seconds

    def pass_over(self) -> None:
        """Time up to now belongs to nobody: it was spent on measuring."""
        self._since = time.perf_counter()

    def _mark(self) -> None:
        now = time.perf_counter()
        self._seconds[self._open[-1] if self._open else "other"] += now - self._since
        self._since = now


HERE = Account()
"""The account of this process: worlds add to it, a run reads it."""


def spent(counts: Counts, seconds: Mapping[str, float], rate: float, peak: float, cuda: float) -> dict[str, float]:
    """What stands in a line of the log. rate: FLOP per second of all ranks; peak, cuda: bytes.

    Names that begin with `speed/` are absent from a step in which no language model worked.
    """
    whole = max(sum(seconds.values()), 1e-9)
    told = {f"seconds/{name}": round(value, 4) for name, value in seconds.items()}
    told["seconds/step"] = round(whole, 4)
    if counts.reference:
        told["speed/reference_tokens"] = counts.reference
    if counts.flops:
        told |= {
            "speed/tokens_per_second": round(counts.tokens / whole, 1),
            "speed/gflops": round(counts.flops / whole / 1e9, 3),
            "speed/machine_gflops": round(rate / 1e9, 3),
            "speed/machine_share": round(counts.flops / whole / rate, 4),
            "speed/padding_share": round(1 - counts.tokens / max(counts.places, 1), 4),
            "speed/prompts_saved": round(1 - counts.prompts / max(counts.unshared, 1), 4) if counts.unshared else 0.0,
        }
    told["memory/peak_mb"] = round(peak / 2**20, 1)
    if cuda:
        told["memory/cuda_peak_mb"] = round(cuda / 2**20, 1)
    return told


@cache
def machine_rate(device: str, dtype: torch.dtype, threads: int) -> float:
    """FLOP per second of this process's matrix products: the best of a few in `RATE_SECONDS`.

    threads: how many there are; part of the question, for another number has another answer. Draws nothing from any
    generator and measures once per process.
    """
    assert threads > 0
    where = torch.device(device)
    size = 1024 if where.type == "cpu" else 8192
    _HELD[device] = peak_memory(where)[1]
    a = torch.full((size, size), 0.5, device=where, dtype=dtype)
    if where.type == "cuda":  # the first product of a process makes its kernels ready
        torch.mm(a, a)
        torch.cuda.synchronize(where)
    best, begun = 0.0, time.perf_counter()
    while best == 0.0 or time.perf_counter() - begun < RATE_SECONDS:
        now = time.perf_counter()
        torch.mm(a, a)
        if where.type == "cuda":
            torch.cuda.synchronize(where)
        best = max(best, 2 * size**3 / (time.perf_counter() - now))
    if where.type == "cuda":
        del a
        torch.cuda.reset_peak_memory_stats(where)
    return best


def peak_memory(device: torch.device) -> tuple[float, float]:
    """(bytes of main memory, bytes of the GPU) that this process has held at most since it began."""
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if device.type != "cuda":
        return float(resident), 0.0
    return float(resident), max(_HELD.get(str(device), 0.0), float(torch.cuda.max_memory_allocated(device)))


@dataclass(frozen=True)
class Share:
    """One part of a run's time."""

    name: str
    """`reference`, `generate`, `score`, `update`, `wait` (for other ranks), `save` (checkpoints), `other`."""
    seconds: float
    """In all steps together."""
    share: float
    """Of the whole, within 0 .. 1."""


def where_time_went(rows: Sequence[Mapping[str, Any]]) -> list[Share]:
    """The parts of a run's time from the rows of its log, the largest first. Empty when no row says.

    Rows of older logs, in which the step's whole was not written, are left out.
    """
    taken: dict[str, float] = defaultdict(float)
    whole = 0.0
    for row in rows:
        step = row.get("seconds/step")
        if step is None:
            continue
        whole += step
        for name, value in row.items():
            if name.startswith("seconds/") and name != "seconds/step" and value is not None:
                taken[name.removeprefix("seconds/")] += value
    parts = [Share(name, value, value / whole) for name, value in taken.items() if whole > 0]
    return sorted(parts, key=lambda part: -part.seconds)


def speed(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """A whole run's `speed/` and `memory/` figures from the rows of its log: means by time, the highest memory.

    Of tokens that a reference was asked about, the sum.
    """
    measured = [row for row in rows if row.get("speed/gflops") is not None and row.get("seconds/step")]
    seconds = sum(row["seconds/step"] for row in measured)
    names = dict.fromkeys(name for row in measured for name in row if name.startswith("speed/"))
    asked = sum(row.get("speed/reference_tokens") or 0.0 for row in rows)
    names.pop("speed/reference_tokens", None)
    found = {name: sum((row[name] or 0.0) * row["seconds/step"] for row in measured) / seconds for name in names}
    found |= {"speed/reference_tokens": asked} if asked else {}
    for name in ("memory/peak_mb", "memory/cuda_peak_mb"):
        if held := [row[name] for row in rows if row.get(name) is not None]:
            found[name] = max(held)
    return found

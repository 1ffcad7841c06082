"""A machine with one claimed GPU: what `torch.cuda` says on it, and graphs that are recorded and played as on a GPU."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.nn.utils import clip_grad
from torch.utils._python_dispatch import _disable_current_modes

from accord.run import ranks
from tests.device.claimed import CUDA, Calls, Claimed, Device


class Stream:
    """A stream of a device that does one thing after the other."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def wait_stream(self, _other: Any) -> None: ...

    def synchronize(self) -> None: ...


class Graph:
    """What was asked of the device between two moments, to be asked again."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.steps: list[Callable[[], None]] = []

    def replay(self) -> None:
        """All of it again."""
        with _disable_current_modes():
            for step in self.steps:
                step()


@contextlib.contextmanager
def claimed() -> Iterator[Device]:
    """A machine with one GPU, as far as tensors can tell."""
    on = Device()

    @contextlib.contextmanager
    def graph(into: Graph, *_: Any, **__: Any) -> Iterator[None]:
        on.recording, on.made = into.steps, []
        try:
            yield
        finally:
            for t in on.made:  # a GPU has computed nothing yet
                if t.is_floating_point():
                    t.fill_(torch.nan)
            on.recording, on.made = None, []

    class Event:
        """A moment after all that was asked for so far."""

        def record(self, _: Any = None) -> None:
            self.until, self.asked = on.arrived + len(on.coming), on.asked

        def synchronize(self) -> None:
            on.since.append(on.asked - self.asked)
            on.wait("event", self.until)

    @contextlib.contextmanager
    def stream(_: Any) -> Iterator[None]:
        yield

    doubles = {
        "is_available": lambda: True, "is_initialized": lambda: True, "_lazy_init": lambda: None,
        "device_count": lambda: 1, "current_device": lambda: 0, "set_device": lambda _d: None,
        "synchronize": lambda _d=None: on.wait("synchronize"), "max_memory_allocated": lambda _d=None: 1 << 20,
        "reset_peak_memory_stats": lambda _d=None: None, "empty_cache": lambda: None,
        "get_rng_state_all": lambda: [torch.get_rng_state()],
        "get_rng_state": lambda _d=None: torch.get_rng_state(), "set_rng_state": lambda _s, _d=None: None,
        "set_rng_state_all": lambda _s: None, "manual_seed_all": lambda _s: None, "manual_seed": lambda _s: None,
        "get_device_name": lambda _d=None: "claimed", "is_bf16_supported": lambda *_: True,
        "get_device_capability": lambda _d=None: (9, 0), "current_stream": lambda _d=None: Stream(),
        "Stream": Stream, "CUDAGraph": Graph, "graph": graph, "stream": stream, "Event": Event,
    }  # fmt: skip
    before = {name: getattr(torch.cuda, name) for name in doubles}
    grouped = clip_grad._group_tensors_by_device_and_dtype

    def parted(tensors: Any, **named: Any) -> Any:
        """Torch's own code beneath finds all of them on the CPU."""
        there = isinstance(tensors[0][0], Claimed)
        return {(CUDA if there else kind[0], kind[1]): part for kind, part in grouped(tensors, **named).items()}

    rate = ranks.machine_rate
    try:
        for name, double in doubles.items():
            setattr(torch.cuda, name, double)
        ranks.machine_rate = lambda *_: 1e12  # products as large as are measured on a GPU take a CPU half a minute
        clip_grad._group_tensors_by_device_and_dtype = parted
        with on, Calls(on):
            yield on
    finally:
        ranks.machine_rate = rate
        clip_grad._group_tensors_by_device_and_dtype = grouped
        for name, double in before.items():
            setattr(torch.cuda, name, double)

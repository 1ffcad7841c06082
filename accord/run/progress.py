"""A bar with rate and remaining time where a person looks; a line now and then where a file does."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping

EVERY = 30.0


def steps_shown(
    start: int, total: int, name: str, shown: bool, figures: Callable[[], Mapping[str, float]]
) -> Iterator[int]:
    """Yield start..total-1 and show how far it is."""
    if not shown:
        yield from range(start, total)
        return
    if not sys.stderr.isatty():
        yield from _lines(start, total, name, figures)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:<18}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    begun = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), refresh_per_second=4) as bar:
        task = bar.add_task(name, total=total, completed=start, rate="", figures="")
        for step in range(start, total):
            yield step
            rate = (step + 1 - start) / max(1e-9, time.monotonic() - begun)
            bar.update(task, completed=step + 1, rate=f"{rate:.1f}/s", figures=_short(figures()))


def _lines(start: int, total: int, name: str, figures: Callable[[], Mapping[str, float]]) -> Iterator[int]:
    begun = said = time.monotonic()
    for step in range(start, total):
        yield step
        now = time.monotonic()
        if now - said >= EVERY or step + 1 == total:
            said = now
            rate = (step + 1 - start) / max(1e-9, now - begun)
            left = (total - step - 1) / rate
            print(f"{name}: {step + 1}/{total}, {rate:.2f}/s, {left:.0f} s left, {_short(figures())}", file=sys.stderr)


def _short(figures: Mapping[str, float]) -> str:
    """The first three figures, those that a loop names first."""
    return "  ".join(f"{name} {value:.3g}" for name, value in list(figures.items())[:3])

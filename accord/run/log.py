"""What a run says of itself: one JSON line per step, and the same numbers for TensorBoard or Weights & Biases."""

from __future__ import annotations

import errno
import json
import math
import os
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from accord.config import SettingsError
from accord.run.checkpoint import FULL
from accord.whole import written

Tracker = Literal["tensorboard", "wandb"]


class Log:
    """`log.jsonl` in the run's folder: `{"step": 3, "time": ..., "loss": ...}` per line."""

    def __init__(self, folder: Path, trackers: tuple[Tracker, ...], since: int, config: Mapping[str, Any]) -> None:
        """Open the log and drop the lines of steps from `since` on: they are about to be made again."""
        self.path = folder / "log.jsonl"
        rows = [row for row in read_log(self.path) if row["step"] < since]
        written(self.path, "".join(json.dumps(row) + "\n" for row in rows))
        self.waiting = ""
        self.sinks = [_sink(tracker, folder, since, config) for tracker in trackers]

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """One line. Numbers that are not finite are kept as null, which every JSON reader takes."""
        plain = {k: (float(v) if math.isfinite(v) else None) for k, v in figures.items()}
        self.waiting += json.dumps({"step": step, "time": round(time.time(), 3), **plain}) + "\n"
        self._flush()
        for sink in self.sinks:
            sink(step, {k: v for k, v in plain.items() if v is not None})

    def close(self) -> None:
        """Flush and let go."""
        self._flush()
        for sink in self.sinks:
            sink(-1, {})

    def _flush(self) -> None:
        """Append the lines that wait. On a full disk they go on waiting, with a warning; a half line is taken back."""
        if not self.waiting:
            return
        whole = self.path.stat().st_size
        handle = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            text = self.waiting.encode()
            written = os.write(handle, text)
            if written < len(text):
                os.ftruncate(handle, whole)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self.waiting = ""
        except OSError as error:
            if error.errno not in FULL:
                raise
            lines = self.waiting.count("\n")
            warnings.warn(f"the disk of {self.path} is full: {lines} lines of the log wait for space", stacklevel=4)
        finally:
            os.close(handle)


def read_log(path: Path) -> list[dict[str, Any]]:
    """The rows of a log; a last line that a crash cut in half is left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").split("\n"):
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


def still(folder: Path, leads: bool = True) -> None:
    """Warn when a run that is whole had a gradient of 0 in all its steps. leads: of several processes one says it."""
    norms = [row["gradient_norm"] for row in read_log(folder / "log.jsonl") if "gradient_norm" in row] if leads else []
    if norms and all(norm == 0 for norm in norms):
        warnings.warn(
            f"{folder.name}: the gradient was 0 in all {len(norms)} steps, so nothing was learned. Answers to a prompt "
            "that all earn the same teach nothing (flat_groups in the log; finished is 0 where all were cut: raise "
            "draw.max_tokens), nor do beliefs that are all ties, nor rows that all weigh 0",
            stacklevel=3,
        )


def _sink(tracker: Tracker, folder: Path, since: int, config: Mapping[str, Any]) -> Any:
    """A function (step, figures) for one tracker; step -1 closes it."""
    if tracker == "tensorboard":
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(str(folder / "tensorboard"), purge_step=since)

        def to_tensorboard(step: int, figures: Mapping[str, float]) -> None:
            if step < 0:
                writer.close()
            for name, value in figures.items():
                writer.add_scalar(name, value, step)

        return to_tensorboard
    try:
        import wandb
    except ImportError as error:
        raise SettingsError(
            "Weights & Biases is not installed; pip install 'accord[wandb]' or leave it out of trackers"
        ) from error
    session = wandb.init(project="accord", name=folder.name, dir=str(folder), config=dict(config), resume="allow")

    def to_wandb(step: int, figures: Mapping[str, float]) -> None:
        if step < 0:
            session.finish()
        else:
            session.log(dict(figures), step=step)

    return to_wandb

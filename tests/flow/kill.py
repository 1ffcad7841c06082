"""Kill a command at random instants, start it again each time, and see whether anybody could tell."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from accord.cli import main
from accord.run import read_log
from tests.flow.circle import figures, kept, weights
from tests.flow.warm import Begun, Fresh, alone

KILLS = 20 if os.environ.get("ACCORD_NIGHTLY") == "1" else 2
"""Kills per method: 2 in the default tests, 20 in the nightly ones."""


def command(*words: object) -> list[str]:
    """The program as a person starts it."""
    return [sys.executable, "-c", "import sys; from accord.cli import main; sys.exit(main())", *map(str, words)]


def assert_killed_ends_alike(
    shared: Path, folder: Path, method: str, *given: str, seed: int = 5
) -> tuple[Path, list[Path]]:
    """Train the version `new` in two copies of a project, one left alone and one killed again and again.

    Asserts that nobody could tell them apart: weights, store, figures of versions and of logs. Returns the project
    that was left alone, and its logs.
    """
    calm, rough = folder / "smooth", folder / "rough"
    for copy in (calm, rough):
        shutil.copytree(shared, copy)
    words = ["--start", "sft", "--name", "new", *given]
    assert main(["train", method, "--project", str(calm), *words]) == 0
    logs = sorted((calm / "runs").glob("new*/**/log.jsonl"))
    times = [row["time"] for log in logs for row in read_log(log)]
    kills = max(1, KILLS // 2)
    again = command("train", method, "--project", rough, *words)
    killed_and_resumed(again, kills, seed, folder=rough / "runs", span=0.6 * (max(times) - min(times)) / kills)
    assert weights(rough) == weights(calm)
    assert weights(calm)["new"] != weights(calm)["sft"]
    assert kept(rough) == kept(calm)
    for log in logs:
        assert figures(rough / log.relative_to(calm)) == figures(log)
    return calm, logs


def finished(command: Sequence[str], seconds: float = 300) -> str:
    """Run a command to its end. Returns what it printed; raises AssertionError with its errors when it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=alone(), check=False)
    assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}"
    return done.stdout


def killed_and_resumed(
    command: Sequence[str], kills: int, seed: int, folder: Path, span: float = 0.5, seconds: float = 300
) -> str:
    """`kill -9` a command `kills` times, then let it end. Returns what the last one printed.

    Each time the command is started and killed `uniform(0, span)` seconds after something in `folder` first changed
    (so that it really was at work), or, one time in four, at any instant since its start. Raises AssertionError when
    it ended by itself before it could be killed: make it longer then, or the span shorter. The first and the last are
    processes of their own from the beginning; those between are forked from one that has read the libraries, so that
    a kill takes no seconds of import, in which nothing is written.
    """
    draw = random.Random(seed)
    started = 0.0
    for kill in range(kills):
        delay, blind = draw.uniform(0, span), kill % 4 == 3 and started > 0
        before = _seen(folder)
        begun = time.monotonic()
        with tempfile.TemporaryDirectory() as aside:
            process = (Begun if kill else Fresh)(command, Path(aside) / "errors")
            while not blind and _seen(folder) == before and not process.over():
                assert time.monotonic() - begun < seconds, f"{' '.join(command)} did nothing in {seconds} s"
                time.sleep(0.002)
            if not blind and kill:
                started = time.monotonic() - begun
            time.sleep(draw.uniform(0, started + span) if blind else delay)
            ended = process.over()
            status = process.kill()
            assert not ended, f"kill {kill + 1} of {kills} came too late, {process.said()}"
            assert status == -signal.SIGKILL
    return finished(command, seconds)


def _seen(folder: Path) -> frozenset[tuple[str, int]]:
    """Names and sizes of the files in a folder, as far as they stand still."""
    found = set()
    for path in folder.rglob("*"):
        try:
            found.add((str(path), path.stat().st_size))
        except FileNotFoundError:
            continue
    return frozenset(found)

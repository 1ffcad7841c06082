"""A disk that is really full under PostgreSQL: people are told, nothing acknowledged is lost, and work goes on."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from accord.store.errors import is_full, trouble
from accord.web.app import FULL
from bench import crowd
from bench.postgres import cluster, why_not
from tests.web.test_kills import ready, sound, until_told


@contextmanager
def disk(size: int) -> Iterator[Path]:
    """A disk of its own; its path is short, for PostgreSQL puts a socket there."""
    with tempfile.TemporaryDirectory(prefix="accord-disk-") as folder:
        words = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=755", "tmpfs", folder]
        run = subprocess.run(words, capture_output=True, text=True)
        if run.returncode:
            pytest.skip(f"no disk of one's own can be mounted here: {run.stderr.strip()}")
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", folder], check=True)


def fill(filler: Path, but: int = 0) -> None:
    """Take all the room that is left, but for so much."""
    room = os.statvfs(filler.parent)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - but)


@pytest.fixture
def small() -> Iterator[Path]:
    """128 MB, where PostgreSQL can be started."""
    if why := why_not():
        pytest.skip(why)
    with disk(128 << 20) as made:
        yield made


def test_a_disk_that_fills_up_under_postgresql_is_told_and_loses_nothing(small: Path) -> None:
    filler = small / "filler"
    with cluster(small) as made:
        where = made.base("full")
        tokens = ready(where, 3)
        server, seen = crowd.Server(where), crowd.Seen()

        async def squeeze() -> None:
            await seen.more(20)
            fill(filler, 64 << 10)
            await until_told(seen, FULL)
            filler.unlink()
            await seen.more(20)
            seen.over = True

        async def both() -> None:
            await asyncio.gather(crowd.load(server.port, tokens, 300.0, 0, seen), squeeze())

        try:
            asyncio.run(both())
        finally:
            server.stop(kill=True)
        told = [one for one in seen.errors if FULL in one]
        assert told, f"it was not full: {len(seen.errors)} errors, {seen.errors[:2]}"
        assert [one for one in seen.errors if " 503 " not in one] == []
        assert len(seen.acknowledged) >= 40, "it did not go on when there was room"
        sound(where, [seen.acknowledged])


@pytest.mark.parametrize(
    ("words", "full"),
    [
        ("database or disk is full", True),
        ('could not extend file "base/5/1259": No space left on device', True),
        ('could not write to file "pg_wal/xlogtemp.7": Disk quota exceeded', True),
        ("connection refused", False),
    ],
)
def test_what_a_data_base_says_of_a_full_disk_leads_to_the_way_out(words: str, full: bool) -> None:
    error = OperationalError("INSERT", {}, Exception(words))
    assert is_full(error) is full
    assert ("free some space" in trouble(error)) is full

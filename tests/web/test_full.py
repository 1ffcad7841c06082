"""A disk that is really full under PostgreSQL: people are told, nothing acknowledged is lost, and work goes on."""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from accord.store.errors import is_full, trouble
from accord.web.app import FULL
from bench import crowd
from bench.postgres import cluster, why_not
from tests.web.test_kills import ready, sound, until_told

SIZE = 128 << 20


@pytest.fixture
def small() -> Iterator[Path]:
    """A disk of 128 MB of its own; its path is short, for the server puts a socket there."""
    if why := why_not():
        pytest.skip(why)
    with tempfile.TemporaryDirectory(prefix="accord-disk-") as folder:
        disk = Path(folder)
        words = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=755", "tmpfs", folder]
        run = subprocess.run(words, capture_output=True, text=True)
        if run.returncode:
            pytest.skip(f"no disk of one's own can be mounted here: {run.stderr.strip()}")
        try:
            yield disk
        finally:
            subprocess.run(["umount", folder], check=True)


def test_a_disk_that_fills_up_under_postgresql_is_told_and_loses_nothing(small: Path) -> None:
    filler = small / "filler"
    with cluster(small) as made:
        where = made.base("full")
        tokens = ready(where, 3)
        server, seen = crowd.Server(where), crowd.Seen()

        async def squeeze() -> None:
            await asyncio.sleep(0.8)
            room = os.statvfs(small)
            with filler.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, room.f_bavail * room.f_frsize - (64 << 10))
            await until_told(seen, FULL)
            filler.unlink()

        async def both() -> None:
            await asyncio.gather(crowd.load(server.port, tokens, 7.0, 0, seen), squeeze())

        try:
            asyncio.run(both())
            last = len(seen.acknowledged)
            after, _ = asyncio.run(crowd.load(server.port, tokens, 1.0, 0))
        finally:
            server.stop(kill=True)
        told = [one for one in seen.errors if FULL in one]
        assert told, f"it was not full: {len(seen.errors)} errors, {seen.errors[:2]}"
        assert [one for one in seen.errors if " 503 " not in one] == []
        assert last > 0
        assert len(after.acknowledged) > 0
        assert after.errors == []
        sound(where, [seen.acknowledged, after.acknowledged])


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

"""A short load over the public contract, on SQLite and on PostgreSQL: nothing fails, nothing is lost or too much."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from accord.store import Store
from bench import crowd, filled
from bench.postgres import Cluster, cluster, why_not


@pytest.fixture(scope="module")
def postgresql() -> Iterator[Cluster]:
    if why := why_not():
        pytest.skip(why)
    with cluster() as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "store.db")
    made: Cluster = request.getfixturevalue("postgresql")
    return made.base(f"load{time.monotonic_ns()}")


def test_two_workers_and_a_kill_in_the_middle_lose_nothing_that_was_acknowledged(where: str) -> None:
    """Clients go on through the fall of the server, with the same ids, as the contract says."""
    with Store.open(where) as store:
        store.put(filled.items(400, words=10))
        tokens = crowd.people_of(store, 6)
    first = crowd.Server(where, workers=2)

    async def fall() -> crowd.Server:
        await asyncio.sleep(1.2)
        first.stop(kill=True)
        return await asyncio.to_thread(crowd.Server, where, 2, None, first.port)

    async def both() -> tuple[crowd.Seen, crowd.Server]:
        (seen, _), second = await asyncio.gather(crowd.load(first.port, tokens, 5.0, 0), fall())
        return seen, second

    seen, second = asyncio.run(both())
    second.stop()
    assert seen.acknowledged
    refused = [one for one in seen.errors if one.startswith(("POST", "PUT"))]
    assert refused == [], "connections broke, but whoever was answered was answered well"
    with Store.open(where) as store:
        assert crowd.kept(store, seen.acknowledged) == (0, 0, 0)


def test_a_database_server_that_falls_is_met_again(postgresql: Cluster) -> None:
    """Answers that were acknowledged before PostgreSQL was killed are there after it came back."""
    where = postgresql.base(f"fall{time.monotonic_ns()}")
    with Store.open(where) as store:
        store.put(filled.items(300, words=10))
        tokens = crowd.people_of(store, 4)
    server = crowd.Server(where)

    async def fall() -> None:
        await asyncio.sleep(1.0)
        await asyncio.to_thread(postgresql.stop, True)
        await asyncio.to_thread(postgresql.start)

    async def both() -> crowd.Seen:
        (seen, _), _ = await asyncio.gather(crowd.load(server.port, tokens, 4.0, 0), fall())
        return seen

    seen = asyncio.run(both())
    os.killpg(server.process.pid, signal.SIGINT)
    server.process.wait(10)
    assert len(seen.acknowledged) > 4
    assert all(" 503 " in one for one in seen.errors), [one for one in seen.errors if " 503 " not in one][:3]
    with Store.open(where) as store:
        assert crowd.kept(store, seen.acknowledged) == (0, 0, 0)

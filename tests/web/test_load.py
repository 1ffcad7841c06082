"""A short load over the public contract, on SQLite and on PostgreSQL: nothing fails, nothing is lost or too much."""

from __future__ import annotations

import asyncio
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

    seen = crowd.Seen()

    async def fall() -> crowd.Server:
        await seen.more(10)
        first.stop(kill=True)
        second = await asyncio.to_thread(crowd.Server, where, 2, None, first.port)
        await seen.more(10)
        seen.over = True
        return second

    async def both() -> crowd.Server:
        return (await asyncio.gather(fall(), crowd.load(first.port, tokens, 300.0, 0, seen)))[0]

    asyncio.run(both()).stop()
    assert len(seen.acknowledged) > 18
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

    seen = crowd.Seen()

    async def fall() -> None:
        await seen.more(10)
        await asyncio.to_thread(postgresql.stop, True)
        await asyncio.to_thread(postgresql.start)
        await seen.more(10)
        seen.over = True

    async def both() -> None:
        await asyncio.gather(fall(), crowd.load(server.port, tokens, 300.0, 0, seen))

    asyncio.run(both())
    server.stop()
    assert len(seen.acknowledged) > 18
    assert all(" 503 " in one for one in seen.errors), [one for one in seen.errors if " 503 " not in one][:3]
    with Store.open(where) as store:
        assert crowd.kept(store, seen.acknowledged) == (0, 0, 0)

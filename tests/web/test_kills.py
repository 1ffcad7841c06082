"""kill -9 of the service and of PostgreSQL under load, again and again, and a disk that fills up under it.

A few kills in `make test`, fifty of each kind with ACCORD_NIGHTLY=1. Whatever was acknowledged is kept, once; the
counters are right; the store can be opened.
"""

from __future__ import annotations

import asyncio
import os
import random
import resource
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import text

from accord.store import Store, desk
from bench import crowd, filled
from bench.postgres import Cluster
from tests.store.test_tally import kept as counted
from tests.store.test_tally import walked
from tests.web.test_load import postgresql  # noqa: F401

NIGHTLY = os.environ.get("ACCORD_NIGHTLY") == "1"
KILLS = {"sqlite": 50 if NIGHTLY else 3, "service": 50 if NIGHTLY else 2, "database": 50 if NIGHTLY else 1}
PEOPLE, SECONDS = 6, 1.5


def ready(where: str, kills: int) -> list[str]:
    """A store with more questions than can be answered meanwhile; tokens of those who answer."""
    with Store.open(where) as store:
        store.put(filled.items(300 * (kills + 1), words=10, wanted=3))
        return crowd.people_of(store, PEOPLE)


def fought(port: int, tokens: list[str], fall: Callable[[], None], seed: int) -> tuple[list[str], list[str]]:
    """Ids of what was acknowledged before somebody fell at a moment of chance, and of what was after they came again.

    The fall waits for the first acknowledgement, so that there is something to lose.
    """
    moment, seen = random.Random(seed).uniform(0.2, SECONDS - 0.3), crowd.Seen()
    before = [0]

    async def falls() -> None:
        await asyncio.sleep(moment)
        await seen.more(1 - min(1, len(seen.acknowledged)))
        before[0] = len(seen.acknowledged)
        await asyncio.to_thread(fall)
        await asyncio.sleep(SECONDS - moment)
        seen.over = True

    async def both() -> None:
        await asyncio.gather(crowd.load(port, tokens, 300.0, 0, seen), falls())

    asyncio.run(both())
    answered = [one for one in seen.errors if one.startswith(("POST", "PUT"))]
    assert [one for one in answered if " 503 " not in one] == [], "who was answered was answered well, or told to wait"
    return seen.acknowledged[: before[0]], seen.acknowledged[before[0] :]


async def until_told(seen: crowd.Seen, words: str) -> None:
    """Wait until somebody was told so, and a moment more."""
    end = time.monotonic() + 60
    while not any(words in one for one in seen.errors) and time.monotonic() < end:
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.3)


def between(rounds: list[tuple[list[str], list[str]]]) -> list[list[str]]:
    """What was acknowledged before the first kill, between any two, and after the last."""
    first, *more = rounds
    found, after = [first[0]], first[1]
    for early, late in more:
        found.append(after + early)
        after = late
    return [*found, after]


def sound(where: str, spans: list[list[str]]) -> None:
    """Nothing lost, nothing doubled, nothing surplus; counters as a walk finds them; the file whole.

    spans: what was acknowledged between kills; there must be some in each but the last, and all of it must be there.
    """
    assert min(map(len, spans[:-1] or spans)) > 0, [len(span) for span in spans]
    acknowledged = [id for span in spans for id in span]
    assert len(acknowledged) == len(set(acknowledged))
    with Store.open(where) as store:
        for span in spans:
            assert set(store.feedback_state(span)) == set(span)
        assert crowd.kept(store, acknowledged) == (0, 0, 0)
        assert counted(store) == walked(store)
        assert desk.progress(store, filled.PROJECT).answered >= len(acknowledged)
        if not where.startswith("postgresql"):
            with store.reading() as connection:
                assert connection.scalar(text("PRAGMA integrity_check")) == "ok"


def test_kills_of_the_service_on_sqlite(tmp_path: Path) -> None:
    where = str(tmp_path / "store.db")
    tokens, rounds = ready(where, KILLS["sqlite"]), []
    server = [crowd.Server(where)]

    def fall() -> None:
        server[0].stop(kill=True)
        server[0] = crowd.Server(where, port=server[0].port)

    for number in range(KILLS["sqlite"]):
        rounds.append(fought(server[0].port, tokens, fall, number))
    server[0].stop()
    sound(where, between(rounds))


def test_kills_of_the_service_and_of_postgresql(postgresql: Cluster) -> None:  # noqa: F811
    kills = KILLS["service"] + KILLS["database"]
    where = postgresql.base(f"kills{time.monotonic_ns()}")
    tokens, rounds = ready(where, kills), []
    server = [crowd.Server(where, workers=2)]

    def service_falls() -> None:
        server[0].stop(kill=True)
        server[0] = crowd.Server(where, 2, None, server[0].port)

    def database_falls() -> None:
        postgresql.stop(True)
        postgresql.start()

    falls = [service_falls] * KILLS["service"] + [database_falls] * KILLS["database"]
    random.Random(0).shuffle(falls)
    try:
        for number, fall in enumerate(falls):
            rounds.append(fought(server[0].port, tokens, fall, number))
    finally:
        server[0].stop(kill=True)
    sound(where, between(rounds))


def test_a_disk_that_fills_up_under_load_is_told_and_loses_nothing(tmp_path: Path) -> None:
    """The kernel itself refuses to let the files grow (RLIMIT_FSIZE); then there is room again."""
    where = str(tmp_path / "store.db")
    tokens = ready(where, 2)
    server = crowd.Server(where)

    def allow(size: int) -> None:
        _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size, hard))

    seen = crowd.Seen()

    async def squeeze() -> None:
        await seen.more(20)
        allow(64_000)  # so little that no log that begins anew fits in either
        await until_told(seen, " 503 ")
        allow(resource.RLIM_INFINITY)
        await seen.more(20)
        seen.over = True

    async def both() -> None:
        await asyncio.gather(crowd.load(server.port, tokens, 300.0, 0, seen), squeeze())

    try:
        asyncio.run(both())
    finally:
        server.stop(kill=True)
    told = [one for one in seen.errors if " 503 " in one]
    assert told, "it was not full"
    assert len(seen.acknowledged) >= 40, "it did not go on when there was room"
    assert [one for one in seen.errors if " 503 " not in one] == []
    sound(where, [seen.acknowledged])

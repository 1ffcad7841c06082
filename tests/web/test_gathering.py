"""Requests that come while others are served are served as one group."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from accord.web.gathering import Gathering


def test_groups_form_while_somebody_is_served_and_each_gets_their_own_reply() -> None:
    groups, free = list[list[int]](), threading.Event()

    def serve(given: Sequence[int]) -> list[int]:
        groups.append(list(given))
        assert free.wait(10)
        return [10 * one for one in given]

    async def all() -> list[int]:
        gathering = Gathering(serve, most=4)
        first = asyncio.create_task(gathering(0))
        while not groups:
            await asyncio.sleep(0.001)
        others = [asyncio.create_task(gathering(one)) for one in range(1, 7)]
        await asyncio.sleep(0.01)
        others[1].cancel()
        free.set()
        done = await asyncio.gather(first, *others, return_exceptions=True)
        assert isinstance(done.pop(2), asyncio.CancelledError)
        return [*done, await gathering(9)]

    assert asyncio.run(all()) == [0, 10, 30, 40, 50, 60, 90]
    assert groups == [[0], [1, 2, 3, 4], [5, 6], [9]]


def test_a_reply_that_is_an_error_is_raised_to_its_own_and_one_of_all_to_all() -> None:
    def serve(given: Sequence[str]) -> list[str | Exception]:
        if "bad" in given:
            raise OSError("the disk")
        return [KeyError(one) if one == "odd" else one for one in given]

    async def all() -> None:
        gathering = Gathering(serve)
        done = await asyncio.gather(gathering("a"), gathering("odd"), gathering("b"), return_exceptions=True)
        assert [done[0], type(done[1]), done[2]] == ["a", KeyError, "b"]
        with pytest.raises(OSError, match="the disk"):
            await gathering("bad")
        assert await gathering("c") == "c"

    asyncio.run(all())

"""Requests served together: what comes while others are served waits for their end and is then served as one group.

Nobody waits for company: the first is served alone, and under load the groups grow by themselves. A group takes one
trip to the thread pool, where each of its requests would take one of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar, final

from fastapi.concurrency import run_in_threadpool

A = TypeVar("A")
R = TypeVar("R")


@final
class Gathering(Generic[A, R]):
    """serve: a reply to each of several requests, in their order, on a thread; what it raises, all of them get.

    A reply that is an exception is raised to the one whose it is. most: requests that are served together. Of one event
    loop.
    """

    def __init__(self, serve: Callable[[Sequence[A]], Sequence[R | Exception]], most: int = 32) -> None:
        self._serve, self._most = serve, most
        self._waiting: list[tuple[A, asyncio.Future[R]]] = []
        self._work: asyncio.Task[None] | None = None

    async def __call__(self, given: A) -> R:
        """The reply to one request."""
        reply: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((given, reply))
        if self._work is None:
            self._work = asyncio.create_task(self._all())
        return await reply

    async def _all(self) -> None:
        """Serve until nobody waits."""
        try:
            while self._waiting:
                group, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                await self._group(group)
        finally:
            self._work = None

    async def _group(self, group: list[tuple[A, asyncio.Future[R]]]) -> None:
        try:
            replies = await run_in_threadpool(self._serve, [given for given, _ in group])
            for (_, waits), reply in zip(group, replies, strict=True):
                if waits.done():  # whoever asked has gone
                    continue
                if isinstance(reply, Exception):
                    waits.set_exception(reply)
                else:
                    waits.set_result(reply)
        except BaseException as error:
            for _, waits in group:
                if not waits.done():
                    waits.set_exception(error)
            if not isinstance(error, Exception):
                raise

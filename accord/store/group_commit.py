"""One writer at a time, and one trip to the disk for all who waited: group commit for SQLite.

Writers take turns. Who finds others waiting does not commit but hands the open transaction on, and waits; the last
of them, or the one that fills the group, commits for all. Nobody is told that something is kept before it is on
disk, and what one writer did wrong is undone without the others (a savepoint).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine

from accord.store.prepared import bare

MOST = 32
"""Writers whose work goes to disk together."""
_LOOK = 0.25


class _Group:
    """A transaction that several writers share, one after the other."""

    def __init__(self, pen: Connection) -> None:
        self.connection = pen
        try:
            self.transaction = pen.begin()
        except BaseException:
            pen.close()
            raise
        self.size = 0
        self.done = threading.Event()
        self.error: BaseException | None = None

    def undone(self) -> bool:
        """Whether SQLite took the whole transaction back by itself, as it may when the disk is full."""
        raw = self.connection.connection.driver_connection
        return raw is not None and not raw.in_transaction

    def fail(self, error: BaseException) -> None:
        """Nothing of the group is kept: everybody in it is told what one of them met."""
        self.error = error
        self._away()
        self.done.set()

    def finish(self, keep: bool = True) -> None:
        """To disk, or away; everybody who waits is told."""
        try:
            if keep:
                self.transaction.commit()
            else:
                self.transaction.rollback()
        except BaseException as error:
            self.error = error
            self._away()
        finally:
            self.done.set()

    def _away(self) -> None:
        """Nobody knows what state the connection is in."""
        self.connection.invalidate()
        self.connection.close()


class Turns:
    """The right to write to one SQLite file, within this process."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._turn = threading.Lock()
        self._count = threading.Lock()
        self._waiting = 0
        self._open: _Group | None = None
        self._pen: Connection | None = None

    @contextmanager
    def turn(self) -> Iterator[Connection]:
        """A write transaction; on disk when it ends without error. What the commit raises, all of the group get."""
        self._wait()
        group = None
        try:
            group = self._open or _Group(self._held())
            self._open = None
            yield from self._work(group)
        finally:
            # Whatever happened, the group is either handed on or done, and the turn is free.
            if group is not None and not group.done.is_set():
                if self._waiting and group.size < MOST:
                    self._open = group
                else:
                    group.finish()
            self._turn.release()
        while not group.done.wait(_LOOK):
            self._nobody_came(group)
        if group.error is not None:
            raise group.error

    @contextmanager
    def alone(self) -> Iterator[None]:
        """The turn without a transaction, for acts on the whole file; what others left open is on disk before."""
        self._wait()
        try:
            if self._open is not None:
                self._open.finish()
                self._open = None
            yield
        finally:
            self._turn.release()

    def close(self) -> None:
        """Give the connection back; who writes after this takes another."""
        if self._pen is not None and not self._pen.in_transaction():
            self._pen.close()
            self._pen = None

    def _held(self) -> Connection:
        """The connection that all groups write by: taking a new one costs more than an answer does."""
        if self._pen is None or self._pen.closed or self._pen.invalidated:
            self._pen = self._engine.connect().execution_options(immediate=True)
        return self._pen

    def _wait(self) -> None:
        with self._count:
            self._waiting += 1
        try:
            self._turn.acquire()
        finally:
            with self._count:
                self._waiting -= 1

    def _work(self, group: _Group) -> Iterator[Connection]:
        """The body of one writer. The first needs no savepoint: what it did wrong is all there is to undo."""
        if group.size:
            bare(group.connection, "SAVEPOINT writer")
        try:
            yield group.connection
        except BaseException as error:
            if not group.size:
                group.finish(keep=False)
            elif group.undone():
                group.fail(error)
            else:
                bare(group.connection, "ROLLBACK TO writer")
                bare(group.connection, "RELEASE writer")
            raise
        if group.size:
            bare(group.connection, "RELEASE writer")
        group.size += 1

    def _nobody_came(self, group: _Group) -> None:
        """The writer for whom the group was left open never took its turn (it was interrupted): commit for it."""
        if self._turn.acquire(blocking=False):
            try:
                if self._open is group:
                    self._open = None
                    group.finish()
            finally:
                self._turn.release()

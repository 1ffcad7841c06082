"""Connections and transactions: SQLite by default, PostgreSQL by another URL."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, insert, inspect, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DisconnectionError

from accord.store import migrations, schema
from accord.store.errors import OF_THE_DATABASE, StoreError, busy, closed
from accord.store.group_commit import Turns
from accord.store.prepared import bare
from accord.store.waiting import tell

_PATIENCE = 60.0
_QUIET = 2.0
"""Seconds that a writer waits for another without a word."""
_WAITING = f"PRAGMA busy_timeout = {int(_PATIENCE * 1000)}"


class Database:
    """An engine, with the two kinds of transaction that the store needs."""

    def __init__(self, where: str | Path) -> None:
        text = str(where)
        url = make_url(text if "://" in text else f"sqlite:///{text}")
        self.sqlite = url.get_backend_name() == "sqlite"
        if self.sqlite and not url.database:
            raise StoreError(f"{text} names no file: a store outlives its process, so give a path (store.db)")
        self.path = Path(url.database) if self.sqlite and url.database else None
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        # Those beyond `pool_size` are closed after each use, and PostgreSQL needs a new process for each.
        options: dict[str, Any] = {"max_overflow": 64, "pool_use_lifo": True, "pool_size": 10}
        if self.sqlite:
            options |= {"connect_args": {"timeout": _PATIENCE}, "pool_size": 16}
        self.engine: Engine = create_engine(url, **options)
        self._reader = self.engine
        # SQLite has one writer; turns are quick where its own waiting is not.
        self._turns = Turns(self.engine)
        if self.sqlite:
            event.listen(self.engine, "connect", _settle)
            event.listen(self.engine, "begin", partial(_begin, self.path))
        else:
            # A read is one statement or several that need no common moment: no BEGIN, no COMMIT.
            self._reader = create_engine(url, isolation_level="AUTOCOMMIT", **options)
            for engine in (self.engine, self._reader):
                event.listen(engine, "checkin", _put_down)
                event.listen(engine, "checkout", partial(_pick_up, engine.dialect.loaded_dbapi.Error))
        try:
            self._create()
        except OF_THE_DATABASE as error:
            if self.path is None or not closed(error):
                raise
            why = getattr(error, "orig", None) or error
            raise StoreError(
                f"{self.path} cannot be opened for writing ({why}), and SQLite writes beside it even to read: take the "
                f"right to write into {self.path.parent} and what is in it, or copy it to where you may"
            ) from error

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A short transaction that changes nothing."""
        with self._reader.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def looking(self) -> Iterator[Connection]:
        """For prepared statements that need no common moment: each sees what stands when it is run."""
        with self._reader.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that holds the write lock from its first statement; on disk when it ends without error."""
        if not self.sqlite:
            with self.engine.begin() as connection:
                yield connection
            return
        with self._turns.turn() as connection:
            yield connection

    def rewrite(self) -> None:
        """Write all tables anew, so that no byte of what was removed is left in the file or its log.

        Raises StoreError when others keep the file busy for a minute. On PostgreSQL the server's own log and its
        backups are beyond our reach.
        """
        if not self.sqlite:
            with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.exec_driver_sql("VACUUM FULL")
            return
        with self._turns.alone():
            raw = self.engine.raw_connection()
            try:
                _patiently(lambda: raw.cursor().execute("VACUUM"))
                end = time.monotonic() + _PATIENCE
                while raw.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                    if time.monotonic() > end:
                        raise StoreError(
                            f"{self.path} is being read all the time, so the log cannot be emptied: "
                            "stop what serves it and give the same command again"
                        )
                    time.sleep(0.05)
            finally:
                raw.close()

    def close(self) -> None:
        """Give all connections back."""
        self._turns.close()
        self.engine.dispose()
        self._reader.dispose()

    def _create(self) -> None:
        """Make the tables where there are none. Several processes may open a new store at once."""
        if self.sqlite:
            _patiently(self._keep_a_log)
            if self._stands():
                return
        with self.writing() as connection:
            if not self.sqlite:
                connection.exec_driver_sql("SELECT pg_advisory_xact_lock(8272341)")
            schema.metadata.create_all(connection)
            found = connection.scalar(select(schema.meta.c.value).where(schema.meta.c.name == "schema"))
            if found is None:
                rows = [{"name": "schema", "value": schema.SCHEMA}, {"name": "place", "value": 0}]
                connection.execute(insert(schema.meta), rows)
            else:
                migrations.climb(connection, int(found))

    def _stands(self) -> bool:
        """Whether a file has today's tables. Who only opens it does not wait for who writes into it at the moment.

        Raises what SQLite says of a file that may not be written.
        """
        with self.reading() as connection:
            if not set(schema.metadata.tables) <= set(inspect(connection).get_table_names()):
                return False
            if connection.scalar(select(schema.meta.c.value).where(schema.meta.c.name == "schema")) != schema.SCHEMA:
                return False
        raw = self.engine.raw_connection()
        cursor = raw.cursor()
        try:
            cursor.execute("PRAGMA busy_timeout = 0")
            cursor.execute("BEGIN IMMEDIATE")
            cursor.execute("ROLLBACK")
        except OF_THE_DATABASE as error:
            if not busy(error):
                raise
        finally:
            cursor.execute(_WAITING)
            raw.close()
        return True

    def _keep_a_log(self) -> None:
        """Write-ahead log: readers do not wait for the writer. It is a property of the file."""
        raw = self.engine.raw_connection()
        try:
            raw.cursor().execute("PRAGMA journal_mode = WAL")
        finally:
            raw.close()


def _settle(raw: Any, _: object) -> None:
    """Every connection: no hidden transactions, wait for others, and acknowledged means on disk."""
    raw.isolation_level = None
    cursor = raw.cursor()
    cursor.execute(_WAITING)
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


def _put_down(raw: Any, record: Any) -> None:
    """When a connection was last known to be good."""
    record.info["good"] = time.monotonic()


def _pick_up(broken: type[Exception], raw: Any, record: Any, _: object) -> None:
    """A connection that lay for a while is tried before it is used; the server may have been started again."""
    if time.monotonic() - record.info.get("good", time.monotonic()) < 1:
        return
    try:
        raw.execute("SELECT 1")
        raw.rollback()
    except broken as error:
        raise DisconnectionError from error


def _begin(path: Path | None, connection: Connection) -> None:
    """A writer takes the lock at once: a reader that becomes a writer could only fail. Who has to wait is told so."""
    if not connection.get_execution_options().get("immediate", False):
        bare(connection, "BEGIN")
        return
    raw: Any = connection.connection.driver_connection
    quiet = min(_QUIET, _PATIENCE)
    raw.execute(f"PRAGMA busy_timeout = {int(quiet * 1000)}")
    try:
        raw.execute("BEGIN IMMEDIATE")
    except OF_THE_DATABASE as error:
        if busy(error):
            tell(path, quiet, _PATIENCE)
    finally:
        raw.execute(_WAITING)
    if not raw.in_transaction:  # what was no matter of waiting is met again, under the name that it has everywhere
        bare(connection, "BEGIN IMMEDIATE")


def _patiently(act: Any) -> None:
    """Changing the journal does not wait for others by itself, so we do."""
    end = time.monotonic() + _PATIENCE
    while True:
        try:
            return act()
        except OF_THE_DATABASE as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.02)

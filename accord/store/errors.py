"""What the store refuses, and what to do about it."""

from __future__ import annotations

import sqlite3

from sqlalchemy.exc import DBAPIError

OF_THE_DATABASE = (DBAPIError, sqlite3.DatabaseError)
"""What a data base says when it cannot do its work: no room on the disk, no store in the file, no server."""


_FULL = ("disk is full", "No space left on device", "File too large", "Disk quota exceeded")


class StoreError(Exception):
    """Anything that the store will not do; the message names the record and the way out."""


class Conflict(StoreError):
    """An id that is taken by a record with other content. Records are never changed."""

    def __init__(self, kind: str, id: str) -> None:
        super().__init__(
            f"{kind} {id} is already kept with other content; records are never changed: "
            "give the new one an id of its own (and, for feedback, name the old one in `replaces`)"
        )
        self.kind = kind
        self.id = id


class Missing(StoreError, KeyError):
    """An id that the store does not hold."""

    def __init__(self, kind: str, ids: list[str], way_out: str = "put it first, or check the id and the store") -> None:
        shown = ", ".join(ids[:5]) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
        super().__init__(f"no {kind} {shown} in this store: {way_out}")
        self.kind = kind
        self.ids = ids

    def __str__(self) -> str:
        """The sentence itself; KeyError alone would put it in quotes."""
        return str(self.args[0])


class Refused(StoreError, ValueError):
    """An act that the rules of asking and answering do not allow."""


def is_full(error: BaseException) -> bool:
    """Whether a data base could not write because its disk, or what it may use of it, is full."""
    said = str(getattr(error, "orig", None) or error)
    return any(words in said for words in _FULL)


def _named(error: BaseException, *names: str) -> bool:
    """Whether SQLite calls it by a name that begins so."""
    found = getattr(getattr(error, "orig", None) or error, "sqlite_errorname", "")
    return str(found).startswith(names)


def closed(error: BaseException) -> bool:
    """Whether SQLite may not write to a file or its folder, or cannot open it at all."""
    return _named(error, "SQLITE_READONLY", "SQLITE_CANTOPEN")


def busy(error: BaseException) -> bool:
    """Whether somebody else was writing into SQLite's file for longer than was waited."""
    return _named(error, "SQLITE_BUSY")


def trouble(error: BaseException) -> str:
    """What a data base met, in a sentence with the way out; of several errors in a row, the first is the cause."""
    first: BaseException = error
    while isinstance(first.__context__, OF_THE_DATABASE):
        first = first.__context__
    why = str(getattr(first, "orig", None) or first).splitlines()[0][:200]
    way = "free some space" if is_full(first) else "look at the file or the server"
    if busy(first):
        way = "another command has been writing into it for a minute, a long import perhaps; wait until that has ended"
    if _named(first, "SQLITE_IOERR_WRITE"):
        way = "look whether a quota or a limit of files' sizes (ulimit -f) is used up, or the disk fails,"
    if _named(first, "SQLITE_CORRUPT"):
        way = "the file is damaged, as a copy made while somebody wrote can be; take a whole one (docs/data.md, Copies)"
    return f"the store cannot do its work ({why}). Nothing of this act was kept: {way} and give the same command again"

"""Who waits for another writer of a SQLite file is told for whom, where the system knows it."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

LOCKS = Path("/proc/locks")
"""Locks on files and who holds them, on Linux."""
WRITER = 120
"""Byte of the file of shared memory beside a store (`-shm`) that SQLite's writer locks (sqlite.org/walformat.html)."""


def tell(path: Path | None, waited: float, most: float) -> None:
    """Warn, after so many seconds, that somebody else is writing into the file. most: seconds that we go on waiting."""
    writer = holder(path) if path is not None else None
    who = "another command" if writer is None else f"process {writer}"
    warnings.warn(
        f"waiting to write into {path}: {who} has been writing there for {waited:g} seconds or more. "
        f"We wait up to {most:g} seconds longer; Ctrl+C leaves everything as it was",
        stacklevel=2,
    )


def holder(path: Path) -> int | None:
    """The process that writes into a SQLite file at the moment; None where nobody does or the system does not say.

    Read from the system's list: whoever opens the file of shared memory himself and closes it loses all locks on it.
    """
    try:
        number = str(os.stat(f"{path}-shm").st_ino)
        lines = LOCKS.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    for line in lines:
        parts = line.split()
        if len(parts) != 8 or parts[1] != "POSIX" or parts[3] != "WRITE" or parts[5].rpartition(":")[2] != number:
            continue
        first, last = int(parts[6]), parts[7]
        if first <= WRITER and (last == "EOF" or int(last) >= WRITER) and int(parts[4]) > 0:
            return int(parts[4])
    return None

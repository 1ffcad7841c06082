"""The same file under another name: its rows would be believed twice, so it is known by its content."""

from __future__ import annotations

import hashlib
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import Column, Float, MetaData, String, Table, insert, select

from accord.store import files
from accord.store.exchange import Report, import_file
from accord.store.files import Limits
from accord.store.store import Store

metadata = MetaData()
read = Table(
    "read",
    metadata,
    Column("digest", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("made", Float, nullable=False),
)
"""Files that were read: SHA-256 of their rows, and the name under which they came first."""


def copied(store: Store, path: Path, limits: Limits | None = None) -> str:
    """The other name under which the rows of a file were read before; empty when they were not, or under this name.

    Packing by gzip and the end of the last line make no other file. Raises Refused for a file that cannot be read.
    """
    store.tables(metadata)
    with store.reading() as connection:
        before = connection.scalar(select(read.c.name).where(read.c.digest == _digest(path, limits or Limits())))
    return "" if before is None or before == plain(path) else str(before)


def remember(store: Store, path: Path, limits: Limits | None = None) -> None:
    """Keep under which name the rows of a file were read first."""
    store.tables(metadata)
    digest = _digest(path, limits or Limits())
    with store.writing() as connection:
        if connection.scalar(select(read.c.name).where(read.c.digest == digest)) is None:
            connection.execute(insert(read).values(digest=digest, name=plain(path), made=time.time()))


def bring(store: Store, pattern: Path, test_share: float) -> Report:
    """Put the files of a path or pattern into a store, as `import_file` does, but none whose rows are there already
    under another name: that is told in a warning, for its rows would be believed twice.
    """
    report = Report()
    for path in files.found(pattern):
        if before := copied(store, path):
            warnings.warn(
                f"{path.name}: its rows came as {before!r} already, so nothing of it was added; name each file once "
                f"(`accord import --again {path.name}` would believe them twice)",
                stacklevel=2,
            )
            continue
        report.add(import_file(store, path, test_share=test_share))
        remember(store, path)
    return report


def plain(path: Path) -> str:
    """The name of a file without its endings, which is what its rows are called by."""
    return path.name.removesuffix(".gz").removesuffix(".jsonl").removesuffix(".parquet")


def _digest(path: Path, limits: Limits) -> str:
    """SHA-256 of the rows of a file: its lines, or the bytes of a Parquet file."""
    found = hashlib.sha256()
    for piece in _pieces(path, limits):
        found.update(piece)
    return found.hexdigest()


def _pieces(path: Path, limits: Limits) -> Iterator[bytes]:
    if path.suffix == ".parquet":
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                yield block
        return
    for line in files.lines(path, limits):
        yield b"" if line is None else line.rstrip(b"\r") + b"\n"

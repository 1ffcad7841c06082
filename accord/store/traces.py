"""What is left of a person's words after an erasure: every column of every table, and every byte of every file."""

from __future__ import annotations

import bz2
import gzip
import html
import json
import lzma
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from sqlalchemy import MetaData, String, or_, select

from accord.store.belongings import Known, parts
from accord.store.store import Store

BLOCK = 1 << 22
DEEP = 3
"""Packings within each other that are opened."""


@dataclass(frozen=True)
class Held:
    """A file that still holds something, or that could not be looked into."""

    path: Path
    """Which."""
    why: str = ""
    """Why it could not be looked into; empty when something was found."""


def left(store: Store, who: Known) -> list[str]:
    """Columns in which the person, or words of theirs, can still be found; all tables are searched, ours or not."""
    names = [word for word in (who.pseudonym, who.name, who.person) if word]
    words = [f'"{word}"' for word in names]
    for piece in who.pieces[:400]:
        words += {piece, json.dumps(piece, ensure_ascii=False)[1:-1]}
    found, tables = [], MetaData()
    with store.reading() as connection:
        tables.reflect(connection)
        for table in tables.sorted_tables:
            for column in table.columns:
                if not isinstance(column.type, String):
                    continue
                for part in parts(words, 50):
                    hit = or_(column.in_(names), *(column.contains(word, autoescape=True) for word in part))
                    if connection.execute(select(column).where(hit).limit(1)).first() is not None:
                        found.append(f"{table.name}.{column.name}")
                        break
    return found


def in_files(folder: Path, who: Known, texts: bool = True) -> list[Held]:
    """Files of a folder that still hold the person's names or, with `texts`, pieces of their words.

    Every byte is read: of the store and its log, of copies of it, of weights, checkpoints and logs; and what is packed
    by gzip, bzip2, xz, zip or tar, or as Parquet, is unpacked. Pictures of texts, other packings and texts shorter
    than eight signs are not seen.
    """
    words = [word for word in (who.pseudonym, who.name, who.person) if len(word) >= 6]
    words += who.pieces if texts else ()
    forms = {form for word in words for form in (word, json.dumps(word)[1:-1], html.escape(word))}
    forms |= {json.dumps(word, ensure_ascii=False)[1:-1] for word in words}
    needles = [form.encode("utf-8", "surrogatepass") for form in sorted(forms)]
    found = []
    for path in sorted(folder.rglob("*")) if needles else ():
        if not path.is_file() or path.is_symlink():
            continue
        try:
            with path.open("rb") as file:
                if _holds(file, needles, DEEP):
                    found.append(Held(path))
        except Exception as error:  # a packed file may be broken or locked in as many ways as there are packings
            found.append(Held(path, f"{type(error).__name__}: {error}"[:100]))
    return found


def _holds(file: IO[bytes], needles: Sequence[bytes], deep: int) -> bool:
    """Whether one of the needles stands in a file as it is, or in what is packed in it."""
    start = file.read(8)
    file.seek(0)
    if _read(file, needles):
        return True
    file.seek(0)
    return deep > 0 and any(_holds(inner, needles, deep - 1) for inner in _unpacked(file, start))


def _read(file: IO[bytes], needles: Sequence[bytes]) -> bool:
    longest, kept = max(len(needle) for needle in needles), b""
    while block := file.read(BLOCK):
        if any(needle in kept + block for needle in needles):
            return True
        kept = block[-longest:]
    return False


def _unpacked(file: Any, start: bytes) -> Iterator[Any]:
    """What is packed in a file, by its first bytes; nothing for a plain one. A tar's members lie in it as they are."""
    if start.startswith(b"\x1f\x8b"):
        with gzip.open(file) as inner:
            yield inner
    elif start.startswith(b"BZh"):
        with bz2.open(file) as inner:
            yield inner
    elif start.startswith(b"\xfd7zXZ\x00"):
        with lzma.open(file) as inner:
            yield inner
    elif start.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(file) as packed:
            for name in packed.namelist():
                with packed.open(name) as member:
                    yield member
    elif start.startswith(b"PAR1"):
        yield from _parquet(file)
    elif tarfile.is_tarfile(file):
        file.seek(0)
        with tarfile.open(fileobj=file) as packed_tar:
            for part in packed_tar:
                if (held := packed_tar.extractfile(part)) is not None:
                    yield held


def _parquet(file: Any) -> Iterator[Any]:
    """The rows of a Parquet file, a batch at a time, as JSON."""
    import io

    from accord.store.files import _arrow

    with _arrow().ParquetFile(file) as packed:
        for batch in packed.iter_batches(batch_size=256):
            rows = batch.to_pylist()
            yield io.BytesIO("\n".join(json.dumps(row, ensure_ascii=False, default=str) for row in rows).encode())

"""Rows of files, which may be hostile, and rows into files."""

from __future__ import annotations

import glob
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from pydantic import Field

from accord.config import Settings
from accord.store.errors import Refused, StoreError
from accord.whole import replacing

_BLOCK = 1 << 20
_MEMORY = 1 << 26


class Limits(Settings):
    """How much of a file is believed before it is called hostile."""

    bytes: int = Field(4 << 30, ge=1)
    """Largest size of one file after decompression. A file that grows beyond it is refused as a whole."""
    line: int = Field(16 << 20, ge=1)
    """Longest line (or Parquet row) in bytes. A longer one is a bad row; it is never held in memory."""
    bad: int = Field(10_000, ge=0)
    """How many bad rows are named in a report; the rest are only counted."""


@dataclass(frozen=True)
class Raw:
    """One row as it stands in a file: a mapping, or the reason why it is none."""

    file: str
    line: int
    """Counted from 1; in Parquet the number of the row."""
    values: dict[str, Any]
    reason: str = ""


def found(pattern: str | Path) -> list[Path]:
    """Files that a path or pattern names, in order of name. Raises Refused when there is none."""
    if Path(pattern).is_file():
        return [Path(pattern)]
    paths = sorted(Path(name) for name in glob.glob(str(pattern), recursive=True) if Path(name).is_file())
    if not paths:
        raise Refused(f"no file is named by {pattern}: give a file or a pattern such as data/*.jsonl.gz")
    return paths


def rows(path: Path, limits: Limits) -> Iterator[Raw]:
    """The rows of a JSONL, JSONL.gz or Parquet file. Raises Refused for a file that cannot be read to its end."""
    if path.suffix == ".parquet":
        yield from _parquet_rows(path, limits)
        return
    for number, line in enumerate(lines(path, limits), start=1):
        if line is None:
            yield Raw(path.name, number, {}, f"line is longer than {limits.line} bytes (setting `line`)")
        elif line.strip():
            yield _parsed(path.name, number, line)


def lines(path: Path, limits: Limits) -> Iterator[bytes | None]:
    r"""Lines ended by "\n" and nothing else (texts may hold U+2028); None for one that is too long."""
    kept, skipping = bytearray(), False
    for block in _blocks(path, limits):
        *ended, rest = block.split(b"\n")
        for piece in ended:
            kept += piece
            yield None if skipping or len(kept) > limits.line else bytes(kept)
            kept, skipping = bytearray(), False
        kept += rest
        if len(kept) > limits.line:
            kept, skipping = bytearray(), True
    if kept or skipping:
        yield None if skipping else bytes(kept)


def _blocks(path: Path, limits: Limits) -> Iterator[bytes]:
    """Decompressed bytes, a block at a time, up to the limit."""
    total = 0
    with path.open("rb") as raw, gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw as file:
        while True:
            try:
                block = file.read(_BLOCK)
            except (OSError, EOFError, zlib.error) as error:
                raise Refused(f"{path.name} cannot be read after {total} bytes: {error}; fetch it again") from error
            total += len(block)
            if total > limits.bytes:
                raise Refused(
                    f"{path.name} is larger than {limits.bytes} bytes when decompressed; "
                    "if you trust it, raise the setting `bytes`"
                )
            if not block:
                return
            yield block


def _parsed(name: str, number: int, line: bytes) -> Raw:
    """A line of JSON as a mapping, or why not."""
    try:
        # Some programs of Windows open a file with a mark of the byte order, which is no part of the first row.
        values = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError as error:
        return Raw(name, number, {}, f"not UTF-8 at byte {error.start}")
    except RecursionError:
        return Raw(name, number, {}, "nested too deeply")
    except ValueError as error:
        return Raw(name, number, {}, f"not JSON: {error}"[:200])
    if isinstance(values, list) and number == 1:
        return Raw(name, number, {}, f"a list of {len(values)}; write one row a line: jq -c '.[]' {name} > rows.jsonl")
    if not isinstance(values, dict):
        return Raw(name, number, {}, f"a row is a mapping of names to values, not {type(values).__name__}")
    return Raw(name, number, values)


def _arrow() -> Any:
    """pyarrow's Parquet module; an optional dependency."""
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise StoreError("Parquet needs pyarrow: pip install accord[parquet]") from error
    return parquet


def _parquet_rows(path: Path, limits: Limits) -> Iterator[Raw]:
    """Rows of a Parquet file, a batch at a time."""
    parquet, number, total = _arrow(), 0, 0
    try:
        with parquet.ParquetFile(path) as file:
            groups = range(file.metadata.num_row_groups)
            claimed = sum(file.metadata.row_group(group).total_byte_size for group in groups)
            if claimed > limits.bytes:
                raise Refused(f"{path.name} claims {claimed} bytes, more than the setting `bytes` ({limits.bytes})")
            for batch in file.iter_batches(batch_size=_rows_at_once(file.metadata)):
                total += batch.nbytes
                if total > limits.bytes:
                    raise Refused(f"{path.name} grows beyond {limits.bytes} bytes (setting `bytes`)")
                for values in _of_batch(batch, limits):
                    number += 1
                    if values is None:
                        yield Raw(path.name, number, {}, f"row is longer than {limits.line} bytes (setting `line`)")
                    else:
                        yield Raw(path.name, number, values)
    except (OSError, ValueError, OverflowError) as error:
        if isinstance(error, StoreError):
            raise
        raise Refused(f"{path.name} is no readable Parquet file: {error}"[:300]) from error


def _of_batch(batch: Any, limits: Limits) -> Iterator[dict[str, Any] | None]:
    """Rows of a batch; None for one that is too long, which is then never turned into Python's objects."""
    if batch.nbytes <= limits.line:
        yield from batch.to_pylist()
        return
    for at in range(batch.num_rows):
        row = batch.slice(at, 1)
        yield None if row.nbytes > limits.line else row.to_pylist()[0]


def _rows_at_once(metadata: Any) -> int:
    """So few rows that they fit into memory even when each of them names the largest value there can be.

    A dictionary holds a long text once and a thousand rows name it by number: what is small in the file is not small
    when it is read.
    """
    groups = [metadata.row_group(at) for at in range(metadata.num_row_groups)]
    sizes = [group.column(at).total_uncompressed_size for group in groups for at in range(group.num_columns)]
    return max(1, min(256, _MEMORY // max([1, *sizes])))


def write(path: Path, written: Iterator[dict[str, Any]]) -> int:
    """Write rows as JSONL, JSONL.gz or Parquet by the end of the name. Returns how many."""
    ends = ("".join(path.suffixes[-2:]), path.suffix)
    if ".parquet" not in ends and ".jsonl" not in ends and ".jsonl.gz" not in ends:
        raise Refused(f"{path.name}: the name should end in .jsonl, .jsonl.gz or .parquet")
    with replacing(path) as raw:
        if path.suffix == ".parquet":
            return _write_parquet(raw, written)
        if path.suffix == ".gz":
            # No time and no name inside: equal contents are equal files.
            with gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0, compresslevel=6) as packed:
                return _write_lines(packed, written)
        return _write_lines(raw, written)


def _write_lines(out: io.BufferedIOBase | IO[bytes], written: Iterator[dict[str, Any]]) -> int:
    """One JSON object a line."""
    count = 0
    for row in written:
        out.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        count += 1
    return count


def _write_parquet(out: IO[bytes], written: Iterator[dict[str, Any]]) -> int:
    """Groups of rows; the first group decides the types of the columns."""
    parquet = _arrow()
    import pyarrow

    count, group, writer = 0, list[dict[str, Any]](), None
    schema = None
    try:
        while True:
            row = next(written, None)
            if row is not None:
                group.append(row)
                count += 1
            if group and (row is None or len(group) == 1000):
                table = pyarrow.Table.from_pylist(group, schema=schema)
                if writer is None:
                    schema = table.schema
                    writer = parquet.ParquetWriter(out, schema)
                writer.write_table(table)
                group = []
            if row is None:
                break
        if writer is None:
            writer = parquet.ParquetWriter(out, pyarrow.schema([]))
    finally:
        # Also where it fails: pyarrow would do it later, find the file closed, and print a traceback.
        if writer is not None:
            writer.close()
    return count

"""Files that appear whole or not at all, whoever writes them fails or is killed."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def written(path: str | Path, text: str) -> None:
    """Put a text into a file as UTF-8; half characters (unpaired surrogates) become question marks."""
    with replacing(Path(path)) as file:
        file.write(text.encode("utf-8", errors="replace"))


@contextmanager
def replacing(path: Path, mode: int = 0o666) -> Iterator[IO[bytes]]:
    """A file to write into that takes its name when all of it is on disk, and leaves nothing when it fails.

    Where the disk can do it, what is written has no name until then, so that `kill -9` leaves nothing either.
    mode: who may read and write it, less what the process's umask takes away, as with any new file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        nameless = _nameless(path.parent, aside)
        how = os.O_TMPFILE if nameless else os.O_CREAT | os.O_EXCL
        with naming(path), open(os.open(path.parent if nameless else aside, os.O_WRONLY | how, mode), "wb") as raw:
            yield raw
            raw.flush()
            os.fsync(raw.fileno())
            if nameless:
                _name(raw.fileno(), aside)
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """An error of the disk while a file is written names the file: what Python says of a write alone does not.

    Neither does safetensors, whose error is no OSError and has the number in its text. Others pass as they are.
    """
    try:
        yield
    except Exception as error:
        hidden = re.search(r"\(os error (\d+)\)", str(error))
        number = error.errno if isinstance(error, OSError) else int(hidden[1]) if hidden else None
        if number is None or getattr(error, "filename", None) is not None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def _nameless(folder: Path, trial: Path) -> bool:
    """Whether a file can be begun without a name and be given one: on Linux, by most disks. Tried with an empty one."""
    try:
        handle = os.open(folder, os.O_WRONLY | os.O_TMPFILE, 0o600)
        try:
            _name(handle, trial)
        finally:
            os.close(handle)
    except (OSError, AttributeError):
        return False
    trial.unlink()
    return True


def _name(handle: int, path: Path) -> None:
    """Give a file without a name one. The folder's handle only makes Python follow the link of the system."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.link(f"/proc/self/fd/{handle}", path, src_dir_fd=folder)
    finally:
        os.close(folder)

"""Bytes named by their content: images, clips, recorded episodes."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from accord.store.errors import Missing, Refused, StoreError
from accord.whole import replacing


class Blobs:
    """A folder of files, each named by the SHA-256 of what is in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put(self, content: bytes) -> str:
        """Keep bytes; their address. On disk when it returns; putting twice is harmless."""
        digest = hashlib.sha256(content).hexdigest()
        path = self._path(digest)
        if path.exists():
            return digest
        with replacing(path, 0o600) as file:
            file.write(content)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return digest

    def get(self, digest: str) -> bytes:
        """The bytes at an address. Raises Missing, and StoreError when the disk has changed them."""
        try:
            content = self._path(digest).read_bytes()
        except FileNotFoundError as error:
            raise Missing("blob", [digest]) from error
        if hashlib.sha256(content).hexdigest() != digest:
            raise StoreError(f"blob {digest} is damaged on disk ({len(content)} bytes): restore {self._path(digest)}")
        return content

    def drop(self, digest: str) -> bool:
        """Take the bytes at an address away. Whether they were there."""
        path = self._path(digest)
        there = path.exists()
        path.unlink(missing_ok=True)
        return there

    def _path(self, digest: str) -> Path:
        """Where it lies. The address comes from outside, so it must be one and nothing else."""
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise Refused(f"{digest[:80]!r} is not a SHA-256 in 64 hexadecimal digits")
        return self.folder / digest[:2] / digest

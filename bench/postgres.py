"""A PostgreSQL server of its own in a temporary folder, from Debian's programs, for tests and for measuring."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def programs() -> Path | None:
    """The folder with `initdb` and `postgres`; None where PostgreSQL is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if found:
        return found[-1].parent
    beside = shutil.which("initdb")
    return Path(beside).parent if beside else None


def why_not() -> str:
    """What is missing for a server, in words; empty when nothing is."""
    if programs() is None:
        return "no PostgreSQL: initdb is not installed (apt-get install postgresql)"
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "no driver: the package psycopg is absent (pip install 'accord[postgresql]')"
    return ""


class Cluster:
    """A server that listens on a port of this machine and keeps everything in a folder of its own."""

    def __init__(self, under: Path | None = None) -> None:
        """under: folder in which its own folder is made; that for temporary files unless one is named."""
        where = programs()
        assert where is not None
        self.programs, self.folder = where, Path(tempfile.mkdtemp(prefix="accord-postgres-", dir=under))
        self.data = self.folder / "data"
        # The server refuses to run as root, so root lends it to the user that Debian made for it.
        self.user = "postgres" if os.geteuid() == 0 else None
        if self.user:
            shutil.chown(self.folder, self.user)
        self._call("initdb", "-D", str(self.data), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it answers."""
        run = [str(self.programs / "postgres"), "-D", str(self.data), "-p", str(self.port), "-h", "127.0.0.1"]
        run += ["-k", str(self.data), "-c", "shared_buffers=64MB", "-c", "max_connections=200"]
        self.server = subprocess.Popen(
            run, user=self.user, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.data
        )
        end = time.monotonic() + 60
        while self._call("pg_isready", "-h", "127.0.0.1", "-p", str(self.port), check=False).returncode:
            if time.monotonic() > end or self.server.poll() is not None:
                raise RuntimeError(f"PostgreSQL did not start in {self.data}; its programs are in {self.programs}")
            time.sleep(0.05)

    def stop(self, kill: bool = False) -> None:
        """Stop, in good order or at once."""
        if self.server is not None:
            self.server.send_signal(signal.SIGQUIT if kill else signal.SIGINT)
            self.server.wait(60)

    def remove(self) -> None:
        """Stop at once, and leave nothing behind."""
        self.stop(kill=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def base(self, name: str, like: str = "") -> str:
        """A new data base, empty or a copy of another one that nobody uses; its URL."""
        if like:
            self._say(f'CREATE DATABASE "{name}" TEMPLATE "{like}" STRATEGY FILE_COPY', "CHECKPOINT")
        else:
            self._say(f'CREATE DATABASE "{name}"')
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{name}"

    def drop(self, base: str) -> None:
        """Away with a data base, by name or URL, whoever uses it."""
        name = base.rsplit("/", 1)[-1]
        self._say(f'DROP DATABASE "{name}" WITH (FORCE)')

    def _say(self, *words: str) -> None:
        asked = [part for word in words for part in ("-c", word)]
        self._call("psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-qv", "ON_ERROR_STOP=1", *asked)

    def _call(self, program: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
        run = [str(self.programs / program), *words]
        return subprocess.run(run, user=self.user, check=check, capture_output=True, cwd="/")


@contextmanager
def cluster(under: Path | None = None) -> Iterator[Cluster]:
    """A running server; gone at the end. Ask `why_not` first."""
    made = Cluster(under)
    try:
        made.start()
        yield made
    finally:
        made.remove()

"""A quick folder for tests that write many checkpoints."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def quick_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one (a killed process loses nothing there either), else on the disk."""
    with in_memory(tmp_path) as folder:
        yield folder


@pytest.fixture(scope="module")
def quick_shelf(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The same for all tests of a file."""
    with in_memory(tmp_path_factory.mktemp("shelf")) as folder:
        yield folder


@contextlib.contextmanager
def in_memory(otherwise: Path) -> Iterator[Path]:
    """A folder in memory, or the other one where there is no such thing."""
    memory = Path("/dev/shm")
    if not (memory.is_dir() and os.access(memory, os.W_OK)):
        yield otherwise
        return
    folder = Path(tempfile.mkdtemp(prefix="accord-", dir=memory))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)

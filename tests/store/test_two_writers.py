"""Two commands at once on one store: the second waits, and nothing is lost, doubled or halved."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from accord.records import Demonstration, Feedback, Preference, Prompt, Sample
from accord.store import Store, database, waiting
from accord.store.errors import OF_THE_DATABASE, trouble
from tests.store.conftest import pairs, said

ROWS = 600
ROOT = Path(__file__).parents[2]
HALTS = """
import sys
from accord.cli import main
from accord.store import files

read = files.rows

def halting(path, limits):
    for number, row in enumerate(read(path, limits)):
        if number == HALF:
            print("half", flush=True)
            sys.stdin.readline()
        yield row

files.rows = halting
sys.exit(main(sys.argv[1:]))
""".replace("HALF", str(ROWS // 2))
"""The program, which stands still in the middle of a file until it is told to go on."""


def rows(path: Path, first: int) -> Path:
    """So many pairs, counted from a number."""
    made = [
        {"prompt": f"Which is {i}?", "chosen": f"It is {i}.", "rejected": "No idea.", "source": "one"}
        for i in range(first, first + ROWS)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return path


def begun(*words: str | Path) -> subprocess.Popen[str]:
    """A command in a process of its own."""
    here = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, *map(str, words)], stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=here
    )


@contextmanager
def half_way(file: Path, project: Path) -> Iterator[subprocess.Popen[str]]:
    """An import that has read half of a file and holds the store; then it is told to go on, and has ended."""
    one = begun("-c", HALTS, "import", file, "--project", project)
    assert one.stdin is not None
    assert one.stdout is not None
    assert "half" in one.stdout.readline(), one.communicate()
    try:
        yield one
    finally:
        told, why = one.communicate("\n", timeout=120)
        assert one.returncode == 0, told + why


@pytest.mark.parametrize("same", [True, False], ids=["the same file", "another file"])
def test_two_imports_at_once_are_one_after_the_other(same: bool, tmp_path: Path) -> None:
    first, project = rows(tmp_path / "a.jsonl", 0), tmp_path / "p"
    second = first if same else rows(tmp_path / "b.jsonl", ROWS // 2)
    Store.open(project / "store.db").close()
    with half_way(first, project):
        waiting = begun("-m", "accord", "import", second, "--project", project)
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(4)
        at = time.monotonic()
        with Store.open(project / "store.db") as store:
            assert store.count(Preference) == 0, "of what is not whole nobody sees a part"
        assert time.monotonic() - at < 20, "who only looks does not wait for who writes"
    told, why = waiting.communicate(timeout=120)
    assert waiting.returncode == 0, why
    count = ROWS if same else ROWS + ROWS // 2
    with Store.open(project / "store.db") as store:
        assert {kind: store.count(kind) for kind in (Preference, Prompt)} == {Preference: count, Prompt: count}
        assert store.count(Sample) == 2 * count
        assert store.count(Demonstration) == 0
    assert (", 0 records new" in told) is same, told


def test_people_who_answer_while_a_file_comes_in_wait_and_are_heard(tmp_path: Path) -> None:
    file, project = rows(tmp_path / "a.jsonl", 0), tmp_path / "p"
    with Store.open(project / "store.db") as store:
        store.put(pairs(4))
        claims = store.claim("ann", count=4)

        def answer() -> None:
            for claim in claims:
                store.answer(claim.id, said(claim))

        with half_way(file, project):
            writing = threading.Thread(target=answer)
            writing.start()
            writing.join(1)
            assert writing.is_alive()
            assert store.count(Feedback) == 0
        writing.join(60)
        assert not writing.is_alive()
        assert (store.count(Feedback), store.count(Preference)) == (4, ROWS)


def test_who_waited_in_vain_is_told_for_whom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_PATIENCE", 0.2)
    monkeypatch.setattr(database, "_WAITING", "PRAGMA busy_timeout = 200")
    where = tmp_path / "store.db"
    with Store.open(where) as one, Store.open(where) as other, one.writing(), pytest.raises(OF_THE_DATABASE) as met:
        other.put(pairs(1))
    assert "(database is locked). Nothing of this act was kept: another command has been writing" in trouble(met.value)


HOLDS = """
import sqlite3, sys
store = sqlite3.connect(sys.argv[1], isolation_level=None)
store.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
store.execute("COMMIT")
"""


def test_who_waits_is_told_for_whom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = tmp_path / "store.db"
    with Store.open(where) as store:
        with subprocess.Popen(
            [sys.executable, "-c", HOLDS, str(where)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as other:
            assert other.stdin is not None
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            monkeypatch.setattr(database, "_QUIET", 0.2)
            told = f"waiting to write into {where}: process {other.pid} has been writing there for 0.2 seconds or more"
            if not waiting.LOCKS.exists():
                told = told.replace(f"process {other.pid}", "another command")
            assert waiting.holder(where) == (other.pid if waiting.LOCKS.exists() else None)
            threading.Timer(1, other.stdin.close).start()
            with pytest.warns(UserWarning, match=re.escape(told)):
                assert store.put(pairs(1)) == 4
        assert waiting.holder(where) is None
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert store.put(pairs(1)) == 0, "nobody writes, so nobody is told anything"
        monkeypatch.setattr(waiting, "LOCKS", tmp_path / "none")
        assert waiting.holder(where) is None, "a system that does not say"

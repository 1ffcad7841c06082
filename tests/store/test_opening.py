"""Stores that cannot be opened, or are damaged, say which file and what to do; copies made while others write."""

import shutil
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import event

from accord.cli import main
from accord.records import Prompt
from accord.store import Store, StoreError
from accord.store.database import Database
from tests.store.conftest import text


def prompts(turn: int, count: int = 40) -> list[Prompt]:
    return [Prompt(id=f"p{turn}-{at}", content=text(f"{turn} {at} {'x' * 800}")) for at in range(count)]


def test_a_file_that_may_not_be_written_is_named_with_the_way_out(tmp_path: Path) -> None:
    where = tmp_path / "store.db"
    with Store.open(where) as store:
        store.put(prompts(0))
    real = Database._create

    def create(self: Database) -> None:
        @event.listens_for(self.engine, "connect")
        def only_read(raw: sqlite3.Connection, _: object) -> None:
            raw.execute("PRAGMA query_only = ON")

        real(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Database, "_create", create)
        with pytest.raises(StoreError) as found:
            Store.open(where)
    assert str(found.value).startswith(
        f"{where} cannot be opened for writing (attempt to write a readonly database), and"
    )
    assert f"take the right to write into {tmp_path} and what is in it, or copy it" in str(found.value)
    with Store.open(where) as store:
        assert store.count(Prompt) == 40


def test_what_is_no_file_is_told_at_once(tmp_path: Path) -> None:
    begun = time.monotonic()
    with pytest.raises(StoreError, match=r"folder cannot be opened for writing \(unable to open database file\)"):
        Store.open(shutil.copytree(tmp_path, tmp_path / "folder"))
    assert time.monotonic() - begun < 20, "a minute is what a lock is waited for"


def test_a_damaged_store_says_what_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = tmp_path / "store.db"
    with Store.open(where) as store:
        for turn in range(20):
            store.put(prompts(turn))
    whole = where.read_bytes()
    where.write_bytes(whole[: len(whole) // 2])
    assert main(["export", str(tmp_path / "out.jsonl"), "--project", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert "the store cannot do its work (database disk image is malformed). Nothing of this act was kept: " in told
    assert "take a whole one (docs/data.md, Copies)" in told
    assert [one.name for one in tmp_path.iterdir() if "out" in one.name] == []


def test_a_copy_by_sqlite_is_whole_while_others_write(tmp_path: Path) -> None:
    """It holds what was acknowledged before it began, and of each act all or nothing."""
    done, stop = [0], threading.Event()
    with Store.open(tmp_path / "store.db") as store:

        def write() -> None:
            while not stop.is_set():
                store.put(prompts(done[0]))
                done[0] += 1

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for number in range(8):
                while done[0] < 3 * number + 1:
                    time.sleep(0.001)
                before, copy = done[0], tmp_path / f"copy{number}.db"
                there = sqlite3.connect(tmp_path / "store.db", timeout=60)
                there.execute("VACUUM INTO ?", [str(copy)])
                there.close()
                with Store.open(copy) as copied:
                    assert copied.count(Prompt) % 40 == 0
                    assert copied.count(Prompt) >= 40 * before
                    assert {one.id for one in copied.all(Prompt)} >= {p.id for t in range(before) for p in prompts(t)}
        finally:
            stop.set()
            writer.join()
        assert store.count(Prompt) == 40 * done[0]

"""How many answers a second the service takes: each cell a store of its own, a load, and a look at what was kept.

`make bench-service` writes bench/results/service.json. `rows`: store, items, clients, workers, paced, answers_per_s,
claim_p95_ms, answer_p95_ms, start_s, memory_mb, errors, surplus, lost, and more beside; `exports`: a hundred thousand
answered pairs taken out with their texts. Server, data base and clients share the machine; with `--core N` they share
one core of it. A row is written as soon as it is measured and takes the place of the one of the same cell, so the grid
can be measured piece by piece (`--only`) and gone on with (`--go-on`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

from accord.store import Store
from bench import crowd, filled
from bench.postgres import Cluster, cluster, why_not

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results" / "service.json"
OURS = ("accord/records.py", "accord/store", "accord/web", "accord/serve.py", "bench/*.py")
"""What a row depends on: a change of these that is not in a commit is told with the row."""
STORES, SIZES, WORKERS = ("sqlite", "postgresql"), (1000, 100_000, 1_000_000), (1, 4)
CLIENTS, PACED, PACE = 16, 200, 10.0
"""Clients without pause; clients who read, and for how many seconds on average."""
PAIRS = 100_000
"""Answered pairs of an export."""
Row = dict[str, Any]
Kind = Literal["rows", "exports"]
KEYS: dict[Kind, tuple[str, ...]] = {
    "rows": ("store", "items", "clients", "workers", "paced"),
    "exports": ("store", "pairs"),
}


@dataclass(frozen=True)
class Cell:
    """One row of the table."""

    store: str
    items: int
    clients: int = 0
    workers: int = 1
    paced: bool = False

    @property
    def kind(self) -> Kind:
        """In which list the row stands; who has no clients takes pairs out."""
        return "rows" if self.clients else "exports"

    @property
    def name(self) -> str:
        """As in `sqlite-100000-16-1`, `postgresql-1000-200-4-paced`, `export-sqlite`."""
        if not self.clients:
            return f"export-{self.store}"
        return f"{self.store}-{self.items}-{self.clients}-{self.workers}" + "-paced" * self.paced

    @property
    def key(self) -> tuple[Any, ...]:
        """What no two rows of the file share, in the order of `KEYS`."""
        whole = (self.store, self.items, self.clients, self.workers, self.paced)
        return whole if self.clients else whole[:2]


def grid(
    stores: Sequence[str] = STORES,
    sizes: Sequence[int] = SIZES,
    workers: Sequence[int] = WORKERS,
    clients: int = CLIENTS,
    paced: int = PACED,
    pairs: int = PAIRS,
) -> list[Cell]:
    """All cells; those of one prepared store stand together."""
    found = []
    for store in stores:
        for size in sizes:
            for number in workers:
                found += [Cell(store, size, clients, number)] * bool(clients)
                found += [Cell(store, size, paced, number, True)] * bool(paced)
        found += [Cell(store, pairs)] * bool(pairs)
    return found


# --- the file --------------------------------------------------------------------------------------------------


def read(path: Path) -> dict[str, Any]:
    """What was measured so far."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    found.setdefault("rows", [])
    found.setdefault("exports", [])
    for row in found["rows"]:  # rows of before there was the word
        row.setdefault("paced", bool(row.get("pace_s")))
    return found


def key(kind: Kind, row: Row) -> tuple[Any, ...]:
    """What tells a row from the others."""
    return tuple(row[name] for name in KEYS[kind])


def join(path: Path, kind: Kind, row: Row) -> None:
    """Put a row into the file, in the place of the one of the same cell; the file is whole at every moment."""
    found = read(path)
    rows = [one for one in found[kind] if key(kind, one) != key(kind, row)]
    found[kind] = sorted([*rows, row], key=lambda one: (*map(str, key(kind, one)[:1]), *key(kind, one)[1:]))
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    fresh.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    os.replace(fresh, path)


# --- stores ----------------------------------------------------------------------------------------------------


class Shelf:
    """Prepared stores: each is filled once and copied for every cell that wants it."""

    def __init__(self, folder: Path, server: Cluster | None) -> None:
        self.folder, self.server = folder, server
        self._made: dict[tuple[str, int, bool], str] = {}

    @contextmanager
    def copy(self, cell: Cell) -> Iterator[str]:
        """Where a copy of the cell's store is; on the disk before, gone afterwards."""
        made = self._prepared(cell)
        if self.server is not None and cell.store == "postgresql":
            where = self.server.base(f"cell{time.monotonic_ns()}", made)
            try:
                yield where
            finally:
                self.server.drop(where)
        else:
            with tempfile.TemporaryDirectory(prefix="cell-", dir=self.folder) as here:
                where = str(Path(here) / "store.db")
                shutil.copyfile(made, where)
                os.sync()
                yield where

    def _prepared(self, cell: Cell) -> str:
        """Path of the file, or name of the data base; the one before of the same kind of store is thrown away."""
        which = (cell.store, cell.items, not cell.clients)
        if which not in self._made:
            self.clear(cell.store)
            name = f"made{time.monotonic_ns()}"
            if cell.store == "postgresql":
                assert self.server is not None
                made, where = name, self.server.base(name)
            else:
                made = where = str(self.folder / f"{name}.db")
            answers = 1 if not cell.clients else filled.wanted(cell.items)
            filled.fill(where, cell.items, wanted=answers, answered=not cell.clients)
            self._made[which] = made
        return self._made[which]

    def clear(self, store: str) -> None:
        """Throw prepared stores of a kind away."""
        for which in [which for which in self._made if which[0] == store]:
            made = self._made.pop(which)
            if self.server is not None and store == "postgresql":
                self.server.drop(made)
            else:
                Path(made).unlink()


# --- measuring -------------------------------------------------------------------------------------------------


def measure(where: str, cell: Cell, seconds: float, pace: float = PACE, core: int | None = None) -> Row:
    """One row: serve a filled store, load it, look at what was kept."""
    with Store.open(where) as store:
        tokens = crowd.people_of(store, cell.clients)
    server = crowd.Server(where, cell.workers, core)
    try:
        seen, took = asyncio.run(crowd.load(server.port, tokens, seconds, pace * cell.paced))
        memory = server.memory()
    finally:
        server.stop()
    with Store.open(where) as store:
        lost, doubled, surplus = crowd.kept(store, seen.acknowledged)
    row: Row = dict(zip(KEYS["rows"], cell.key, strict=True)) | {
        "pace_s": pace * cell.paced,
        "wanted": filled.wanted(cell.items),
        "seconds": round(took, 1),
        "answers": len(seen.acknowledged),
        "answers_per_s": round(len(seen.acknowledged) / took, 1),
        "start_s": round(server.start, 2),
        "memory_mb": round(memory, 1),
        "errors": len(seen.errors),
        "surplus": surplus,
        "lost": lost,
        "doubled": doubled,
    }
    for name, times in (("claim", seen.claims), ("answer", seen.answers)):
        row |= {f"{name}_p{p}_ms": crowd.percentile(times, p / 100) for p in (50, 95, 99)}
    if seen.errors:
        row["first_error"] = seen.errors[0][:300]
    return row


def take_out(where: str, cell: Cell, core: int | None = None) -> Row:
    """One row: all pairs of an answered store with their texts, and what memory that took."""
    with Store.open(where) as store:
        (token,) = crowd.people_of(store, 1, "auditor")
    server = crowd.Server(where, 1, core)
    try:
        before = server.memory()
        taken = crowd.exported(server, token)
    finally:
        server.stop()
    return {
        "store": cell.store,
        "pairs": taken.pairs,
        "seconds": round(taken.seconds, 2),
        "megabytes": round(taken.megabytes, 1),
        "memory_before_mb": round(before, 1),
        "memory_peak_mb": round(taken.memory, 1),
    }


def about(core: int | None, note: str) -> Row:
    """Under what conditions a row was measured."""

    def git(*words: str) -> str:
        run = subprocess.run(["git", *words], capture_output=True, text=True, cwd=ROOT, check=False)
        return run.stdout.strip()

    changed = git("status", "--porcelain", "--untracked-files=no", "--", *OURS)
    commit = git("rev-parse", "--short", "HEAD") + "-dirty" * bool(changed)
    now = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    return {"core": core, "cores": os.cpu_count(), "commit": commit, "at": now, "note": note}


def asked(given: list[str] | None = None) -> argparse.Namespace:
    """What the command line says."""
    said = argparse.ArgumentParser(
        prog="bench.service", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    said.add_argument("--stores", nargs="+", default=list(STORES), choices=STORES)
    said.add_argument("--items", nargs="+", type=int, default=list(SIZES))
    said.add_argument("--workers", nargs="+", type=int, default=list(WORKERS))
    said.add_argument("--clients", type=int, default=CLIENTS, help="clients without pause; 0 for none")
    said.add_argument("--paced", type=int, default=PACED, help="clients who read; 0 for none")
    said.add_argument("--pace", type=float, default=PACE, help="mean seconds that a paced client reads")
    said.add_argument("--pairs", type=int, default=PAIRS, help="answered pairs of an export; 0 for none")
    said.add_argument("--seconds", type=float, default=30.0, help="of one cell")
    said.add_argument("--only", nargs="+", default=["*"], help="cells by name, as in 'sqlite-*' export-postgresql")
    said.add_argument("--go-on", action="store_true", help="leave out cells that this commit has a row of")
    said.add_argument("--list", action="store_true", help="name the cells and measure nothing")
    said.add_argument("--core", type=int, default=None, help="share this one core between server and clients")
    said.add_argument("--folder", type=Path, default=None, help="where stores lie while they are measured")
    said.add_argument("--note", default="", help="kept with the rows, as in: the machine was not quiet")
    said.add_argument("--out", type=Path, default=RESULTS)
    return said.parse_args(given)


def main(given: list[str] | None = None) -> list[Row]:
    """All rows that were asked for; each is printed and put into the file as soon as it is measured."""
    want = asked(given)
    if want.core is not None:
        os.sched_setaffinity(0, {want.core})
    cells = grid(want.stores, want.items, want.workers, want.clients, want.paced, want.pairs)
    cells = [cell for cell in cells if any(fnmatch(cell.name, pattern) for pattern in want.only)]
    if (why := why_not()) and any(cell.store == "postgresql" for cell in cells):
        print(f"without postgresql: {why}")
        cells = [cell for cell in cells if cell.store == "sqlite"]
    if want.go_on:
        commit, done = about(None, "")["commit"], read(want.out)
        there = {(kind, key(kind, row)) for kind in KEYS for row in done[kind] if row.get("commit") == commit}
        cells = [cell for cell in cells if (cell.kind, cell.key) not in there]
    if want.list:
        print("\n".join(cell.name for cell in cells))
        return []
    rows: list[Row] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="accord-bench-", dir=want.folder)))
        needs = any(cell.store == "postgresql" for cell in cells)
        shelf = Shelf(folder, stack.enter_context(cluster()) if needs else None)
        for cell in cells:
            begun = time.perf_counter()
            with shelf.copy(cell) as where:
                row = (
                    measure(where, cell, want.seconds, want.pace, want.core)
                    if cell.clients
                    else take_out(where, cell, want.core)
                )
            rows.append({**row, **about(want.core, want.note)})
            join(want.out, cell.kind, rows[-1])
            print(json.dumps({**rows[-1], "took_s": round(time.perf_counter() - begun, 1)}), flush=True)
    return rows


if __name__ == "__main__":
    main(sys.argv[1:])

"""Accord beside TRL and beside the machine: `make bench` writes bench/results/cpu.json and the table of docs/speed.md.

Both sides get the same weights, rows, batches, precision, limits and threads, each in a process of its own, and work
in turn. First both must have the same loss and gradient; in every timed piece the tokens, the steps and the losses.
Works that are measured by themselves (--only) take the place of their older rows; each row says when it was made.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import transformers

from bench import material, page
from bench.compare import compare
from bench.lane import ROOT
from bench.limit import matmul_rate
from bench.works import WORKS

RESULTS = Path(__file__).parent / "results" / "cpu.json"
PEER = Path(os.environ.get("ACCORD_PEERS", ROOT / ".venv-peers" / "bin" / "python"))


def machine() -> str:
    """The processor by its name, and its cores."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores"


def versions(peer: str | None) -> dict[str, str]:
    """Of both sides. Raises RuntimeError when the peer's environment is not what the page says."""
    found = {"python": platform.python_version(), "torch": torch.__version__}
    found["transformers"] = transformers.__version__
    if peer:
        code = "import json,torch,transformers,trl;print(json.dumps([m.__version__ for m in (torch,transformers,trl)]))"
        told = subprocess.run([peer, "-c", code], capture_output=True, text=True, check=True).stdout
        theirs = dict(zip(("torch", "transformers", "trl"), json.loads(told.splitlines()[-1]), strict=True))
        if theirs["torch"].split("+")[0] != torch.__version__.split("+")[0] or not theirs["trl"].startswith("1.16."):
            raise RuntimeError(f"the peer has {theirs}, this side torch {torch.__version__}; make .venv-peers anew")
        found |= {"trl": theirs["trl"], "peer's transformers": theirs["transformers"]}
    return found


def main(given: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Measure, tell, write."""
    read = argparse.ArgumentParser(prog="bench", description=__doc__)
    read.add_argument("--rounds", type=int, default=3, help="timed pieces of each side")
    read.add_argument("--threads", type=int, default=2)
    read.add_argument("--only", nargs="+", default=[], help="works by kind or number, as in: dpo 5")
    read.add_argument("--tiny", action="store_true", help="only look whether both sides do the same; no figures kept")
    read.add_argument("--alone", action="store_true", help="without the peer")
    read.add_argument("--out", type=Path, default=RESULTS)
    asked = read.parse_args(given)
    begun, peer = time.perf_counter(), None if asked.alone else str(PEER)
    if peer and not PEER.is_file():
        raise SystemExit(f"no peer: {PEER} is missing. `make bench` makes it; or ACCORD_PEERS=PYTHON, or --alone")
    about = {"versions": versions(peer), "machine": machine(), "threads": asked.threads, "rounds": asked.rounds}
    about |= {"made_at": commit()}
    if not asked.tiny:
        brought(asked.out, about["machine"])
    if asked.only and not asked.tiny and (other := differs(asked.out, about)):
        raise SystemExit(
            f"{asked.out} holds rows measured under other settings ({other}), and they would be lost. "
            "Measure under those, or write elsewhere with --out FILE"
        )
    rate = matmul_rate(asked.threads)
    rows: list[dict[str, Any]] = []
    for number, work in enumerate(WORKS):
        if asked.only and not {work.kind, str(number)} & set(asked.only):
            continue
        if asked.tiny:
            work = replace(work, amount=work.check or {**work.amount, "count": 2, "batch": 2}, peers=work.peers[:1])
        row = compare(work, 1 if asked.tiny else asked.rounds, asked.threads, peer, rate)
        rows.append(row)
        print(json.dumps(row if not asked.tiny else {"work": row["work"], "apart": row["apart"]}), flush=True)
        if not asked.tiny:
            write(asked.out, rows, begun, rate, about)
    return rows


def differs(out: Path, about: Mapping[str, Any]) -> str:
    """What a file's rows were measured under and this run is not, in words; empty where they may stand side by side."""
    older = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {}
    names = [name for name in about if name != "made_at" and older.get(name) != about[name]] if older else []
    return "; ".join(f"{name} {older.get(name)} there, {about[name]} here" for name in names)


def commit() -> str:
    """Which tree this is, as Git names it; `-dirty` behind it when it was changed; empty without Git."""
    told = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return told.stdout.strip()


def write(out: Path, rows: list[dict[str, Any]], begun: float, rate: float, about: dict[str, Any]) -> None:
    """The file as far as it goes, so that what was measured is kept when a later work fails; then the page.

    Rows of an earlier run stay where this one has none in their place, as long as machine, versions and threads are
    what they were. Those of another machine go into a file of its name, which the page shows too.
    """
    about = {**about}
    made_at = about.pop("made_at")
    date, gflops = datetime.datetime.now(datetime.UTC).date().isoformat(), round(rate / 1e9, 1)
    rows_are = "real dialogues" if material.real() else "made-up words of the same lengths"
    same = {**about, "rows_are": rows_are}
    brought(out, about["machine"])
    older = json.loads(out.read_text(encoding="utf-8")) if out.is_file() else {"rows": []}
    kept = older["rows"] if all(older.get(name) == value for name, value in same.items()) else []
    new = [{**row, "made": f"{date} {made_at}", "limit_gflops": gflops} for row in rows]
    made = {
        "date": date,
        "command": "make bench",
        **same,
        "limit_gflops": gflops,
        "minutes": (time.perf_counter() - begun) / 60,
        "rows": joined(kept, new),
    }
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    if out == RESULTS:
        page.write(made)


def brought(out: Path, machine: str) -> None:
    """Another machine's rows are set aside under its name; this one's, where they were set aside, come back."""

    def aside(name: str) -> Path:
        return out.with_name(f"{out.stem}-{'-'.join(re.findall(r'[a-z0-9]+', name.lower()))}.json")

    if out.is_file() and (there := json.loads(out.read_text(encoding="utf-8"))["machine"]) != machine:
        out.rename(aside(there))
    if not out.exists() and aside(machine).is_file():
        aside(machine).rename(out)


def joined(older: list[dict[str, Any]], newer: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The newest row of each work, in the order of the works; works that are no more are left out."""
    found = {row["work"]: row for row in [*older, *newer]}
    return [found[work.title] for work in WORKS if work.title in found]


if __name__ == "__main__":
    main(sys.argv[1:])

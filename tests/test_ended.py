"""Told to end in the middle: by Ctrl+C or by SIGTERM, with a message, and with nothing half done."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from accord.cli import main
from accord.ended import ended, status
from accord.records import Preference
from accord.store import Store

ROWS = 2000
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("rows") / "pairs.jsonl"
    made = ({"prompt": f"Which is {i}?", "chosen": f"This is {i}.", "rejected": "No idea."} for i in range(ROWS))
    file.write_text("".join(json.dumps(row) + "\n" for row in made))
    return file


WAITS = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background of a shell is born deaf to it
from accord.cli import main
from accord.store import files

def slowly(rows):
    for number, row in enumerate(rows):
        if number == HALF:
            print("half", flush=True)
            time.sleep(60)
        yield row

read, write = files.rows, files._write_lines
files.rows = lambda path, limits: slowly(read(path, limits))
files._write_lines = lambda out, written: write(out, slowly(written))
sys.exit(main(sys.argv[1:]))
""".replace("HALF", str(ROWS // 2))
"""The program, which waits for the signal in the middle of what it reads or writes."""


@pytest.mark.parametrize("act", ["import", "scrub", "export"])
@pytest.mark.parametrize(("sent", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_says_so_and_leaves_nothing_half_done(
    act: str, sent: signal.Signals, expected: int, rows: Path, tmp_path: Path
) -> None:
    project, aside = tmp_path / "project", tmp_path / "aside"
    aside.mkdir()
    words = ["import", str(rows), "--project", str(project), *(["--scrub"] if act == "scrub" else [])]
    if act == "export":
        assert main(words) == 0
        words = ["export", str(project / "out.jsonl.gz"), "--project", str(project)]
    here = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(aside), "OMP_NUM_THREADS": "1"}
    begun = subprocess.Popen(
        [sys.executable, "-c", WAITS, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=here
    )
    assert begun.stdout is not None
    while "half" not in (line := begun.stdout.readline()):
        assert line, begun.stderr.read()  # type: ignore[union-attr]
    begun.send_signal(sent)
    _, said = begun.communicate(timeout=60)
    assert begun.returncode == expected, said
    assert said.endswith("accord: stopped; the same command goes on; nothing is left half done\n")
    assert list(aside.iterdir()) == [], "no cleaned copy of what people wrote is left"
    assert [one.name for one in project.iterdir() if one.name.startswith(".") or "out" in one.name] == []
    with Store.open(project / "store.db") as store:
        assert store.count(Preference) == (ROWS if act == "export" else 0)
    assert main(words) == 0
    with Store.open(project / "store.db") as store:
        assert store.count(Preference) == ROWS


def test_outside_a_verb_a_signal_does_what_it_did() -> None:
    before = signal.getsignal(signal.SIGTERM)

    def told() -> None:
        with ended():
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)

    with pytest.raises(KeyboardInterrupt) as found:
        told()
    assert status(found.value) == 143
    assert status(KeyboardInterrupt()) == 130
    assert signal.getsignal(signal.SIGTERM) == before


def test_processes_that_share_a_stage_are_left_to_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    before = signal.getsignal(signal.SIGTERM)
    with ended():
        assert signal.getsignal(signal.SIGTERM) == before

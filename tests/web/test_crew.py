"""Several workers: forked after the imports, replaced when they fall, and none outlives the one that began them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from accord import serve
from accord.web import crew
from bench.crowd import Server, free_port

pytestmark = pytest.mark.skipif(not crew.possible(), reason="this system does not fork: uvicorn spawns the workers")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(str(tmp_path / "store.db"), workers=3)
    try:
        until(lambda: len(made.processes()) == 4)
        yield made
    finally:
        if made.process.poll() is None:
            made.stop(kill=True)


def until(true: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def test_workers_import_nothing_again_and_a_fallen_one_is_replaced(server: Server) -> None:
    top, *workers = server.processes()
    assert max(sum(one.cpu_times()[:2]) for one in workers) < sum(top.cpu_times()[:2]) / 3
    for one in workers[:2]:
        one.kill()
    until(lambda: len(set(server.processes()) - {top, *workers}) == 2)
    until(server.answers)
    assert workers[2].is_running()


@pytest.mark.parametrize(("how", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_one_signal_ends_all_in_good_order(server: Server, how: signal.Signals, status: int) -> None:
    _, *workers = server.processes()
    server.process.send_signal(how)
    assert server.process.wait(90) == status
    assert not any(one.is_running() for one in workers)
    assert not server.answers()


def test_no_worker_outlives_the_one_that_began_them(server: Server) -> None:
    _, *workers = server.processes()
    server.process.kill()
    server.process.wait(90)
    psutil.wait_procs(workers, 90)
    assert not any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in workers)
    assert not server.answers()


def alone(words: str) -> subprocess.Popen[str]:
    """A crew in a process of its own, for it forks and waits for signals."""
    head = "import signal, sys, time\nfrom pathlib import Path\nfrom accord.web.crew import crew\n"
    return subprocess.Popen([sys.executable, "-c", head + words], stderr=subprocess.PIPE, text=True)


def test_workers_that_cannot_begin_end_it_with_a_reason() -> None:
    process = alone("""
def make():
    raise ValueError("no such store")

raise SystemExit(crew(make, 2, lambda error: print(error, file=sys.stderr)))
""")
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 3
    assert "no such store" in said
    assert "Traceback" not in said


def test_later_workers_that_cannot_begin_are_tried_again(tmp_path: Path) -> None:
    """As when PostgreSQL is away while a worker falls."""
    process = alone(f"""
def make():
    made = len(list(Path({str(tmp_path)!r}).iterdir()))
    Path({str(tmp_path)!r}, str(made)).touch()
    if made == 0:
        return lambda: 1 / 0
    if made == 1:
        raise ValueError("away")
    return lambda: time.sleep(100)

raise SystemExit(crew(make, 1, lambda error: print(error, file=sys.stderr)))
""")
    until((tmp_path / "2").exists)
    process.terminate()
    assert process.communicate(timeout=60)[1].split("\n")[:2] == ["division by zero", "away"]
    assert process.returncode == 0


def test_a_worker_that_hangs_is_killed_at_the_second_signal(tmp_path: Path) -> None:
    process = alone(f"""
def make():
    signal.signal(signal.SIGTERM, lambda *_: Path({str(tmp_path)!r}, "told").touch())
    Path({str(tmp_path)!r}, "here").touch()
    def hang():
        while True:
            time.sleep(1)
    return hang

raise SystemExit(crew(make, 1, print))
""")
    until((tmp_path / "here").exists)
    process.terminate()
    until((tmp_path / "told").exists)
    assert process.poll() is None
    process.terminate()
    assert process.wait(60) == 0


def test_where_nothing_forks_uvicorn_spawns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import uvicorn

    called: dict[str, object] = {}
    monkeypatch.setattr(crew, "possible", lambda: False)
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: called.update(app=app, **options))
    monkeypatch.setenv(serve.ASKED, os.environ.get(serve.ASKED, ""))
    assert serve.serve(tmp_path / "p", port=free_port(), workers=2) == 0
    assert (called["app"], called["workers"], called["factory"]) == ("accord.serve:app", 2, True)

"""How many answers a second the service takes: a load that speaks the public contract only, and checks what was kept.

`make bench-service` writes bench/results/service.json: rows of store, items, clients, workers, answers_per_s,
claim_p95_ms, answer_p95_ms, start_s, memory_mb, errors, surplus, lost, and more beside. Server and clients share the
machine; with `--core N` they share one core of it. Clients without pace send as soon as they were answered; paced
clients wait, at random, as people would. Afterwards the store is opened: an answer that was acknowledged and is not
kept is `lost`, one that is kept twice is `doubled`, one for which no slot was free is `surplus`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from accord.records import Message, Prompt, Question, Record, Sample, Text, new_id
from accord.store import Store
from accord.store.people import People
from accord.web.people import grant
from accord.web.settings import WebSettings
from bench.postgres import cluster, why_not

PROJECT = "bench"
SENTENCE = "a model learns from what people say of it and every lesson can be traced to the one who taught it so"
WORDS = re.findall(r"\w+", SENTENCE)
RESULTS = Path(__file__).parent / "results" / "service.json"


def items(count: int, words: int = 150) -> Iterator[Record]:
    """Prompts of 30 words with two answers of 150, as Label Studio and Potato were given, all in one queue."""
    draw = random.Random(0)
    for i in range(count):
        yield Prompt(id=f"p{i}", content=_text("user", f"Item {i}", draw, words // 5))
        for side in "ab":
            yield Sample(id=f"s{i}{side}", prompt=f"p{i}", content=_text("assistant", side, draw, words))
        yield Question(id=f"q{i}", prompt=f"p{i}", samples=(f"s{i}a", f"s{i}b"), project=PROJECT)


def _text(role: str, first: str, draw: random.Random, words: int) -> Text:
    said = f"{first} " + " ".join(draw.choices(WORDS, k=words))
    return Text(messages=(Message(role=role, content=said),))  # type: ignore[arg-type]


def people_of(store: Store, count: int) -> list[str]:
    """Bearer tokens of so many new annotators."""
    people, settings = People(store), WebSettings()
    return [grant(people, people.add(f"load {new_id()}", "annotator"), "token", settings) for _ in range(count)]


# --- the client ------------------------------------------------------------------------------------------------


class Line:
    """One connection that is kept open; as little HTTP as will do, so that the load takes little of the machine."""

    def __init__(self, port: int, token: str) -> None:
        self.port, self.head = port, f"Host: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
        self.reader: asyncio.StreamReader | None = None

    async def send(self, method: str, path: str, body: dict[str, object]) -> tuple[int, bytes]:
        """Status and body of the reply. Raises OSError when the connection breaks."""
        try:
            if self.reader is None:
                self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 22)
            content = json.dumps(body).encode()
            more = f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
            self.writer.write(f"{method} {path} HTTP/1.1\r\n{self.head}{more}".encode() + content)
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            return int(head[9:12]), await self.reader.readexactly(length)
        except (OSError, asyncio.IncompleteReadError, IndexError) as error:
            self.close()
            raise OSError(str(error)) from error

    def close(self) -> None:
        if self.reader is not None:
            self.reader = None
            self.writer.close()


@dataclass
class Seen:
    """What the clients saw."""

    claims: list[float] = field(default_factory=list)
    answers: list[float] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


async def client(port: int, token: str, end: float, pace: float, seen: Seen, draw: random.Random) -> None:
    """One person: claim, perhaps read for a while, answer, again; what fails is sent again, as the contract says."""
    line = Line(port, token)
    await asyncio.sleep(draw.random() * pace)

    async def sent(method: str, path: str, body: dict[str, object], times: list[float]) -> dict[str, list[dict]] | None:
        begun = time.perf_counter()
        try:
            status, reply = await line.send(method, path, body)
        except OSError as error:
            seen.errors.append(str(error))
            await asyncio.sleep(0.05)
            return None
        times.append(time.perf_counter() - begun)
        if status != 200:
            seen.errors.append(f"{method} {status} {reply[:200]!r}")
            return None
        return json.loads(reply)

    while time.perf_counter() < end:
        found = await sent("POST", "/api/claims", {"project": PROJECT, "count": 1}, seen.claims)
        if found is None:
            continue
        if not found["claims"]:
            break
        claim = found["claims"][0]
        if pace:
            await asyncio.sleep(draw.uniform(0.5, 1.5) * pace)
        better = {"kind": "comparison", "better": draw.choice(claim["shown"]), "strength": draw.randint(1, 3)}
        body = {"id": new_id(), "answer": better, "seconds": 1.0, "made": time.time()}
        while time.perf_counter() < end + 5:
            if await sent("PUT", f"/api/claims/{claim['id']}/answer", body, seen.answers) is not None:
                seen.acknowledged.append(str(body["id"]))
                break
    line.close()


async def load(port: int, tokens: list[str], seconds: float, pace: float) -> tuple[Seen, float]:
    """All clients at once; what they saw, and for how long."""
    seen, begun = Seen(), time.perf_counter()
    ends = begun + seconds
    await asyncio.gather(*(client(port, t, ends, pace, seen, random.Random(i)) for i, t in enumerate(tokens)))
    return seen, time.perf_counter() - begun


# --- the server ------------------------------------------------------------------------------------------------


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


class Server:
    """`accord serve` over a store, as people start it."""

    def __init__(self, store: str, workers: int = 1, core: int | None = None, port: int = 0) -> None:
        self.port = port or free_port()
        run = [sys.executable, "-m", "accord", "serve", "--store", store, "--port", str(self.port)]
        begun = time.perf_counter()
        self.process = subprocess.Popen(
            [*run, "--workers", str(workers)],
            stderr=subprocess.DEVNULL,
            preexec_fn=None if core is None else lambda: os.sched_setaffinity(0, {core}),
            start_new_session=True,
        )
        while not self.answers():
            if self.process.poll() is not None:
                raise RuntimeError(f"accord serve ended with {self.process.returncode}")
            time.sleep(0.01)
        self.start = time.perf_counter() - begun

    def answers(self) -> bool:
        """Whether anybody is at home."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/healthz", timeout=2) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    def memory(self) -> float:
        """Resident megabytes of all its processes."""
        top = psutil.Process(self.process.pid)
        return sum(one.memory_info().rss for one in (top, *top.children(recursive=True))) / 1e6

    def stop(self, kill: bool = False) -> None:
        """End it, in good order or at once (every process of it)."""
        os.killpg(self.process.pid, signal.SIGKILL if kill else signal.SIGINT)
        self.process.wait(30)


def exported(port: int, token: str) -> tuple[float, int]:
    """Seconds for all pairs with texts, and their number."""
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/projects/{PROJECT}/preferences", headers={"Authorization": f"Bearer {token}"}
    )
    begun = time.perf_counter()
    with urllib.request.urlopen(asked, timeout=600) as reply:
        lines = sum(1 for _ in reply)
    return time.perf_counter() - begun, lines


def percentile(times: list[float], share: float) -> float:
    """In milliseconds; 0 when nothing was timed."""
    ordered = sorted(times)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000, 2) if ordered else 0.0


def kept(store: Store, acknowledged: list[str]) -> tuple[int, int, int]:
    """How many acknowledged answers are lost, how many questions have two that stand, how many answers are surplus."""
    states: dict[str, str] = {}
    for at in range(0, len(acknowledged), 500):
        states.update(store.feedback_state(acknowledged[at : at + 500]))
    questions = [said.question for said in store.feedback(project=PROJECT)]
    surplus = sum(state == "surplus" for state in states.values())
    return len(set(acknowledged) - set(states)), len(questions) - len(set(questions)), surplus


def measure(
    where: str, count: int, clients: int, workers: int, seconds: float, pace: float = 0, core: int | None = None
) -> dict[str, object]:
    """One row: serve a filled store, load it, look at what was kept."""
    with Store.open(where) as store:
        tokens = people_of(store, clients)
        people = People(store)
        auditor = grant(people, people.add(f"load {new_id()}", "auditor"), "token", WebSettings())
    server = Server(where, workers, core)
    try:
        seen, took = asyncio.run(load(server.port, tokens, seconds, pace))
        memory = server.memory()
        export, pairs = exported(server.port, auditor)
    finally:
        server.stop()
    with Store.open(where) as store:
        lost, doubled, surplus = kept(store, seen.acknowledged)
    row: dict[str, object] = {
        "store": "postgresql" if where.startswith("postgresql") else "sqlite",
        "items": count,
        "clients": clients,
        "workers": workers,
        "pace_s": pace,
        "answers": len(seen.acknowledged),
        "answers_per_s": round(len(seen.acknowledged) / took, 1),
        "start_s": round(server.start, 2),
        "memory_mb": round(memory, 1),
        "errors": len(seen.errors),
        "surplus": surplus,
        "lost": lost,
        "doubled": doubled,
        "export_s": round(export, 2),
        "export_pairs": pairs,
    }
    for name, times in (("claim", seen.claims), ("answer", seen.answers)):
        row |= {f"{name}_p{p}_ms": percentile(times, p / 100) for p in (50, 95, 99)}
    if seen.errors:
        row["first_error"] = seen.errors[0][:300]
    return row


def main(given: list[str] | None = None) -> list[dict[str, object]]:
    """All rows that were asked for; written to the file and printed one by one."""
    read = argparse.ArgumentParser(prog="bench.service", description=__doc__)
    read.add_argument("--stores", nargs="+", default=["sqlite", "postgresql"])
    read.add_argument("--items", nargs="+", type=int, default=[1000, 100_000, 1_000_000])
    read.add_argument("--workers", nargs="+", type=int, default=[1, 4])
    read.add_argument("--clients", type=int, default=16, help="clients without pause")
    read.add_argument("--paced", type=int, default=200, help="clients with pace; 0 for none")
    read.add_argument("--pace", type=float, default=10.0, help="mean seconds that a paced client reads")
    read.add_argument("--seconds", type=float, default=20.0)
    read.add_argument("--core", type=int, default=None, help="share this one core between server and clients")
    read.add_argument("--note", default="", help="kept with the rows, as in: the machine was not quiet")
    read.add_argument("--out", type=Path, default=RESULTS)
    asked = read.parse_args(given)
    if asked.core is not None:
        os.sched_setaffinity(0, {asked.core})
    rows: list[dict[str, object]] = []
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="accord-bench-") as folder:
        if "postgresql" in asked.stores and (why := why_not()):
            print(f"without postgresql: {why}")
            asked.stores.remove("postgresql")
        server = stack.enter_context(cluster()) if "postgresql" in asked.stores else None
        for kind in asked.stores:
            for count in asked.items:
                where = str(Path(folder) / f"{count}.db") if kind == "sqlite" else server.base(f"items{count}")  # type: ignore[union-attr]
                with Store.open(where, Path(folder) / "blobs") as store:
                    store.put(items(count))
                for workers in asked.workers:
                    for clients, pace in ((asked.clients, 0.0), (asked.paced, asked.pace)):
                        if clients:
                            rows.append(measure(where, count, clients, workers, asked.seconds, pace, asked.core))
                            print(json.dumps(rows[-1]), flush=True)
                shutil.rmtree(where, ignore_errors=True)
    machine = {"machine": platform.machine(), "cores": os.cpu_count(), "core": asked.core, "python": sys.version[:6]}
    asked.out.parent.mkdir(exist_ok=True)
    asked.out.write_text(json.dumps({**machine, "note": asked.note, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    return rows


if __name__ == "__main__":
    main()

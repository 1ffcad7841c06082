"""Clients that speak the public contract alone, the server that they load, and what was kept of their answers.

Clients without pace send as soon as they were answered; paced clients wait, at random, as people would. Afterwards the
store is opened: an answer that was acknowledged and is not kept is `lost`, one that stands beyond those that were
wanted, or twice from one person, is `doubled`, one for which no slot was free is `surplus`.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

from accord.records import Question, new_id
from accord.store import Store
from accord.store.people import People, PersonRole
from accord.web.people import grant
from accord.web.settings import WebSettings
from bench.filled import PROJECT


def people_of(store: Store, count: int, role: PersonRole = "annotator") -> list[str]:
    """Bearer tokens of so many new people."""
    people, settings = People(store), WebSettings()
    return [grant(people, people.add(f"load {new_id()}", role), "token", settings) for _ in range(count)]


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
    over: bool = False
    """Set by who has seen enough: everybody ends what they are about."""

    async def more(self, answers: int, patience: float = 90.0) -> None:
        """Wait until so many more answers were acknowledged; a busy machine takes its time."""
        wanted, end = len(self.acknowledged) + answers, time.perf_counter() + patience
        while len(self.acknowledged) < wanted and time.perf_counter() < end:
            await asyncio.sleep(0.01)


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

    while time.perf_counter() < end and not seen.over:
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


async def load(
    port: int, tokens: list[str], seconds: float, pace: float, seen: Seen | None = None
) -> tuple[Seen, float]:
    """All clients at once; what they saw (kept in `seen` as it comes), and for how long."""
    seen, begun = seen or Seen(), time.perf_counter()
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

    def processes(self) -> list[psutil.Process]:
        """All of them that live: workers and who watches them."""
        top = psutil.Process(self.process.pid)
        return [top, *top.children(recursive=True)]

    def memory(self) -> float:
        """Resident megabytes; pages that several of its processes share count once."""
        found, processes = 0, self.processes()
        for one in processes:
            with suppress(psutil.NoSuchProcess):
                found += one.memory_info().rss if len(processes) == 1 else one.memory_full_info().pss
        return found / 1e6

    def stop(self, kill: bool = False) -> None:
        """End it, in good order or at once (every process of it)."""
        os.killpg(self.process.pid, signal.SIGKILL if kill else signal.SIGINT)
        self.process.wait(30)


@dataclass
class Taken:
    """Pairs that were taken out."""

    seconds: float
    pairs: int
    megabytes: float
    """What came over the line."""
    memory: float
    """Most resident megabytes of the service while it went on."""


def exported(server: Server, token: str, pause: float = 0.05) -> Taken:
    """Take all pairs with texts out, and look at the memory of the service all the while."""
    asked = urllib.request.Request(
        f"http://127.0.0.1:{server.port}/api/projects/{PROJECT}/preferences",
        headers={"Authorization": f"Bearer {token}"},
    )
    found, over = Taken(0, 0, 0, server.memory()), threading.Event()

    def watch() -> None:
        while not over.wait(pause):
            found.memory = max(found.memory, server.memory())

    watching = threading.Thread(target=watch)
    watching.start()
    begun = time.perf_counter()
    try:
        with urllib.request.urlopen(asked, timeout=600) as reply:
            while part := reply.read(1 << 16):
                found.pairs += part.count(b"\n")
                found.megabytes += len(part) / 1e6
        found.seconds = time.perf_counter() - begun
    finally:
        over.set()
        watching.join()
    return found


def percentile(times: list[float], share: float) -> float:
    """In milliseconds; 0 when nothing was timed."""
    ordered = sorted(times)
    return round(ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000, 2) if ordered else 0.0


def kept(store: Store, acknowledged: list[str]) -> tuple[int, int, int]:
    """How many acknowledged answers are lost, how many stand beside enough others, how many answers are surplus."""
    states: dict[str, str] = {}
    for at in range(0, len(acknowledged), 500):
        states.update(store.feedback_state(acknowledged[at : at + 500]))
    said = [(one.question, one.annotator) for one in store.feedback(project=PROJECT)]
    answers = Counter(question for question, _ in said)
    wanted = {id: one.wanted for id, one in store.get_many(Question, answers).items()}
    beyond = sum(max(0, count - wanted[question]) for question, count in answers.items())
    surplus = sum(state == "surplus" for state in states.values())
    return len(set(acknowledged) - set(states)), beyond + len(said) - len(set(said)), surplus

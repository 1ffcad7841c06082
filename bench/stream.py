"""Preference rows from a store to tensors, part by part: `python -m bench.stream 1000000` tells rate and memory.

A store in a temporary folder is filled with made-up dialogues of real lengths, two answers to each prompt. Memory is
told at ten points of the way: it must not grow with the rows that have gone by.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from accord.records import Message, Preference, Prompt, Record, Sample, Text
from accord.store import Store
from accord.worlds.text.encode import Encoder, EncoderSettings
from accord.worlds.text.parts import in_parts
from bench import material
from bench.lane import memory

RESULTS = Path(__file__).parent / "results" / "stream.json"
TEXTS = 2000
"""Different texts; rows take theirs in turn."""
GROWTH = 1.1
"""The second half of the rows may take at most so many times the memory of the first."""


def made(count: int) -> Iterator[Record]:
    """Prompts, two answers to each, and what is believed of them."""
    draw = random.Random(0)
    asked = [material.babble(draw, "prompt") for _ in range(TEXTS)]
    said = [material.babble(draw, "answer") for _ in range(TEXTS + 1)]
    for n in range(count):
        yield Prompt(
            id=f"p{n}", content=Text(messages=(Message(role="user", content=asked[n % TEXTS]),)), split="train"
        )
        for kind, at in (("c", n % TEXTS), ("r", n % TEXTS + 1)):
            words = Text(messages=(Message(role="assistant", content=said[at]),))
            yield Sample(id=f"{kind}{n}", prompt=f"p{n}", content=words)
        yield Preference(id=f"b{n}", prompt=f"p{n}", chosen=f"c{n}", rejected=f"r{n}")


def main(count: int, out: Path | None = RESULTS) -> dict[str, Any]:
    """Fill, encode, tell. Raises MemoryError when memory grew with the rows."""
    with tempfile.TemporaryDirectory(prefix="accord-stream-") as folder:
        store = Store.open(Path(folder) / "store.db")
        begun = time.process_time()
        store.put(made(count))
        filled = time.process_time() - begun
        place = material.folder("5 M")
        encoder = Encoder(AutoTokenizer.from_pretrained(place), EncoderSettings(limit=material.LIMIT))

        def looked_up(some: Sequence[Preference]) -> tuple[dict[str, Prompt], dict[str, Sample]]:
            samples = store.get_many(Sample, [i for one in some for i in (one.chosen, one.rejected)])
            return store.get_many(Prompt, dict.fromkeys(one.prompt for one in some)), samples

        points: list[list[float]] = []
        rows = tokens = 0
        begun = time.process_time()
        for part in in_parts(encoder, store.all(Preference), looked_up):
            rows, tokens = rows + len(part), tokens + part.segment.tokens
            if rows >= count * (len(points) + 1) / 10:
                points.append([rows, round(memory("VmRSS"), 1)])
        seconds = time.process_time() - begun
        store.close()
    told = {
        "command": f"python -m bench.stream {count}", "rows": rows, "tokens": tokens, "cpu_seconds": round(seconds, 1),
        "rows_per_cpu_second": round(rows / seconds), "filling_cpu_seconds": round(filled, 1), "mb_at_rows": points,
    }  # fmt: skip
    half = len(points) // 2
    first, last = (max(mb for _, mb in some) for some in (points[:half], points[half:]))
    if last > GROWTH * first:
        raise MemoryError(f"memory grew from {first} to {last} MB: {points}")
    if out is not None:
        out.parent.mkdir(exist_ok=True)
        out.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return told


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)))

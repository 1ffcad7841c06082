"""What the machine can do at best, and what a work needs at least: so that a share of the limit can be told."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import torch

from bench.works import ranked


def matmul_rate(threads: int, seconds: float = 1.0, size: int = 1024) -> float:
    """FLOP per second of plain matrix products in fp32, the best of as many as fit into the time."""
    torch.set_num_threads(threads)
    a, b = torch.randn(size, size), torch.randn(size, size)
    best, ends = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < ends:
        begun = time.perf_counter()
        a @ b
        best = max(best, 2 * size**3 / (time.perf_counter() - begun))
    return best


def needed(kind: str, amount: dict[str, Any], model: Path, rows: Path) -> float | None:
    """FLOP that a work needs when each prompt is read once and nothing is padded: a forward pass counts 1, backward 2.

    The last layer is needed behind its keys and values only where something is read: where a token of an answer is
    predicted, or a text scored.
    dpo: 3 and 1 for the reference; grpo: 3 and 1 for sampling; rloo: one more for the reference; generate: 1; kto: 3, 1
    for the reference, and as much as 2 for the answers under foreign prompts; everything else 3.
    """
    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    width, layers = config["hidden_size"], config["num_hidden_layers"]
    gates = 2 if config["model_type"] == "bert" else 3
    each = 4 * width**2 + gates * width * config["intermediate_size"]
    behind = each - 2 * width**2  # all of a layer but keys and values
    scored = kind in ("reward", "ranking")
    head = 0 if scored else width * config["vocab_size"]
    groups = shapes(kind, amount, json.loads(rows.read_text(encoding="utf-8")))
    whole = config["model_type"] == "bert"
    flop = 0.0
    for prompt, answers in groups:
        read = prompt + sum(answers)
        seen = prompt * (prompt + 1) / 2 + sum(a * prompt + a * (a + 1) / 2 for a in answers)
        seen = sum(a * a for a in answers) if whole else seen
        looked = len(answers) if scored else sum(answers)
        flop += 2 * (layers * each - behind) * read + 2 * behind * looked
        flop += 4 * width * layers * seen + 2 * head * sum(answers)
    passes = {"dpo": 4, "grpo": 4, "rloo": 5, "kto": 6, "generate": 1}.get(kind, 3)
    return flop * passes * float(amount.get("steps", 1))


def shapes(kind: str, amount: dict[str, Any], rows: dict[str, Any]) -> list[tuple[int, list[int]]]:
    """Of each group the length of its prompt and of its answers."""
    taken = slice(amount["first"], amount["first"] + amount["count"])
    if kind == "ranking":
        return [
            (len(prompt), [len(answer) for answer in answers])
            for prompt, answers in ranked(rows["pairs"], amount["count"])
        ]
    if kind in ("dpo", "simpo", "kto", "reward"):
        some = rows["pairs"][taken]
        return [(len(r["prompt_ids"]), [len(r["chosen_ids"]), len(r["rejected_ids"])]) for r in some]
    if kind == "sft":
        return [(len(r["prompt_ids"]), [len(r["answer_ids"])]) for r in rows["examples"][taken]]
    return [(len(r["prompt_ids"]), [amount["tokens"]] * amount["each"]) for r in rows["prompts"][taken]]

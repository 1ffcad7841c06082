"""Layers as one function beside the same layers as modules: `python -m bench.paths`, plain, with LoRA, checkpointed.

The same weights, rows, batch and loss; what listens to a module (a hook that does nothing) has it called by its own
name, so the layers are read through the modules of `transformers` and PEFT. Each side is a process of its own; they
work in turn, and the least CPU seconds count, since other work on the machine only adds to them. docs/pass.md tells.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
import transformers
from torch import nn

from accord.worlds.text import models
from accord.worlds.text.policy import Policy
from accord.worlds.text.scorer import Scorer
from bench import material
from bench.compare import LOSS, NORM, Unequal
from bench.lane import Lane, serve
from bench.ours import WORKS, Workshop

OPTIONS: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "lora": {"lora": {"rank": 8}},
    "checkpointing": {"checkpointing": True},
}
"""Settings of the model by name; LoRA in all linear layers."""
AMOUNTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "sft": ("5 M", {"first": 0, "count": 32, "batch": 32, "steps": 1}),
    "reward": ("5 M scorer", {"first": 0, "count": 16, "batch": 16}),
}
"""Kind of work -> which model of `material.py`, and a timed piece."""


class Either(Workshop):
    """A workshop whose models have the option, and are read in the way that is wanted."""

    def __init__(self, job: dict[str, Any]) -> None:
        super().__init__(job)
        self.settings = models.ModelSettings(name=job["model"], **OPTIONS[job["option"]])

    def policy(self) -> Policy:
        return Policy(self.heard(models.language_model(self.settings, self.tokenizer)))

    def scorer(self) -> Scorer:
        return Scorer(self.heard(models.scorer_model(self.settings, self.tokenizer)))

    def heard(self, model: nn.Module) -> nn.Module:
        """The model, listened to where its modules are to be called by their names."""
        if self.job["modules"]:
            models.parts(model)[0].register_forward_pre_hook(lambda *_: None)
        return model


def main(given: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Measure, and print a table in Markdown."""
    read = argparse.ArgumentParser(prog="bench.paths", description=__doc__)
    read.add_argument("--rounds", type=int, default=3, help="timed pieces of each side; the least counts")
    read.add_argument("--only", nargs="+", default=list(OPTIONS), choices=list(OPTIONS))
    read.add_argument("--tiny", action="store_true", help="two rows of each; only whether both sides do the same")
    asked = read.parse_args(given)
    print("| Option | Work | Function, CPU s | Modules, CPU s | Faster by | Peak MB | Modules' |")
    print("|---|---|---|---|---|---|---|")
    return [measured(option, kind, asked.rounds, asked.tiny) for option in asked.only for kind in AMOUNTS]


def measured(option: str, kind: str, rounds: int, tiny: bool = False) -> dict[str, Any]:
    """One row: both ways in turn, after one piece of each to get warm. Raises Unequal unless losses are the same."""
    size, amount = AMOUNTS[kind]
    job = {"work": kind, "model": str(material.folder(size)), "rows": str(material.rows(size)), "option": option,
           "folder": str(material.MADE), "micro": 1024}  # fmt: skip
    amount = {**amount, "count": 2, "batch": 2} if tiny else amount
    lanes = {modules: Lane(sys.executable, "bench.paths", {**job, "modules": modules}, 1) for modules in (False, True)}
    try:
        first = {modules: lane.ready().do(**amount) for modules, lane in lanes.items()}
        for name, allowed in (("losses", LOSS), ("norms", NORM)):
            a, b = first[False][name][0], first[True][name][0]
            if not abs(a - b) <= allowed * max(1.0, abs(b)):
                raise Unequal(f"{option}, {kind}: {name} {a} as a function, {b} by modules")
        seen = [{modules: lane.do(**amount) for modules, lane in lanes.items()} for _ in range(rounds)]
    finally:
        for lane in lanes.values():
            lane.end()
    least, most = ({m: of(one[m][what] for one in seen) for m in lanes}
                   for of, what in ((min, "cpu_seconds"), (max, "peak_mb")))  # fmt: skip
    ratio = least[True] / least[False]
    print(f"| {option} | {kind} | {least[False]:.2f} | {least[True]:.2f} | {ratio:.2f} "
          f"| {most[False]:.0f} | {most[True]:.0f} |", flush=True)  # fmt: skip
    return {"option": option, "work": kind, "seconds": least, "peak_mb": most, "ratio": ratio}


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1].startswith("{"):  # a lane, as Lane starts it
        job = json.loads(sys.argv[1])
        serve(partial(WORKS[job["work"]], Either(job)), torch=torch.__version__, transformers=transformers.__version__)
    else:
        main(sys.argv[1:])

"""How cost grows: `python -m bench.curves` writes bench/results/curves.json, two pictures and a table of the docs.

Time is the CPU time of one thread (the least of a few rounds, in which all points take turns), so that other work on
the machine disturbs it little. Memory is the highest resident memory above what was held before.
"""

from __future__ import annotations

import ctypes
import datetime
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, LlamaForSequenceClassification

from accord.batches import Segment
from accord.evaluate.charts import Band, alone, bands
from accord.protocols import Sampling
from accord.worlds.text.generate import Sampler
from accord.worlds.text.policy import Policy
from accord.worlds.text.scorer import Scorer
from bench.lane import ROOT, memory
from bench.page import PAGE

RESULTS = Path(__file__).parent / "results" / "curves.json"
PICTURES = ROOT / "docs" / "pictures"
BEGIN, END = "<!-- made by `python -m bench.curves` from here -->", "<!-- to here, curves -->"
ALLOWED = 0.15
"""How far time may be from the count of tokens, as a share."""

NAMES = {
    "answers": "answers to a prompt, reward model",
    "answers_scored": "answers to a prompt, scored for best of n",
    "answers_policy": "answers to a prompt, policy",
    "answers_sampled": "answers to a prompt, drawn and scored",
    "prompt": "tokens of a prompt",
    "vocabulary": "entries of the vocabulary",
    "rows": "rows of a batch",
}
"""What grows, by curve."""


@dataclass
class Point:
    """One measurement."""

    x: int
    """What grows."""
    tokens: int
    """Tokens to be read when each prompt is read once."""
    copied: int
    """Tokens when each answer has its own copy of its prompt, padded to the longest."""
    work: Callable[[], object]
    """What is measured."""
    seconds: float = float("inf")
    mb: float = 0.0


def segment(prompts: int, prompt: int, answers: int, answer: int, vocabulary: int) -> Segment:
    """Random tokens."""
    draw, count = torch.Generator().manual_seed(0), prompts * answers
    return Segment(
        observation=torch.randint(3, vocabulary, (prompts, prompt), generator=draw),
        observation_length=torch.full((prompts,), prompt),
        group=torch.arange(prompts).repeat_interleave(answers),
        action=torch.randint(3, vocabulary, (count, answer), generator=draw),
        length=torch.full((count,), answer),
        mask=torch.ones(count, answer, dtype=torch.bool),
        weight=torch.ones(count),
        names=tuple(map(str, range(count))),
    )


def config(width: int, layers: int, vocabulary: int) -> LlamaConfig:
    """A Llama's measures."""
    return LlamaConfig(
        hidden_size=width, num_hidden_layers=layers, num_attention_heads=width // 64, vocab_size=vocabulary,
        intermediate_size=(8 * width // 3 + 7) // 8 * 8, max_position_embeddings=2048, num_labels=1, pad_token_id=0,
    )  # fmt: skip


def ranked(scorer: Scorer, rows: Segment) -> Callable[[], object]:
    """A reward model's pass over a ranking, forward and backward."""

    def work() -> None:
        scorer.score(rows).sum().backward()
        scorer.zero_grad(set_to_none=True)

    return work


def scored(scorer: Scorer, rows: Segment) -> Callable[[], object]:
    """Best of n's choice: every answer scored, forward alone."""

    def work() -> None:
        with torch.inference_mode():
            scorer.score(rows)

    return work


def sampled(scorer: Scorer, sampler: Sampler, rows: Segment) -> Callable[[], object]:
    """Best of n whole: as many answers to the same prompts are drawn, and every one scored."""
    prompts, each = rows.observation.tolist(), len(rows) // len(rows.observation)
    sampling = Sampling(max_tokens=rows.action.shape[1], count=each, stop=(-1,))
    choose = scored(scorer, rows)

    def work() -> None:
        sampler.generate(prompts, sampling)
        choose()

    return work


def learned(policy: Policy, rows: Segment, micro: int = 1 << 30) -> Callable[[], object]:
    """A policy's pass, forward and backward, micro-batch by micro-batch."""

    def work() -> None:
        for part in rows.split(micro):
            policy.evaluate(part).logprob.sum().backward()
        policy.zero_grad(set_to_none=True)

    return work


def point(x: int, rows: Segment, work: Callable[[], object]) -> Point:
    """With its tokens counted."""
    own = rows.observation_length[rows.group]
    return Point(x, rows.tokens, int((own + rows.length).max()) * len(rows), work)


def asked() -> dict[str, list[Point]]:
    """Every curve with its points, small to large."""
    torch.manual_seed(0)
    made: dict[str, list[Point]] = {name: [] for name in NAMES}
    scorer = Scorer(LlamaForSequenceClassification(config(256, 4, 4096)).eval())
    policy = Policy(LlamaForCausalLM(config(256, 4, 4096)).eval())
    sampler = Sampler(policy.model)
    for n in (1, 2, 4, 8, 16):
        rows = segment(4, 192, n, 64, 4096)
        made["answers"].append(point(n, rows, ranked(scorer, rows)))
        made["answers_scored"].append(point(n, rows, scored(scorer, rows)))
        made["answers_policy"].append(point(n, rows, learned(policy, rows)))
        made["answers_sampled"].append(point(n, rows, sampled(scorer, sampler, rows)))
    for length in (64, 128, 256, 512, 1024):
        rows = segment(2, length, 4, 64, 4096)
        made["prompt"].append(point(length, rows, ranked(scorer, rows)))
    for size in (1024, 4096, 16384, 65536):
        rows, small = segment(8, 32, 4, 48, size), Policy(LlamaForCausalLM(config(128, 2, size)).eval())
        made["vocabulary"].append(point(size, rows, learned(small, rows)))
    small = Policy(LlamaForCausalLM(config(128, 2, 4096)).eval())
    for count in (32, 128, 512, 1024):
        rows = segment(count // 4, 32, 4, 16, 4096)
        made["rows"].append(point(count, rows, learned(small, rows, 2048)))
    return made


def measured(curves: dict[str, list[Point]], rounds: int) -> None:
    """Every point in turn, round after round."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", lambda _: 0)
    for _ in range(rounds):
        for points in curves.values():
            for one in points:
                trim(0)
                Path("/proc/self/clear_refs").write_text("5")
                before, begun = memory("VmRSS"), time.process_time()
                one.work()
                seconds = time.process_time() - begun
                one.seconds = min(one.seconds, seconds)
                one.mb = memory("VmHWM") - before


def apart(points: Sequence[Point]) -> float:
    """How far time per token is, at most, from that of the first point, as a share."""
    first = points[0].seconds / points[0].tokens
    return max(abs(one.seconds / one.tokens / first - 1) for one in points)


def picture(name: str, title: str, lines: Sequence[Band], across: str, label: str) -> None:
    """A chart as a file of its own, in the colours of light and of dark pages."""
    (PICTURES / f"curve-{name}.svg").write_text(alone(bands(name, title, lines, across, label)), encoding="utf-8")


def pictures(curves: dict[str, list[dict[str, Any]]]) -> None:
    """Time against answers beside the count of tokens; memory against vocabulary beside the table's."""
    some = curves["answers"]
    x, first = [p["answers"] for p in some], some[0]
    seconds, counted, copied = (
        [p[name] / first[name] for p in some] for name in ("seconds", "tokens", "tokens_copied")
    )
    lines = [Band("time", x, seconds), Band("tokens", x, counted, colour="b", dashed=True),
             Band("tokens if copied", x, copied, colour="muted", dashed=True)]  # fmt: skip
    picture(
        "answers",
        "Time of a ranking against answers to a prompt",
        lines,
        "answers to each prompt",
        "times that of one answer",
    )
    some = curves["vocabulary"]
    x = [p["vocabulary"] / 1000 for p in some]
    table = [32 * 48 * p["vocabulary"] * 4 / 2**20 for p in some]
    lines = [Band("measured", x, [p["mb"] for p in some]),
             Band("one table of logits", x, table, colour="muted", dashed=True)]  # fmt: skip
    picture("vocabulary", "Memory of a pass against the vocabulary", lines, "thousand entries", "MB above the model")


def table(curves: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Every point as a line."""
    lines = [
        "| What grows | | Tokens read | If copied | CPU seconds | Microseconds a token | MB |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, points in curves.items():
        what = name.split("_")[0]
        for p in points:
            told = f"{NAMES[name]} | {p[what]:,} | {p['tokens']:,} | {p['tokens_copied']:,} | {p['seconds']:.3f}"
            lines.append(f"| {told} | {1e6 * p['seconds'] / p['tokens']:.0f} | {p['mb']:.0f} |")
    return lines


def write(told: dict[str, Any]) -> None:
    """The file, the pictures and the page. Raises ValueError when the page's marks are gone."""
    RESULTS.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    pictures(told["curves"])
    text = PAGE.read_text(encoding="utf-8")
    if BEGIN not in text or END not in text:
        raise ValueError(f"{PAGE} has lost the marks that the curves stand between: {BEGIN} and {END}")
    head, rest = text.split(BEGIN)
    far = ", ".join(f"{NAMES[name]} {100 * share:.0f} %" for name, share in told["apart"].items())
    lines = [
        f"Measured on {told['date']}, one thread, CPU time, the least of {told['rounds']} rounds. Time per token is",
        f"apart from that of the smallest point by at most: {far} (goal for answers: {100 * ALLOWED:.0f} %).",
        "",
        "![Time of a ranking against answers to a prompt](pictures/curve-answers.svg)",
        "",
        "![Memory of a pass against the vocabulary](pictures/curve-vocabulary.svg)",
        "",
        *table(told["curves"]),
    ]
    PAGE.write_text(f"{head}{BEGIN}\n\n" + "\n".join(lines) + f"\n\n{END}{rest.split(END)[1]}", encoding="utf-8")


def main(rounds: int = 3) -> dict[str, Any]:
    """Measure, tell, write."""
    torch.set_num_threads(1)
    curves = asked()
    measured(curves, rounds)
    told: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": "python -m bench.curves",
        "rounds": rounds,
        "apart": {name: round(apart(curves[name]), 3) for name in NAMES if name != "vocabulary"},
        "curves": {
            name: [
                {name.split("_")[0]: p.x, "tokens": p.tokens, "tokens_copied": p.copied,
                 "seconds": round(p.seconds, 4), "mb": round(p.mb, 1)}
                for p in points
            ]
            for name, points in curves.items()
        },
    }  # fmt: skip
    write(told)
    return told


if __name__ == "__main__":
    print(json.dumps(main(*map(int, sys.argv[1:]))["apart"]))

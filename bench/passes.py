"""One pass read in several ways: `python -m bench.passes`, packed beside padded copies, plain beside compiled layers.

The same random Llama of 5 M weights, the same tokens and loss (the sum of all answers' log-probabilities), forward and
backward. Padded copies are one row for each answer, prompt and all, through `transformers` with SDPA and one table of
logits. CPU seconds of one thread, the least of a few rounds in turn. docs/pass.md tells.
"""

from __future__ import annotations

import argparse
import copy
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LlamaForCausalLM

from accord.batches import Segment, padded
from accord.worlds.text.architecture import compiled
from accord.worlds.text.heap import keep
from accord.worlds.text.pack import plain
from accord.worlds.text.policy import Policy
from bench.compare import LOSS, NORM, Unequal
from bench.curves import config

Shape = Sequence[tuple[int, Sequence[int]]]
"""Length of each prompt, and of each answer to it."""


def uneven(count: int, prompt: tuple[int, int], answer: tuple[int, int], each: int) -> Shape:
    """So many prompts, and as many answers to each; lengths from the first number to the second."""
    draw = random.Random(0)
    return [(draw.randint(*prompt), [draw.randint(*answer) for _ in range(each)]) for _ in range(count)]


BATCHES: Mapping[str, Shape] = {
    "24 prompts of 96, two answers of 32": [(96, [32, 32])] * 24,
    "24 prompts of 8 to 240, two answers of 4 to 120": uneven(24, (8, 240), (4, 120), 2),
    "40 documents of 20 to 280": uneven(40, (1, 1), (19, 279), 1),
    "16 prompts of 96, 16 answers of 32": [(96, [32] * 16)] * 16,
}
COMPILED = "24 prompts of 8 to 240, two answers of 4 to 120"
"""The batch that compiled layers read."""


def drawn(shape: Shape, vocabulary: int) -> Segment:
    """Random tokens."""
    draw = torch.Generator().manual_seed(0)

    def some(length: int) -> list[int]:
        return torch.randint(3, vocabulary, (length,), generator=draw).tolist()

    observation, seen = padded([some(prompt) for prompt, _ in shape])
    action, length = padded([some(answer) for _, answers in shape for answer in answers])
    return Segment(
        observation=observation,
        observation_length=seen,
        group=torch.tensor([g for g, (_, answers) in enumerate(shape) for _ in answers]),
        action=action,
        length=length,
        mask=torch.arange(action.shape[1]) < length[:, None],
        weight=torch.ones(len(action)),
        names=tuple(map(str, range(len(action)))),
    )


def copied(model: nn.Module, rows: Segment) -> Tensor:
    """The sum of the answers' log-probabilities by one padded row for each answer, as most read them."""
    row = plain(rows)
    table = model(input_ids=row.ids, attention_mask=row.real).logits.log_softmax(-1).flatten(0, 1)
    found: Tensor = table[row.at].gather(-1, rows.action.flatten()[row.steps][:, None]).sum()
    return found


def measured(ways: Mapping[str, tuple[nn.Module, Callable[[], Tensor]]], rounds: int) -> dict[str, list[float]]:
    """CPU seconds of each round of each way, in turn. Raises Unequal unless the first losses and gradients agree."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    first: dict[str, tuple[float, float]] = {}
    for _ in range(rounds):
        for name, (model, look) in ways.items():
            begun = time.process_time()
            loss = look()
            loss.backward()
            seconds[name].append(time.process_time() - begun)
            grown = torch.stack([w.grad.norm() for w in model.parameters() if w.grad is not None]).norm()
            first.setdefault(name, (float(loss.detach()), float(grown)))
            model.zero_grad(set_to_none=True)
    (one, (loss_, norm)), *others = first.items()
    for other, (a, b) in others:
        if not (abs(a - loss_) <= LOSS * abs(loss_) and abs(b - norm) <= NORM * norm):
            raise Unequal(f"{one}: {loss_} and norm {norm}; {other}: {a} and {b}")
    return seconds


def main(given: Sequence[str] | None = None) -> dict[str, Any]:
    """Measure, and print two tables in Markdown."""
    read = argparse.ArgumentParser(prog="bench.passes", description=__doc__)
    read.add_argument("--rounds", type=int, default=3, help="timed passes of each way; the least counts")
    read.add_argument("--tiny", action="store_true", help="small models and few rows; only whether all do the same")
    read.add_argument(
        "--layers", action="store_true", help="compiled layers in place of padded copies; wants a C++ compiler"
    )
    asked = read.parse_args(given)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    keep()
    measures = (64, 1, 100) if asked.tiny else (256, 4, 4096)
    model = LlamaForCausalLM(config(*measures)).eval()
    theirs = copy.deepcopy(model)
    policy = Policy(model)
    found: dict[str, Any] = {}
    if asked.layers:
        quick = Policy(compiled(theirs, True))
        rows = drawn(BATCHES[COMPILED], measures[-1])
        ways = {"one function": (model, lambda: policy.evaluate(rows).logprob.sum()),
                "compiled": (quick.model, lambda: quick.evaluate(rows).logprob.sum())}  # fmt: skip
        print("| Layers | CPU s | The first pass |\n|---|---|---|")
        for way, each in measured(ways, asked.rounds).items():
            print(f"| {way} | {min(each):.3f} | {each[0]:.2f} |")
            found[way] = each
        return found
    print("| Batch | Tokens packed | Tokens padded | Packed, CPU s | Padded, CPU s | Faster by |")
    print("|---|---|---|---|---|---|")
    for name, shape in BATCHES.items():
        rows = drawn(shape[:2] if asked.tiny else shape, measures[-1])
        ways = {"packed": (model, lambda rows=rows: policy.evaluate(rows).logprob.sum()),
                "padded": (theirs, lambda rows=rows: copied(theirs, rows))}  # fmt: skip
        least = {way: min(each) for way, each in measured(ways, asked.rounds).items()}
        ratio = least["padded"] / least["packed"]
        print(f"| {name} | {rows.tokens:,} | {plain(rows).ids.numel():,} | {least['packed']:.2f} "
              f"| {least['padded']:.2f} | {ratio:.1f} |", flush=True)  # fmt: skip
        found[name] = {"tokens": rows.tokens, "padded": plain(rows).ids.numel(), "seconds": least, "ratio": ratio}
    return found


if __name__ == "__main__":
    main()

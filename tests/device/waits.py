"""How often the processor waits for a GPU, counted on the claimed one: `python -m tests.device.waits`."""

from __future__ import annotations

from collections.abc import Callable

import torch

from accord.protocols import Sampling
from accord.worlds.text.generate import Sampler
from accord.worlds.text.policy import Policy
from tests.device.claimed import Device
from tests.device.machine import claimed
from tests.worlds.text import tiny

SHAPE = [(4, [3, 1, 6]), (1, [9]), (2, [2, 3]), (9, [4, 4, 1])]
PROMPTS = [[5, 6, 7], [9], [11, 12, 13]]


def counted(device: Device, work: Callable[[], object]) -> tuple[int, int]:
    """Waits of some work, and tensors sent to the GPU for it."""
    device.forget()
    work()
    return sum(device.waits.values()), sum(device.sent.values())


def token(device: Device, sampler: Sampler, recorded: bool) -> tuple[int, int]:
    """Of one token more for all answers, none of which ends: the difference of two calls."""
    few, many = 8, 16
    found = []
    for steps in (few, many):

        def say(steps: int = steps) -> object:
            return sampler.generate(PROMPTS, Sampling(max_tokens=steps, count=2, stop=(-1,)))

        found.append(counted(device, say if recorded else lambda say=say: unrecorded(say)))
    return tuple((b - a) // (many - few) for a, b in zip(*found, strict=True))  # type: ignore[return-value]


def unrecorded(work: Callable[[], object]) -> object:
    """Without graphs."""
    from accord.worlds.text import played

    before, played.STEADY = played.STEADY, 1 << 30
    try:
        return work()
    finally:
        played.STEADY = before


def table() -> dict[str, tuple[int, int]]:
    """What is done -> (waits, tensors sent)."""
    found: dict[str, tuple[int, int]] = {}
    with claimed() as device:
        made = tiny.model("llama").to("cuda")
        policy = Policy(made, critic="shared")
        segment = tiny.drawn(SHAPE).to("cuda")
        seen = []
        found["a micro-batch: layout, forward"] = counted(device, lambda: seen.append(policy.evaluate(segment)))
        loss = seen[0].logprob.sum() + seen[0].value.sum()
        found["a micro-batch: backward"] = counted(device, loss.backward)
        sampler = Sampler(made)
        found["a token of all answers, step by step"] = token(device, sampler, recorded=False)
        found["a token of all answers, played"] = token(device, sampler, recorded=True)
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name, (waits, sent) in table().items():
        print(f"| {name} | {waits} | {sent} |")

"""A step of the sampler as a CUDA graph: what it asks of the GPU is recorded once and then played back as a whole.

A step of one token is hundreds of small kernels, and asking for them takes longer than running them. A recording
holds shapes and addresses, so it is of use while the same slots ask the same prompts. On a GPU answers that have ended
therefore idle in their slots until an eighth of them does, and the layout sees all places of a slot under a mask.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from accord.worlds.text.slots import Slots, Writing

STEADY = 3
"""Steps without a change of slots after which a recording is made."""
IDLE = 8
"""One in so many slots may idle before the others close up."""

Read = Callable[[Tensor, Tensor, Writing], Tensor]
"""ids [n, 1], positions [n, 1] and the layout -> logits [n, V]."""


class Player:
    """Plays steps from a recording where one can be made, and else reads them as they come."""

    def __init__(self, slots: Slots, read: Read, device: torch.device) -> None:
        """read: what a step computes."""
        self.slots, self.read = slots, read
        self.able = device.type == "cuda"
        """Whether recordings are made at all; no longer after one failed."""
        self._of, self._since = -1, 0
        self._recorded: Recorded | None = None

    def step(self, ids: Tensor, position: Tensor, spoken: Tensor, reach: tuple[int, int]) -> Tensor:
        """[n, V] logits of one token for each slot. ids, position: [n, 1]; spoken: [n] tokens read before this one.

        reach: the least and the most of `spoken`. The answer is overwritten by the next step.
        """
        if not self.able:
            return self.read(ids, position, Writing(self.slots, spoken, reach))
        if self._of != self.slots.arranged:
            self._of, self._since, self._recorded = self.slots.arranged, 0, None
        self._since += 1
        if self._recorded is None and self._since > STEADY:
            try:
                self._recorded = Recorded(self.slots, self.read, ids, position, spoken)
            except (
                RuntimeError
            ):  # a model that asks the GPU for a number, or allocates outside: it is read step by step
                self.able = False
        if self._recorded is None:
            return self.read(ids, position, Writing(self.slots, spoken, reach))
        return self._recorded(ids, position, spoken)


class Recorded:
    """One recording: its inputs stay where they are and are filled before each play."""

    def __init__(self, slots: Slots, read: Read, ids: Tensor, position: Tensor, spoken: Tensor) -> None:
        """Raises RuntimeError for what cannot be recorded. The memory of every layer must have been made before."""
        self.inputs = tuple(t.clone() for t in (ids, position, spoken))
        own_ids, own_position, own_spoken = self.inputs

        def once() -> Tensor:
            return read(own_ids, own_position, Writing(slots, own_spoken))

        self.play, self.logits = recorded(once)

    def __call__(self, ids: Tensor, position: Tensor, spoken: Tensor) -> Tensor:
        """[n, V] logits."""
        for own, given in zip(self.inputs, (ids, position, spoken), strict=True):
            own.copy_(given)
        self.play()
        return self.logits


def recorded(once: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """How to compute something again, and where the answer will lie; after a few rounds beside the main stream.

    Writing the same keys and values at the same places once more changes nothing, so the rounds do no harm.
    """
    # Other threads may ask for memory meanwhile: only this one's requests are part of the recording.
    aside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(2):
            once()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        answer = once()
    return graph.replay, answer

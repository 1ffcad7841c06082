"""What the sampler's answers say so far: tokens in main memory, where it is found out which answers have ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.protocols import Sampling
from accord.sending import Coming

NOBODY = -1
"""The request of a slot that idles."""


@dataclass(frozen=True)
class Drawn:
    """One token for each of some slots. Nobody may know yet which."""

    slots: slice
    request: NDArray[np.int64]
    """[n]: of each slot, or NOBODY."""
    number: NDArray[np.int64]
    """[n]: tokens of its answer before this one."""
    token: Coming
    """[n] int64."""
    logprob: Tensor
    """[n], on the model's device."""


class Said:
    """The answers to all requests of one call."""

    def __init__(self, requests: int, sampling: Sampling, spell: Callable[[list[int]], str] | None) -> None:
        """spell: the text of tokens, for `sampling.stop_text`."""
        self.sampling, self.spell = sampling, spell
        self.tail = 4 + max((len(text.encode()) for text in sampling.stop_text), default=0)
        """Newest tokens that a text which ends an answer can reach over: each spells a byte or more, mostly."""
        self.stop = np.array(sampling.stop, dtype=np.int64)
        self.tokens = np.zeros((requests, sampling.max_tokens), dtype=np.int64)
        self.length = np.zeros(requests, dtype=np.int64)
        """Tokens of each answer; 0 while it goes on."""
        self.ended = np.zeros(requests, dtype=bool)
        """Whether a token or a text ended it, and not its limit."""
        self._heard: list[Drawn] = []

    def hear(self, drawn: Drawn) -> NDArray[np.bool_]:
        """[n]: the slots whose answers these tokens end. Waits for the tokens."""
        self._heard.append(drawn)
        # Others were drawn before it was known that their answers end.
        live = ((drawn.request != NOBODY) & (self.length[drawn.request] == 0)).nonzero()[0]
        token, request, number = drawn.token.here().numpy()[live], drawn.request[live], drawn.number[live]
        self.tokens[request, number] = token
        stopped = (token[:, None] == self.stop).any(1)
        if self.sampling.stop_text:
            stopped |= self._worded(request, number)
        over = stopped | (number + 1 >= self.sampling.max_tokens)
        self.ended[request[stopped]] = True
        self.length[request[over]] = number[over] + 1
        found = np.zeros(len(drawn.request), dtype=bool)
        found[live] = over
        return found

    def _worded(self, request: NDArray[np.int64], number: NDArray[np.int64]) -> NDArray[np.bool_]:
        """[n]: answers whose newest token completes a text that ends them."""
        assert self.spell is not None
        found = []
        for row, last in zip(self.tokens[request].tolist(), number.tolist(), strict=True):
            newest = self.spell(row[max(0, last + 1 - self.tail) : last + 1])
            found.append(any(text in newest for text in self.sampling.stop_text))
        return np.array(found, dtype=bool)

    def logprobs(self) -> NDArray[np.float32]:
        """[requests, max_tokens] of every token, which until now stayed on the device."""
        made = np.zeros(self.tokens.shape, dtype=np.float32)
        if self._heard:
            request = np.concatenate([drawn.request for drawn in self._heard])
            number = np.concatenate([drawn.number for drawn in self._heard])
            each = torch.cat([drawn.logprob for drawn in self._heard]).float().cpu().numpy()
            real = request != NOBODY
            made[request[real], number[real]] = each[real]
        return made

"""One token for each row: the distribution, what is cut from it, and a random number that belongs to the row alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.protocols import Sampling

BLOCK = 64
"""Tokens whose probabilities are summed before it is asked in which of them a chance falls."""
STRETCH = 1 << 17
"""Probabilities that are made fp64 at a time: as many as stay in a core's cache."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def stream(seed: int, prompt: int, index: int) -> int:
    """The number that fixes all random numbers of one answer: 64 bits of SHA-256 over seed, prompt and answer."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{prompt}/{index}".encode()).digest()[:8], "big")


def uniform(streams: NDArray[np.uint64], step: NDArray[np.uint64]) -> NDArray[np.float64]:
    """[n] numbers in [0, 1), the step-th of each stream, by counting: SplitMix64 (Steele, Lea and Flood 2014)."""
    with np.errstate(over="ignore"):
        bits = streams + (step + np.uint64(1)) * _GOLDEN
        bits = (bits ^ (bits >> np.uint64(30))) * _FIRST
        bits = (bits ^ (bits >> np.uint64(27))) * _SECOND
        bits = bits ^ (bits >> np.uint64(31))
    numbers: NDArray[np.float64] = (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return numbers


def check(sampling: Sampling) -> None:
    """Raises ValueError, naming each setting with which nothing can be drawn."""
    bounds: Sequence[tuple[str, object, bool, str]] = (
        ("temperature", sampling.temperature, sampling.temperature >= 0, "0 or more"),
        ("top_k", sampling.top_k, sampling.top_k >= 0, "0 (all) or more"),
        ("top_p", sampling.top_p, 0 < sampling.top_p <= 1, "above 0 and at most 1"),
        ("min_p", sampling.min_p, 0 <= sampling.min_p <= 1, "between 0 and 1"),
        ("max_tokens", sampling.max_tokens, sampling.max_tokens >= 1, "1 or more"),
        ("count", sampling.count, sampling.count >= 1, "1 or more"),
        ("stop_text", sampling.stop_text, all(sampling.stop_text), "texts of one letter or more"),
    )
    wrong = [f"{name}={value} should be {should}" for name, value, fits, should in bounds if not fits]
    if wrong:
        raise ValueError("; ".join(wrong))


def draw(logits: Tensor, sampling: Sampling, chance: Tensor) -> tuple[Tensor, Tensor]:
    """A token for each row and its log-probability, [n] int64 and [n] fp32.

    logits: [n, V]. chance: [n] fp64 uniform numbers; the token is where the cumulative distribution passes them.
    The log-probability is that of softmax(logits / temperature) before anything is cut; at temperature 0, where the
    likeliest token is taken, it is that of temperature 1.
    """
    table = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if sampling.temperature not in (0, 1):
        table = table / sampling.temperature
    if sampling.temperature > 0 and not _cuts(sampling, table.shape[-1]):
        share = torch.softmax(table, -1)
        token = passed(share, chance)
        return token, share.gather(-1, token[:, None])[:, 0].log()
    table = torch.log_softmax(table, -1)
    token = table.argmax(-1) if sampling.temperature == 0 else passed(kept(table, sampling), chance)
    return token, table.gather(-1, token[:, None])[:, 0]


def passed(share: Tensor, chance: Tensor) -> Tensor:
    """[n] int64: where the sums of each row [n, V], from its first number on, pass that share `chance` of the whole.

    In fp64, block by block first and then within one block, so that few additions wait for each other.
    """
    count, size = share.shape
    whole = size // BLOCK
    blocks = share[:, : whole * BLOCK].reshape(count, whole, BLOCK)
    block = torch.empty(count, whole, dtype=torch.float64, device=share.device)
    rows = max(1, STRETCH // size if share.device.type == "cpu" else count)
    for some, into in zip(torch.split(blocks, rows), torch.split(block, rows), strict=True):
        torch.sum(some.double(), -1, out=into)
    if whole * BLOCK < size:
        block = torch.cat([block, share[:, whole * BLOCK :].sum(-1, keepdim=True, dtype=torch.float64)], -1)
    through = block.cumsum(-1)
    point = chance * through[:, -1]
    number = _first(through, point)
    before = torch.where(number > 0, through.gather(-1, (number - 1).clamp(min=0)), 0)
    place = number * BLOCK + torch.arange(BLOCK, device=share.device)
    inside = share.gather(-1, place.clamp(max=size - 1)).double().masked_fill_(place >= size, 0).cumsum(-1)
    return (number * BLOCK + _first(inside, point - before[:, 0]))[:, 0]


def _first(through: Tensor, point: Tensor) -> Tensor:
    """[n, 1]: first place of each row of sums that is above its point."""
    total = through[:, -1]
    # Below the total and not below nothing, so that rounding never leads to what cannot come.
    point = torch.minimum(point.clamp(min=0), torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(through, point[:, None], right=True)


def _cuts(sampling: Sampling, size: int) -> bool:
    """Whether anything is left out of a distribution over so many tokens."""
    return 0 < sampling.top_k < size or sampling.top_p < 1 or sampling.min_p > 0


def kept(table: Tensor, sampling: Sampling) -> Tensor:
    """[n, V] probabilities, not summing to 1, of what top-k, then top-p, then min-p leave of log-probabilities [n, V].

    Tokens as likely as the last one kept by top-k stay too. The likeliest token always stays.
    """
    share = table.exp()
    if 0 < sampling.top_k < share.shape[-1]:
        least = share.topk(sampling.top_k, -1).values[:, -1:]
        share = share.masked_fill(share < least, 0)
    if sampling.top_p < 1:
        ordered, place = share.sort(stable=True, dim=-1, descending=True)
        above = ordered.cumsum(-1, dtype=torch.float64) - ordered
        gone = above >= sampling.top_p * share.sum(-1, keepdim=True, dtype=torch.float64)
        gone[:, 0] = False
        share = share.masked_fill(torch.zeros_like(gone).scatter_(-1, place, gone), 0)
    if sampling.min_p > 0:
        share = share.masked_fill(share < sampling.min_p * share.amax(-1, keepdim=True), 0)
    return share

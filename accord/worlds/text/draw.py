"""One token for each row: the distribution, what is cut from it, and a random number that belongs to the row alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.protocols import Sampling

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


def draw(logits: Tensor, sampling: Sampling, chance: NDArray[np.float64]) -> tuple[Tensor, Tensor]:
    """A token for each row and its log-probability, [n] int64 and [n] fp32.

    logits: [n, V]. chance: [n] uniform numbers; the token is where the cumulative distribution passes them.
    The log-probability is that of softmax(logits / temperature) before anything is cut; at temperature 0, where the
    likeliest token is taken, it is that of temperature 1.
    """
    table = logits.to(torch.promote_types(logits.dtype, torch.float32))
    if sampling.temperature not in (0, 1):
        table = table / sampling.temperature
    table = torch.log_softmax(table, -1)
    if sampling.temperature == 0:
        token = table.argmax(-1)
    else:
        share = kept(table, sampling)
        through = share.cumsum(-1, dtype=torch.float64)
        total = through[:, -1]
        point = torch.as_tensor(chance, device=table.device) * total
        # Below the total, so that rounding never leads past the last token that can come.
        point = torch.minimum(point, torch.nextafter(total, torch.zeros_like(total)))
        token = torch.searchsorted(through, point[:, None], right=True)[:, 0]
    return token, table.gather(-1, token[:, None])[:, 0]


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

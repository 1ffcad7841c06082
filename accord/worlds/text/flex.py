"""Attention over a packed row on CUDA: one FlexAttention call for all trunks and branches, nothing gathered or padded.

Each place knows three numbers, and who sees whom is a rule about them that is compiled into the kernel (Dong et al.
2024). Blocks of 128 x 128 places in which nobody sees anybody are never visited.

    row        p0 p1 p2 a0 a1 | b0 b1 | q0 c0
    family      0  0  0  0  0    0  0    1  1      a trunk and the branches that go on from its prompt
    depth       0  1  2  3  4    3  4    0  1      the place in its own text
    branch      0  0  0  1  1    3  3    2  2      0: a prompt that branches read; else each answer a number of its own

    q sees k    where family_q = family_k, depth_q - window < depth_k <= depth_q, and branch_k is 0 or branch_q
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

from accord.sending import sent
from accord.worlds.text.attention import Rule

WORTH = 512
"""Tokens of a row from which on the kernel is asked; shorter rows are gathered."""
LEAST = 16
"""Numbers of a head below which the kernel does not work."""
KINDS = 64
"""Kernels that one process may compile; the next one raises RuntimeError."""
BACKEND = "inductor"
"""Torch's compiler of kernels."""

Seen = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Places:
    """The three numbers of each place of a row, and the masks made of them so far, one for each window."""

    family: Tensor
    """[N] int32."""
    depth: Tensor
    """[N] int32."""
    branch: Tensor
    """[N] int32."""
    masks: dict[int | None, BlockMask] = field(default_factory=dict)

    def rule(self, window: int | None) -> Seen:
        """Whether place q sees place k, as FlexAttention asks: (batch, head, q, k) -> bool."""
        family, depth, branch = self.family, self.depth, self.branch

        def seen(_batch: Tensor, _head: Tensor, q: Tensor, k: Tensor) -> Tensor:
            own = (branch[k] == 0) | (branch[k] == branch[q])
            past = (family[q] == family[k]) & (depth[k] <= depth[q]) & own
            return past if window is None else past & (depth[q] - depth[k] < window)

        return seen

    def mask(self, window: int | None) -> BlockMask:
        """Which blocks are visited, made once for all layers of a pass."""
        if window not in self.masks:
            make = compiled()[0] if self.family.device.type == "cuda" else create_block_mask
            length = len(self.family)
            self.masks[window] = make(self.rule(window), None, None, length, length, device=self.family.device)
        return self.masks[window]


def places(total: int, trunks: Tensor, branches: Tensor, device: torch.device) -> Places:
    """From start and length of each trunk [n, 2] and start, length, prompt's start and length of each branch [m, 4].

    Both lie in main memory; device: where the three numbers are to be.
    """
    found = torch.zeros(3, total, dtype=torch.int32)
    count = len(trunks)
    start, order = trunks[:, 0].sort()
    home = order[torch.searchsorted(start, branches[:, 2].contiguous())] if len(branches) else branches[:, 2]
    shared = torch.zeros(count, dtype=torch.long)
    shared[home] = branches[:, 3]
    own = torch.arange(count)
    at, step, which = _laid(trunks[:, 0], trunks[:, 1])
    found[0, at], found[1, at] = own[which].int(), step.int()
    found[2, at] = torch.where(step < shared[which], 0, 1 + which).int()
    at, step, which = _laid(branches[:, 0], branches[:, 1])
    found[0, at], found[1, at] = home[which].int(), (branches[:, 3][which] + step).int()
    found[2, at] = (1 + count + which).int()
    return Places(*sent(found, device))


def _laid(start: Tensor, length: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Of each token of some stretches: its place in the row, its number in its stretch, the stretch's number."""
    which = torch.repeat_interleave(torch.arange(len(start)), length)
    step = torch.arange(len(which)) - (length.cumsum(0) - length)[which]
    return start[which] + step, step, which


def fits(query: Tensor, value: Tensor) -> bool:
    """Whether the kernel can and should be asked: on CUDA, with Triton, heads of at least 16, rows long enough.

    query: [1, H, N, d], value: [1, K, N, d].
    """
    return (
        query.device.type == "cuda"
        and query.shape[2] >= WORTH
        and query.shape[-1] == value.shape[-1] >= LEAST
        and query.dtype in (torch.float32, torch.bfloat16, torch.float16)
        and has_triton()
    )


def attend(query: Tensor, key: Tensor, value: Tensor, found: Places, rule: Rule) -> Tensor:
    """query [1, H, N, d], key and value [1, K, N, d] -> [1, N, H, d]. On a CPU without gradient alone, and slowly."""
    ask = compiled()[1] if query.device.type == "cuda" else flex_attention
    answer: Tensor = ask(
        query,
        key,
        value,
        score_mod=None if rule.softcap is None else squashed(rule.softcap),
        block_mask=found.mask(rule.window),
        scale=rule.scaling,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return answer.transpose(1, 2)


@cache
def compiled() -> tuple[Any, Any]:
    """The maker of masks and the kernel, compiled at their first use for rows of any length.

    Each kind of head, window, cap and precision is compiled by itself, with gradient and without. After torch's 8 kinds
    a process would silently go on with the N x N table: policy, critic and reward model of one circle are more.
    """
    known = "recompile_limit" in inspect.signature(torch.compile).parameters  # not of every torch
    more = {"recompile_limit": KINDS} if known else {}
    build = functools.partial(torch.compile, dynamic=True, backend=BACKEND, **more)
    return build(create_block_mask), build(flex_attention, fullgraph=True)


@cache
def has_triton() -> bool:
    """Whether the compiler of the kernels is installed; torch brings it for CUDA on Linux."""
    return importlib.util.find_spec("triton") is not None


@cache
def squashed(softcap: float) -> Callable[..., Tensor]:
    """What the products are squashed by, one function for each cap, so that it is compiled once."""

    def squash(score: Tensor, *_places: Tensor) -> Tensor:
        return softcap * torch.tanh(score / softcap)

    return squash

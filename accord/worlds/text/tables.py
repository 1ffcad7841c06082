"""The tables of a step of the sampler: queries, products, shares, answers; laid out once and filled by each layer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Pairs = list[tuple[Tensor, Tensor]]
"""What is copied: to where, and from where."""


@dataclass(frozen=True)
class Part:
    """Views of a step's tables for g prompts of up to P tokens with up to m answers each, which have S places now."""

    asked: Tensor
    """[g K, m r, d] queries."""
    products: Tensor
    """[g K, m r, P] with prompts' keys."""
    whole: Tensor
    """[g, K, m, r, P] the same."""
    beside: Tensor
    """[g, K, m, r, S] with the answers' own."""
    table: Tensor
    """[g, K, m, r, P + S] both."""
    share: Tensor
    """The same after softmax."""
    there: Tensor
    """[g K, m r, P] of it, for prompts' values."""
    said: Tensor
    """[g K, m r, d] what these say."""
    back: Pairs
    """What they say, and the answers' own shares, to where each slot looks for it."""


class Tables:
    """Made for n slots whose queries are [n, K, r, d]; every layer of a step fills them anew.

    With a thousand small tensors a step, making and viewing them takes as long as a fifth of the arithmetic.
    """

    def __init__(
        self, like: Tensor, shape: tuple[int, int, int, int], width: int, span: int,
        parts: Sequence[tuple[int, int, int]], laid: Tensor | None,
    ) -> None:  # fmt: skip
        """like: of whose kind. width: of a value. span: places S. parts: (g, m, P) of each.

        laid: [l] slots in the order in which prompts are asked; None where that is their own.
        """
        count, known, each, size = shape
        self.laid = laid
        self.query = like.new_empty(shape)
        """[n, K, r, d]."""
        self.each = self.query.view(count * known, each, size)
        self.own = like.new_empty(count * known, each, span)
        """[n K, r, S]: products with the answers' own keys."""
        self.wide = self.own.view(count, known, each, span)
        rows = count if laid is None else len(laid)
        self.order = self.query if laid is None else like.new_empty(rows, known, each, size)
        """[l, K, r, d]: queries as they are laid."""
        self.lined = self.wide if laid is None else like.new_empty(rows, known, each, span)
        self.found = like.new_empty(rows, known, each, width)
        self.share = like.new_empty(rows, known, each, span)
        self.ahead: Pairs = []
        """Queries into the order in which they ask."""
        self.parts: list[Part] = []
        asked = self._asking(parts)
        at = 0
        for (g, m, long), queries in zip(parts, asked, strict=True):
            self.parts.append(self._part(slice(at, at + g * m), (g, m, long), queries, width))
            at += g * m

    def _asking(self, parts: Sequence[tuple[int, int, int]]) -> list[Tensor]:
        """[g K, m r, d] queries of each part, and `ahead`."""
        rows, known, each, size = self.order.shape
        if all(m == 1 for _, m, _ in parts) or known == 1:
            room = self.order
        else:
            room = torch.empty_like(self.order)
            same = len({m for _, m, _ in parts}) == 1
            at = 0
            for g, m, _ in [(rows // parts[0][1], parts[0][1], 0)] if same else parts:
                here, at = slice(at, at + g * m), at + g * m
                self.ahead.append(
                    (
                        room[here].view(g, known, m, each, size),
                        self.order[here].view(g, m, known, each, size).transpose(1, 2),
                    )
                )
        cut = torch.split(room, [g * m for g, m, _ in parts])
        return [some.view(g * known, m * each, size) for some, (g, m, _) in zip(cut, parts, strict=True)]

    def _part(self, here: slice, of: tuple[int, int, int], asked: Tensor, width: int) -> Part:
        (g, m, long), (_, known, each, span) = of, self.lined.shape
        products = asked.new_empty(g * known, m * each, long)
        table = asked.new_empty(g, known, m, each, long + span)
        share = torch.empty_like(table)
        found, own = (t[here].view(g, m, known, each, -1).transpose(1, 2) for t in (self.found, self.share))
        back = [(own, share[..., long:])]
        if m == 1 or known == 1:
            said = self.found[here].view(g * known, m * each, width)
        else:
            said = asked.new_empty(g * known, m * each, width)
            back.append((found, said.view(g, known, m, each, width)))
        return Part(
            asked, products, products.view(g, known, m, each, long),
            self.lined[here].view(g, m, known, each, span).transpose(1, 2), table, share,
            share.view(g * known, m * each, -1)[..., :long], said, back,
        )  # fmt: skip

    def line(self) -> None:
        """Queries and products with the answers' own keys into the order in which prompts are asked."""
        if self.laid is not None:
            torch.index_select(self.query, 0, self.laid, out=self.order)
            torch.index_select(self.wide, 0, self.laid, out=self.lined)
        for target, source in self.ahead:
            target.copy_(source)

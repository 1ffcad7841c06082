"""The memory of a sampler: keys and values of many unfinished answers, laid out once and never moved as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from accord.worlds.text.attention import Rule, additive, attended
from accord.worlds.text.tree import Tree


class Slots:
    """Keys and values [slots, K, places, d] of each layer. A slot holds one text from its first token on."""

    def __init__(self, slots: int, places: int) -> None:
        self.slots, self.places = slots, places
        self.keys: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}

    def layer(self, rule: Rule, like: Tensor) -> tuple[Tensor, Tensor]:
        """The memory of one layer, made at its first use after the shape of its keys [1, K, N, d]."""
        if rule.layer not in self.keys:
            shape = (self.slots, like.shape[1], self.places, like.shape[3])
            self.keys[rule.layer], self.values[rule.layer] = like.new_zeros(shape), like.new_zeros(shape)
        return self.keys[rule.layer], self.values[rule.layer]

    def move(self, source: Tensor, target: Tensor, used: int) -> None:
        """The first `used` places of some slots into others, [n] int64 each."""
        for memory in (*self.keys.values(), *self.values.values()):
            memory[target, :, :used] = memory[source, :, :used]


@dataclass(frozen=True)
class Reading:
    """The layout that reads prompts, once each, and puts what was read into the slots of all their answers."""

    tree: Tree
    """The packed prompts: trunks without branches."""
    slots: Slots
    """Where to put it."""
    prompt: Tensor
    """[G, P] int64: places of each prompt in the row; a shorter one repeats its last place."""
    source: Tensor
    """[n] int64: prompt of each new slot."""
    first: int
    """The new slots are first, first + 1, ..., first + n - 1."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, rule: Rule) -> Tensor:
        """query [1, H, N, d], key and value [1, K, N, d] -> [1, N, H, d]."""
        to = slice(self.first, self.first + len(self.source))
        for memory, new in zip(self.slots.layer(rule, key), (key, value), strict=True):
            read = new[0][:, self.prompt].transpose(0, 1)  # [G, K, P, d]
            memory[to, :, : self.prompt.shape[1]] = read[self.source]
        return self.tree.attend(query, key, value, rule)


@dataclass(frozen=True)
class Writing:
    """The layout of one step: each of the first n slots adds one token to its text and reads what it holds."""

    slots: Slots
    """The texts so far."""
    place: Tensor
    """[n] int64: where the new token of each slot stands in its text."""
    span: int
    """One past the highest of them."""
    masks: dict[int | None, Tensor] = field(default_factory=dict)
    """Masks made so far, by window."""

    def mask(self, window: int | None, dtype: torch.dtype) -> Tensor:
        """[n, 1, 1, span] to be added."""
        if window is not None and window >= self.span:
            window = None
        if window not in self.masks:
            past = self.place[:, None] - torch.arange(self.span, device=self.place.device)
            seen = past >= 0 if window is None else (past >= 0) & (past < window)
            self.masks[window] = additive(seen, dtype)[:, None, None]
        return self.masks[window]

    def attend(self, query: Tensor, key: Tensor, value: Tensor, rule: Rule) -> Tensor:
        """query [n, H, 1, d], key and value [n, K, 1, d] -> [n, 1, H, d]."""
        count = len(self.place)
        keys, values = self.slots.layer(rule, key)
        rows = torch.arange(count, device=self.place.device)
        keys[rows, :, self.place] = key[:, :, 0]
        values[rows, :, self.place] = value[:, :, 0]
        seen_keys, seen_values = keys[:count, :, : self.span], values[:count, :, : self.span]
        mask = self.mask(rule.window, query.dtype)
        return attended(query, seen_keys, seen_values, mask, rule.scaling, rule.softcap).transpose(1, 2)

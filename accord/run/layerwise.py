"""Each layer of a pretrained model at a rate of its own: what is near the words moves less than what is near the head.

Howard and Ruder 2018 (section 3.2) and Clark et al. 2020 (ELECTRA, table 7) fine-tune so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn


def layerwise(learner: Any, name: str, rate: float, decay: float) -> tuple[dict[str, Any], Mapping[str, float]]:
    """What `Run.optimise` wants of a learner: its modules, and the rates that differ from `rate`.

    Of L layers the one on top learns with rate * decay, the next with rate * decay^2, and so on; everything that
    stands before the first of them, such as the words' vectors, with rate * decay^(L + 1); the head and what else
    stands behind them with the rate itself. Layers are the longest list of like modules. With decay 1, or without
    layers, the learner is one module at one rate.
    """
    lists = [list(part) for part in learner.modules() if isinstance(part, nn.ModuleList) and _alike(part)]
    if decay == 1 or not lists:
        return {name: learner}, {}
    layers = max(lists, key=len)
    modules = {f"{name}.{at}": layer for at, layer in enumerate(layers)}
    rates = {f"{name}.{at}": rate * decay ** (len(layers) - at) for at in range(len(layers))}
    within = {id(weight) for layer in layers for weight in layer.parameters()}
    first = next((n for n, (_, weight) in enumerate(learner.named_parameters()) if id(weight) in within), 0)
    before = {id(weight) for weight in list(learner.parameters())[:first]}
    for at, part in enumerate(_holders(learner, before)):
        modules[f"{name}.words{at}"], rates[f"{name}.words{at}"] = part, rate * decay ** (len(layers) + 1)
    return {**modules, name: learner}, rates


def _alike(part: nn.ModuleList) -> bool:
    """Whether a list holds layers: several modules of one kind, each with weights."""
    return len({type(one) for one in part}) == 1 and all(any(True for _ in one.parameters()) for one in part)


def _holders(learner: nn.Module, wanted: set[int]) -> list[nn.Module]:
    """The modules whose own parameters are among those wanted."""
    return [part for part in learner.modules() if any(id(w) in wanted for w in part.parameters(recurse=False))]

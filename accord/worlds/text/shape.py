"""How many operations a pass takes, counted from the shape of the model and of what it reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from accord.batches import Segment
from accord.run.account import HERE

APART = ("pooler", "classifier", "score", "lm_head", "reference", "original_module")
"""Parts of a name whose weights are not multiplied with every token by the trunk that learns."""
BEHIND = ("o_proj", "gate_proj", "up_proj", "down_proj", "query", "dense")
"""Linear layers whose result, in the last layer of a Llama or a BERT, only the places asked for need."""

ASKING = ("q_proj",)
"""Those that only the places asked for need where they alone attend, see tails.py."""


@dataclass(frozen=True)
class Shape:
    """What decides the cost of a pass.

    forward = 2 linear tokens + 2 heads sum over layers of visible pairs + 2 head predicted
    backward = 2 (linear + learned) tokens + twice the attention + 2 (head + learned_head) predicted

    One multiplication and one addition are two operations. Attention counts the pairs of tokens that see each other,
    real ones alone: neither the upper half of a causal square nor padding. Norms, activations and softmax are left
    out, as usual (Chowdhery et al. 2022, appendix B), and what is computed again in backward counts once.
    """

    linear: float
    """Weights of the trunk that each token is multiplied with; of experts only those that it is sent to."""
    learned: float
    """Those of them that are trained."""
    heads: int
    """Numbers that a visible pair costs in one layer: heads x (size of a key + size of a value)."""
    windows: tuple[int | None, ...]
    """For each layer how many tokens one sees; None for all of its past."""
    head: int
    """Weights of the output layer that each predicted place is multiplied with."""
    learned_head: int
    """The same where the output layer is trained, else 0."""
    tail: float = 0.0
    """Weights of the last layer behind its attention (of BERT its queries too): places not asked for spare them."""
    learned_tail: float = 0.0
    """Those of them that are trained."""

    asking: float = 0.0
    """Weights that make the last layer's queries."""
    learned_asking: float = 0.0
    """Those of them that are trained."""

    def spared(self, places: float, pairs: float = 0) -> float:
        """Operations less of a pass whose last layer goes no further than attention for so many places.

        pairs: those that these places would have seen in that layer, where they do not even attend; else 0.
        """
        once, learned = self.tail + self.asking * bool(pairs), self.learned_tail + self.learned_asking * bool(pairs)
        grad = torch.is_grad_enabled()
        return 2 * (once + (once + learned) * grad) * places + 2 * self.heads * pairs * (3 if grad else 1)

    def forward(self, tokens: float, pairs: float, predicted: float) -> float:
        """Operations without gradient. pairs: visible pairs, summed over the layers."""
        return 2 * (self.linear * tokens + self.heads * pairs + self.head * predicted)

    def both(self, tokens: float, pairs: float, predicted: float) -> float:
        """Operations of a forward and a backward pass."""
        back = (self.linear + self.learned) * tokens + (self.head + self.learned_head) * predicted
        return self.forward(tokens, pairs, predicted) + 2 * back + 4 * self.heads * pairs

    def pairs(self, before: Tensor, length: Tensor) -> Tensor:
        """[]: visible pairs over all layers, of stretches of `length` [n] tokens that stand after `before` [n]."""
        every = {window: visible(before, length, window).sum() for window in set(self.windows)}
        total = torch.zeros((), dtype=torch.long, device=length.device)
        for window in self.windows:
            total = total + every[window]
        return total


def visible(before: Tensor, length: Tensor, window: int | None = None) -> Tensor:
    """[n]: pairs (token, what it sees): sum over i < length of min(before + i + 1, window)."""
    if window is None:
        return length * before + length * (length + 1) // 2
    whole = torch.minimum((window - before).clamp(min=0), length)
    return whole * before + whole * (whole + 1) // 2 + (length - whole) * window


def shape_of(body: nn.Module, config: Any, head: Tensor) -> Shape:
    """The shape of a trunk. config: of its text part; head: the weight of its output layer."""
    linear = learned = 0.0
    tail, asking = [0.0, 0.0], [0.0, 0.0]
    last = f"layer.{int(config.num_hidden_layers) - 1}.", f"layers.{int(config.num_hidden_layers) - 1}."
    kept = [(name, module) for name, module in body.named_modules() if not set(name.split(".")) & set(APART)]
    for name, module in kept:
        inside = set(name.split(".")) if any(part in name for part in last) else set()
        for weight, each in _multiplied(module, config):
            linear += each
            learned += each * weight.requires_grad
            for sums, names in ((tail, BEHIND), (asking, ASKING)):
                sums[0] += each * bool(inside & set(names))
                sums[1] += each * bool(inside & set(names)) * weight.requires_grad
    count = int(config.num_attention_heads)
    size = getattr(config, "head_dim", None) or config.hidden_size // count
    key, value = getattr(config, "qk_head_dim", None) or size, getattr(config, "v_head_dim", None) or size
    top = head.numel()
    learned_top = top * head.requires_grad
    return Shape(linear, learned, count * (key + value), _windows(config), top, learned_top, *tail, *asking)


def count_segment(shape: Shape, segment: Segment, whole: bool, shared: bool) -> None:
    """Put a pass over a segment into the account. whole: each answer's last token is read; shared: prompts once."""
    group, prompt, length = segment.sizes
    own = prompt[group]
    answered = torch.bincount(group, minlength=len(prompt)) > 0
    zero = torch.zeros_like
    if shared:
        used = length if whole else (length - 1).clamp(min=0)
        read = torch.where(answered, prompt, 0)
        pairs = shape.pairs(torch.cat([zero(read), own]), torch.cat([read, used]))
        places = tokens = read.sum() + used.sum()
    else:
        read, full = own, own + length
        pairs = shape.pairs(zero(full), full)
        tokens, places = full.sum(), torch.full_like(pairs, len(full)) * (full.max() if len(full) else 0)
    predicted = torch.full_like(pairs, len(length)) if whole else torch.where(own > 0, length, length - 1).sum()
    table = torch.stack([tokens, places, pairs, predicted, read.sum(), own.sum()]).tolist()
    _add(shape, *table)


def count_rows(shape: Shape, lengths: Sequence[int], width: int | None) -> None:
    """Put an encoder's pass into the account: rows padded to `width` or not at all, each token sees all of its text."""
    real = float(sum(lengths))
    pairs = len(shape.windows) * sum(float(length) ** 2 for length in lengths)
    if width is None:  # the last layer is asked for the first token of each text alone
        pairs += real - sum(float(length) ** 2 for length in lengths)
        HERE.add(-shape.spared(real - len(lengths)), 0, 0)
    _add(shape, real, real if width is None else len(lengths) * width, pairs, len(lengths), 0.0, 0.0)


@torch.no_grad()
def count_sampling(shape: Shape, prompts: Sequence[int], answers: Sequence[Sequence[int]]) -> None:
    """Put sampling into the account: prompts [n] tokens read once, then one token after the other.

    answers: for each prompt how many tokens were drawn for each of its answers. The last one is drawn and not read.
    """
    read = torch.tensor(prompts, dtype=torch.long)
    again = torch.tensor([max(n - 1, 0) for drawn in answers for n in drawn], dtype=torch.long)
    own = read.repeat_interleave(torch.tensor([len(drawn) for drawn in answers], dtype=torch.long))
    pairs = shape.pairs(torch.cat([torch.zeros_like(read), own]), torch.cat([read, again]))
    tokens = float(read.sum() + again.sum())
    predicted = float(len(read) + again.sum())
    _add(shape, tokens, tokens, float(pairs), predicted, float(read.sum()), float(own.sum()))


def _add(
    shape: Shape, tokens: float, places: float, pairs: float, predicted: float, prompts: float, unshared: float
) -> None:
    cost = shape.both if torch.is_grad_enabled() else shape.forward
    HERE.add(cost(tokens, pairs, predicted), tokens, places, prompts, unshared)


def _multiplied(module: nn.Module, config: Any) -> list[tuple[Tensor, float]]:
    """Weights of this one module that a token is multiplied with, and how many of their numbers."""
    found: list[tuple[Tensor, float]] = []
    experts = getattr(config, "num_experts_per_tok", None)
    for name, weight in module.named_parameters(recurse=False):
        plain = isinstance(module, nn.Linear) or type(module).__name__.endswith(("Conv1D", "Router"))
        if plain and weight.ndim == 2:
            found.append((weight, float(weight.numel())))
        elif experts and weight.ndim == 3 and not name.endswith("bias"):
            found.append((weight, weight.numel() / len(weight) * experts))
    return found


def _windows(config: Any) -> tuple[int | None, ...]:
    """How far each layer sees."""
    window, layers = getattr(config, "sliding_window", None), int(config.num_hidden_layers)
    kinds = getattr(config, "layer_types", None) or ["sliding_attention" if window else "full_attention"] * layers
    return tuple(window if kind == "sliding_attention" else None for kind in kinds)

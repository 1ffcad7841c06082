"""The trunk and the head of a language model, and the one pass that reads a packed row with them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from accord.batches import Segment, padded
from accord.run.account import HERE
from accord.worlds.text import llama
from accord.worlds.text.attention import Layout, registered
from accord.worlds.text.heap import keep
from accord.worlds.text.pack import Packed, packed, plain
from accord.worlds.text.picked import picked
from accord.worlds.text.shape import Shape, count_segment, shape_of
from accord.worlds.text.words import told

_told: set[str] = set()


class Trunk:
    """A decoder in its two parts: `hidden` reads a segment, `logits` puts the output layer on what was read.

    It holds references to the model's own modules, LoRA layers included, and no weights of its own. The model is
    set to Accord's attention (without a layout that is plain SDPA). On a handful of tokens it is checked once that
    the packed row gives what the plain model gives; where it does not, or where the family cannot take it, rows are
    read one by one, padded: right, but slower, and a warning says so.
    """

    def __init__(self, model: nn.Module) -> None:
        keep()
        base = unwrapped(model)
        self.body: Any = base.base_model
        if self.body is base:
            raise ValueError(f"{type(base).__name__} has no head; load it as a causal or sequence-classification model")
        self.head: Any = base.get_output_embeddings() if not hasattr(base, "score") else None
        config = base.config.get_text_config()
        self.width = int(config.hidden_size)
        self.vocabulary = int(config.vocab_size)
        self.cap: float | None = getattr(config, "final_logit_softcapping", None)
        self.scale = float(getattr(config, "logit_scale", None) or 1) / float(
            getattr(config, "logits_scaling", None) or 1
        )
        self.whole_layers = False
        self._base = base
        self.shares = _shares(base, self)

    @cached_property
    def shape(self) -> Shape:
        """What a pass costs."""
        head = self._base.score if self.head is None else self.head
        return shape_of(self.body, self._base.config.get_text_config(), head.weight)

    def packed(self, segment: Segment, whole: bool = True) -> Packed:
        """The segment as this model can read it, for one pass, which is put into the account."""
        count_segment(self.shape, segment, whole, self.shares)
        return packed(segment, whole) if self.shares else plain(segment)

    def hidden(self, row: Packed, at: Tensor) -> Tensor:
        """[m, D]: the last hidden states at those flat places [m] of the row."""
        if row.tree is None:
            state: Tensor = self.body(input_ids=row.ids, attention_mask=row.real, use_cache=False).last_hidden_state
            return picked(state.flatten(0, 1), at)
        if self.whole_layers and llama.fits(self.body):
            found, left, pairs = llama.read(self.body, row.ids, row.position, row.tree, at)
            HERE.add(-self.shape.spared(left, pairs), 0, 0)
            return found
        return picked(self.read(row.ids, row.position, row.tree)[0], at)

    def read(self, ids: Tensor, position: Tensor, layout: Layout) -> Tensor:
        """[R, N, D] hidden states of ids [R, N] at their positions, each layer's attention as the layout says."""
        # A mask of four dimensions is handed through by transformers as it is, so none of N x N is ever made.
        nothing = torch.zeros(1, 1, 1, 1, dtype=torch.bool, device=ids.device)
        made = self.body(input_ids=ids, position_ids=position, attention_mask=nothing, use_cache=False, layout=layout)
        state: Tensor = made.last_hidden_state
        return state

    def logits(self, hidden: Tensor) -> Tensor:
        """[m, D] -> [m, V], with the cap and scale of the family."""
        if self.head is None:
            raise ValueError("this model has no output layer over tokens")
        logits = told(self.head, hidden)
        if self.scale != 1:
            logits = logits * self.scale
        if self.cap is not None:
            logits = torch.tanh(logits / self.cap) * self.cap
        return logits


def unwrapped(model: nn.Module) -> Any:
    """The transformers model inside; a LoRA model's layers stay adapted."""
    inner: Any = model
    return inner.get_base_model() if hasattr(model, "get_base_model") else model


@contextmanager
def still(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode; every module gets its own mode back."""
    modes = [(module, module.training) for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


class Dropouts:
    """The places of a model where dropout may happen, found once."""

    def __init__(self, model: nn.Module) -> None:
        self.places: list[tuple[str, nn.Module]] = []
        for name, module in model.named_modules():
            inside = getattr(module, "attention_dropout", 0.0)
            if (isinstance(module, nn.Dropout) and module.p > 0) or (isinstance(inside, float) and inside > 0):
                self.places.append((name, module))

    def refuse(self) -> None:
        """Raises ValueError when dropout is active in a pass without gradient: its numbers would be noise."""
        if torch.is_grad_enabled():
            return
        active = [name for name, module in self.places if module.training]
        if active:
            raise ValueError(
                f"dropout is active at {len(active)} place(s) of a scoring pass ({', '.join(active[:3])}...): "
                "set it to 0 in the model's configuration or call .eval() first"
            )


def _shares(base: Any, trunk: Trunk) -> bool:
    """Whether the model reads packed rows as it reads plain ones, tried on a few tokens."""
    config = base.config.get_text_config()
    device = next(base.parameters()).device
    if device.type == "meta":
        return False
    rows = [[1, 2, 3, 4, 5], [1, 2, 3, 6], [7, 8, 9]]
    rows = [[token % trunk.vocabulary for token in row] for row in rows]
    before = config._attn_implementation
    with still(base), torch.no_grad():
        wanted = []
        for row in rows:
            state = trunk.body(input_ids=torch.tensor([row], device=device), use_cache=False).last_hidden_state[0]
            wanted.append(state)
            if trunk.head is not None:
                logits = base(input_ids=torch.tensor([row], device=device), use_cache=False).logits[0]
                if not close(trunk.logits(state), logits):
                    raise ValueError(f"the logits of {type(base).__name__} are not its output layer on its last state")
        try:
            if getattr(config, "attention_chunk_size", None):
                raise ValueError("it attends in chunks")
            base.set_attn_implementation(registered())
            tried = packed(_tried(rows).to(device))
            ends = torch.stack([state[-1] for state in wanted])
            same = close(trunk.hidden(tried, tried.last), ends)
            if same and tried.tree is not None and llama.fits(trunk.body):
                quick, _, _ = llama.read(trunk.body, tried.ids, tried.position, tried.tree, tried.last)
                trunk.whole_layers = close(quick, ends)
            reason = "its packed states differ from its plain ones"
        except Exception as error:  # whatever goes wrong in a family's code, the plain rows remain
            same, reason = False, f"{type(error).__name__}: {error}"
        if not same:
            base.set_attn_implementation(before)
    if not same and type(base).__name__ not in _told:
        _told.add(type(base).__name__)
        warnings.warn(f"{type(base).__name__} cannot read packed rows ({reason}); reading padded ones", stacklevel=4)
    return same


def _tried(rows: list[list[int]]) -> Segment:
    """Three rows in two groups: [1 2 3 | 4 5] with [. | 6], and [7 | 8 9]."""
    observation, seen = padded([rows[0][:3], rows[2][:1]])
    action, length = padded([rows[0][3:], rows[1][3:], rows[2][1:]])
    return Segment(
        observation=observation,
        observation_length=seen,
        group=torch.tensor([0, 0, 1]),
        action=action,
        length=length,
        mask=torch.arange(action.shape[1]) < length[:, None],
        weight=torch.ones(3),
        names=("0", "1", "2"),
    )


def close(found: Tensor, wanted: Tensor) -> bool:
    """Whether two ways to compute the same agree up to rounding."""
    loose = max(1e-4, 4 * torch.finfo(wanted.dtype).eps)
    return bool((found - wanted).abs().max() <= loose * (1 + wanted.abs().max()))

"""A model that scores texts: one number for a whole answer, or the expected return before each of its tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

from accord.batches import Segment
from accord.run import ranks
from accord.sending import together
from accord.worlds.text import bert
from accord.worlds.text.pack import Packed, plain
from accord.worlds.text.shape import Shape, count_rows, shape_of
from accord.worlds.text.trunk import Dropouts, Trunk, close, still, unwrapped


class Scorer(nn.Module):
    """A sequence-classification model of `transformers` with one output.

    A decoder is a trunk with a `score` layer: it reads packed rows, and the score of a row stands at its last real
    token. An encoder sees each text whole: BERT reads its texts end to end (bert.py), other families rows that are
    sorted by length, with as little padding as that allows.
    The score of a row does not depend on what else is in the batch.
    """

    def __init__(self, model: nn.Module, pooling: Literal["own", "mean"] = "own", tokens: int = 8192) -> None:
        """model: an `AutoModelForSequenceClassification` with one label, adapted by PEFT or not.

        pooling: an encoder's own head, or its classifier on the mean of the last hidden states.
        tokens: an encoder reads at most so many at a time, padding counted.
        Raises ValueError when the model has another number of outputs than one.
        """
        super().__init__()
        base = unwrapped(model)
        if base.config.num_labels != 1:
            raise ValueError(
                f"a scorer has one output; {type(base).__name__} has {base.config.num_labels} (num_labels)"
            )
        self.model = model
        self.pooling, self.tokens = pooling, tokens
        self.decoder = hasattr(base, "score")
        self.trunk: Trunk | None = Trunk(model) if self.decoder else None
        self._dropouts = Dropouts(model)
        self.whole_rows: bool = not self.decoder and pooling == "own" and self._tried()

    @property
    def uneven(self) -> bool:
        """Whether the number of its passes depends on how long its rows are: see `shards.shard`."""
        return self.trunk is None

    def score(self, segment: Segment) -> Tensor:
        """[B] fp32: the score of each row; without gradient several processes share the rows, see `ranks.read`.

        Raises ValueError for a row without any token.
        """
        if self.trunk is not None:
            return self.read(self.states(segment))
        self._scorable(segment)
        return ranks.read_one(lambda rows: self._encoded(rows, self._whole), segment, steps=False)

    def states(self, segment: Segment) -> Tensor:
        """[B, D] what was read of each row: what the last linear layer gets. Raises ValueError as `score` does."""
        self._scorable(segment)
        return ranks.read_one(self._states, segment, steps=False)

    def _states(self, segment: Segment) -> Tensor:
        """[B, D] by this process's own pass over these rows."""
        if self.trunk is None:
            return self._encoded(segment, self._caught)
        row = self.trunk.packed(segment)
        return self.trunk.hidden(row, row.last)

    def read(self, states: Tensor) -> Tensor:
        """[B, D] -> [B] fp32: the score that the last linear layer reads off states."""
        if self.trunk is not None:
            return self._read(states)
        found: Tensor = self._last(states)[:, 0]
        return found.to(torch.promote_types(found.dtype, torch.float32))

    def _scorable(self, segment: Segment) -> None:
        """Refuse active dropout in a pass without gradient, and rows without any token."""
        self._dropouts.refuse()
        groups, seen, said = segment.sizes
        empty = (said + seen[groups] == 0).nonzero()[:, 0].tolist()
        if empty:
            raise ValueError(f"{len(empty)} row(s) have no token to score, the first is {segment.names[empty[0]]!r}")

    def values(self, segment: Segment) -> Tensor:
        """[B, T] fp32: read at the place before each step; 0 where no step is. Raises ValueError for an encoder."""
        self._dropouts.refuse()
        if self.trunk is None:
            raise ValueError(f"{type(unwrapped(self.model)).__name__} sees whole texts and has no value before a step")
        row = self.trunk.packed(segment, whole=False)
        return spread(self._read(self.trunk.hidden(row, row.at)), row.steps, segment.action.shape)

    def each(self, segment: Segment) -> Tensor:
        """[B, T] fp32: read at each step itself, so of all up to and with it; 0 where no step is.

        Without gradient several processes share the rows. Raises ValueError for an encoder.
        """
        self._dropouts.refuse()
        if self.trunk is None:
            raise ValueError(
                f"{type(unwrapped(self.model)).__name__} sees whole texts, so it cannot judge a step by itself"
            )
        return ranks.read_one(self._each, segment)

    def _each(self, segment: Segment) -> Tensor:
        """[B, T] by this process's own pass over these rows."""
        assert self.trunk is not None
        row = self.trunk.packed(segment)
        width = segment.action.shape[1]
        behind = segment.sizes.length[:, None] - 1 - torch.arange(width)
        steps = (behind >= 0).flatten().nonzero()[:, 0]
        steps, before = together((steps, behind.flatten()[steps]), segment.action.device)
        at = row.last[steps // width] - before
        return spread(self._read(self.trunk.hidden(row, at)), steps, segment.action.shape)

    def _read(self, hidden: Tensor) -> Tensor:
        """[m, D] -> [m]: the score layer."""
        found: Tensor = unwrapped(self.model).score(hidden)[:, 0]
        return found.to(torch.promote_types(found.dtype, torch.float32))

    def _encoded(self, segment: Segment, look: Callable[[Packed, Tensor, int], Tensor]) -> Tensor:
        """What `look` finds in each row, several rows of like length at a time."""
        row = plain(segment)
        assert row.real is not None
        length = row.real.sum(1)
        order = torch.argsort(length, descending=True, stable=True)
        packed = self._packed
        parts, at = [], 0
        while at < len(order):
            widest = int(length[order[at]])
            if packed:
                some = order[at : at + max(1, int((length[order[at:]].cumsum(0) <= self.tokens).sum()))]
            else:
                some = order[at : at + max(1, self.tokens // widest)]
                # What is half as long as the widest waits for the next part rather than being padded.
                some = some[length[some] * 2 > widest]
            parts.append(look(row, some, widest))
            at += len(some)
        return torch.cat(parts)[torch.argsort(order)] if parts else torch.zeros(0)

    @property
    def _packed(self) -> bool:
        """Whether texts are read end to end."""
        body: Any = unwrapped(self.model).base_model
        return self.whole_rows and bert.fits(body)

    def _tried(self) -> bool:
        """Whether texts that are read end to end get the scores that the model itself gives them."""
        base = unwrapped(self.model)
        if type(base).__name__ != "BertForSequenceClassification" or not bert.fits(base.base_model):
            return False  # for one, weights that are not there yet (device meta)
        ids = torch.tensor([[3, 4, 5, 6, 7], [8, 9, 10, 0, 0], [5, 4, 3, 2, 1]]) % base.config.vocab_size
        real = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
        with still(self.model), torch.no_grad():
            wanted = self.model(input_ids=ids, attention_mask=real).logits[:, 0]
            return close(self._headed(ids, real.sum(1)), wanted)

    def _headed(self, ids: Tensor, length: Tensor) -> Tensor:
        """[b] what the model's own head makes of padded texts [b, L] that are read end to end."""
        base = unwrapped(self.model)
        first = bert.first_states(base.base_model, bert.laid(ids, length))
        scored: Tensor = base.classifier(base.dropout(base.base_model.pooler(first[:, None])))[:, 0]
        return scored

    @property
    def _last(self) -> nn.Linear:
        """An encoder's last linear layer, the one that acts when an adapter keeps a copy of it."""
        inside: Iterator[nn.Module] = unwrapped(self.model).classifier.modules()
        return [m for m in inside if isinstance(m, nn.Linear) and m.out_features == 1][-1]

    def _caught(self, row: Packed, index: Tensor, width: int) -> Tensor:
        """[b, D] what the last layer was given while the rows were scored."""
        given: list[Tensor] = []
        hook = self._last.register_forward_pre_hook(lambda _, read: given.append(read[0]))
        try:
            self._whole(row, index, width)
        finally:
            hook.remove()
        return given[0]

    @cached_property
    def _shape(self) -> Shape:
        """What a pass of an encoder costs."""
        base = unwrapped(self.model)
        return shape_of(base.base_model, base.config.get_text_config(), next(base.parameters()).new_empty(0))

    def _whole(self, row: Packed, index: Tensor, width: int) -> Tensor:
        """[b] scores of those rows, cut to their width."""
        assert row.real is not None
        ids, real = row.ids[index, :width], row.real[index, :width]
        length, packed = real.sum(1), self._packed
        count_rows(self._shape, length.tolist(), None if packed else width)
        if packed:
            found = self._headed(ids, length)
        elif self.pooling == "own":
            found = self.model(input_ids=ids, attention_mask=real).logits[:, 0]
        else:
            base = unwrapped(self.model)
            state = base.base_model(input_ids=ids, attention_mask=real).last_hidden_state
            share = real[..., None].to(state.dtype)
            found = base.classifier((state * share).sum(1) / share.sum(1))[:, 0]
        scored: Tensor = found.to(torch.promote_types(found.dtype, torch.float32))
        return scored


def spread(values: Tensor, steps: Tensor, shape: torch.Size) -> Tensor:
    """[M] values at those flat numbers [M] of a table [B, T], each once; 0 elsewhere."""
    return values.new_zeros(shape.numel()).index_copy(0, steps, values).view(shape)

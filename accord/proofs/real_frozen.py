"""Beside a model that learns whole: one that learns nothing, and a head that is fitted on what it says of an answer.

A few thousand pairs are few for millions of weights and enough for some hundred, and these have one best value.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from accord.batches import Segment, pack
from accord.config import SettingsError
from accord.proofs.real_data import Side
from accord.proofs.real_models import Found, Lesson, cuts, measured
from accord.proofs.real_words import SHRINK, likeliest
from accord.worlds.text.encode import Encoder, EncoderSettings
from accord.worlds.text.trunk import unwrapped

SPREAD = 300.0
"""Variance of a weight of a state is 1 over it. From 190 and 640, which were tried in five folds of the prompts that
PKU-SafeRLHF's pairs are learned from (.662 and .655 right, LOG.md); no test pair was seen."""
LAYER = -2
"""Whose states are read: those below the last layer, by the same folds (.662; of the last .642, two below it .658)."""
Table = NDArray[np.float64]


def frozen(lesson: Lesson, learned: Side, tests: Mapping[str, Side], wide: EncoderSettings) -> Found:
    """P(better) = s(w . (f(better) - f(worse))), f the mean of an encoder's states over an answer that it read with its
    prompt, beside the logarithm of the answer's tokens; w by a normal prior (MAP). The encoder stays as it is.

    Takes what other rows take. Raises SettingsError for a decoder.
    """
    return _fitted(lesson, learned, tests, wide, LAYER)


def vectors(lesson: Lesson, learned: Side, tests: Mapping[str, Side], wide: EncoderSettings) -> Found:
    """The same from the vectors of an answer's words alone: nothing reads the text, and the prompt says nothing."""
    return _fitted(lesson, learned, tests, wide, None)


def _fitted(
    lesson: Lesson, learned: Side, tests: Mapping[str, Side], wide: EncoderSettings, layer: int | None
) -> Found:
    begun, encoder = time.process_time(), lesson.encoder()
    if not encoder.pairwise:
        raise SettingsError(f"{lesson.backbone.name}: a head on states needs an encoder, which reads prompt and answer")
    model = unwrapped(lesson.scorer(encoder).model)

    def seen(side: Side, reading: Encoder) -> Table:
        rows = reading.segment([(two.prompt, s) for two in side.twos for s in (two.first, two.second)], scoring=True)
        return np.asarray(states(model, rows, reading, layer, lesson.config.micro_tokens), float)

    weight = weighed(seen(learned, encoder))
    told = {"pairs": len(learned.twos), "seconds": time.process_time() - begun, **cuts(encoder)}
    score = {}
    for name, side in tests.items():
        reading = lesson.encoder(wide if name == "llmbar" else None)
        score[name] = measured(side, [float(one) for one in seen(side, reading) @ weight])
    return {**told, "tests": score}


def weighed(found: Table) -> Table:
    """[D + 1] the most likely weights of a head. found: [2N, D + 1] what `states` says of the better and the other
    answer of each pair, in turn.
    """
    size, shrink = np.maximum(found.std(0), 1e-6), np.full(found.shape[1], SPREAD)
    size[-1], shrink[-1] = 1.0, SHRINK  # a length has the prior of words
    weight: Table = likeliest((found[::2] - found[1::2]) / size, shrink) / size
    return weight


@torch.no_grad()
def states(model: torch.nn.Module, rows: Segment, encoder: Encoder, layer: int | None, tokens: int) -> Tensor:
    """[B, D + 1] the mean over each answer's tokens, and log(1 + how many they are); layer: None for words' vectors."""
    mark = encoder.tokenizer.sep_token_id
    found: list[Tensor] = [torch.empty(0)] * len(rows)
    for index in pack(rows, tokens):
        some = rows.rows(index)
        real = torch.arange(some.action.shape[1]) < some.length[:, None]
        ids = some.action.where(real, 0)
        ends = real & (ids == mark)
        said = real & ~ends & (ends.cumsum(1) >= 1)
        if layer is None:
            states = model.get_input_embeddings()(ids)  # type: ignore[operator]
        else:
            states = model.base_model(  # type: ignore[operator]
                input_ids=ids, attention_mask=real.long(), output_hidden_states=True
            ).hidden_states[layer]
        count = said.sum(1, keepdim=True)
        mean = (states.float() * said[..., None]).sum(1) / count.clamp(min=1)
        for at, one in zip(index.tolist(), torch.cat([mean, torch.log1p(count)], 1), strict=True):
            found[at] = one
    return torch.stack(found)

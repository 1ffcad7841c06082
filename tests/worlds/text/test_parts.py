"""Beliefs encoded in parts are the beliefs encoded at once, and no more of them are held than one part."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from accord.records import Preference
from accord.worlds.text.encode import Encoder, EncoderSettings
from accord.worlds.text.parts import Records, in_parts

from .made import asked, said, tokenizer


def test_parts_are_the_whole_in_order_and_nothing_is_read_ahead() -> None:
    words = ["good", "bad", "a longer answer than that", "no", "yes", "well"]
    prompts = {f"p{n}": asked(f"question {n}", id=f"p{n}") for n in range(7)}
    samples = {
        f"{kind}{n}": said(prompts[f"p{n}"], words[(n + at) % 6], id=f"{kind}{n}")
        for n in range(7)
        for at, kind in enumerate("cr")
    }
    beliefs = [Preference(id=f"b{n}", prompt=f"p{n}", chosen=f"c{n}", rejected=f"r{n}") for n in range(7)]
    taken: list[str] = []

    def coming():
        for belief in beliefs:
            taken.append(belief.id)
            yield belief

    def looked_up(some: Sequence[Preference]) -> Records:
        return {b.prompt: prompts[b.prompt] for b in some}, {
            s: samples[s] for b in some for s in (b.chosen, b.rejected)
        }

    encoder = Encoder(tokenizer(), EncoderSettings(limit=64))
    whole = encoder.comparisons(beliefs, prompts, samples)
    found = []
    for part in in_parts(encoder, coming(), looked_up, size=3):
        found.append(part)
        assert len(taken) == min(7, 3 * len(found)), "nothing is read ahead"
    assert [len(part) for part in found] == [3, 3, 1]
    assert tuple(name for part in found for name in part.names) == whole.names
    at = 0
    for part in found:
        for row in range(len(part.segment)):
            length = int(part.segment.length[row])
            assert length == int(whole.segment.length[at])
            assert torch.equal(part.segment.action[row, :length], whole.segment.action[at, :length])
            assert part.segment.names[row] == whole.segment.names[at]
            at += 1
    assert at == len(whole.segment)
    assert list(in_parts(encoder, [], looked_up)) == []
    with pytest.raises(ValueError, match="size=0"):
        list(in_parts(encoder, beliefs, looked_up, size=0))

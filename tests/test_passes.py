"""A pass that is read in several ways: the same loss and gradient whichever way, and tokens counted as by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from bench import passes
from bench.compare import Unequal


def test_packed_rows_and_padded_copies_do_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    found = passes.main(["--tiny", "--rounds", "1"])
    assert list(found) == list(passes.BATCHES)
    first = found["24 prompts of 96, two answers of 32"]
    assert (first["tokens"], first["padded"]) == (2 * (96 + 64), 4 * 128)
    assert all(one["tokens"] <= one["padded"] for one in found.values())
    assert capsys.readouterr().out.count("\n| ") == len(passes.BATCHES)


@pytest.mark.parametrize("apart", ["loss", "gradient"])
def test_ways_that_do_different_things_are_refused(apart: str) -> None:
    made = nn.Linear(2, 1, bias=False)

    def look(more: float = 0.0, times: float = 1.0) -> torch.Tensor:
        return times * made.weight.sum() + more + (1 - times) * made.weight.sum().detach()

    other = {"loss": {"more": 0.1}, "gradient": {"times": 2.0}}[apart]
    assert [len(each) for each in passes.measured({"a": (made, look), "b": (made, look)}, 2).values()] == [2, 2]
    with pytest.raises(Unequal, match=r"a: .* b: "):
        passes.measured({"a": (made, look), "b": (made, lambda: look(**other))}, 1)

"""LoRA, checkpointing and an encoder on the claimed GPU: the figures and weights of the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from accord.run import MEASURED, read_log
from tests.device.machine import claimed
from tests.run.ranked_run import learn

EVERY = ("lora", "checkpointing", "bert")


def figures(folder: Path) -> list[dict[str, float]]:
    """What a run logged, but for what hangs on the machine."""
    rows = read_log(folder / "log.jsonl")
    return [{k: v for k, v in row.items() if k != "time" and not k.startswith(MEASURED)} for row in rows]


def there(method: str, folder: Path) -> dict[str, torch.Tensor]:
    """Weights of a run on the claimed GPU, in main memory."""
    with claimed():
        made = learn(method, folder, device="cuda")
        assert {weight.device.type for weight in made.parameters()} == {"cuda"}
        return {name: weight.cpu() for name, weight in made.state_dict().items()}


@pytest.mark.parametrize("method", EVERY)
def test_a_method_learns_there_what_it_learns_here(method: str, tmp_path: Path) -> None:
    found = there(method, tmp_path / "there" / method)
    wanted = learn(method, tmp_path / "here" / method).state_dict()
    one, other = (figures(tmp_path / place / method) for place in ("there", "here"))
    assert len(one) == len(other) > 1
    for mine, its in zip(one, other, strict=True):
        assert mine == pytest.approx(its, rel=1e-3, abs=1e-4)
    assert found.keys() == wanted.keys()
    for name, weight in wanted.items():
        torch.testing.assert_close(found[name], weight, rtol=1e-3, atol=1e-4, msg=name)

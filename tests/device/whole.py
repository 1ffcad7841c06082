"""A whole run on the claimed GPU, as a program that can be killed: `python -m tests.device.whole FOLDER METHOD`."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from accord.run import MEASURED, read_log
from tests.device.machine import claimed
from tests.run.ranked_run import learn

WEIGHTS = "weights.safetensors"


def there(folder: Path, method: str) -> dict[str, torch.Tensor]:
    """Weights of a run on the claimed GPU, in main memory."""
    with claimed():
        made = learn(method, folder, device="cuda")
        assert {weight.device.type for weight in made.parameters()} == {"cuda"}
        return {name: weight.detach().cpu() for name, weight in made.state_dict().items()}


def figures(folder: Path) -> list[dict[str, float]]:
    """What a run logged, but for what hangs on the machine."""
    rows = read_log(folder / "log.jsonl")
    return [{k: v for k, v in row.items() if k != "time" and not k.startswith(MEASURED)} for row in rows]


if __name__ == "__main__":
    torch.set_num_threads(1)
    place = Path(sys.argv[1])
    save_file(there(place, sys.argv[2]), place / WEIGHTS)

"""The heads beside a scorer as one file: what attribute scores and length heads need to be read again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save

from accord.algorithms.reward_model import Normaliser
from accord.algorithms.scales import Columns
from accord.whole import replacing


def write_heads(columns: Columns, normalisers: Mapping[str, Normaliser], path: str | Path) -> None:
    """Keep the heads and each criterion's normaliser. The file is whole at every instant."""
    facts = {
        "criteria": list(columns.criteria),
        "normalisers": {name: [one.mean, one.std] for name, one in normalisers.items()},
    }
    tensors = {name: value.detach().cpu().contiguous() for name, value in columns.state_dict().items()}
    with replacing(Path(path)) as file:
        file.write(save(tensors, {"accord": json.dumps(facts)}))


def read_heads(path: str | Path, width: int) -> tuple[Columns, dict[str, Normaliser]]:
    """The heads of a file for a trunk whose states are `width` wide. Raises ValueError when it holds other things."""
    with safe_open(str(path), "pt") as file:
        noted = (file.metadata() or {}).get("accord")
        if noted is None:
            raise ValueError(f"{path} holds no heads of a reward model (no `accord` among its facts)")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    facts = json.loads(noted)
    columns = Columns(width, facts["criteria"], any(name.startswith("length.") for name in tensors), 0)
    own = columns.state_dict()
    if odd := sorted(own.keys() ^ tensors.keys()):
        raise ValueError(f"{path} and its facts do not fit: {', '.join(odd[:5])} on one side only")
    wrong = [name for name, value in own.items() if value.shape != tensors[name].shape]
    if wrong:
        shape = tuple(tensors[wrong[0]].shape)
        raise ValueError(f"{path}: {wrong[0]} is {shape}, and the trunk's states are {width} wide")
    columns.load_state_dict(tensors)
    return columns.eval(), {name: Normaliser(*map(float, both)) for name, both in facts["normalisers"].items()}

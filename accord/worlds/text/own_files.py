"""Weights of our own modules: read from a Hugging Face folder by copies, and written as transformers writes them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

GENERATION = "generation_config.json"
"""How a model would sample under transformers: Accord does not ask, and hands it on."""
WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"


def table(rows: int, width: int, unused: int | None = None) -> nn.Embedding:
    """A table without values: drawing them on device meta would import torch's compiler."""
    return nn.Embedding(rows, width, unused, _weight=torch.empty(rows, width))


def filled(model: Any, folder: Path, spare: frozenset[str]) -> set[str] | None:
    """Give a model without weights (device meta) those of a folder; the names of `spare` that it lacks, which are 0.

    None when the folder is not plainly this model's: another layout, other shapes, weights missing. Names may lack the
    prefix of the trunk. What is copied leaves no file mapped into memory.
    """
    try:
        held = _held(folder)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return None
    prefix = model.base_model_prefix + "."
    place = {name: name if name in held else name.removeprefix(prefix) for name in dict(model.named_parameters())}
    missing = {name for name, there in place.items() if there not in held}
    if missing not in (set(), set(spare)) or (model.tied and "lm_head.weight" in held):
        return None
    shapes = {name: list(weight.shape) for name, weight in model.named_parameters()}
    if any(held[there][1:] != (shapes[name], "F32") for name, there in place.items() if name not in missing):
        return None
    _emptied(model)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name in missing:
                weight.zero_()
                continue
            with safe_open(held[place[name]][0], framework="pt") as found:
                weight.copy_(found.get_tensor(place[name]))
    return missing


def write(model: Any, folder: str | Path) -> None:
    """What `save_pretrained` of transformers writes, byte for byte: configuration and weights."""
    config, folder = model.config, Path(folder)
    config.dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
    config.architectures = [type(model).__name__]
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    if model.get_output_embeddings() is not None:
        (folder / GENERATION).write_text(model.generation, encoding="utf-8")
    weights = {name: value.detach().contiguous() for name, value in model.state_dict().items()}
    if model.tied:
        del weights["lm_head.weight"]
    save_file(weights, folder / WHOLE, metadata={"format": "pt"})


def _held(folder: Path) -> dict[str, tuple[Path, list[int], str]]:
    """Of each weight of a folder its file, its shape and its precision."""
    files = [folder / WHOLE]
    if not files[0].is_file():
        told = json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"]
        files = sorted({folder / Path(file).name for file in told.values()})
    held: dict[str, tuple[Path, list[int], str]] = {}
    for file in files:
        with safe_open(file, framework="pt") as found:
            for name in found.keys():  # noqa: SIM118 (no mapping)
                part = found.get_slice(name)
                held[name] = file, list(part.get_shape()), str(part.get_dtype())
    return held


def _emptied(model: Any) -> None:
    """Room for every weight, in fp32."""
    for module in model.modules():
        for name, weight in module._parameters.items():
            if weight is not None:
                module._parameters[name] = nn.Parameter(torch.empty(weight.shape, dtype=torch.float32, device="cpu"))
    model.tie()

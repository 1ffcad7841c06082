"""Model folders: written whole or not at all, in the Hugging Face layout, with our notes in config.json."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from pydantic import JsonValue
from safetensors.torch import save_file
from torch import nn

from accord.whole import naming
from accord.worlds.text.adapters import has_adapter

HEAD = "head.safetensors"
NOTES = "accord.json"


def save(
    model: nn.Module,
    tokenizer: Any,
    folder: str | Path,
    extra: dict[str, JsonValue] | None = None,
    also: Callable[[Path], None] | None = None,
) -> Path:
    """Write model and tokenizer so that transformers (an adapter: PEFT) opens the folder; return its path.

    All is written beside the target, brought to disk and then renamed, so that a folder of this name is always
    whole. An older folder of the same name is replaced. extra: notes to keep with the model, see `noted`.
    also: writes further files into the folder that it is given.
    """
    note(model, **(extra or {}))
    with whole(folder) as draft:
        with quiet():
            _write(model, draft)
        if tokenizer is not None:
            tokenizer.save_pretrained(draft)
        if also is not None:
            also(draft)
    return Path(folder)


@contextlib.contextmanager
def whole(folder: str | Path) -> Iterator[Path]:
    """An empty folder to write into, which takes the given name when all of it is on the disk, and else vanishes.

    What a process that was killed here left behind is swept away first.
    """
    target = Path(folder)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft_of = re.compile(rf"\.{re.escape(target.name)}\.(old\.)?[a-z0-9_]{{8}}")
    for left in target.parent.iterdir():
        if draft_of.fullmatch(left.name):
            shutil.rmtree(left, ignore_errors=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        with naming(target):
            yield draft
        draft.chmod(0o755)
        for file in sorted(draft.rglob("*")):
            _to_disk(file)
        _to_disk(draft)
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
            os.rename(target, old / "was")
            os.rename(draft, target)
            shutil.rmtree(old)
        else:
            os.rename(draft, target)
        _to_disk(target.parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def note(model: nn.Module, **facts: JsonValue) -> None:
    """Keep facts with the model; they travel in config.json under `accord` (an adapter: in accord.json)."""
    config: Any = model.config
    config.accord = {**noted(config), **facts}


def uncalibrated(model: nn.Module) -> nn.Module:
    """The model without the map from scores to chances that was fitted to one that it began from."""
    if noted(model).get("calibration"):
        note(model, calibration=None)
    return model


def noted(source: Any) -> dict[str, Any]:
    """The facts kept with a model, a configuration or a saved folder; empty when there are none."""
    if isinstance(source, (str, Path)):
        for name in (NOTES, "config.json"):
            file = Path(source) / name
            if file.is_file():
                found = json.loads(file.read_text(encoding="utf-8"))
                return dict(found if name == NOTES else found.get("accord") or {})
        return {}
    config = source.config if isinstance(source, nn.Module) else source
    return dict(getattr(config, "accord", None) or {})


def normaliser(model: Any) -> tuple[float, float]:
    """(mean, standard deviation) by which scores are brought to mean 0 and deviation 1; (0, 1) when never measured."""
    kept = noted(model).get("normaliser") or {"mean": 0.0, "std": 1.0}
    return float(kept["mean"]), float(kept["std"])


def with_normaliser(model: nn.Module, mean: float, std: float) -> nn.Module:
    """The same model, which from now on knows its scores' mean and deviation. Raises ValueError unless std > 0."""
    if not std > 0:
        raise ValueError(f"scores with mean {mean} and deviation {std} cannot be normalised: they are all alike")
    note(model, normaliser={"mean": float(mean), "std": float(std)})
    return model


def digest(model: nn.Module) -> str:
    """SHA-256 over the names, types, shapes and bytes of all weights."""
    total = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        plain = value.detach().cpu().contiguous()
        total.update(f"{name} {plain.dtype} {tuple(plain.shape)}\n".encode())
        total.update(plain.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No reports and bars of transformers: what is printed is the caller's affair."""
    logs: Any = transformers.utils.logging
    level, bars = logs.get_verbosity(), logs.is_progress_bar_enabled()
    logs.set_verbosity_error()
    logs.disable_progress_bar()
    try:
        yield
    finally:
        logs.set_verbosity(level)
        if bars:
            logs.enable_progress_bar()


def _write(model: Any, folder: Path) -> None:
    """The model's own files."""
    if has_adapter(model):
        base: Any = model.get_base_model()
        model.save_pretrained(
            str(folder),
            safe_serialization=True,
            save_embedding_layers=noted(base).get("grown", False),
            selected_adapters=["default"],
        )
        told = {**noted(base), "pad": base.config.get_text_config().pad_token_id}
        (folder / NOTES).write_text(json.dumps(told, ensure_ascii=False, indent=1), encoding="utf-8")
        return
    trunk = getattr(model, "trunk", None)
    if trunk is None:
        model.save_pretrained(folder)
        return
    trunk.save_pretrained(folder)
    save_file({name: value.contiguous() for name, value in model.classifier.state_dict().items()}, folder / HEAD)


def _to_disk(path: Path) -> None:
    """Wait until a file or a folder's list of names is on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""Checkpoints that are whole or absent: written aside, hashed, flushed, then renamed.

A checkpoint is a folder `step-00000012` with `tensors.safetensors`, `state.json` (everything that is no tensor,
with places for the tensors) and `manifest.json` (SHA-256 of all others); where ranks share weights, also a file of
pieces of each rank (`pieces.py`, `together.py`). There is no pickle in it. A crash at any
instant leaves either the old ones or the old ones and a new one; a folder whose hashes do not fit is passed over.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from accord.run.pieces import Piece, Pieces, pieces_in

State = Mapping[str, Any]
Parts = Mapping[str, tuple[Piece, ...]]


class BrokenCheckpoint(ValueError):
    """A checkpoint whose files are missing, cut or changed."""


def write_state(
    folder: Path,
    step: int,
    state: State,
    keep: int = 2,
    begun: Path | None = None,
    pieces: Mapping[str, str] = MappingProxyType({}),
) -> Path | None:
    """Write `folder/step-N` atomically and drop all but the newest `keep`.

    state: nested dicts, lists and tuples of tensors, numbers, strings, booleans and None. Returns the new folder,
    or None, with a warning, when the disk is full: the run can go on with the older checkpoint.
    begun: a folder aside in which all ranks have put their pieces already, with their SHA-256 by name: see `together`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    final, aside = folder / f"step-{step:08d}", begun or aside_of(folder, step)
    if begun is None:
        shutil.rmtree(aside, ignore_errors=True)
    tensors: dict[str, Tensor] = {}
    plain = _without_tensors(state, tensors, {})
    try:
        aside.mkdir(exist_ok=begun is not None)
        save_file(tensors, str(aside / "tensors.safetensors"))
        (aside / "state.json").write_text(json.dumps(plain), encoding="utf-8")
        names = ("tensors.safetensors", "state.json")
        manifest = {"step": step, "sha256": {**{name: sha256(aside / name) for name in names}, **pieces}}
        (aside / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        for name in (*names, "manifest.json"):
            flush(aside / name)
        flush(aside)
        if final.exists():
            shutil.rmtree(final)
        os.rename(aside, final)
        flush(folder)
    except Exception as error:
        shutil.rmtree(aside, ignore_errors=True)
        if not disk_full(error):
            raise
        needed = sum(t.numel() * t.element_size() for t in tensors.values()) + len(json.dumps(plain))
        no_checkpoint(folder, step, f"{size(needed)} needed", error)
        return None
    whole = sorted(path for path in folder.glob("step-*") if path.name <= final.name)
    passed_over = [path for path in folder.glob("step-*") if path.name > final.name]  # broken, or we would stand there
    for old in [*whole[: -max(keep, 1)], *passed_over]:
        shutil.rmtree(old, ignore_errors=True)
    for leftover in folder.glob(".writing-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    return final


def read_state(path: Path, whole: bool = True) -> tuple[int, dict[str, Any]]:
    """(step, state) of one checkpoint folder. Raises BrokenCheckpoint when it is not whole.

    whole: put tensors together that ranks have written in pieces; else they are `Pieces`, to be read from.
    """
    try:
        manifest = json.loads((path / "manifest.json").read_text(encoding="utf-8"))
        for name, expected in manifest["sha256"].items():
            found = sha256(path / name)
            if found != expected:
                raise BrokenCheckpoint(f"{path / name}: SHA-256 {found[:12]} where the manifest says {expected[:12]}")
        tensors = load_file(str(path / "tensors.safetensors"))
        plain = json.loads((path / "state.json").read_text(encoding="utf-8"))
        parts = pieces_in([path / name for name in sorted(manifest["sha256"]) if name.startswith("shard-")])
        return int(manifest["step"]), _with_tensors(plain, tensors, parts, whole)
    except (OSError, ValueError, KeyError) as error:
        raise BrokenCheckpoint(f"checkpoint {path} is not whole: {error}") from error


def newest(folder: Path, whole: bool = True) -> tuple[int, dict[str, Any]] | None:
    """The newest whole checkpoint, or None. Broken ones are passed over with a warning."""
    paths = sorted(folder.glob("step-*"), reverse=True)
    for path in paths:
        try:
            return read_state(path, whole)
        except BrokenCheckpoint as error:
            instead = (
                "There is none before it, so the run begins anew"
                if path == paths[-1]
                else "Going back to the one before it"
            )
            warnings.warn(f"{error}. {instead}.", stacklevel=2)
    return None


def aside_of(folder: Path, step: int) -> Path:
    """Where a checkpoint is written before it gets its name; what a crash leaves there is cleared away later."""
    return folder / f".writing-{step:08d}-{os.getpid()}"


def no_checkpoint(folder: Path, step: int, why: str, error: Exception | None = None) -> None:
    """Warn that there is no room. error: what was met, for a quota and a limit leave much of the disk free."""
    free = size(shutil.disk_usage(folder).free)
    met = next((number for number in FULL if error is not None and _means(error, number)), errno.ENOSPC)
    is_ = {
        errno.ENOSPC: f"is full ({why}, {free} free)",
        errno.EDQUOT: f"has no more room for you: a quota is used up ({why}; all users together have {free} free)",
        errno.EFBIG: f"takes no file so large, a limit as of `ulimit -f` says so ({why}, {free} free)",
    }
    warnings.warn(
        f"no checkpoint at step {step}: the disk of {folder} {is_[met]}. "
        "The run goes on; make room and the next one is written.",
        stacklevel=3,
    )


def size(count: float) -> str:
    """Bytes for people to read: below a MiB in KiB, and never 0 of what is something."""
    return f"{count / 2**20:,.0f} MiB" if count >= 10 * 2**20 else f"{math.ceil(count / 2**10):,} KiB"


def _without_tensors(value: Any, tensors: dict[str, Tensor], seen: dict[Any, str]) -> Any:
    """The value as JSON, its tensors put aside by name. Tensors that share their memory are kept once."""
    if isinstance(value, Tensor):
        key = (value.data_ptr(), value.dtype, tuple(value.shape), tuple(value.stride()), str(value.device))
        if value.numel() == 0 or key not in seen:
            seen[key] = name = f"t{len(tensors)}"
            tensors[name] = _apart(value, seen)
        return {"#tensor": seen[key]}
    if isinstance(value, Pieces):
        return {"#pieces": value.name, "shape": list(value.shape)}
    if isinstance(value, Mapping):
        if all(isinstance(k, str) and not k.startswith("#") for k in value):
            return {k: _without_tensors(v, tensors, seen) for k, v in value.items()}
        return {"#items": [[k, _without_tensors(v, tensors, seen)] for k, v in value.items()]}
    if isinstance(value, tuple):
        return {"#tuple": [_without_tensors(v, tensors, seen) for v in value]}
    if isinstance(value, list):
        return [_without_tensors(v, tensors, seen) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a checkpoint cannot hold {type(value).__name__} ({value!r:.80})")


def _apart(value: Tensor, seen: dict[Any, str]) -> Tensor:
    """The tensor as it can be written: itself where its memory is its own, else a copy. A copy of all weights and
    moments would be as large as the model and its optimiser."""
    plain = value.detach().to("cpu")
    memory = plain.untyped_storage().data_ptr()
    if not plain.numel() or not plain.is_contiguous() or memory in seen:
        return plain.clone(memory_format=torch.contiguous_format)
    seen[memory] = ""
    return plain


def _with_tensors(value: Any, tensors: Mapping[str, Tensor], parts: Parts, whole: bool) -> Any:
    """The inverse of `_without_tensors`."""
    if isinstance(value, list):
        return [_with_tensors(v, tensors, parts, whole) for v in value]
    if not isinstance(value, dict):
        return value
    if "#tensor" in value:
        return tensors[value["#tensor"]].clone()
    if "#pieces" in value:
        found = Pieces(value["#pieces"], tuple(value["shape"]), parts[value["#pieces"]]).check()
        return found.whole() if whole else found
    if "#tuple" in value:
        return tuple(_with_tensors(v, tensors, parts, whole) for v in value["#tuple"])
    if "#items" in value:
        return {k: _with_tensors(v, tensors, parts, whole) for k, v in value["#items"]}
    return {k: _with_tensors(v, tensors, parts, whole) for k, v in value.items()}


def sha256(path: Path) -> str:
    """Of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flush(path: Path) -> None:
    """Make sure that a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What a full disk says, a quota that is used up, and a limit of the size of files."""


def disk_full(error: Exception) -> bool:
    """Whether an error, of Python or of safetensors (which hides the number in its text), means a full disk."""
    return any(_means(error, number) for number in FULL)


def _means(error: Exception, number: int) -> bool:
    return (isinstance(error, OSError) and error.errno == number) or os.strerror(number) in str(error)


def gpu_at_work() -> bool:
    """Whether this process has used a GPU: a run on the CPU beside one does not begin to for its generators' sake."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def generator_states() -> dict[str, Any]:
    """State of every global random number generator that torch, numpy and Python keep."""
    import random

    import numpy as np

    version, numbers, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if gpu_at_work() else [],
        "python": [version, list(numbers), gauss],
        "numpy": [str(name), [int(k) for k in keys], int(position), int(has_gauss), float(cached)],
    }


def restore_generators(states: Mapping[str, Any]) -> None:
    """Put the global generators back where they were."""
    import random

    import numpy as np

    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available():
        for gpu, state in enumerate(states["cuda"][: torch.cuda.device_count()]):  # it may have been a larger machine
            torch.cuda.set_rng_state(state, gpu)
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    name, keys, position, has_gauss, cached = states["numpy"]
    np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))

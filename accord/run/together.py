"""A checkpoint that all ranks write: each its share of what is shared, rank 0 the rest, the hashes and the name.

Nobody holds the whole. A folder gets its name when every file in it is on the disk and rank 0 has the hashes of all.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from accord.run import ranks, shards
from accord.run.checkpoint import aside_of, disk_full, flush, no_checkpoint, sha256, write_state
from accord.run.pieces import Pieces, file_name, write_pieces

Own = dict[str, tuple[Tensor, tuple[int, ...]]]
"""This rank's pieces by the names of their tensors, each with where it begins."""


def write_together(folder: Path, step: int, state: Mapping[str, Any], keep: int = 2) -> Path | None:
    """`write_state` by all ranks that share weights; they enter together. By rank 0 alone where nothing is shared.

    Returns the folder on rank 0, and None elsewhere or, with a warning, when a rank found the disk full. Raises OSError
    on every rank when one of them cannot write for another reason, and says which and why.
    """
    if not shards.sharded():
        return write_state(folder, step, state, keep)
    own: Own = {}
    lean = parted(state, own, {})
    aside = aside_of(folder, step)
    said = _told(_tried(lambda: aside.mkdir(parents=True)) if ranks.leads() else {}, str(aside))
    aside, file = Path(said[0]["said"]), file_name(ranks.rank())  # the name that rank 0 chose
    if not _written(said, folder, step, aside):
        return None

    def write() -> None:
        write_pieces(aside / file, own)
        flush(aside / file)

    failed = _tried(write)
    said = _told(failed, "" if failed else sha256(aside / file))
    if not _written(said, folder, step, aside):
        return None
    hashes = {file_name(rank): one["said"] for rank, one in enumerate(said)}
    return write_state(folder, step, lean, keep, aside, hashes) if ranks.leads() else None


def parted(value: Any, own: Own, seen: dict[int, str], name: str = "") -> Any:
    """The same with each shared tensor named only, after its place; what this rank has of it goes to `own`.

    seen: the names by where they are in memory, for tied weights are written once.
    """
    from torch.distributed.tensor import DTensor

    if isinstance(value, DTensor):
        local = value.to_local()
        name = seen.setdefault(local.data_ptr(), name) if local.numel() else name
        (chunk,) = cast(Any, value).__create_chunk_list__()
        own[name] = local, tuple(chunk.offsets)
        return Pieces(name, tuple(value.shape))
    if isinstance(value, Mapping):
        return {key: parted(part, own, seen, f"{name}.{key}" if name else str(key)) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(parted(part, own, seen, f"{name}.{i}") for i, part in enumerate(value))
    return value


def _tried(work: Callable[[], Any]) -> dict[str, Any]:
    """What went wrong, if anything did."""
    try:
        work()
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"[:300], "full": disk_full(error)}
    return {}


def _told(failed: Mapping[str, Any], text: str) -> Sequence[Mapping[str, Any]]:
    """What all ranks say, by rank."""
    return [json.loads(one) for one in ranks.gathered(json.dumps({"said": text, **failed}))]


def _written(said: Sequence[Mapping[str, Any]], folder: Path, step: int, aside: Path) -> bool:
    """Whether all ranks could write; if not, what was begun is taken away. Raises OSError unless a disk was full."""
    failed = {rank: one for rank, one in enumerate(said) if "error" in one}
    if not failed:
        return True
    if ranks.leads():
        shutil.rmtree(aside, ignore_errors=True)
    for rank, one in failed.items():
        if not one["full"]:
            raise OSError(f"rank {rank} could not write its share of the checkpoint of step {step}: {one['error']}")
    if ranks.leads():
        no_checkpoint(folder, step, f"of rank {', '.join(map(str, failed))}")
    return False

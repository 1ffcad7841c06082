"""A tensor in pieces: each rank writes its own to a file, and any rank reads just what it needs of all of them.

The header of a file says where each piece begins, in the words of `torch.distributed.checkpoint`, whose
HuggingFaceStorageReader opens a folder of such files too. They are safetensors: there is no pickle in them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import NamedTuple

from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

BEGINNINGS = "DCP_SHARDING_INFO"


class Piece(NamedTuple):
    """What one file holds of a tensor."""

    file: Path
    begin: tuple[int, ...]
    size: tuple[int, ...]


@dataclass(frozen=True)
class Pieces:
    """A tensor that lies in files and is read when it is needed; without parts one that is about to be written."""

    name: str
    shape: tuple[int, ...]
    parts: tuple[Piece, ...] = ()

    def check(self) -> Pieces:
        """Itself. Raises ValueError unless the pieces are all of it, each once."""
        ends = [b + n for part in self.parts for b, n in zip(part.begin, part.size, strict=True)]
        inside = all(end <= full for end, full in zip(ends, self.shape * len(self.parts), strict=True))
        there = sum(prod(part.size) for part in self.parts)
        if there != prod(self.shape) or len({part.begin for part in self.parts}) != len(self.parts) or not inside:
            raise ValueError(f"{self.name}: {there} of {prod(self.shape)} numbers are in {len(self.parts)} files")
        return self

    def read(self, begin: Sequence[int], size: Sequence[int]) -> Tensor:
        """The box of that size that begins there, in main memory. Nothing else is held meanwhile but one piece of it.

        Raises ValueError when the files do not hold all of it.
        """
        found: Tensor | None = None
        filled = 0
        for part in self.parts:
            low = [max(a, b) for a, b in zip(begin, part.begin, strict=True)]
            high = [min(a + n, b + m) for a, n, b, m in zip(begin, size, part.begin, part.size, strict=True)]
            inside = [slice(a - b, max(a, c) - b) for a, b, c in zip(low, part.begin, high, strict=True)]
            there = all(c > a for a, c in zip(low, high, strict=True))
            if not there and found is not None:
                continue
            with safe_open(str(part.file), framework="pt") as file:
                one = file.get_slice(self.name)
                piece: Tensor = one[tuple(inside)] if there else one[:0]
            found = piece.new_empty(tuple(size)) if found is None else found
            if there:
                found[tuple(slice(a - b, c - b) for a, b, c in zip(low, begin, high, strict=True))] = piece
                filled += piece.numel()
        if found is None or filled != found.numel():
            raise ValueError(f"{self.name}: {filled} of {prod(size)} numbers are in {len(self.parts)} files")
        return found

    def whole(self) -> Tensor:
        """All of it."""
        return self.read([0] * len(self.shape), self.shape)


def file_name(rank: int) -> str:
    """The file of one rank, counted from 0: the name that torch gives it."""
    return f"shard-{rank + 1:05d}-model-00001-of-00001.safetensors"


def write_pieces(path: Path, own: Mapping[str, tuple[Tensor, Sequence[int]]]) -> None:
    """One file of pieces by the names of their tensors, each with where it begins; empty ones are left out."""
    kept = {name: (piece, begin) for name, (piece, begin) in own.items() if piece.numel()}
    said = {name: {"saved_offsets": [int(n) for n in begin]} for name, (_, begin) in kept.items()}
    tensors = {name: piece.detach().to("cpu").contiguous() for name, (piece, _) in kept.items()}
    save_file(tensors, str(path), metadata={BEGINNINGS: json.dumps(said), "DCP_VERSION": "1.0", "format": "pt"})


def pieces_in(files: Sequence[Path]) -> dict[str, tuple[Piece, ...]]:
    """The pieces that these files hold, by the names of their tensors."""
    found: dict[str, list[Piece]] = {}
    for path in files:
        with safe_open(str(path), framework="pt") as file:
            said = json.loads(file.metadata()[BEGINNINGS])
            for name in file.keys():  # noqa: SIM118 (it is no mapping)
                size = tuple(file.get_slice(name).get_shape())
                found.setdefault(name, []).append(Piece(path, tuple(said[name]["saved_offsets"]), size))
    return {name: tuple(parts) for name, parts in found.items()}

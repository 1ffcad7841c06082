"""A proof by its name: the long ones of docs/results.md, and experiments with a small size and own settings."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path

from accord.config import SettingsError, read
from accord.proofs.ground import Said

BY_SEED = ("methods", "transfer", "curriculum", "semisupervised", "believed", "forms", "rewards", "overoptimisation")
"""Proofs whose seeds can be made one by one."""
BY_NAME = ("methods", "real")
"""Proofs of which a part can be asked for by name."""
OPENED = {"transfer": ("source", "target"), "real": ("source",)}
"""Proofs that read files, and by which options."""
LONG = {"lab": "accord.prove", "methods": "accord.contest"}
"""Proofs that have one size and no settings: where they are."""


def prove(
    name: str,
    seeds: int,
    folder: Path,
    say: Said,
    small: bool,
    settings: Path | None,
    files: Mapping[str, Path | None],
    first: int = 1,
    entrants: str = "",
) -> int:
    """Run it. Raises SettingsError for what this proof does not have. files: of `OPENED`, by option.

    first: the first seed, of `BY_SEED`. entrants: of `BY_NAME`, names with commas between them. Returns the exit
    status: 1 when a bound was promised and missed.
    """
    if seeds < 1:
        raise SettingsError(f"accord prove {name} --seeds {seeds}: nothing to make; give 1 or more")
    given = {side: str(file) for side, file in files.items() if file is not None}
    if name in LONG and (small or settings is not None):
        raise SettingsError(f"accord prove {name} has neither --small nor --settings; the experiments have")
    if strange := sorted(set(given) - set(OPENED.get(name, ()))):
        raise SettingsError(f"accord prove {name} has no {' and no '.join(f'--{side}' for side in strange)}; "
                            f"{', '.join(OPENED)} have")  # fmt: skip
    part = {
        **({"entrants": tuple(entrants.split(","))} if entrants else {}),
        **({"first": first} if first != 1 else {}),
    }
    if "first" in part and name not in BY_SEED:
        raise SettingsError(f"accord prove {name} has no --first; {', '.join(BY_SEED)} have")
    if "entrants" in part and name not in BY_NAME:
        raise SettingsError(f"accord prove {name} has no --entrants; {', '.join(BY_NAME)} have")
    if name in LONG:
        return int(getattr(importlib.import_module(LONG[name]), f"prove_{name}")(seeds, folder, say, **part))
    found = importlib.import_module(f"accord.proofs.{name}")
    chosen = {**(read(settings) if settings else {}), **given}
    return int(found.prove(seeds, folder, say, small, chosen, **part))

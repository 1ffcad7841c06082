"""Data sets of the Hugging Face hub by name, brought once into a file of rows that any import reads."""

from __future__ import annotations

import gzip
import importlib
import json
import re
from pathlib import Path
from typing import Any

from accord.config import SettingsError
from accord.run.online import asking_the_hub
from accord.store.trees import LEAF, grown
from accord.whole import replacing

PREFIX = "hub:"
"""What a name begins with that is no file: `hub:OWNER/NAME`, with `:SPLIT` and `:CONFIG` behind it where wanted."""


def placed(name: str, root: Path, folder: Path) -> Path:
    """The file of a name in a recipe: under `root`, or of a data set of the hub, fetched into `folder`."""
    return fetched(name, folder) if name.startswith(PREFIX) else root / name


def fetched(name: str, folder: Path) -> Path:
    """The file of a data set's rows, made in `folder` when it is not there yet; it is whole at every instant.

    name: `hub:OWNER/NAME[:SPLIT[:CONFIG]]`, or a folder in place of OWNER/NAME; the split is `train` when nothing is
    said; CONFIG may also be a folder of the data set (`harmless-base`). Single messages of trees (OpenAssistant) become
    one row for each tree. Raises SettingsError when the package `datasets` is missing or the data set cannot be had.
    """
    where, *rest = name.removeprefix(PREFIX).split(":")
    split, config = (rest + ["train", ""][len(rest) :])[:2]
    if not where or len(rest) > 2:
        raise SettingsError(f"{name!r} names no data set; write hub:OWNER/NAME, hub:OWNER/NAME:SPLIT or "
                            "hub:OWNER/NAME:SPLIT:CONFIG")  # fmt: skip
    target = folder / (re.sub(r"[^\w.-]+", "--", ":".join([where, split, *([config] if config else [])])) + ".jsonl.gz")
    if target.is_file():
        return target
    try:
        library: Any = importlib.import_module("datasets")
    except ImportError as error:
        raise SettingsError(
            f"{name}: data sets of the hub need the package `datasets` (pip install 'accord[hub]')"
        ) from error
    try:
        with asking_the_hub(where, getattr(library, "config", None)):
            rows = _loaded(library, where, config, split or "train")
    except SettingsError:
        raise
    except Exception as error:  # whatever the network, the hub or the data set's own files raise
        raise SettingsError(f"{name} cannot be had: {type(error).__name__}: {str(error)[:300]}") from error
    source = Path(where).name if Path(where).is_dir() else where
    with replacing(target) as raw, gzip.open(raw, "wt", encoding="utf-8", newline="\n") as file:
        for row in grown(rows) if set(LEAF) <= set(getattr(rows, "column_names", None) or ()) else rows:
            # The name of the source stands with each record, so that it can be told apart and dropped.
            file.write(json.dumps({"source": source, **row}, ensure_ascii=False, default=str) + "\n")
    return target


def _loaded(library: Any, where: str, config: str, split: str) -> Any:
    """The rows of a split. A configuration that is none may be the folder where its files lie."""
    try:
        return library.load_dataset(where, config or None, split=split)
    except ValueError as error:
        if not config or "BuilderConfig" not in str(error):
            raise
        return library.load_dataset(where, data_dir=config, split=split)

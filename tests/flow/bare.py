"""A machine on which nothing is installed but what `accord` names as necessary: no extra, no test tool."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]


def necessary(package: str) -> dict[str, metadata.Distribution]:
    """All distributions that an installation of `package` without extras brings, by name."""
    found: dict[str, metadata.Distribution] = {}
    waiting: list[tuple[str, frozenset[str]]] = [(package, frozenset())]
    seen = set(waiting)
    while waiting:
        name, extras = waiting.pop()
        try:
            one = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        found[str(canonicalize_name(name))] = one
        for line in map(Requirement, one.requires or []):
            wanted = line.marker is None or any(line.marker.evaluate({"extra": extra}) for extra in extras or {""})
            further = (line.name, frozenset(line.extras))
            if wanted and further not in seen:
                seen.add(further)
                waiting.append(further)
    return found


def furnish(folder: Path) -> Path:
    """Links in a folder to the files of what is necessary: a path on which nothing else can be found."""
    folder.mkdir()
    for one in necessary("accord").values():
        for name in {file.parts[0] for file in one.files or [] if file.parts[0] not in ("..", "__pycache__")}:
            place, link = Path(str(one.locate_file(name))), folder / name
            if place.exists() and not link.exists() and not name.endswith(".pth"):
                link.symlink_to(place)
    return folder


def run(furnished: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """`python -m accord` with these words there."""
    command = [sys.executable, "-S", "-m", "accord", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(furnished)])}
    return subprocess.run(command, cwd=furnished, env=environment, capture_output=True, text=True, timeout=300)

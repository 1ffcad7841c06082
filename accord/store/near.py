"""Projects near a folder that is none: a mistyped name is told apart from a new one."""

from __future__ import annotations

import difflib
from pathlib import Path

MARKS = ("project.yaml", "store.db")
"""Files of which a project's folder holds one at least: its recipe, or its records."""


def is_project(folder: Path) -> bool:
    """Whether a folder holds a project, or records that were imported for one."""
    return any((folder / name).is_file() for name in MARKS)


def near(folder: Path) -> list[Path]:
    """Projects with a name like that of the folder, the likest first, at most three.

    Looked for beside the folder, in the working folder and in its `projects`.
    """
    found = dict[Path, Path]()
    for place in (folder.parent, Path(), Path("projects")):
        try:
            for one in sorted(place.iterdir()):
                if is_project(one):
                    found.setdefault(one.resolve(), one)
        except OSError:  # no such folder, or no right to look into it: then nothing of it is offered
            continue
    names = {one.name: one for one in reversed(found.values())}
    return [names[name] for name in difflib.get_close_matches(folder.resolve().name, names, 3)]


def hint(folder: Path) -> str:
    """What to add to a sentence that ends with the folder's name; empty when no project is near."""
    found = near(folder)
    return f" (did you mean {' or '.join(map(str, found))}?)" if found else ""

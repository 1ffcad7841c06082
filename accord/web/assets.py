"""Modules and styles under names that tell their content, so that a browser may keep them for ever."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).with_name("static")
_IMPORT = re.compile(r"""(from\s+|import\s+)"\./([\w-]+\.js)";""")
KINDS = {".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}


@dataclass(frozen=True)
class Asset:
    """A file as it is sent."""

    name: str
    """With the first letters of its digest: `judge.1f2e3d4c5b6a.js`."""
    content: bytes
    """Imports of our other modules name those by their digests too."""
    kind: str
    """Media type."""


def load(folder: Path = FOLDER) -> dict[str, Asset]:
    """Every file of the folder by its plain name. Raises ValueError when modules import each other in a circle."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in sorted(folder.iterdir()) if path.suffix in KINDS}
    made: dict[str, Asset] = {}

    def make(name: str, above: tuple[str, ...]) -> Asset:
        if name in above:
            raise ValueError(f"modules import each other in a circle: {' -> '.join((*above, name))}")
        if name not in made:
            text = _IMPORT.sub(lambda m: f'{m[1]}"./{make(m[2], (*above, name)).name}";', texts[name])
            content = text.encode()
            stem, suffix = name.rsplit(".", 1)
            label = f"{stem}.{hashlib.sha256(content).hexdigest()[:12]}.{suffix}"
            made[name] = Asset(label, content, KINDS[f".{suffix}"])
        return made[name]

    for name in texts:
        make(name, ())
    return made

"""Huang et al. 2024: each detail of the page on PPO names a setting that is there and a test that is there."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import BaseModel

from accord.recipe import Recipe

ROOT = Path(__file__).parents[1]
ROW = re.compile(r"^\| ([GRP]\d+) [^|]*\| [^|]*\| `([\w.]+)` \| `([\w/.]+)::(\w+)` \|$", re.MULTILINE)
THEIRS = [f"{part}{number}" for part, count in (("G", 6), ("R", 3), ("P", 12)) for number in range(1, count + 1)]


def _there(name: str) -> bool:
    """Whether a recipe has a setting of that dotted name."""
    found: object = Recipe()
    for part in name.split("."):
        if not isinstance(found, BaseModel) or part not in type(found).model_fields:
            return False
        found = getattr(found, part)
    return True


def test_every_detail_has_a_setting_and_a_test() -> None:
    rows = ROW.findall((ROOT / "docs" / "ppo.md").read_text(encoding="utf-8"))
    assert [name for name, _, _, _ in rows] == THEIRS
    assert [setting for _, setting, _, _ in rows if not _there(setting)] == []
    lost = [
        test
        for _, _, file, test in rows
        if not re.search(rf"^def {test}\(", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert lost == []

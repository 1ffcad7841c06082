"""On which side of the fence a row stands: learned from, chosen by, or judged by."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, cast, get_args

from accord.records import Split
from accord.store.errors import Refused

SIDES: dict[str, Split] = {"val": "validation", "valid": "validation", "dev": "validation"}
"""How others call the sides of the fence."""


def split_of(prompt_text: str, test_share: float, validation_share: float = 0.0) -> Split:
    """On which side of the fence a prompt stands: the same text always on the same side, on every machine.

    u = SHA-256(text) / 2^256 is even over [0, 1): `test` below test_share, then `validation`, then `train`. A
    larger test share only adds prompts to `test`, it never moves one out. White space at the ends does not count.
    """
    if min(test_share, validation_share) < 0 or test_share + validation_share > 1:
        raise Refused(f"shares must lie in 0..1 together; got test {test_share}, validation {validation_share}")
    u = int.from_bytes(hashlib.sha256(prompt_text.strip().encode()).digest()[:7], "big") / 2**56
    if u < test_share:
        return "test"
    return "validation" if u < test_share + validation_share else "train"


def own_side(row: Mapping[str, Any]) -> Split | None:
    """The side that a row names itself; None where it names none. Raises ValueError for a name that nobody knows."""
    said = row.get("split")
    if said is None:
        return None
    if said not in (*get_args(Split), *SIDES):
        raise ValueError(
            f"split is {str(said)[:40]!r}, which is none of {', '.join(get_args(Split))}: rename it, or give all rows "
            "of the file one (split=)"
        )
    return cast(Split, SIDES.get(said, said))

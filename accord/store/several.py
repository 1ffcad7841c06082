"""Rows in which people say one thing about one answer: a mark or one of several values, by one person or several."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

ENDS = {"user_abuse_severity": (-3, 1)}
"""Lowest and highest mark of tasks whose rows do not say them."""
VALUES = {
    "refusal": ("1_full_compliance", "2_full_refusal", "3_partial_refusal"),
    "bias_type": ("age", "disability", "gender", "nationality", "none", "physical-appearance", "race-color", "religion",
                  "sexual-orientation", "socioeconomic"),
}  # fmt: skip
"""What could be said in tasks whose rows do not say it."""
_OWN = ("task", "label", "scale", "rating", "ratings", "values", "item_id", "lowest", "highest")


def several(row: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """Rows of ratings that say what one row about one answer says; None where it is no such row.

    `scale: ordinal` with a `label`, or a `rating` by an `annotator_id`: a mark in the respect `task` (or `criterion`)
    from `lowest` to `highest`. `scale: nominal`: one of the `values`, or several joined with +; each value is a respect
    of its own on the scale 0..1. `ratings` as a list: what several people say, each with their own `annotator_id`.
    Raises ValueError.
    """
    names = {name for name, value in row.items() if value is not None}
    if "prompt" not in names or not names & {"completion", "response"}:
        return None
    if "ratings" in names and isinstance(row["ratings"], list):
        return [one for said in row["ratings"] for one in _by(row, said)]
    if "scale" in names and "label" in names:
        if row["scale"] == "nominal":
            return [_value(row, row["label"])]
        if row["scale"] == "ordinal":
            return [_mark(row, row["label"])]
        raise ValueError(f"scale should be nominal or ordinal, not {str(row['scale'])[:40]!r}")
    # Without a person it is an answer to imitate, with a note on how good it is.
    return [_mark(row, row["rating"])] if {"rating", "annotator_id"} <= names else None


def _by(row: Mapping[str, Any], said: Any) -> list[dict[str, Any]]:
    """What one of several people says."""
    if not isinstance(said, Mapping) or not isinstance(said.get("annotator_id"), str) or not said["annotator_id"]:
        raise ValueError(f"each of several ratings names its annotator_id; one is {str(said)[:60]!r}")
    whole = {**{name: value for name, value in row.items() if name != "ratings"}, **said}
    if isinstance(whole.get("ratings"), Mapping):
        return [whole]
    found = several(whole)
    if found is None:
        raise ValueError(f"a rating by {said['annotator_id']!r} says neither rating, ratings nor label with scale")
    return found


def _mark(row: Mapping[str, Any], mark: Any) -> dict[str, Any]:
    """A number on a scale."""
    respect = _respect(row)
    low, high = ENDS.get(respect, (1, 5))
    low, high = row.get("lowest", low), row.get("highest", high)
    if isinstance(mark, bool) or not isinstance(mark, int | float) or not math.isfinite(mark):
        raise ValueError(f"the mark should be a finite number, not {str(mark)[:40]!r}")
    if not low <= mark <= high:
        raise ValueError(f"the mark {mark:g} lies outside {low:g}..{high:g}: say `lowest` and `highest` in the row")
    return {**_kept(row), "ratings": {respect: mark}, "lowest": low, "highest": high}


def _value(row: Mapping[str, Any], label: Any) -> dict[str, Any]:
    """One of several values, or several of them."""
    respect = _respect(row)
    values = row.get("values") or VALUES.get(respect)
    if not isinstance(values, list | tuple) or not all(isinstance(one, str) and one for one in values):
        raise ValueError(f"what else could be said in {respect!r} is not known: list it in the row, as values: [..]")
    said = label.split("+") if isinstance(label, str) else [label]
    if odd := [one for one in said if one not in values]:
        raise ValueError(f"label {str(odd[0])[:40]!r} is none of {', '.join(values)}")
    before = f"{respect}: " if respect else ""
    marks = {f"{before}{one}": int(one in said) for one in values}
    return {**_kept(row), "ratings": marks, "lowest": 0, "highest": 1}


def _respect(row: Mapping[str, Any]) -> str:
    return str(row.get("task") or row.get("criterion") or "")


def _kept(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in (*_OWN, "criterion")}

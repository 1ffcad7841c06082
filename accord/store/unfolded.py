"""Rows of public data sets that say several things at once, as the plainer rows that they amount to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from accord.store.several import several
from accord.store.trees import choices

ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
"""What HelpSteer's people rated, each from 0 to 4."""
_HELPSTEER = re.compile(r"\n?<extra_id_1>(User|Assistant)\n")
_NAMES = (("prompt", "response_1", "response_2", "preference_strength"),
          ("context", "response1", "response2", "overall_preference"))  # fmt: skip


def unfolded(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows of the forms that say together what one row of another data set says; the row itself where it is plain.

    PKU-SafeRLHF: which answer is better is a pair, which is safer is a vote on `harmless` that also says which answers
    are safe. HelpSteer: an answer with five attributes is a row of ratings, a strength of preference a pair with that
    margin, or a tie. OpenAssistant's trees: a pair of each two neighbouring ranks. One mark or value, or those of
    several people: see `several`. Raises ValueError for a row that has such names and says nothing by them.
    """
    names = {name for name, value in row.items() if value is not None}
    if {"prompt", "response_0", "response_1"} <= names and names & {"better_response_id", "safer_response_id"}:
        return _safe_rlhf(row)
    for asked, first, second, strength in _NAMES:
        if {asked, first, second, strength} <= names:
            return [_strength(_kept(row, first, second), row[asked], row[first], row[second], row[strength])]
    if {"prompt", "response"} <= names and len(rated := [name for name in ATTRIBUTES if name in names]) > 1:
        return [{**_kept(row, *rated), "prompt": _helpsteer(row["prompt"]), "response": row["response"],
                 "ratings": {name: row[name] for name in rated}, "lowest": 0, "highest": 4}]  # fmt: skip
    if isinstance(row.get("prompt"), Mapping) and "replies" in row["prompt"]:
        return choices(row["prompt"], {name: row[name] for name in ("source", "licence", "split") if name in names})
    return several(row) or [dict(row)]


def _kept(row: Mapping[str, Any], *without: str) -> dict[str, Any]:
    """The row less what is said in another way."""
    return {name: value for name, value in row.items() if name not in without}


def _safe_rlhf(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Two answers, of which one is better and one safer."""
    answers = [row["response_0"], row["response_1"]]
    rest = {name: row[name] for name in ("source", "licence", "split", "lang") if row.get(name) is not None}
    found: list[dict[str, Any]] = []
    if (better := row.get("better_response_id")) is not None:
        best = _which(better, "better_response_id")
        found.append({**rest, "prompt": row["prompt"], "chosen": answers[best], "rejected": answers[1 - best]})
    if (safer := row.get("safer_response_id")) is not None:
        vote = {**rest, "prompt": row["prompt"], "response_a": answers[0], "response_b": answers[1],
                "label": "ab"[_which(safer, "safer_response_id")], "criterion": "harmless"}  # fmt: skip
        safe = {"safe_a": row.get("is_response_0_safe"), "safe_b": row.get("is_response_1_safe")}
        found.append({**vote, **(safe if None not in safe.values() else {})})
    return found


def _which(said: Any, name: str) -> int:
    """0 or 1: the number of an answer."""
    if isinstance(said, bool) or said not in (0, 1):
        raise ValueError(f"{name} should be 0 or 1, not {str(said)[:40]!r}")
    return int(said)


def _strength(rest: Mapping[str, Any], asked: Any, first: Any, second: Any, strength: Any) -> dict[str, Any]:
    """A pair by the strength of a preference: below 0 for the first answer, above 0 for the second, 0 for a tie."""
    if isinstance(strength, bool) or not isinstance(strength, int | float):
        raise ValueError(f"the strength of the preference should be a number, not {str(strength)[:40]!r}")
    row = {**rest, "prompt": _helpsteer(asked)}
    if strength == 0:
        return {**row, "response_a": first, "response_b": second, "label": "tie"}
    better, worse = (first, second) if strength < 0 else (second, first)
    return {**row, "chosen": better, "rejected": worse, "margin": abs(strength)}


def _helpsteer(prompt: Any) -> Any:
    """The turns of a prompt in HelpSteer's way of writing, where the first speaker is the user."""
    if not isinstance(prompt, str) or "<extra_id_1>" not in prompt:
        return prompt
    first, *rest = _HELPSTEER.split(prompt)
    turns = [("User", first), *zip(rest[::2], rest[1::2], strict=True)]
    return [{"role": who.lower(), "content": said.strip("\n")} for who, said in turns if said.strip()]

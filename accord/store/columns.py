"""Public data sets under column names of their own, brought to those that the forms know."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
_TURN = re.compile(r"\n\n(Human|Assistant):")


def renamed(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with a prompt and a completion where it says them in another way, else as it is.

    `messages` (a conversation, as TRL has it) or `conversations` (of `from` and `value`): the prompt is what stands
    before the first turn of the assistant. `instruction` with `context` or `input`, and `response` or `output` (Dolly,
    Alpaca). A prompt of `Human:` and `Assistant:` turns that ends where the assistant is to speak (HH).
    """
    values = dict(row)
    if values.get("prompt") is not None:
        told = _dialogue(values["prompt"])
        return values if told is None else {**values, "prompt": told, **_trimmed(values)}
    if values.get("chosen") is not None:
        return values
    turns = values.get("messages") or _spoken(values.get("conversations"))
    if isinstance(turns, list):
        roles = [turn.get("role") if isinstance(turn, Mapping) else None for turn in turns]
        if "assistant" in roles[1:] and roles[0] != "assistant":
            first = roles.index("assistant")
            return {**values, "prompt": turns[:first], "completion": turns[first:]}
    asked, said = (
        values.get("instruction"),
        next((values[name] for name in ("response", "output") if values.get(name) is not None), None),
    )
    if isinstance(asked, str) and said is not None:
        beside = values.get("context") or values.get("input") or ""
        values.pop("response", None)
        return {**values, "prompt": f"{asked}\n\n{beside}" if beside else asked, "completion": said}
    return values


def _spoken(given: Any) -> list[dict[str, Any]] | None:
    """Turns of `from` and `value` as those of `role` and `content`."""
    if not isinstance(given, Sequence) or isinstance(given, str) or not given:
        return None
    if not all(isinstance(turn, Mapping) and str(turn.get("from")) in _SPEAKERS for turn in given):
        return None
    return [{"role": _SPEAKERS[str(turn["from"])], "content": turn.get("value")} for turn in given]


def _dialogue(prompt: Any) -> list[dict[str, str]] | None:
    """The turns of a prompt that is written as a dialogue and ends where the assistant is to speak."""
    if not isinstance(prompt, str) or not prompt.startswith("\n\nHuman:"):
        return None
    pieces = _TURN.split(prompt)[1:]
    turns = [(who, said.strip()) for who, said in zip(pieces[::2], pieces[1::2], strict=True)]
    if turns[-1] != ("Assistant", ""):
        return None
    return [{"role": _SPEAKERS["human" if who == "Human" else "gpt"], "content": said} for who, said in turns[:-1]]


def _trimmed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Answers to such a prompt, without the blank that stands behind `Assistant:`."""
    names = ("chosen", "rejected", "completion", "response")
    return {name: value.removeprefix(" ") for name in names if isinstance(value := values.get(name), str)}

"""Public data sets under column names of their own, brought to those that the forms know."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_SPEAKERS = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}
_MARKS = {"chosen-rating": "score_chosen", "rejected-rating": "score_rejected",
          "chosen_score": "score_chosen", "rejected_score": "score_rejected"}  # fmt: skip
_TURN = re.compile(r"\n\n(Human|Assistant):")


def renamed(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row with a prompt and a completion where it says them in another way, else as it is.

    `messages` (a conversation, as TRL has it) or `conversations` (of `from` and `value`): the prompt is what stands
    before the first turn of the assistant. `instruction` with `context` or `input`, and `response` or `output` (Dolly,
    Alpaca). `question` or `problem` with `answer` or `solution` (GSM8K, MATH): what stands behind the last #### is what
    answers are checked against. `question`, `instruction` or `conversations` beside `chosen` and `rejected` (Orca,
    LLaMA-Factory). A prompt of `Human:` and `Assistant:` turns that ends where the assistant is to speak (HH).
    """
    values = dict(row)
    for theirs, ours in _MARKS.items():
        if values.get(ours) is None and values.get(theirs) is not None:
            values[ours] = values[theirs]
    if values.get("prompt") is not None:
        told = _dialogue(values["prompt"])
        return values if told is None else {**values, "prompt": told, **_trimmed(values)}
    if values.get("chosen") is not None or values.get("rejected") is not None:
        return _paired(values)
    if (solved := _solved(values)) is not None:
        return solved
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


def _paired(values: dict[str, Any]) -> dict[str, Any]:
    """A pair whose prompt stands under another name, with a system turn where there is one."""
    answers = {
        name: said["value"]
        for name in ("chosen", "rejected")
        if isinstance(said := values.get(name), Mapping) and _SPEAKERS.get(str(said.get("from"))) == "assistant"
    }
    asked = _spoken(values.get("conversations"))
    said = next((one for name in ("question", "instruction") if isinstance(one := values.get(name), str)), None)
    if asked is None and said is not None:
        beside = values.get("context") or values.get("input") or ""
        asked = [{"role": "user", "content": f"{said}\n\n{beside}" if beside else said}]
    if asked is None:
        return values
    system = values.get("system")
    before = [{"role": "system", "content": system}] if isinstance(system, str) and system.strip() else []
    return {**values, **answers, "prompt": [*before, *asked]}


def _solved(values: dict[str, Any]) -> dict[str, Any] | None:
    """A question with its solution, and the final answer where one is marked; None for rows without such."""
    asked = next((one for name in ("question", "problem") if isinstance(one := values.get(name), str)), None)
    said = next((one for name in ("solution", "answer") if isinstance(one := values.get(name), str)), None)
    if asked is None or said is None or {"choices", "options"} & set(values):
        return None
    _, marked, final = said.rpartition("####")
    if marked:
        values["answer"] = final.strip().split("\n", 1)[0].strip()
    elif values.get("solution") is None:
        values.pop("answer")  # a text to imitate is nothing to compare other texts with
    return {**values, "prompt": asked, "completion": said}


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
